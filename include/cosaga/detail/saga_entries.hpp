// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec/binary.hpp>
#include <cosaga/detail/binary_writer.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/storage.hpp>

#include <boost/describe/class.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

// What the engine writes into journals. Numbers are never given a new meaning; what is new gets a new number.
namespace cosaga::detail {

enum class saga_entry : std::uint32_t {
    begun = 1,     ///< `due`: the deadline; `value`: the saga that waits for this one, `name`: its step
    intended,      ///< a step that may run from now on
    done,          ///< a step with its outcome; of a local one, this is its only entry
    failed,        ///< a step with its reason; `flag`: it may have run
    noted,         ///< a value that must be the same on replay
    answered,      ///< from outside: a participant or a child about a step; `code`: a `saga_answer`
    sent,          ///< from outside: an event
    taken,         ///< the event that a step received: `due` is the number of its entry; 0: the time was over
    won,           ///< the branch of an `any` that came first: `code`
    cancel,        ///< from outside: undo it
    skip,          ///< from outside: the compensation of a step is not needed
    compensating,  ///< the decision to undo; it is never taken back
    confirming,    ///< the decision to confirm; the same
    asked,         ///< a command was sent to a participant, not for the first time if it is an action
    undone,        ///< the compensation of a step
    confirmed,     ///< the confirmation of a step
    paused,
    resumed,
    ended,         ///< done or undone
    continued,     ///< as new; `code`: how many compensations it takes along
};
inline constexpr auto last_saga_entry = saga_entry::continued;

constexpr std::string_view name_of(saga_entry e) noexcept
{
    constexpr std::string_view names[] = {"begun", "intended", "done", "failed", "noted", "answered", "sent", "taken", "won", "cancel", "skip",
        "compensating", "confirming", "asked", "undone", "confirmed", "paused", "resumed", "ended", "continued"};
    auto const at = static_cast<std::size_t>(e) - 1;
    return at < std::size(names) ? names[at] : std::string_view{"unknown"};
}

enum class saga_answer : std::uint32_t { success, refused, ongoing };

/// Which verb made a step: part of what is compared on replay.
enum class saga_verb : std::uint32_t { step = 1, call, effect, sleep, receive, child, all, any };

constexpr std::string_view name_of(saga_verb v) noexcept
{
    constexpr std::string_view names[] = {"step", "call", "effect", "sleep", "receive", "child", "all", "any"};
    auto const at = static_cast<std::size_t>(v) - 1;
    return at < std::size(names) ? names[at] : std::string_view{"unknown"};
}

/// What compensates or confirms a step: a body for a handler here, or for the participant of a topic.
struct saga_command {
    std::string topic;
    std::string type;
    std::string payload;

    bool empty() const noexcept { return type.empty(); }
};
BOOST_DESCRIBE_STRUCT(saga_command, (), (topic, type, payload))

/// The content of an entry. Members that a kind does not need are empty.
struct saga_note {
    std::uint32_t verb = 0;
    std::uint32_t code = 0;
    std::uint64_t digest = 0;
    std::int64_t due = 0; ///< microseconds since 1970
    bool flag = false;
    std::string value;
    saga_command undo;
    saga_command confirm;
};
BOOST_DESCRIBE_STRUCT(saga_note, (), (verb, code, digest, due, flag, value, undo, confirm))

/// What `binary_codec` reads as that note, without the members that have their default, which are most of them.
/// @param value_at set to where its value is, or would be.
inline std::string encode_note(saga_note const& note, std::size_t* value_at = nullptr)
{
    std::string bytes;
    wire_writer out{bytes};
    std::uint64_t ordinal = 0;
    auto const number = [&](std::uint64_t v) {
        ++ordinal;
        if (v == 0)
            return;
        out.varint(key_of(ordinal, wire_type::varint));
        out.varint(v);
    };
    auto const text = [&](std::string_view v) {
        ++ordinal;
        if (v.empty())
            return;
        out.varint(key_of(ordinal, wire_type::bytes));
        out.bytes(v);
    };
    number(note.verb);
    number(note.code);
    number(note.digest);
    number(zigzag_encode(note.due));
    number(note.flag ? 1 : 0);
    if (value_at)
        *value_at = bytes.size();
    text(note.value);
    for (auto const* command : {&note.undo, &note.confirm})
        text(command->empty() ? std::string{} : binary_codec::encode(*command));
    return bytes;
}

inline journal_entry make_entry(saga_entry kind, std::string step, std::string name, saga_note const& note, time_point at)
{
    journal_entry e;
    e.kind = static_cast<std::uint32_t>(kind);
    e.step = std::move(step);
    e.name = std::move(name);
    e.at = at;
    e.content = encode_note(note);
    return e;
}

/// An entry that is complete but for its value: so that the store's thread, on which sagas wait for each other, has little to do.
struct prepared_entry {
    journal_entry entry;
    std::size_t value_at = 0;
    std::size_t value_size = 0; ///< as it is encoded

    void set_value(std::string_view value)
    {
        constexpr std::uint64_t ordinal = 6; // in `saga_note`
        entry.content.erase(value_at, value_size);
        std::string field;
        if (!value.empty()) {
            wire_writer out{field};
            out.varint(key_of(ordinal, wire_type::bytes));
            out.bytes(value);
        }
        entry.content.insert(value_at, field);
        value_size = field.size();
    }
};

inline std::int64_t to_due(time_point t) noexcept { return t.time_since_epoch().count(); }
inline time_point from_due(std::int64_t v) noexcept { return time_point{duration{v}}; }

/// FNV-1a, so that an argument that changed is seen without keeping it twice.
class saga_digest {
public:
    saga_digest& add(std::string_view part) noexcept
    {
        for (auto const c : part)
            mix(static_cast<unsigned char>(c));
        mix(0xff);
        return *this;
    }
    std::uint64_t value() const noexcept { return value_; }

private:
    void mix(std::uint64_t byte) noexcept { value_ = (value_ ^ byte) * 0x100'0000'01b3u; }

    std::uint64_t value_ = 0xcbf2'9ce4'8422'2325u;
};

} // namespace cosaga::detail
