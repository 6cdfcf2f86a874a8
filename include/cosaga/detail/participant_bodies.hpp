// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/consumer_core.hpp>
#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/outbox_core.hpp>
#include <cosaga/detail/saga_barrier.hpp>
#include <cosaga/detail/saga_judgement.hpp>
#include <cosaga/detail/saga_messages.hpp>
#include <cosaga/environment.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/outbox_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cosaga {

/// What a participant throws that has begun something and will know its outcome later: the saga asks again, with the same command.
class still_ongoing : public std::exception {
public:
    explicit still_ongoing(duration ask_again) : ask_again_{ask_again} {}
    duration ask_again() const noexcept { return ask_again_; }
    char const* what() const noexcept override { return "still ongoing: ask again"; }

private:
    duration ask_again_;
};

} // namespace cosaga

namespace cosaga::detail {

/// The time of a `still_ongoing`, or nothing for another exception.
inline std::optional<duration> ongoing_time(std::exception_ptr const& e)
{
    try {
        std::rethrow_exception(e);
    } catch (still_ongoing const& o) {
        return std::max(o.ask_again(), duration{std::chrono::milliseconds{1}});
    } catch (...) {
        return std::nullopt;
    }
}

/// Carries out commands inside the transactions of a consumer, and answers.
template <class Tx>
class participant_barrier {
public:
    using handler = std::function<remembered_answer(Tx&, std::string const& payload)>;

    participant_barrier(outbox_core<Tx>& outbox, std::string const& topic, std::string_view content_type, duration retention)
        : outbox_{&outbox}, scope_{"saga/" + topic}, content_type_{content_type}, retention_{retention}
    {
    }

    void handle(std::string type, handler h)
    {
        if (!handlers_.try_emplace(type, std::move(h)).second)
            throw make_error(errc::bad_configuration, "participant: the command '" + type + "' has a handler already");
    }

    /// Why a message is no command for this participant; empty if it is.
    std::string check(message const& m, std::string_view topic) const
    {
        if (m.topic != topic)
            return "wrong topic '" + m.topic + "': this participant reads '" + std::string{topic} + "'";
        if (m.find_header(saga_id_header).empty() || m.find_header(saga_step_header).empty() || m.find_header(saga_reply_header).empty())
            return "no command of a saga: a header is missing";
        if (m.content_type != content_type_)
            return "content type '" + m.content_type + "' is not '" + content_type_ + "'";
        return handlers_.contains(m.type) ? std::string{} : "unknown command '" + m.type + "': no handler is registered for it";
    }

    void carry_out(Tx& tx, message const& m)
    {
        auto const address = parse_step(m.find_header(saga_step_header));
        auto const own = id_of(m, address.step, address.role);
        auto const action = id_of(m, address.step, saga_role::action);
        auto const verdict = pass_barrier(address.role, find_mark(tx, scope_, own), find_mark(tx, scope_, action),
            find_mark(tx, scope_, id_of(m, address.step, saga_role::undo)));
        remembered_answer answer{answer_success, {}, {}};
        switch (verdict) {
        case barrier_verdict::run:
            if (auto const again = call(tx, m, own, answer)) {
                send(tx, m, {answer_ongoing, {}, {}}, *again);
                return;
            }
            break;
        case barrier_verdict::repeat: answer = remembered_answer::parse(*find_mark(tx, scope_, own)); break;
        case barrier_verdict::forestall: insert(tx, action, {}); [[fallthrough]];
        case barrier_verdict::nothing: insert(tx, own, answer.to_mark()); break;
        case barrier_verdict::too_late:
            answer = {answer_refused, {}, address.role == saga_role::action ? "the action comes after its compensation" : "there is nothing to confirm"};
            break;
        }
        send(tx, m, answer, duration::zero());
        if (++commands_ % purge_every == 0)
            tx.purge_marks(scope_, tx.now() - retention_, 2 * purge_every);
    }

private:
    static constexpr std::size_t purge_every = 64;

    static message_id id_of(message const& m, std::string const& step, saga_role role)
    {
        constexpr std::string_view suffixes[] = {"", undo_suffix, confirm_suffix};
        auto const of = m.source + "/" + std::string{m.find_header(saga_id_header)};
        return message_id::from_foreign(of, step + std::string{suffixes[static_cast<std::size_t>(role)]});
    }

    /// Calls the handler. What it refuses is undone, and remembered. @return when to ask again, if it does not know yet.
    std::optional<duration> call(Tx& tx, message const& m, message_id const& own, remembered_answer& answer)
    {
        auto& h = handlers_.find(m.type)->second;
        auto const failed = try_nested(tx, [&] { answer = h(tx, m.payload); });
        if (failed) {
            if (auto const again = ongoing_time(failed))
                return again;
            if (judge(failed) != saga_judgement::refused)
                std::rethrow_exception(failed);
            answer = {answer_refused, {}, said_by(failed)};
            if (parse_step(m.find_header(saga_step_header)).role != saga_role::action)
                return std::nullopt; // it is tried again
        }
        insert(tx, own, answer.to_mark());
        return std::nullopt;
    }

    void insert(Tx& tx, message_id const& id, mark const& value) { tx.insert_marks(scope_, {&id, 1}, value); }

    void send(Tx& tx, message const& command, remembered_answer const& answer, duration again)
    {
        auto m = outbox_->compose(tx, command.find_header(saga_reply_header), {});
        m.type = answer.type.empty() ? "cosaga.answer" : answer.type;
        m.content_type = content_type_;
        m.payload = answer.payload;
        set_header(m, saga_id_header, std::string{command.find_header(saga_id_header)});
        set_header(m, saga_step_header, std::string{command.find_header(saga_step_header)});
        set_header(m, saga_answer_header, std::string{answer.answer});
        if (again > duration::zero())
            set_header(m, saga_again_header, std::to_string(again.count()));
        outbox_->stage(tx, std::move(m), duration::zero());
    }

    outbox_core<Tx>* outbox_;
    std::string scope_;
    std::string content_type_;
    duration retention_;
    std::map<std::string, handler, std::less<>> handlers_;
    std::size_t commands_ = 0; // on the store's thread
};

template <class Tx>
class participant_bodies final : public message_bodies<Tx> {
public:
    explicit participant_bodies(std::shared_ptr<participant_barrier<Tx>> b) : barrier_{std::move(b)} {}

    void add(taken_message<Tx>& m, std::string_view topic) override
    {
        m.bodies = this;
        m.not_applicable = barrier_->check(m.row.content, topic);
    }
    void clear() noexcept override {}
    void call(Tx& tx, taken_message<Tx> const& m) override
    {
        if (!m.not_applicable.empty())
            throw make_error(errc::unsupported_type, m.not_applicable);
        barrier_->carry_out(tx, m.row.content);
    }
    asio::awaitable<void> prepare(taken_message<Tx>&) override { return {}; }

private:
    std::shared_ptr<participant_barrier<Tx>> barrier_;
};

} // namespace cosaga::detail
