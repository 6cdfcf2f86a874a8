// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/delivery_queue.hpp>
#include <cosaga/message.hpp>
#include <cosaga/transport.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cosaga::detail {

/// The sending side of one publisher, without I/O: what waits, and what is outstanding at which instance of the consumer.
///
/// Each instance takes as much as its window allows. With several, a key stays with one of them while it has
/// outstanding messages there. When an instance goes away, its messages wait again, in their old order.
/// @par Thread safety
/// none.
class dispatch_queue {
public:
    using instance_id = std::uint32_t;
    static constexpr instance_id nowhere = std::numeric_limits<instance_id>::max();

    /// @return the tag by which instances know the message.
    std::uint64_t add(envelope e)
    {
        auto const index = allocate();
        auto& s = slots_[index];
        s.cost = flow_cost(e.content);
        s.of = std::move(e);
        s.arrival = ++arrivals_;
        s.instance = nowhere;
        s.used = true;
        insert(waiting_, index);
        return tag_of(index);
    }

    instance_id add_instance(flow_window const& window)
    {
        auto const free = std::find_if(instances_.begin(), instances_.end(), [](auto const& i) { return !i.used; });
        auto const id = static_cast<instance_id>(free - instances_.begin());
        if (free == instances_.end())
            instances_.emplace_back();
        instances_[id] = instance{.window = window, .used = true};
        if (++live_ == 2)
            bind_all();
        return id;
    }

    /// The instance may take no more; what it did not settle waits again.
    void remove_instance(instance_id id)
    {
        std::vector<std::uint32_t> back;
        for (auto const* const l : {&waiting_, &instances_[id].outstanding, &instances_[id].backlog})
            for (auto i = l->first; i != none; i = slots_[i].next)
                back.push_back(i);
        std::sort(back.begin(), back.end(),
            [this](std::uint32_t a, std::uint32_t b) { return slots_[a].arrival < slots_[b].arrival; });
        waiting_ = {};
        for (auto const i : back) {
            if (slots_[i].instance != nowhere)
                unbind(slots_[i]);
            slots_[i].instance = nowhere;
            slots_[i].sent = false;
            insert(waiting_, i);
        }
        instances_[id] = {};
        if (--live_ == 1)
            bindings_.clear();
        else
            bind_elsewhere(id);
    }

    /// Gives to instances what their windows have room for, as `send(instance, tag, message const&)`, each key in order.
    template <class Send>
    void dispatch(Send&& send)
    {
        bool backlog = false;
        for (instance_id id = 0; id < instances_.size(); ++id) {
            auto& to = instances_[id];
            while (to.backlog.first != none && has_room(to, slots_[to.backlog.first]))
                assign(id, to.backlog, to.backlog.first, send);
            backlog = backlog || to.backlog.first != none;
        }
        while (waiting_.first != none) {
            auto const index = waiting_.first;
            auto const& s = slots_[index];
            auto const bound = live_ > 1 ? bound_to(s) : nowhere;
            if (bound == nowhere) {
                // What is left in the backlog of an only instance comes before everything that waits.
                auto const to = backlog && live_ == 1 ? nowhere : roomiest(s);
                if (to == nowhere)
                    return;
                bind(s, to);
                assign(to, waiting_, index, send);
            } else if (auto& to = instances_[bound]; to.backlog.first == none && has_room(to, s)) {
                bind(s, bound);
                assign(bound, waiting_, index, send);
            } else {
                bind(s, bound);
                remove(waiting_, index);
                slots_[index].instance = bound;
                insert(to.backlog, index);
            }
        }
    }

    /// The instance says that it holds this message, from before its connection was lost. Call before `dispatch`.
    /// @param cost what it takes of the window there.
    void adopt(instance_id id, std::uint64_t tag, std::size_t cost)
    {
        auto const index = find(tag);
        if (index == none || slots_[index].instance != nowhere) {
            add_stray(id, tag, cost); // another one has got it meanwhile
            return;
        }
        auto& s = slots_[index];
        remove(waiting_, index);
        bind(s, id);
        occupy(id, index);
    }

    /// As if the connection had been lost for this message only: it is sent again.
    void send_again(std::uint64_t tag)
    {
        auto const index = find(tag);
        if (index == none || slots_[index].instance == nowhere)
            return;
        leave(index);
        slots_[index].instance = nowhere;
        insert(waiting_, index);
    }

    /// Ends a message; a tag that names none (any more) is ignored. A failure takes all later messages of the key with it.
    /// @param by the instance that says so, or `nowhere`. What others hold of it still takes room there.
    /// @return false if it was ignored.
    bool settle(instance_id by, std::uint64_t tag, verdict result, std::string reason, std::vector<settlement>& out)
    {
        if (by != nowhere)
            drop_stray(by, tag);
        auto const index = find(tag);
        if (index == none)
            return false;
        if (result == verdict::failed)
            fail_later(index, reason, out);
        finish(index, by, result, std::move(reason), out);
        return true;
    }

    std::size_t size() const noexcept { return slots_.size() - free_.size(); }
    /// What is outstanding at an instance.
    std::size_t outstanding(instance_id id) const noexcept { return instances_[id].messages; }

private:
    static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

    struct slot {
        envelope of;
        std::size_t cost = 0;
        std::uint64_t arrival = 0;
        std::uint32_t generation = 0; // tells a reused slot from what it was before
        std::uint32_t next = none;
        std::uint32_t previous = none;
        instance_id instance = nowhere;
        bool used = false;
        bool sent = false; // outstanding, not in a backlog
    };
    struct list {
        std::uint32_t first = none;
        std::uint32_t last = none;
    };
    struct instance {
        flow_window window;
        std::size_t messages = 0;
        std::size_t bytes = 0;
        list outstanding{}; // in order of arrival
        list backlog{}; // of keys that are bound to it, while it has no room
        /// Costs by tag of what it holds although another one has the message or settled it. Counted above: the
        /// instance refuses what goes beyond the window as it sees it.
        std::unordered_map<std::uint64_t, std::size_t> strays{};
        bool used = false;
    };
    struct binding {
        instance_id instance = nowhere;
        std::size_t messages = 0;
    };

    std::uint32_t allocate()
    {
        if (free_.empty()) {
            slots_.emplace_back();
            return static_cast<std::uint32_t>(slots_.size() - 1);
        }
        auto const index = free_.back();
        free_.pop_back();
        return index;
    }

    std::uint64_t tag_of(std::uint32_t index) const noexcept
    {
        return std::uint64_t{slots_[index].generation} << 32 | index;
    }

    std::uint32_t find(std::uint64_t tag) const noexcept
    {
        auto const index = static_cast<std::uint32_t>(tag);
        bool const found = index < slots_.size() && slots_[index].used && slots_[index].generation == tag >> 32;
        return found ? index : none;
    }

    // Keeps the list in order of arrival; nearly always at its end.
    void insert(list& l, std::uint32_t index)
    {
        auto after = l.last;
        while (after != none && slots_[after].arrival > slots_[index].arrival)
            after = slots_[after].previous;
        auto const before = after == none ? l.first : slots_[after].next;
        slots_[index].previous = after;
        slots_[index].next = before;
        (after == none ? l.first : slots_[after].next) = index;
        (before == none ? l.last : slots_[before].previous) = index;
    }

    void remove(list& l, std::uint32_t index)
    {
        auto& s = slots_[index];
        (s.previous == none ? l.first : slots_[s.previous].next) = s.next;
        (s.next == none ? l.last : slots_[s.next].previous) = s.previous;
    }

    static bool has_room(instance const& i, slot const& s) noexcept
    {
        return i.messages == 0 || (i.messages < i.window.messages && i.bytes + s.cost <= i.window.bytes);
    }

    instance_id roomiest(slot const& s) const noexcept
    {
        auto best = nowhere;
        for (instance_id id = 0; id < instances_.size(); ++id)
            if (instances_[id].used && has_room(instances_[id], s)
                && (best == nowhere || instances_[id].messages < instances_[best].messages))
                best = id;
        return best;
    }

    template <class Send>
    void assign(instance_id id, list& from, std::uint32_t index, Send& send)
    {
        remove(from, index);
        occupy(id, index);
        send(id, tag_of(index), std::as_const(slots_[index].of.content));
    }

    void occupy(instance_id id, std::uint32_t index)
    {
        auto& s = slots_[index];
        auto& to = instances_[id];
        s.instance = id;
        s.sent = true;
        ++to.messages;
        to.bytes += s.cost;
        insert(to.outstanding, index);
    }

    // Takes a slot out of the list that it is in.
    void leave(std::uint32_t index)
    {
        auto& s = slots_[index];
        if (s.instance == nowhere) {
            remove(waiting_, index);
            return;
        }
        auto& at = instances_[s.instance];
        unbind(s);
        remove(s.sent ? at.outstanding : at.backlog, index);
        if (std::exchange(s.sent, false)) {
            --at.messages;
            at.bytes -= s.cost;
        }
    }

    void add_stray(instance_id id, std::uint64_t tag, std::size_t cost)
    {
        auto& at = instances_[id];
        if (!at.strays.emplace(tag, cost).second)
            return;
        ++at.messages;
        at.bytes += cost;
    }

    void drop_stray(instance_id id, std::uint64_t tag)
    {
        auto& at = instances_[id];
        if (at.strays.empty())
            return;
        auto const found = at.strays.find(tag);
        if (found == at.strays.end())
            return;
        --at.messages;
        at.bytes -= found->second;
        at.strays.erase(found);
    }

    void finish(std::uint32_t index, instance_id by, verdict result, std::string reason, std::vector<settlement>& out)
    {
        auto& s = slots_[index];
        auto const holder = s.sent ? s.instance : nowhere;
        leave(index);
        if (holder != nowhere && holder != by)
            add_stray(holder, tag_of(index), s.cost);
        auto& done = out.emplace_back();
        done.tag = s.of.tag;
        done.result = result;
        done.reason = std::move(reason);
        auto content = std::exchange(s.of.content, {});
        if (result != verdict::accepted)
            done.content = std::move(content);
        s.used = false;
        ++s.generation;
        free_.push_back(index);
    }

    void fail_later(std::uint32_t failed, std::string const& reason, std::vector<settlement>& out)
    {
        auto const key = slots_[failed].of.content.key;
        auto const arrival = slots_[failed].arrival;
        if (key.empty())
            return;
        for (std::uint32_t i = 0; i < slots_.size(); ++i)
            if (slots_[i].used && slots_[i].arrival > arrival && slots_[i].of.content.key == key)
                finish(i, nowhere, verdict::failed, reason, out);
    }

    instance_id bound_to(slot const& s) const
    {
        auto const found = bindings_.find(s.of.content.key);
        return found == bindings_.end() ? nowhere : found->second.instance;
    }

    // Nothing is bound while there is one instance only: it would cost a look-up for every message.
    void bind(slot const& s, instance_id id)
    {
        if (live_ < 2 || s.of.content.key.empty())
            return;
        auto& b = bindings_[s.of.content.key];
        b.instance = id;
        ++b.messages;
    }

    void unbind(slot const& s)
    {
        if (live_ < 2 || s.of.content.key.empty())
            return;
        auto const found = bindings_.find(s.of.content.key);
        if (--found->second.messages == 0)
            bindings_.erase(found);
    }

    // A key that the instance had only because it adopted a message of it may be at others, too: it stays with the latest.
    void bind_elsewhere(instance_id gone)
    {
        std::unordered_map<binding*, std::uint64_t> latest;
        for (auto& [key, b] : bindings_)
            if (b.instance == gone)
                latest.emplace(&b, 0);
        if (latest.empty())
            return;
        for (auto const& s : slots_) {
            if (!s.used || s.instance == nowhere || s.of.content.key.empty())
                continue;
            auto& b = bindings_.at(s.of.content.key);
            auto const found = latest.find(&b);
            if (found != latest.end() && s.arrival > found->second) {
                found->second = s.arrival;
                b.instance = s.instance;
            }
        }
    }

    void bind_all()
    {
        for (auto const& s : slots_)
            if (s.used && s.instance != nowhere)
                bind(s, s.instance);
    }

    std::vector<slot> slots_;
    std::vector<std::uint32_t> free_;
    std::vector<instance> instances_;
    std::size_t live_ = 0;
    list waiting_; // for any instance
    std::unordered_map<std::string, binding> bindings_;
    std::uint64_t arrivals_ = 0;
};

} // namespace cosaga::detail
