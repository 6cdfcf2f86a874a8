// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/saga_options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace travel {

namespace detail {

/// The branch in which a step was made: `2.0` for `2.0.1` and for `2.0.1/undo`, nothing for a step of the saga itself.
inline std::string branch_of(std::string_view step)
{
    step = step.substr(0, step.find('/'));
    auto const dot = step.rfind('.');
    return std::string{dot == std::string_view::npos ? std::string_view{} : step.substr(0, dot)};
}

inline std::string fitted(std::string text, std::size_t width)
{
    std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
    if (text.size() > width)
        text.replace(width - 3, std::string::npos, "...");
    text.resize(width, ' ');
    return text;
}

/// `book_flight success`, `book_flight/undo asked`: an entry may know only the number of its step, and another one its name.
inline std::string told(cosaga::saga_event const& e, std::vector<cosaga::saga_event> const& journal)
{
    constexpr std::string_view answered = "answered: ";
    auto const step = e.step.substr(0, e.step.find('/'));
    auto const names_it = [&](cosaga::saga_event const& x) { return !step.empty() && x.step == step && !x.name.empty(); };
    auto const named = std::find_if(journal.begin(), journal.end(), names_it);
    auto const name = named == journal.end() ? e.name : named->name;
    auto const what = e.what.starts_with(answered) ? e.what.substr(answered.size()) : e.what;
    return name.empty() ? what : name + e.step.substr(step.size()) + ' ' + what;
}

/// Without the entries that several branches have written again, each with its own first one.
inline std::vector<cosaga::saga_event> without_repetitions(std::vector<cosaga::saga_event> journal)
{
    std::vector<cosaga::saga_event> kept;
    for (auto& e : journal) {
        auto const same = [&](cosaga::saga_event const& x) { return x.at == e.at && x.step == e.step && x.what == e.what && x.detail == e.detail; };
        if (std::none_of(kept.begin(), kept.end(), same))
            kept.push_back(std::move(e));
    }
    return kept;
}

} // namespace detail

/// A journal as a picture: time runs downwards, the saga and each of its branches have a column, and what was encoded comes last.
inline std::string timeline(std::vector<cosaga::saga_event> const& all)
{
    auto const journal = detail::without_repetitions(all);
    constexpr std::size_t width = 26;
    std::vector<std::string> branches{""}; // the saga itself
    for (auto const& e : journal)
        if (auto b = detail::branch_of(e.step); std::find(branches.begin(), branches.end(), b) == branches.end())
            branches.push_back(std::move(b));
    std::sort(branches.begin(), branches.end());

    auto text = detail::fitted("       ms", 10);
    for (auto const& b : branches)
        text += "| " + detail::fitted(b.empty() ? "the saga" : "branch " + b, width);
    text += "|\n";
    for (auto const& e : journal) {
        auto const after = std::chrono::duration_cast<std::chrono::milliseconds>(e.at - journal.front().at).count();
        auto const digits = std::to_string(after);
        text += std::string(digits.size() < 9 ? 9 - digits.size() : 0, ' ') + digits + ' ';
        auto const own = detail::branch_of(e.step);
        for (auto const& b : branches)
            text += "| " + detail::fitted(b == own ? detail::told(e, journal) : "", width);
        text += "| " + detail::fitted(e.detail, 60);
        text.erase(text.find_last_not_of(' ') + 1);
        text += '\n';
    }
    return text;
}

} // namespace travel
