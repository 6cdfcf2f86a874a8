// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#if defined(__SANITIZE_ADDRESS__)
#define COSAGA_FUZZ_COUNTS_MEMORY
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COSAGA_FUZZ_COUNTS_MEMORY
#endif
#endif
#ifdef COSAGA_FUZZ_COUNTS_MEMORY
// As in <sanitizer/allocator_interface.h>, which g++ 12 does not bring, although its runtime has the function.
extern "C" int __sanitizer_install_malloc_and_free_hooks(
    void (*allocated)(void const volatile*, std::size_t), void (*freed)(void const volatile*));
#endif

/// What every target defines: one run with these bytes. Built with libFuzzer they are mutations of the corpus; the
/// ordinary tests feed the corpus alone (replay.cpp).
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace fuzz {

/// Ends the program unless the promise was kept: that is a finding, whose input is kept.
inline void require(bool kept, char const* promise)
{
    if (kept) [[likely]]
        return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
}

/// Runs a decoder on foreign bytes. False for an error that is documented for them; anything else ends the program.
template <class Decode>
bool decodes(Decode&& decode)
{
    try {
        decode();
        return true;
    } catch (boost::system::system_error const& e) {
        require(e.code() == cosaga::errc::malformed_data || e.code() == cosaga::errc::limit_exceeded, e.what());
        return false;
    }
}

/// Counts what is allocated while it exists, where the address sanitizer can tell; one at a time.
class memory_watch {
public:
    memory_watch()
    {
#ifdef COSAGA_FUZZ_COUNTS_MEMORY
        static int const installed = __sanitizer_install_malloc_and_free_hooks(
            [](void const volatile*, std::size_t size) { sum_ += size; }, [](void const volatile*) {});
        static_cast<void>(installed);
#endif
        sum_ = 0;
    }

    /// All allocations together were at most `fixed` bytes and `times` the size of the input.
    void require_at_most(std::size_t fixed, std::size_t times, std::size_t input) const
    {
        if (sum_ <= fixed + times * input) [[likely]]
            return;
        std::fprintf(stderr, "%zu bytes were allocated for an input of %zu\n", sum_, input);
        require(false, "memory is in proportion to the input");
    }

private:
    static inline std::size_t sum_ = 0;
};

/// The bytes of an input as a sequence of decisions; zeros after its end.
class choices {
public:
    choices(std::uint8_t const* data, std::size_t size) noexcept : at_{data}, end_{data + size} {}

    bool at_end() const noexcept { return at_ == end_; }
    std::uint8_t byte() noexcept { return at_end() ? std::uint8_t{0} : *at_++; }
    std::size_t below(std::size_t limit) noexcept { return byte() % limit; }
    std::string_view rest() noexcept
    {
        std::string_view const all{reinterpret_cast<char const*>(at_), static_cast<std::size_t>(end_ - at_)};
        at_ = end_;
        return all;
    }

private:
    std::uint8_t const* at_;
    std::uint8_t const* end_;
};

} // namespace fuzz
