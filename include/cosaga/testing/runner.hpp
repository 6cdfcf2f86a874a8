// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/testing/faults.hpp>
#include <cosaga/testing/scenario.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// The `main` of a program that runs scenarios for many seeds.
///
/// @code
/// int main(int argc, char** argv)
/// {
///     cosaga::testing::runner r;
///     r.add<order_scenario>("orders");
///     return r.main(argc, argv);
/// }
/// @endcode
class runner {
public:
    /// @tparam Scenario a `scenario` that is made from nothing.
    /// @param every for one that takes long: beside others it runs with each `every`-th seed only. >= 1
    template <class Scenario>
    void add(std::string name, std::uint64_t every = 1)
    {
        scenarios_.push_back({std::move(name), [] { return std::make_unique<Scenario>(); }, every});
    }

    /// Runs what the arguments say.
    /// @return 0 if every promise was kept, 1 if one was broken, 2 for wrong arguments.
    int main(int argc, char** argv)
    {
        try {
            auto const wanted = parse(std::vector<std::string_view>(argv + 1, argv + argc));
            program_ = argv[0];
            return wanted.help ? (std::cout << usage(), 0) : run(wanted);
        } catch (std::invalid_argument const& e) {
            std::cerr << e.what() << '\n' << usage();
            return 2;
        }
    }

private:
    struct named {
        std::string name;
        scenario_maker make;
        std::uint64_t every;
    };
    struct arguments {
        std::vector<named> scenarios;
        std::uint64_t first = 1;
        std::uint64_t last = 1000;
        run_options options;
        std::vector<std::string> left_out; // kinds of faults
        unsigned jobs = 1;
        std::size_t most_failures = 3;
        std::uint64_t most_seconds = std::numeric_limits<std::uint64_t>::max();
        bool hashes = false;
        bool help = false;
    };
    struct failure {
        named const* of;
        std::uint64_t seed;
    };

    std::string usage() const
    {
        std::string text = "options:\n"
                           "  --workload NAME[,NAME...]  all unless given; there are:";
        for (auto const& s : scenarios_)
            text += " " + s.name + (s.every > 1 ? " (beside others with one seed in " + std::to_string(s.every) + ")" : "");
        text += "\n  --seeds A[..B]             1..1000 unless given\n"
                "  --duration SECONDS         of virtual time with faults; 60 unless given\n"
                "  --no KIND[,KIND...]        kinds of faults that do not come:";
        for (auto const kind : faults::kinds)
            text += " " + std::string{kind};
        text += "\n  --without N[,N...]         single faults of the plan that do not come\n"
                "  --jobs N                   seeds run at the same time; 1 unless given\n"
                "  --seconds N                of real time; begins no more seeds after it\n"
                "  --failures N               stop after so many; 3 unless given\n"
                "  --hashes                   print the trace hash of each run\n";
        return text;
    }

    static std::vector<std::string> split(std::string_view list)
    {
        std::vector<std::string> parts;
        while (!list.empty()) {
            auto const end = std::min(list.find(','), list.size());
            parts.emplace_back(list.substr(0, end));
            list.remove_prefix(std::min(end + 1, list.size()));
        }
        return parts;
    }

    static std::uint64_t number(std::string_view text)
    {
        std::uint64_t n = 0;
        auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
        if (error != std::errc{} || end != text.data() + text.size())
            throw std::invalid_argument{"no number: " + std::string{text}};
        return n;
    }

    arguments parse(std::vector<std::string_view> const& given) const
    {
        arguments a;
        for (std::size_t i = 0; i < given.size(); ++i) {
            auto const option = given[i];
            auto const value = [&] {
                if (++i == given.size())
                    throw std::invalid_argument{std::string{option} + " needs a value"};
                return given[i];
            };
            if (option == "--help")
                a.help = true;
            else if (option == "--hashes")
                a.hashes = true;
            else if (option == "--workload")
                for (auto const& name : split(value()))
                    a.scenarios.push_back(find(name));
            else if (option == "--seeds")
                parse_seeds(value(), a);
            else if (option == "--duration")
                a.options.span = std::chrono::seconds{number(value())};
            else if (option == "--no")
                a.left_out = split(value());
            else if (option == "--without")
                for (auto const& n : split(value()))
                    a.options.without.push_back(number(n));
            else if (option == "--jobs")
                a.jobs = static_cast<unsigned>(std::clamp<std::uint64_t>(number(value()), 1, 256));
            else if (option == "--seconds")
                a.most_seconds = number(value());
            else if (option == "--failures")
                a.most_failures = number(value());
            else
                throw std::invalid_argument{"unknown option: " + std::string{option}};
        }
        for (auto const& kind : a.left_out)
            remove(a.options.faults, kind);
        if (a.scenarios.empty())
            a.scenarios = scenarios_;
        if (a.scenarios.size() == 1)
            a.scenarios.front().every = 1;
        return a;
    }

    static void remove(faults& f, std::string const& kind)
    {
        if (std::find(faults::kinds.begin(), faults::kinds.end(), kind) == faults::kinds.end())
            throw std::invalid_argument{"no such kind of fault: " + kind};
        f.remove(kind);
    }

    static void parse_seeds(std::string_view text, arguments& a)
    {
        auto const dots = text.find("..");
        a.first = number(text.substr(0, dots));
        a.last = dots == text.npos ? a.first : number(text.substr(dots + 2));
    }

    named find(std::string_view name) const
    {
        for (auto const& s : scenarios_)
            if (s.name == name)
                return s;
        throw std::invalid_argument{"no such workload: " + std::string{name}};
    }

    int run(arguments const& a)
    {
        using clock = std::chrono::steady_clock;
        auto const began = clock::now();
        auto last_progress = began;
        std::mutex mutex; // guards what follows
        std::vector<failure> failures;
        std::uint64_t runs = 0;
        std::uint64_t steps = 0;
        duration simulated{};
        std::atomic<std::uint64_t> next{a.first};
        auto const seconds = [&] { return std::chrono::duration<double>(clock::now() - began).count(); };
        auto const count = [&](named const& of, run_options const& o, run_result const& r) {
            std::lock_guard const lock{mutex};
            ++runs;
            steps += r.steps;
            simulated += r.simulated;
            if (a.hashes)
                std::printf("%s %llu %016llx\n", of.name.c_str(), static_cast<unsigned long long>(o.seed), static_cast<unsigned long long>(r.trace_hash));
            if (!r.findings.empty()) {
                std::cout << of.name << " seed " << o.seed << ": " << r.findings.front().what << std::endl;
                failures.push_back({&of, o.seed});
            }
            if (clock::now() - last_progress > std::chrono::seconds{10}) {
                last_progress = clock::now();
                std::cout << "seed " << o.seed << ", " << runs << " runs, " << steps << " steps, " << static_cast<std::int64_t>(seconds()) << " s" << std::endl;
            }
            return failures.size() >= a.most_failures;
        };
        auto const work = [&] {
            for (auto seed = next++; seed <= a.last && seconds() < static_cast<double>(a.most_seconds); seed = next++)
                for (auto const& s : a.scenarios) {
                    if (seed % s.every != 0)
                        continue;
                    auto o = a.options;
                    o.seed = seed;
                    if (count(s, o, run_scenario(s.make, o))) {
                        next = a.last + 1;
                        return;
                    }
                }
        };
        std::vector<std::thread> others; // lint: allow direct - one world on each, the program is no part of any
        for (unsigned n = 1; n < a.jobs; ++n)
            others.emplace_back(work);
        work();
        for (auto& t : others)
            t.join();
        std::printf("%llu runs of seeds from %llu on, %llu steps, %.0f s of virtual time in %.1f s: %.0f times as fast; %zu broken\n",
            static_cast<unsigned long long>(runs), static_cast<unsigned long long>(a.first),
            static_cast<unsigned long long>(steps), std::chrono::duration<double>(simulated).count(), seconds(),
            std::chrono::duration<double>(simulated).count() / seconds(), failures.size());
        for (auto const& f : failures)
            explain(a, f);
        return failures.empty() ? 0 : 1;
    }

    // Runs it again, as short as it can be, and shows what happened.
    void explain(arguments const& a, failure const& f) const
    {
        auto o = a.options;
        o.seed = f.seed;
        auto const command = [&](run_options const& with, std::string const& kinds) {
            std::string text = program_ + " --workload " + f.of->name + " --seeds " + std::to_string(with.seed) + " --duration "
                             + std::to_string(std::chrono::ceil<std::chrono::seconds>(with.span).count());
            if (!kinds.empty())
                text += " --no " + kinds;
            for (std::size_t i = 0; i < with.without.size(); ++i)
                text += (i == 0 ? " --without " : ",") + std::to_string(with.without[i]);
            return text;
        };
        std::string kinds;
        for (auto const& k : a.left_out)
            kinds += (kinds.empty() ? "" : ",") + k;
        std::cout << '\n' << f.of->name << ", seed " << f.seed << "; again with\n  " << command(o, kinds) << '\n';
        o = shrink(f.of->make, o);
        kinds.clear();
        for (auto const kind : faults::kinds)
            if (is_left_out(o.faults, kind))
                kinds += (kinds.empty() ? "" : ",") + std::string{kind};
        o.recording = true;
        auto const r = run_scenario(f.of->make, o);
        std::cout << "shorter:\n  " << command(o, kinds) << '\n';
        for (auto const& found : r.findings)
            std::cout << "  broken: " << found.what << (found.subject.empty() ? "" : " [" + found.subject + "]") << '\n';
        std::cout << r.history << std::flush;
    }

    static bool is_left_out(faults const& f, std::string_view kind)
    {
        auto without = f;
        without.remove(kind);
        return without == f;
    }

    std::vector<named> scenarios_;
    std::string program_;
};

} // namespace cosaga::testing
