// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/delivery_queue.hpp>
#include <cosaga/detail/wire.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The protocol between a sender (DEALER, connects) and a receiver (ROUTER, binds). One frame is one ZeroMQ message part.
//
//   sender                              receiver
//   (empty: ZMQ_PROBE_ROUTER)    ->
//                                <-     hello                 the connection is new, or the receiver lost track
//   open (each flow)             ->                           a flow: the messages of one publisher
//                                <-     window                one for each subscription; lists what it holds already
//   batch                        ->                           at most the window is outstanding
//                                <-     settle                what was acknowledged or rejected; frees the window
//                                <-     shut                  a subscription ended: its messages go elsewhere
//   shut                         ->                           that was heard, and all that was settled before
//   done                         ->                           the publisher was closed
//
// There are no credits: both sides count the same messages with `flow_cost`. Frames of an earlier connection are told
// by its number (window) or by the routing id they came from (batch).
namespace cosaga::detail {

inline constexpr std::uint8_t frame_magic = 0xc5;
inline constexpr std::uint8_t frame_version = 1;

enum class frame_kind : std::uint8_t { hello = 1, open, window, batch, settle, shut, done, ping };

/// Caps on what is read from a frame, beside those of a message.
struct frame_limits {
    message_limits message;
    std::size_t batch = 1024; ///< messages in a batch
    std::size_t held = 65536; ///< messages in a window, and tags that it lists
    std::size_t reason = 1000; ///< bytes; longer ones are cut when they are written
};

struct hello_frame {
    std::string service; ///< the declared name of the receiver
};

struct open_frame {
    std::uint64_t connection = 0; ///< counts the connections of the sender's socket; comes back in `window`
    std::uint64_t session = 0; ///< chosen at random by the sender's transport: a flow is known by it again
    std::uint32_t flow = 0; ///< number within the session
    std::string topic;
    std::string consumer;
    std::string service; ///< the declared name of the sender
};

struct window_frame {
    std::uint64_t connection = 0;
    std::uint32_t flow = 0;
    std::uint32_t instance = 0; ///< of the consumer; never used again by the same receiver
    std::size_t messages = 0;
    std::size_t bytes = 0;
    std::vector<held_message> held; ///< what arrived before and is not settled: not to be sent again
};

struct shut_frame {
    std::uint32_t flow = 0;
    std::uint32_t instance = 0;
};

struct settled_tag {
    std::uint64_t tag = 0;
    verdict result = verdict::accepted;
    std::string reason;
};

struct tagged_message {
    std::uint64_t tag = 0;
    message content;
};

// --- writing ----------------------------------------------------------------------------------------------------------

inline wire_writer begin_frame(std::string& out, frame_kind kind)
{
    out.clear();
    wire_writer w{out};
    w.u8(frame_magic);
    w.u8(frame_version);
    w.u8(static_cast<std::uint8_t>(kind));
    return w;
}

// Both halves are small numbers for as long as few messages are outstanding.
inline void write_tag(wire_writer& w, std::uint64_t tag)
{
    w.varint(tag & 0xffff'ffff);
    w.varint(tag >> 32);
}

inline void write_hello(std::string& out, std::string_view service)
{
    begin_frame(out, frame_kind::hello).bytes(service);
}

inline void write_open(std::string& out, open_frame const& f)
{
    auto w = begin_frame(out, frame_kind::open);
    w.varint(f.connection);
    w.fixed64(f.session);
    w.varint(f.flow);
    w.bytes(f.topic);
    w.bytes(f.consumer);
    w.bytes(f.service);
}

inline void write_window(std::string& out, window_frame const& f)
{
    auto w = begin_frame(out, frame_kind::window);
    w.varint(f.connection);
    w.varint(f.flow);
    w.varint(f.instance);
    w.varint(f.messages);
    w.varint(f.bytes);
    for (auto const& h : f.held) {
        write_tag(w, h.tag);
        w.varint(h.bytes);
    }
}

inline void write_shut(std::string& out, shut_frame const& f)
{
    auto w = begin_frame(out, frame_kind::shut);
    w.varint(f.flow);
    w.varint(f.instance);
}

inline void write_done(std::string& out, std::uint32_t flow)
{
    begin_frame(out, frame_kind::done).varint(flow);
}
inline void write_ping(std::string& out)
{
    begin_frame(out, frame_kind::ping);
}

inline void begin_batch(std::string& out, std::uint32_t flow, std::uint32_t instance)
{
    auto w = begin_frame(out, frame_kind::batch);
    w.varint(flow);
    w.varint(instance);
}

enum message_flags : std::uint8_t {
    own_topic = 1, ///< the topic is not that of the flow
    has_headers = 2,
    like_last = 4, ///< type, source and content type are those of the message before it
    all_message_flags = 7,
};

/// @param last the message that was appended before to the same batch, or null.
inline void append_message(
    std::string& batch, std::string_view topic, std::uint64_t tag, message const& m, message const* last)
{
    bool const like = last && m.type == last->type && m.source == last->source && m.content_type == last->content_type;
    bool const own = m.topic != topic;
    wire_writer w{batch};
    write_tag(w, tag);
    w.u8(static_cast<std::uint8_t>(
        (own ? own_topic : 0) | (m.headers.empty() ? 0 : has_headers) | (like ? like_last : 0)));
    w.raw(m.id.bytes());
    w.zigzag(m.time.time_since_epoch().count());
    if (own)
        w.bytes(m.topic);
    if (!like) {
        w.bytes(m.type);
        w.bytes(m.source);
        w.bytes(m.content_type);
    }
    w.bytes(m.key);
    if (!m.headers.empty()) {
        w.varint(m.headers.size());
        for (auto const& h : m.headers) {
            w.bytes(h.name);
            w.bytes(h.value);
        }
    }
    w.bytes(m.payload);
}

/// Writes at most `most` of the settlements, from the front.
/// @return how many it wrote.
inline std::size_t write_settle(
    std::string& out, shut_frame const& from, std::span<settled_tag const> settled, frame_limits const& limits)
{
    constexpr std::size_t enough = 64 * 1024;
    auto w = begin_frame(out, frame_kind::settle);
    w.varint(from.flow);
    w.varint(from.instance);
    std::size_t written = 0;
    for (; written < settled.size() && w.size() < enough; ++written) {
        auto const& s = settled[written];
        // The result in the low bits of the first number of the tag: nothing more for an accepted message.
        w.varint((s.tag & 0xffff'ffff) << 2 | static_cast<std::uint64_t>(s.result));
        w.varint(s.tag >> 32);
        if (s.result != verdict::accepted)
            w.bytes(std::string_view{s.reason}.substr(0, limits.reason));
    }
    return written;
}

// --- reading: everything throws errc::malformed_data or errc::limit_exceeded for bytes that are not a frame -------------

/// A reader of the frame's content.
inline wire_reader read_kind(std::string_view frame, frame_kind& kind)
{
    wire_reader r{frame, "frame"};
    if (r.u8() != frame_magic)
        r.fail("is none of this protocol");
    if (r.u8() != frame_version)
        r.fail("has an unknown version");
    auto const k = r.u8();
    if (k < static_cast<std::uint8_t>(frame_kind::hello) || k > static_cast<std::uint8_t>(frame_kind::ping))
        r.fail("is of an unknown kind");
    kind = static_cast<frame_kind>(k);
    return r;
}

inline std::uint32_t read_number(wire_reader& r)
{
    return static_cast<std::uint32_t>(r.varint(0xffff'ffff));
}

inline std::uint64_t read_tag(wire_reader& r)
{
    std::uint64_t const low = read_number(r);
    return std::uint64_t{read_number(r)} << 32 | low;
}

inline hello_frame read_hello(wire_reader r, frame_limits const& limits)
{
    hello_frame f;
    f.service = r.bytes(limits.message.name);
    r.expect_end();
    return f;
}

inline open_frame read_open(wire_reader r, frame_limits const& limits)
{
    open_frame f;
    f.connection = r.varint();
    f.session = r.fixed64();
    f.flow = read_number(r);
    f.topic = r.bytes(limits.message.name);
    f.consumer = r.bytes(limits.message.name);
    f.service = r.bytes(limits.message.name);
    r.expect_end();
    return f;
}

inline window_frame read_window(wire_reader r, frame_limits const& limits)
{
    window_frame f;
    f.connection = r.varint();
    f.flow = read_number(r);
    f.instance = read_number(r);
    f.messages = static_cast<std::size_t>(r.varint(limits.held));
    f.bytes = static_cast<std::size_t>(r.varint());
    if (f.messages == 0)
        r.fail("has a window of no messages");
    while (!r.at_end()) {
        if (f.held.size() == f.messages)
            r.fail("holds more messages than its window", errc::limit_exceeded);
        auto& h = f.held.emplace_back();
        h.tag = read_tag(r);
        h.bytes = static_cast<std::size_t>(r.varint());
    }
    return f;
}

inline shut_frame read_shut(wire_reader r)
{
    shut_frame f;
    f.flow = read_number(r);
    f.instance = read_number(r);
    r.expect_end();
    return f;
}

inline std::uint32_t read_done(wire_reader r)
{
    auto const flow = read_number(r);
    r.expect_end();
    return flow;
}

/// Flow and instance of a batch or settle frame; `read_messages` or `read_settle` reads the rest.
inline shut_frame read_head(wire_reader& r)
{
    shut_frame f;
    f.flow = read_number(r);
    f.instance = read_number(r);
    return f;
}

inline void read_headers(wire_reader& r, std::vector<header>& headers, message_limits const& limits)
{
    auto const count = r.count(limits.headers, 2);
    headers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        auto& h = headers.emplace_back();
        h.name = r.bytes(limits.name);
        h.value = r.bytes(limits.header_value);
    }
}

/// Replaces `out` by all messages of a batch.
inline void read_messages(
    wire_reader r, std::string_view topic, frame_limits const& limits, std::vector<tagged_message>& out)
{
    auto const& most = limits.message;
    out.clear();
    while (!r.at_end()) {
        if (out.size() == limits.batch)
            r.fail("has too many messages", errc::limit_exceeded);
        auto& [tag, m] = out.emplace_back();
        tag = read_tag(r);
        auto const flags = r.u8();
        if ((flags & ~all_message_flags) != 0 || ((flags & like_last) != 0 && out.size() == 1))
            r.fail("has a message with wrong flags");
        m.id = message_id{r.raw<message_id::size>()};
        m.time = time_point{duration{r.zigzag()}};
        m.topic = (flags & own_topic) != 0 ? r.bytes(most.name) : topic;
        if ((flags & like_last) != 0) {
            auto const& last = out[out.size() - 2].content;
            m.type = last.type;
            m.source = last.source;
            m.content_type = last.content_type;
        } else {
            m.type = r.bytes(most.name);
            m.source = r.bytes(most.name);
            m.content_type = r.bytes(most.name);
        }
        m.key = r.bytes(most.key);
        if ((flags & has_headers) != 0)
            read_headers(r, m.headers, most);
        m.payload = r.bytes(most.payload);
    }
}

/// Calls `f(tag, result, reason)` for each settlement; what came before a malformed one was called for.
template <class F>
void read_settle(wire_reader& r, frame_limits const& limits, F&& f)
{
    while (!r.at_end()) {
        auto const low = r.varint(std::uint64_t{0xffff'ffff} << 2 | 3);
        auto const tag = std::uint64_t{read_number(r)} << 32 | low >> 2;
        auto const result = low & 3;
        if (result > static_cast<std::uint64_t>(verdict::rejected))
            r.fail("has an unknown result");
        auto const reason = result == 0 ? std::string_view{} : r.bytes(limits.reason);
        f(tag, static_cast<verdict>(result), reason);
    }
}

/// The largest frame of a sender: a full batch, and the message that filled it.
inline std::size_t largest_batch(message_limits const& limits, std::size_t batch_bytes) noexcept
{
    return batch_bytes + limits.payload + limits.key + 4 * limits.name
         + limits.headers * (limits.name + limits.header_value) + 16 * (limits.headers + 16);
}

} // namespace cosaga::detail
