// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/dead_letters.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/node.hpp>
#include <cosaga/testing/platform.hpp>
#include <cosaga/testing/scenario.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/describe/class.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace cosaga::testing {

struct parcel {
    std::string id;
    bool broken = false;
};
BOOST_DESCRIBE_STRUCT(parcel, (), (id, broken))

struct unknown_parcel {
    std::string id;
};
BOOST_DESCRIBE_STRUCT(unknown_parcel, (), (id))

/// Every message is accounted for: sent = applied + parked + pending, also when nobody can apply it.
///
/// Some messages cannot be applied (the handler throws whenever it sees them) and some are of a type that the receiver
/// does not know. When nothing is under way, an operator mends the handler and redrives what was parked: then only the
/// unknown ones are left.
template <class Platform = memory_platform>
class parked_messages final : public scenario {
public:
    void build(world& w) override
    {
        w.template add_host<sender>("sender");
        w.template add_host<receiver>("receiver", this);
    }

    asio::awaitable<bool> audit(host& h) override
    {
        auto const store = Platform::open(h);
        bool at_rest = false;
        auto& found = h.name() == "sender" ? at_sender_ : at_receiver_;
        found = {};
        auto read = [&](auto& tx) {
            Platform::verify(tx);
            found.sent = Platform::entries(tx, "sent");
            found.applied = Platform::entries(tx, "applied");
            at_rest = count_pending(tx) == 0;
        };
        co_await store->transact(read);
        dead_letters const letters{*store};
        dead_letter_filter const every{};
        for (auto const& letter : co_await letters.list(every, 1'000'000))
            found.parked.insert(letter.row.content.id.to_string());
        if (at_rest && h.name() == "receiver" && at_sender_.at_rest)
            at_rest = co_await mend(letters);
        found.at_rest = at_rest;
        co_await store->close();
        co_return at_rest;
    }

    void check(world& w) override
    {
        std::size_t unknown = 0;
        for (auto const& [id, kind] : at_sender_.sent) {
            auto const applied = at_receiver_.applied.contains(id) ? std::stoi(at_receiver_.applied[id]) : 0;
            auto const parked = at_receiver_.parked.count(id) + at_sender_.parked.count(id);
            auto const expected = kind == "unknown" ? 0 : 1;
            unknown += kind == "unknown" ? 1 : 0;
            if (applied != expected || (expected == 0) != (parked == 1))
                w.add_finding("a message (" + kind + ") was applied " + std::to_string(applied) + " times and is parked " + std::to_string(parked) + " times", id);
        }
        for (auto const* const side : {&at_sender_.parked, &at_receiver_.parked})
            for (auto const& id : *side)
                if (!at_sender_.sent.contains(id))
                    w.add_finding("a message is parked that nobody sent", id);
    }

private:
    struct found_on_disk {
        std::map<std::string, std::string> sent, applied; // by id
        std::set<std::string> parked;
        bool at_rest = false;
    };
    using node_type = node<typename Platform::store_type, typename Platform::transport_type>;

    // Once everything has come to its end; then there is something to do again.
    asio::awaitable<bool> mend(dead_letters<typename Platform::store_type> const& letters)
    {
        if (std::exchange(mended_, true))
            co_return true;
        dead_letter_filter broken;
        broken.reason_contains = "it is broken";
        auto const revived = co_await letters.redrive(broken);
        co_return revived == 0;
    }

    class sender {
    public:
        explicit sender(host& h)
            : at_{&h}, store_{Platform::open(h)}, transport_{Platform::connect(h, "sender", {{"parcels", "receiver", {"receiver"}}})},
              node_{*store_, *transport_, options()}
        {
        }

        asio::awaitable<void> run() { return node_.run(send_all()); }

    private:
        // So that only what the receiver refuses is ever parked here.
        static node_options options()
        {
            node_options o{.service = "sender"};
            o.relay.retries = schedule::exponential({.cap = std::chrono::seconds{10}, .attempts = schedule::unlimited});
            return o;
        }

        asio::awaitable<void> send_all()
        {
            auto& chance = at_->get_environment().get_scheduler();
            while (at_->wants_load()) {
                auto const pause = chance.random_between({}, std::chrono::milliseconds{800});
                co_await at_->get_environment().sleep_for(pause);
                co_await send(chance.random_below(8));
            }
            co_await at_->until_stopped();
        }

        asio::awaitable<void> send(std::uint64_t kind)
        {
            auto const key = std::to_string(kind % 3);
            std::string id;
            auto work = [&](auto& tx) {
                // The id that it is parked by, too.
                send_options const to{.key = kind < 4 ? std::string_view{} : std::string_view{key}};
                id = kind == 1 ? tx.send("parcels", unknown_parcel{"?"}, to).to_string()
                               : tx.send("parcels", parcel{"", kind == 2 || kind == 5}, to).to_string();
                Platform::put(tx, "sent", id, kind == 1 ? "unknown" : kind == 2 || kind == 5 ? "broken" : "good");
            };
            try {
                co_await node_.transact(work);
                at_->note("has sent", id);
            } catch (std::exception const& e) {
                at_->note(e.what(), id);
            }
        }

        host* at_;
        std::unique_ptr<typename Platform::store_type> store_;
        std::unique_ptr<typename Platform::transport_type> transport_;
        node_type node_;
    };

    class receiver {
    public:
        receiver(host& h, parked_messages* test)
            : at_{&h}, store_{Platform::open(h)}, transport_{Platform::connect(h, "receiver", {})},
              node_{*store_, *transport_, {.service = "receiver"}}
        {
            consumer_options options;
            options.retries = schedule::list({std::chrono::seconds{1}, std::chrono::seconds{3}});
            node_.template consume<parcel>("parcels", "receiver", [at = at_, test](auto& tx, parcel const& p, message const& m) {
                auto const id = m.id.to_string();
                at->note("applies", id);
                auto const had = Platform::get(tx, "applied", id);
                Platform::put(tx, "applied", id, std::to_string((had ? std::stoi(*had) : 0) + 1));
                if (p.broken && !test->mended_)
                    throw std::runtime_error{"it is broken"};
            }, options);
        }

        asio::awaitable<void> run() { return node_.run(at_->until_stopped()); }

    private:
        host* at_;
        std::unique_ptr<typename Platform::store_type> store_;
        std::unique_ptr<typename Platform::transport_type> transport_;
        node_type node_;
    };

    bool mended_ = false;
    found_on_disk at_sender_, at_receiver_;
};

} // namespace cosaga::testing
