// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/detail/dispatch_queue.hpp>

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using cosaga::envelope;
using cosaga::message;
using cosaga::settlement;
using cosaga::verdict;
using cosaga::detail::dispatch_queue;
using cosaga::detail::flow_window;
using fuzz::require;
using instance_id = dispatch_queue::instance_id;

// A dispatch queue, and beside it what it must know of each message and each instance.
class model {
public:
    void add(std::size_t key, std::size_t size)
    {
        if (live_.size() == 48)
            return;
        envelope e;
        e.tag = ++added_;
        e.content.key = key == 0 ? std::string{} : std::string(1, static_cast<char>('a' + key));
        e.content.payload = std::to_string(added_) + std::string(size, ' ');
        item i{.tag = 0, .key = e.content.key, .cost = cosaga::detail::flow_cost(e.content)};
        i.tag = queue_.add(std::move(e));
        require(!number_of_.contains(i.tag), "no tag is used again");
        number_of_[i.tag] = added_;
        live_.emplace(added_, std::move(i));
    }

    std::optional<instance_id> join(std::size_t messages, std::size_t bytes)
    {
        if (instances_.size() == 4)
            return std::nullopt;
        flow_window const window{messages, bytes};
        auto const id = queue_.add_instance(window);
        require(!instances_.contains(id), "an instance that is there is not given out again");
        instances_[id].window = window;
        return id;
    }

    // An instance comes back and says what it holds: some of what one had that went away, and what it makes up.
    void come_back(std::size_t messages, std::size_t which, std::size_t made_up)
    {
        auto const id = join(messages, 4000);
        if (!id)
            return;
        for (std::size_t i = 0; i < lost_.size(); ++i)
            if ((which >> (i % 8) & 1) != 0)
                adopt(*id, lost_[i]);
        lost_.clear();
        if (!number_of_.empty())
            adopt(*id, std::next(number_of_.begin(), static_cast<std::ptrdiff_t>(made_up % number_of_.size()))->first);
        adopt(*id, made_up << 40 | 7);
    }

    void leave(std::size_t which)
    {
        auto const found = instance_at(which);
        if (found == instances_.end())
            return;
        queue_.remove_instance(found->first);
        for (auto& [number, i] : live_)
            if (i.at == found->first) {
                i.at.reset();
                lost_.push_back(i.tag);
            }
        for (auto const& [tag, cost] : found->second.strays)
            lost_.push_back(tag);
        instances_.erase(found);
    }

    void dispatch()
    {
        queue_.dispatch([&](instance_id id, std::uint64_t tag, message const& m) { sent(id, tag, m); });
        for (auto const& [idle, to] : instances_) {
            if (queue_.outstanding(idle) > 0)
                continue;
            bool others = false;
            for (auto const& [id, other] : instances_)
                others = others || queue_.outstanding(id) > 0;
            for (auto const& [number, i] : live_)
                require(i.at || (others && !i.key.empty()), "only a key that is elsewhere waits while an instance is idle");
        }
    }

    /// @param by an instance, or none.
    void settle(std::size_t by, std::size_t which, verdict result)
    {
        auto const at = by == 7 ? instances_.end() : instance_at(by);
        auto const id = at == instances_.end() ? dispatch_queue::nowhere : at->first;
        auto const tags = tags_for(id, which);
        if (!tags.empty())
            settle_tag(id, tags[which % tags.size()], result);
    }

    void send_again(std::size_t which)
    {
        if (live_.empty())
            return;
        auto& i = std::next(live_.begin(), static_cast<std::ptrdiff_t>(which % live_.size()))->second;
        if (!i.at)
            return;
        queue_.send_again(i.tag);
        i.at.reset();
        i.again = true;
    }

    void use_wrong_tag(std::size_t which)
    {
        std::uint64_t const tag = which << 33 | (which & 15);
        if (number_of_.contains(tag))
            return;
        std::vector<settlement> out;
        queue_.send_again(tag);
        require(!queue_.settle(dispatch_queue::nowhere, tag, verdict::failed, {}, out), "a tag that names nothing is ignored");
        require(out.empty(), "a tag that names nothing settles nothing");
    }

    void check()
    {
        require(queue_.size() == live_.size(), "what is not settled is counted");
        for (auto const& [id, i] : instances_)
            require(queue_.outstanding(id) == usage_of(id).messages, "what is outstanding is counted");
        std::set<std::string> keys;
        for (auto const& [number, i] : live_)
            keys.insert(i.key);
        std::erase_if(loose_keys_, [&](auto const& key) { return !keys.contains(key); });
    }

    // Everything is settled in the end, by instances that are there.
    void drain()
    {
        if (instances_.empty())
            join(1, 0);
        for (std::size_t rounds = 2 * live_.size() + 2; !live_.empty(); --rounds) {
            require(rounds > 0, "everything is sent in the end");
            dispatch();
            std::vector<std::pair<instance_id, std::uint64_t>> held;
            for (auto const& [id, i] : instances_)
                for (auto const& [tag, cost] : i.strays)
                    held.emplace_back(id, tag);
            for (auto const& [number, i] : live_)
                if (i.at)
                    held.emplace_back(*i.at, i.tag);
            for (auto const& [id, tag] : held)
                settle_tag(id, tag, verdict::accepted);
            check();
        }
    }

private:
    struct item {
        std::uint64_t tag = 0;
        std::string key;
        std::size_t cost = 0;
        std::optional<instance_id> at{}; // where it was sent
        bool again = false;            // it was applied, and only its settlement got lost: others may pass it
    };
    struct instance {
        flow_window window;
        std::map<std::uint64_t, std::size_t> strays{}; // costs by tag of what else it holds
    };
    struct usage {
        std::size_t messages = 0;
        std::size_t bytes = 0;
    };

    usage usage_of(instance_id id) const
    {
        usage sum;
        for (auto const& [tag, cost] : instances_.at(id).strays) {
            ++sum.messages;
            sum.bytes += cost;
        }
        for (auto const& [number, i] : live_)
            if (i.at == id) {
                ++sum.messages;
                sum.bytes += i.cost;
            }
        return sum;
    }

    std::map<instance_id, instance>::iterator instance_at(std::size_t which)
    {
        if (instances_.empty())
            return instances_.end();
        return std::next(instances_.begin(), static_cast<std::ptrdiff_t>(which % instances_.size()));
    }

    item* live_at(std::uint64_t tag)
    {
        auto const number = number_of_.find(tag);
        auto const found = number == number_of_.end() ? live_.end() : live_.find(number->second);
        return found == live_.end() ? nullptr : &found->second;
    }

    // What an instance may settle: usually what it holds, and now and then anything that there ever was.
    std::vector<std::uint64_t> tags_for(instance_id id, std::size_t which) const
    {
        std::vector<std::uint64_t> tags;
        if (id == dispatch_queue::nowhere || which % 8 == 7) {
            for (auto const& [tag, number] : number_of_)
                tags.push_back(tag);
            return tags;
        }
        for (auto const& [number, i] : live_)
            if (i.at == id)
                tags.push_back(i.tag);
        for (auto const& [tag, cost] : instances_.at(id).strays)
            tags.push_back(tag);
        return tags;
    }

    // A message with a key may wait for another instance already, which only the queue knows: it counts all the same.
    void adopt(instance_id id, std::uint64_t tag)
    {
        auto& strays = instances_.at(id).strays;
        auto* const i = live_at(tag);
        if (strays.contains(tag) || (i && i->at == id))
            return;
        auto const cost = i ? i->cost : static_cast<std::size_t>(tag << 20);
        queue_.adopt(id, tag, cost);
        if (i && !i->at && i->key.empty()) {
            i->at = id;
            return;
        }
        strays[tag] = cost;
        if (i)
            loose_keys_.insert(i->key);
    }

    void sent(instance_id id, std::uint64_t tag, message const& m)
    {
        require(instances_.contains(id), "a message goes to an instance that is there");
        auto* const i = live_at(tag);
        require(i && !i->at, "a message is sent once");
        auto const number = number_of_.at(tag);
        require(m.key == i->key && std::stoull(m.payload) == number, "a message is sent as it was added");
        auto const held = usage_of(id);
        auto const& window = instances_.at(id).window;
        require(held.messages == 0 || (held.messages < window.messages && held.bytes + i->cost <= window.bytes),
            "no more is sent than the window has room for");
        if (!i->key.empty() && !loose_keys_.contains(i->key))
            for (auto const& [other, o] : live_)
                if (o.key == i->key) {
                    require(other >= number || o.at || o.again, "a key is sent in order");
                    require(!o.at || o.at == id, "a key is at one instance at a time");
                }
        i->at = id;
    }

    void settle_tag(instance_id by, std::uint64_t tag, verdict result)
    {
        if (by != dispatch_queue::nowhere)
            instances_.at(by).strays.erase(tag);
        auto* const found = live_at(tag);
        std::map<std::uint64_t, item> ended;
        if (found) {
            auto const number = number_of_.at(tag);
            auto const key = found->key;
            for (auto const& [other, i] : live_)
                if (other == number || (result == verdict::failed && !key.empty() && i.key == key && other > number))
                    ended.emplace(other, i);
            for (auto const& [other, i] : ended) {
                live_.erase(other);
                if (i.at && (i.at != by || other != number))
                    instances_.at(*i.at).strays[i.tag] = i.cost;
            }
        }
        std::vector<settlement> out;
        bool const known = queue_.settle(by, tag, result, "why", out);
        require(known == (found != nullptr), "a settlement is known for what is not settled");
        require(out.size() == ended.size(), "a settlement ends the message, a failure all later ones of its key");
        for (auto const& s : out) {
            auto const i = ended.find(s.tag);
            require(i != ended.end() && s.result == result && s.reason == "why", "a settlement is that of the message");
            bool const back = s.content.key == i->second.key && s.content.payload.starts_with(std::to_string(s.tag));
            require(result == verdict::accepted ? s.content == message{} : back, "what was not accepted is handed back");
            ended.erase(i);
        }
    }

    dispatch_queue queue_;
    std::map<std::uint64_t, item> live_; // by number, in order of arrival
    std::map<instance_id, instance> instances_;
    std::map<std::uint64_t, std::uint64_t> number_of_; // by tag
    std::vector<std::uint64_t> lost_;                  // tags that instances had that went away
    std::set<std::string> loose_keys_; // of messages that an instance holds although it was not sent them: in no order
    std::uint64_t added_ = 0;
};

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size > 256)
        return -1; // what is longer finds nothing new
    fuzz::choices input{data, size};
    model m;
    for (int steps = 0; steps < 64 && !input.at_end(); ++steps) {
        auto const step = input.byte();
        std::size_t const number = step >> 4;
        switch (step & 15) {
        case 0: m.join(number + 1, number % 2 == 0 ? 1'000'000 : 700); break;
        case 1: m.leave(number); break;
        case 2: {
            auto const which = input.byte();
            m.come_back(number + 1, which, input.byte());
            break;
        }
        case 3: m.send_again(number); break;
        case 4: m.use_wrong_tag(input.byte()); break;
        case 5:
        case 6:
        case 7: m.dispatch(); break;
        case 8:
        case 9: m.settle(number % 8, input.byte(), verdict::accepted); break;
        case 10: m.settle(number % 8, input.byte(), number < 8 ? verdict::failed : verdict::rejected); break;
        default: m.add(number % 5, number < 5 ? 400 : 0); break;
        }
        if (steps % 4 == 3)
            m.check();
    }
    m.check();
    m.drain();
    return 0;
}
