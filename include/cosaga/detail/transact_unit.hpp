// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/pending.hpp>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/recycling_allocator.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace cosaga::detail {

/// What a transaction of type `Tx` makes of `Work`.
template <class Work, class Tx>
using work_result = std::invoke_result_t<std::remove_reference_t<Work>&, Tx&>;

/// The completion signature of a `transact` with that result.
template <class Result>
struct transact_signature {
    using type = void(std::exception_ptr, Result);
};
template <>
struct transact_signature<void> {
    using type = void(std::exception_ptr);
};

/// A work that waits for its turn, with who awaits it.
template <class Tx>
class transact_unit : public pending {
public:
    /// Runs the work on the store's thread; throws what it throws.
    virtual void run(Tx& tx) = 0;
    /// `run` will be called soon.
    virtual void fetch() const noexcept = 0;

protected:
    ~transact_unit() = default;
};

template <class Work>
void fetch_work(Work const& work) noexcept
{
    if constexpr (requires { work.fetch(); })
        work.fetch();
}

/// Memory of a pending operation: the handler's own, or what Asio recycles on this thread.
template <class T, class Handler>
using pending_allocator = typename std::allocator_traits<
    asio::associated_allocator_t<Handler, asio::recycling_allocator<void>>>::template rebind_alloc<T>;

template <class T, class Handler>
pending_allocator<T, Handler> get_pending_allocator(Handler const& handler)
{
    return pending_allocator<T, Handler>{asio::get_associated_allocator(handler, asio::recycling_allocator<void>{})};
}

/// Makes an object of type `T` that owns itself and the handler.
template <class T, class Handler, class... Args>
T* make_pending(Handler&& handler, Args&&... args)
{
    auto allocator = get_pending_allocator<T>(handler);
    using traits = std::allocator_traits<decltype(allocator)>;
    auto* const memory = traits::allocate(allocator, 1);
    try {
        return ::new (static_cast<void*>(memory)) T{std::forward<Handler>(handler), std::forward<Args>(args)...};
    } catch (...) {
        traits::deallocate(allocator, memory, 1);
        throw;
    }
}

/// Takes the handler out of a pending object and frees the object: the handler may need its memory for what comes next.
template <class T, class Handler>
Handler release_pending(T* self, Handler& member) noexcept
{
    auto allocator = get_pending_allocator<T>(member);
    auto const slot = asio::get_associated_cancellation_slot(member);
    if (slot.is_connected())
        asio::cancellation_slot{slot}.clear();
    Handler handler{std::move(member)};
    self->~T();
    std::allocator_traits<decltype(allocator)>::deallocate(allocator, self, 1);
    return handler;
}

/// The handler's executor, kept from running out of work.
template <class Handler>
asio::any_io_executor tracked_executor(Handler const& handler)
{
    return asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
}

template <class Tx, class Work, class Result, class Handler>
class transact_unit_of final : public transact_unit<Tx> {
public:
    transact_unit_of(Handler&& handler, Work&& work) : handler_{std::move(handler)}, work_{std::move(work)}
    {
        this->executor = tracked_executor(handler_);
    }
    ~transact_unit_of() = default;

    void run(Tx& tx) override { result_.emplace(work_(tx)); }
    void fetch() const noexcept override { fetch_work(work_); }

    void complete() override
    {
        auto failure = std::move(this->error);
        if (failure || !result_) {
            auto handler = release_pending(this, handler_);
            std::move(handler)(std::move(failure), Result{});
            return;
        }
        auto result = std::move(*result_);
        auto handler = release_pending(this, handler_);
        std::move(handler)(std::move(failure), std::move(result));
    }

    void abandon() noexcept override { release_pending(this, handler_); }

private:
    Handler handler_;
    Work work_;
    std::optional<Result> result_;
};

template <class Tx, class Work, class Handler>
class transact_unit_of<Tx, Work, void, Handler> final : public transact_unit<Tx> {
public:
    transact_unit_of(Handler&& handler, Work&& work) : handler_{std::move(handler)}, work_{std::move(work)}
    {
        this->executor = tracked_executor(handler_);
    }
    ~transact_unit_of() = default;

    void run(Tx& tx) override { work_(tx); }
    void fetch() const noexcept override { fetch_work(work_); }

    void complete() override
    {
        auto failure = std::move(this->error);
        auto handler = release_pending(this, handler_);
        std::move(handler)(std::move(failure));
    }

    void abandon() noexcept override { release_pending(this, handler_); }

private:
    Handler handler_;
    Work work_;
};

/// Who awaits something that has no result. Keeps `Kept` until then.
template <class Handler, class Kept = std::monostate>
class waiter final : public pending {
public:
    explicit waiter(Handler&& handler, Kept kept = {}) : handler_{std::move(handler)}, kept_{std::move(kept)}
    {
        executor = tracked_executor(handler_);
    }
    ~waiter() = default;

    void complete() override
    {
        auto failure = std::move(this->error);
        auto handler = release_pending(this, handler_);
        std::move(handler)(std::move(failure));
    }

    void abandon() noexcept override { release_pending(this, handler_); }

private:
    Handler handler_;
    Kept kept_;
};

} // namespace cosaga::detail
