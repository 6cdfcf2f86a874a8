// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/detail/saga_journal.hpp>
#include <cosaga/detail/saga_judgement.hpp>
#include <cosaga/detail/saga_live_branch.hpp>
#include <cosaga/detail/saga_run.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// The coroutines at the root of a saga: one for each phase.
namespace cosaga::detail {

/// What leaves the body undoes the saga if the business has said no; anything else waits for somebody who knows.
template <store Store>
void close_failed(saga_run<Store>& run, std::exception_ptr const& failed)
{
    if (undoes(failed))
        run.close(saga_stop::undo, describe(failed));
    else
        run.close(saga_stop::paused, "the body threw: " + describe(failed));
}

/// The body of a saga, from its beginning.
template <store Store>
asio::awaitable<void> run_saga_body(std::shared_ptr<saga_run<Store>> run, std::shared_ptr<saga_live_branch<Store>> root)
{
    saga_branch_guard<Store> const guard{root};
    root.reset();
    auto& branch = *run->root();
    if (run->is_closed())
        co_await branch.pause();
    std::exception_ptr failed;
    std::string result;
    try {
        result = co_await run->definition->body(branch, run->row.input);
    } catch (...) {
        failed = std::current_exception();
    }
    if (run->is_closed())
        co_await branch.pause();
    if (failed)
        close_failed(*run, failed);
    else if (auto const wrong = branch.check_end(); !wrong.empty())
        run->close(saga_stop::paused, wrong);
    else
        run->close(saga_stop::finished, std::move(result));
}

/// The branches whose turn it is to be undone: those of the step whose branch has the first duty. None if that is in no branch.
inline std::vector<std::string> branches_to_undo(std::vector<saga_duty> const& duties)
{
    auto const at = duties.front().step.find('.');
    std::vector<std::string> branches;
    if (at == std::string::npos)
        return branches;
    auto const within = duties.front().step.substr(0, at + 1);
    for (auto const& d : duties) {
        auto branch = d.step.substr(0, d.step.find('.', at + 1));
        if (d.step.starts_with(within) && std::find(branches.begin(), branches.end(), branch) == branches.end())
            branches.push_back(std::move(branch));
    }
    return branches;
}

/// What compensates or confirms its steps.
template <store Store>
asio::awaitable<void> carry_out_saga_commands(std::shared_ptr<saga_run<Store>> run, std::shared_ptr<saga_live_branch<Store>> root)
{
    saga_branch_guard<Store> const guard{root};
    root.reset();
    auto& branch = *run->root();
    if (run->is_closed())
        co_await branch.pause();
    bool const undo = run->row.state == saga_state::compensating;
    for (;;) {
        auto const duties = undo ? run->journal.to_undo() : run->journal.to_confirm();
        if (duties.empty())
            break;
        auto const together = undo && run->host->settings.undo_branches_together ? branches_to_undo(duties) : std::vector<std::string>{};
        if (together.size() > 1)
            co_await branch.undo_together(together);
        else
            co_await branch.carry_out(duties.front(), undo);
    }
    run->close(saga_stop::finished, undo ? run->journal.reason() : run->journal.result());
}

} // namespace cosaga::detail
