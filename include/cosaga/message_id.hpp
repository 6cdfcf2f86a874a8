// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace cosaga {

/// 128 bits that identify one message for ever: a UUID, version 7 when made here (RFC 9562), so that
/// ids sort by the time they were made and an index on them grows at one end.
class message_id {
public:
    static constexpr std::size_t size = 16;
    using bytes_type = std::array<unsigned char, size>;

    constexpr message_id() = default;
    constexpr explicit message_id(bytes_type const& bytes) : bytes_{bytes} {}

    /// The id that another system gave to a message: itself when it is a UUID in text form, else 128 bits of
    /// SHA-1 over the source and the id, marked as a UUID of version 8.
    /// @param source who gave the id; the same id of two sources is two messages.
    static message_id from_foreign(std::string_view source, std::string_view id);

    /// The inverse of `to_string`, in either case; nothing when `text` is not a UUID in its 36-character form.
    static std::optional<message_id> parse(std::string_view text);

    /// The smallest version 7 id of that millisecond, for range queries by time.
    static message_id first_of(time_point when);

    constexpr bytes_type const& bytes() const noexcept { return bytes_; }
    constexpr bool is_nil() const noexcept { return *this == message_id{}; }
    /// True when the id holds its own time (version 7).
    constexpr bool is_time_ordered() const noexcept { return (bytes_[6] >> 4) == 7; }
    /// The time at which a version 7 id was made, to the millisecond.
    constexpr time_point time() const noexcept
    {
        std::int64_t milliseconds = 0;
        for (std::size_t i = 0; i < 6; ++i)
            milliseconds = (milliseconds << 8) | bytes_[i];
        return time_point{std::chrono::milliseconds{milliseconds}};
    }
    /// Lower-case text form, 36 characters.
    std::string to_string() const;

    friend constexpr auto operator<=>(message_id const&, message_id const&) = default;

private:
    bytes_type bytes_{};
};

/// Makes version 7 ids that increase strictly, also within one millisecond and when the clock steps back.
/// @par Thread safety
/// any number of threads.
class message_id_generator {
public:
    explicit message_id_generator(environment& env) : environment_{&env} {}

    message_id operator()()
    {
        auto const now = std::chrono::floor<std::chrono::milliseconds>(environment_->now()).time_since_epoch().count();
        auto const chance = environment_->random();
        std::lock_guard const lock{mutex_};
        if (now > milliseconds_) {
            milliseconds_ = now;
            // RFC 9562, method 1: a counter of 42 bits, its top bit clear at first so that it has room to grow.
            counter_ = environment_->random() & ((std::uint64_t{1} << 41) - 1);
        } else if ((counter_ += 1 + (chance >> 60)) >= std::uint64_t{1} << 42) {
            ++milliseconds_;
            counter_ = 0;
        }
        return compose(chance);
    }

private:
    message_id compose(std::uint64_t chance) const
    {
        message_id::bytes_type b{};
        auto const ms = static_cast<std::uint64_t>(milliseconds_);
        for (std::size_t i = 0; i < 6; ++i)
            b[i] = static_cast<unsigned char>(ms >> (8 * (5 - i)));
        auto const high = counter_ >> 30;         // 12 bits
        auto const low = counter_ & 0x3fff'ffff;  // 30 bits
        b[6] = static_cast<unsigned char>(0x70 | (high >> 8));
        b[7] = static_cast<unsigned char>(high);
        b[8] = static_cast<unsigned char>(0x80 | (low >> 24));
        b[9] = static_cast<unsigned char>(low >> 16);
        b[10] = static_cast<unsigned char>(low >> 8);
        b[11] = static_cast<unsigned char>(low);
        for (std::size_t i = 0; i < 4; ++i)
            b[12 + i] = static_cast<unsigned char>(chance >> (8 * i));
        return message_id{b};
    }

    environment* environment_;
    std::mutex mutex_;
    std::int64_t milliseconds_ = 0;
    std::uint64_t counter_ = 0;
};

} // namespace cosaga

template <>
struct std::hash<cosaga::message_id> {
    std::size_t operator()(cosaga::message_id const& id) const noexcept
    {
        std::uint64_t halves[2];
        std::memcpy(halves, id.bytes().data(), sizeof halves);
        return static_cast<std::size_t>(halves[0] ^ (halves[1] * 0x9e37'79b9'7f4a'7c15ULL));
    }
};

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/message_id.ipp>
#endif
