// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/testing/faults.hpp>
#include <cosaga/testing/scheduler.hpp>

#include <any>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// Numbers the hosts of a world.
using host_number = std::size_t;

/// What one host sends another.
struct packet {
    host_number from = 0;
    std::any content;
};

/// Carries packets between hosts: late, more than once, in any order, or not at all.
///
/// A packet arrives if its way is open when it is sent and when it arrives, and somebody listens there then. Nobody is told
/// if it does not.
class network {
public:
    network(scheduler& s, scheduler::domain& world) : scheduler_{&s}, domain_{&world} {}

    void set_faults(network_faults const& f) noexcept { faults_ = f; }
    network_faults const& get_faults() const noexcept { return faults_; }

    void cut(host_number from, host_number to) { closed_.insert({from, to}); }
    void mend(host_number from, host_number to) { closed_.erase({from, to}); }
    void mend_all() { closed_.clear(); }
    bool is_open(host_number from, host_number to) const { return !closed_.contains({from, to}); }

    void send(host_number from, host_number to, std::string port, std::any content)
    {
        if (!is_open(from, to) || scheduler_->chance(faults_.loss))
            return;
        auto const sent = std::make_shared<sending>(sending{to, std::move(port), {from, std::move(content)}});
        for (int copies = scheduler_->chance(faults_.duplication) ? 2 : 1; copies > 0; --copies)
            scheduler_->call_after(*domain_, latency(), [this, sent] { arrive(*sent); });
    }

    /// How long something takes from one host to another this time.
    duration latency()
    {
        auto const usual = scheduler_->random_between(faults_.least_latency, faults_.most_latency);
        return scheduler_->chance(faults_.delay) ? usual + scheduler_->random_between({}, faults_.longest_delay) : usual;
    }

    /// Calls `f` after `delay`, whichever hosts are up then.
    void call_after(duration delay, std::function<void()> f) { scheduler_->call_after(*domain_, delay, std::move(f)); }
    scheduler& get_scheduler() noexcept { return *scheduler_; }

    /// Calls `f` for each packet that arrives at the port, as an operation of its own; replaces who listened before.
    void listen(host_number at, std::string port, std::function<void(packet const&)> f)
    {
        ports_.insert_or_assign({at, std::move(port)}, std::make_shared<listener>(std::move(f)));
    }
    void close(host_number at, std::string const& port) { ports_.erase({at, port}); }
    bool is_listening(host_number at, std::string const& port) const { return ports_.contains({at, port}); }
    /// The host is down.
    void close_all(host_number at)
    {
        std::erase_if(ports_, [at](auto const& p) { return p.first.first == at; });
    }

private:
    struct sending {
        host_number to;
        std::string port;
        packet content;
    };
    using listener = std::function<void(packet const&)>;

    void arrive(sending const& s)
    {
        auto const found = ports_.find({s.to, s.port});
        if (found == ports_.end() || !is_open(s.content.from, s.to))
            return;
        auto const call = found->second; // which may close the port
        (*call)(s.content);
    }

    scheduler* scheduler_;
    scheduler::domain* domain_;
    network_faults faults_;
    std::set<std::pair<host_number, host_number>> closed_;
    std::map<std::pair<host_number, std::string>, std::shared_ptr<listener>> ports_;
};

} // namespace cosaga::testing
