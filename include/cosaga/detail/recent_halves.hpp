// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

namespace cosaga::detail {

/// The half messages that were stored last, so that their commit, which mostly follows at once, need not read them back.
///
/// It may hold what is not so: who uses an entry makes sure that the row with its `seq` is there.
class recent_halves {
public:
    struct half {
        std::string service;
        std::int64_t seq = 0;
        std::shared_ptr<message> content;
    };

    void add(message_id const& id, half h)
    {
        bytes_ += memory_of(*h.content);
        halves_.insert_or_assign(id, std::move(h));
        order_.push_back(id);
        while (order_.size() > most || bytes_ > most_bytes) {
            take(order_.front());
            order_.pop_front();
        }
        if (halves_.empty())
            bytes_ = 0;
    }

    std::optional<half> take(message_id const& id)
    {
        auto found = halves_.extract(id);
        if (!found)
            return std::nullopt;
        auto const size = memory_of(*found.mapped().content);
        bytes_ -= size < bytes_ ? size : bytes_;
        return std::move(found.mapped());
    }

private:
    static constexpr std::size_t most = 16'384;
    static constexpr std::size_t most_bytes = std::size_t{16} << 20;

    std::unordered_map<message_id, half> halves_;
    std::deque<message_id> order_; // of adding; those that were taken included
    std::size_t bytes_ = 0;
};

} // namespace cosaga::detail
