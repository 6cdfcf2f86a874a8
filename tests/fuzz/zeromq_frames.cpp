// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/detail/zeromq_frames.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cosaga::detail;
using cosaga::message;
using cosaga::verdict;
using fuzz::require;

constexpr std::string_view topic = "orders";

// Small enough to be reached by small inputs.
frame_limits small_limits()
{
    frame_limits limits;
    limits.message = {.payload = 20, .name = 8, .key = 6, .headers = 2, .header_value = 9};
    limits.batch = 3;
    limits.held = 4;
    limits.reason = 5;
    return limits;
}

std::string write_batch(shut_frame const& head, std::vector<tagged_message> const& batch)
{
    std::string frame;
    begin_batch(frame, head.flow, head.instance);
    for (std::size_t i = 0; i < batch.size(); ++i)
        append_message(frame, topic, batch[i].tag, batch[i].content, i > 0 ? &batch[i - 1].content : nullptr);
    return frame;
}

// Messages need not be written the shortest way, so it is the values that come back.
void check_batch(wire_reader r, std::string_view frame, frame_limits const& limits)
{
    auto const head = read_head(r);
    std::vector<tagged_message> batch(2);
    read_messages(r, topic, limits, batch);
    require(batch.size() <= limits.batch, "a batch is within its limit");
    for (auto const& m : batch)
        cosaga::check_limits(m.content, limits.message);
    auto const written = write_batch(head, batch);
    require(written.size() <= frame.size(), "a batch is written the shortest way");
    frame_kind kind{};
    auto again = read_kind(written, kind);
    auto const head_again = read_head(again);
    require(kind == frame_kind::batch && head_again.flow == head.flow && head_again.instance == head.instance,
        "a batch keeps its head");
    std::vector<tagged_message> batch_again;
    read_messages(again, topic, limits, batch_again);
    require(batch.size() == batch_again.size(), "a batch keeps its messages");
    for (std::size_t i = 0; i < batch.size(); ++i)
        require(batch[i].tag == batch_again[i].tag && batch[i].content == batch_again[i].content,
            "a message comes back as it was written");
    require(write_batch(head, batch_again) == written, "a batch is always written the same way");
}

void check_settle(wire_reader r, std::string_view frame, frame_limits const& limits)
{
    auto const head = read_head(r);
    std::vector<settled_tag> settled;
    read_settle(r, limits, [&](std::uint64_t tag, verdict result, std::string_view reason) {
        require(reason.size() <= limits.reason, "a reason is within its limit");
        settled.push_back({tag, result, std::string{reason}});
    });
    std::string written;
    require(write_settle(written, head, settled, limits) == settled.size(), "all settlements fit");
    require(written == frame, "settlements have exactly one encoding");
}

void check_window(wire_reader r, std::string_view frame, frame_limits const& limits)
{
    auto const window = read_window(r, limits);
    require(window.messages > 0 && window.messages <= limits.held, "a window is within its limit");
    require(window.held.size() <= window.messages, "what is held is within the window");
    std::string written;
    write_window(written, window);
    require(written == frame, "a window has exactly one encoding");
}

void read_and_write(std::string_view frame, frame_limits const& limits)
{
    frame_kind kind{};
    auto r = read_kind(frame, kind);
    std::string written;
    switch (kind) {
    case frame_kind::hello: write_hello(written, read_hello(r, limits).service); break;
    case frame_kind::open: write_open(written, read_open(r, limits)); break;
    case frame_kind::window: return check_window(r, frame, limits);
    case frame_kind::batch: return check_batch(r, frame, limits);
    case frame_kind::settle: return check_settle(r, frame, limits);
    case frame_kind::shut: write_shut(written, read_shut(r)); break;
    case frame_kind::done: write_done(written, read_done(r)); break;
    case frame_kind::ping:
        r.expect_end();
        write_ping(written);
        break;
    }
    require(written == frame, "a frame has exactly one encoding");
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    static frame_limits const all_limits[] = {frame_limits{}, small_limits()};
    fuzz::choices input{data, size};
    auto const& limits = all_limits[input.below(2)];
    auto const frame = input.rest();
    fuzz::memory_watch const memory;
    fuzz::decodes([&] { read_and_write(frame, limits); });
    // A message of 22 bytes repeats up to three names of the one before it; read twice here, and written twice.
    memory.require_at_most(16 * 1024, 300, frame.size());
    return 0;
}
