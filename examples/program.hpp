// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <algorithm>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

// What the example programs share: their command lines, and how they end.
namespace examples {

struct usage_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// `--name value` pairs and flags, each at most once.
class arguments {
public:
    using names = std::initializer_list<std::string_view>;

    /// @throws usage_error, also when one of `required` is missing or empty.
    arguments(int argc, char** argv, names required, names optional = {}, names flags = {})
    {
        auto const is_in = [](names list, std::string_view x) {
            return std::find(list.begin(), list.end(), x) != list.end();
        };
        for (int i = 1; i < argc; ++i) {
            std::string const name = argv[i];
            bool const takes_value = is_in(required, name) || is_in(optional, name);
            if (!takes_value && !is_in(flags, name))
                throw usage_error{"unknown argument '" + name + "'"};
            if (takes_value && i + 1 == argc)
                throw usage_error{name + " needs a value"};
            if (!values_.emplace(name, takes_value ? argv[++i] : "").second)
                throw usage_error{name + " is given twice"};
        }
        for (auto const name : required)
            if (values_[std::string{name}].empty())
                throw usage_error{std::string{name} + " is missing"};
    }

    bool has(std::string const& name) const { return values_.contains(name); }
    std::string const& operator[](std::string const& name) const { return values_.at(name); }

private:
    std::map<std::string, std::string> values_;
};

/// Runs the body of a `main`. Exit codes: what it returns, 2 for wrong arguments, `trouble` for any other exception.
template <class Body>
int run_program(char const* name, char const* usage, int trouble, Body body)
{
    try {
        return body();
    } catch (usage_error const& e) {
        std::fprintf(stderr, "%s: %s\nusage: %s %s\n", name, e.what(), name, usage);
        return 2;
    } catch (std::exception const& e) {
        std::fprintf(stderr, "%s: %s\n", name, e.what());
        return trouble;
    }
}

} // namespace examples
