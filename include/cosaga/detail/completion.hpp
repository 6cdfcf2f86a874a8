// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/pending.hpp>

#include <boost/asio/post.hpp>

#include <cstddef>
#include <utility>

namespace cosaga::detail {

/// An intrusive queue: joins, cuts and takes from the middle without allocating.
class pending_list {
public:
    pending_list() = default;
    pending_list(pending_list&& other) noexcept { append(other); }
    pending_list& operator=(pending_list&&) = delete;

    bool empty() const noexcept { return first_ == nullptr; }
    pending* front() const noexcept { return first_; }
    pending* second() const noexcept { return first_ ? first_->next_ : nullptr; }

    void push_back(pending& p) noexcept
    {
        p.next_ = nullptr;
        p.previous_ = last_;
        (last_ ? last_->next_ : first_) = &p;
        last_ = &p;
    }

    void remove(pending& p) noexcept
    {
        (p.previous_ ? p.previous_->next_ : first_) = p.next_;
        (p.next_ ? p.next_->previous_ : last_) = p.previous_;
    }

    pending* pop_front() noexcept
    {
        auto* const p = first_;
        if (p)
            remove(*p);
        return p;
    }

    /// Moves all of `other` behind what is here.
    void append(pending_list& other) noexcept
    {
        if (other.empty())
            return;
        other.first_->previous_ = last_;
        (last_ ? last_->next_ : first_) = other.first_;
        last_ = std::exchange(other.last_, nullptr);
        other.first_ = nullptr;
    }

private:
    pending* first_ = nullptr;
    pending* last_ = nullptr;
};

/// Resumes coroutines of one executor one after another: one `post` for many.
class completions {
public:
    explicit completions(pending_list&& list) noexcept : list_{std::move(list)} {}
    completions(completions&&) = default;
    ~completions()
    {
        while (auto* const p = list_.pop_front())
            p->abandon();
    }

    void operator()()
    {
        // What is resumed may throw out of the executor's `run`; the others are resumed all the same.
        struct others {
            completions* self;
            ~others()
            {
                if (!self->list_.empty())
                    post(std::move(self->list_));
            }
        } const guard{this};
        while (auto* const p = list_.pop_front())
            p->complete();
    }

    /// Completes each of `list` on its own executor, in order.
    /// @param most how many by one post: more is cheaper, fewer leave more to other threads of the executor.
    static void post(pending_list list, std::size_t most = 64)
    {
        while (auto* p = list.pop_front()) {
            auto executor = p->executor;
            pending_list same;
            same.push_back(*p);
            for (std::size_t n = 1; n < most && list.front() && list.front()->executor == executor; ++n)
                same.push_back(*list.pop_front());
            asio::post(executor, completions{std::move(same)});
        }
    }

private:
    pending_list list_;
};

} // namespace cosaga::detail
