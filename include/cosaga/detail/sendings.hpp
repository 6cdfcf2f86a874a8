// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/completion.hpp>
#include <cosaga/detail/transact_unit.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/transactional_options.hpp>
#include <cosaga/transport.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

// What `coordinator_links` sends, and who waits for it.
namespace cosaga::detail {

/// What became of a half message.
struct half_answer {
    std::optional<verdict> result; ///< not `failed`; nothing if there was none in time
    std::string why;
};

/// An outcome that a coordinator is told, and who waits for its answer.
struct told_outcome {
    message_id about;
    transaction_outcome what = transaction_outcome::unknown;
    pending* waiter = nullptr;
};

/// Something on its way to a coordinator: a half message, or outcomes of one kind.
struct sending {
    std::size_t link = 0;
    pending* waiter = nullptr;     ///< for a half message
    half_answer* answer = nullptr; ///< of it, as long as somebody waits
    std::vector<told_outcome> told{};
    std::uint32_t failures = 0;
    steady_time deadline = steady_time::max(); ///< of who waits
    steady_time again_at = steady_time::max();

    bool is_half() const noexcept { return told.empty(); }
    bool is_repeated() const noexcept
    {
        return !is_half() && (told.front().what == transaction_outcome::commit || told.front().what == transaction_outcome::rollback);
    }
    /// Who waits goes on, without a result unless there is one.
    void resume(pending_list& resumed)
    {
        deadline = steady_time::max();
        if (waiter)
            resumed.push_back(*std::exchange(waiter, nullptr));
        for (auto& t : told)
            if (t.waiter)
                resumed.push_back(*std::exchange(t.waiter, nullptr));
    }
};

/// What is under way to coordinators, by tag.
class sendings {
public:
    /// Of very many the oldest is forgotten: half messages are decided by check-backs.
    std::uint64_t add(sending s, pending_list& resumed)
    {
        if (all_.size() >= most)
            all_.extract(all_.begin()).mapped().resume(resumed); // somebody may wait for it
        all_.emplace_hint(all_.end(), ++last_tag_, std::move(s));
        return last_tag_;
    }

    std::optional<sending> take(std::uint64_t tag)
    {
        auto found = all_.extract(tag);
        return found ? std::optional{std::move(found.mapped())} : std::nullopt;
    }

    void cancel(pending& waiter, pending_list& resumed)
    {
        for (auto& [tag, s] : all_)
            if (s.waiter == &waiter) {
                waiter.error = std::make_exception_ptr(
                    boost::system::system_error{asio::error::operation_aborted, "sending a half message"});
                return s.resume(resumed);
            }
    }

    void give_up_halves(pending_list& resumed)
    {
        for (auto at = all_.begin(); at != all_.end();) {
            bool const ends = at->second.is_half();
            if (ends)
                at->second.resume(resumed);
            at = ends ? all_.erase(at) : std::next(at);
        }
    }

    void give_up_all(pending_list& resumed) noexcept
    {
        for (auto& [tag, s] : all_)
            s.resume(resumed);
        all_.clear();
    }

    struct due {
        std::vector<std::size_t> silent; ///< coordinators that have not answered in time
        std::vector<sending> again;      ///< to be sent again
        steady_time next = steady_time::max();
    };

    /// Tells who has waited too long, and gives back what is to be sent again.
    due take_due(steady_time now, pending_list& resumed)
    {
        due found;
        for (auto at = all_.begin(); at != all_.end();) {
            auto& s = at->second;
            bool const silent = s.deadline <= now;
            if (silent)
                s.resume(resumed);
            if (silent && !s.is_repeated()) {
                found.silent.push_back(s.link);
                at = all_.erase(at);
            } else if (s.again_at <= now) {
                s.again_at = steady_time::max();
                found.again.push_back(std::move(s));
                at = all_.erase(at);
            } else {
                found.next = std::min({found.next, s.deadline, s.again_at});
                ++at;
            }
        }
        return found;
    }

    /// Gives back what was sent to a coordinator and not answered.
    std::vector<sending> take_sent(std::size_t link)
    {
        std::vector<sending> taken;
        for (auto at = all_.begin(); at != all_.end();) {
            bool const sent = at->second.link == link && at->second.again_at == steady_time::max();
            if (sent)
                taken.push_back(std::move(at->second));
            at = sent ? all_.erase(at) : std::next(at);
        }
        return taken;
    }

private:
    static constexpr std::size_t most = 65'536;

    std::map<std::uint64_t, sending> all_;
    std::uint64_t last_tag_ = 0;
};

/// Initiates the sending of a half message.
template <class Links>
class initiate_half {
public:
    initiate_half(Links* links, std::size_t link, message m, duration timeout, half_answer* to)
        : links_{links}, link_{link}, message_{std::move(m)}, timeout_{timeout}, to_{to}
    {
    }

    template <class Handler>
    void operator()(Handler&& handler)
    {
        using handler_type = std::remove_cvref_t<Handler>;
        auto const slot = asio::get_associated_cancellation_slot(handler);
        auto* const w = make_pending<waiter<handler_type>>(handler_type{std::forward<Handler>(handler)});
        if (slot.is_connected())
            asio::cancellation_slot{slot}.assign([links = links_->weak_self(), w](asio::cancellation_type) {
                if (auto const alive = links.lock())
                    (*alive)->cancel_half(*w);
            });
        links_->start_half(link_, std::move(message_), timeout_, to_, *w);
    }

private:
    Links* links_;
    std::size_t link_;
    message message_;
    duration timeout_;
    half_answer* to_;
};

/// Initiates the sending of an outcome.
template <class Links>
class initiate_outcome {
public:
    initiate_outcome(Links* links, std::size_t link, told_outcome const& o, duration timeout)
        : links_{links}, link_{link}, outcome_{o}, timeout_{timeout}
    {
    }

    template <class Handler>
    void operator()(Handler&& handler) const
    {
        using handler_type = std::remove_cvref_t<Handler>;
        auto* const w = make_pending<waiter<handler_type>>(handler_type{std::forward<Handler>(handler)});
        auto o = outcome_;
        o.waiter = w;
        links_->start_outcome(link_, o, timeout_);
    }

private:
    Links* links_;
    std::size_t link_;
    told_outcome outcome_;
    duration timeout_;
};

} // namespace cosaga::detail
