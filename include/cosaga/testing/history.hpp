// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga::testing {

/// One thing that happened in a world.
struct history_event {
    duration at{};       ///< since the world began
    std::string host;    ///< empty: the world itself
    std::string what;
    std::string subject; ///< the message, key or account it is about; empty: all of them
};

/// What happened in a world, in order. Records nothing unless it is told to, because a run that fails is run again.
class history {
public:
    void set_recording(bool on) noexcept { recording_ = on; }

    void add(duration at, std::string_view host, std::string_view what, std::string_view subject = {})
    {
        if (recording_)
            events_.push_back({at, std::string{host}, std::string{what}, std::string{subject}});
    }

    std::vector<history_event> const& events() const noexcept { return events_; }

    /// The events about one subject and those about all, a line each.
    /// @param subject empty: every event.
    /// @param most lines; of more the last ones are shown.
    std::string about(std::string_view subject, std::size_t most = 200) const
    {
        std::vector<history_event const*> found;
        for (auto const& e : events_)
            if (subject.empty() || e.subject.empty() || e.subject == subject)
                found.push_back(&e);
        std::string text;
        if (found.size() > most)
            text += "  ... " + std::to_string(found.size() - most) + " events before\n";
        for (auto i = found.size() > most ? found.size() - most : 0; i < found.size(); ++i)
            text += line(*found[i]);
        return text;
    }

private:
    static std::string line(history_event const& e)
    {
        char time[32];
        std::snprintf(time, sizeof time, "%12.6f s  ", static_cast<double>(e.at.count()) / 1e6);
        return time + (e.host.empty() ? std::string{"world"} : e.host) + ": " + e.what
             + (e.subject.empty() ? std::string{} : " [" + e.subject + "]") + '\n';
    }

    bool recording_ = false;
    std::vector<history_event> events_;
};

} // namespace cosaga::testing
