// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/prefetch.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

namespace cosaga::detail {

/// Refers to a work, or holds a small one: one type for all works of one result, so that each `transact` of a
/// program does not compile the whole machinery again.
template <class Tx, class Result>
class any_work {
public:
    /// Closures by reference, as works mostly are, capture a pointer or a few.
    static constexpr std::size_t capacity = 8 * sizeof(void*);

    template <class Work>
    static constexpr bool holds = sizeof(Work) <= capacity && alignof(Work) <= alignof(std::max_align_t)
                               && std::is_trivially_copyable_v<Work> && std::is_trivially_destructible_v<Work>;

    template <class Work>
    static any_work refer_to(Work& work) noexcept
    {
        return hold(reference<Work>{std::addressof(work)});
    }

    template <class Work>
        requires holds<Work>
    static any_work hold(Work const& work) noexcept
    {
        any_work made;
        ::new (static_cast<void*>(made.storage_)) Work(work);
        if constexpr (sizeof(Work) >= sizeof(void*))
            std::memcpy(&made.first_, made.storage_, sizeof(void*));
        made.call_ = [](void* self, Tx& tx) -> Result { return (*static_cast<Work*>(self))(tx); };
        return made;
    }

    Result operator()(Tx& tx) { return call_(storage_, tx); }

    /// Asks for what the work refers to: it is mostly a variable of a coroutine, beside others that it refers to.
    void fetch() const noexcept { prefetch(first_, 512, 768); }

private:
    any_work() = default;

    template <class Work>
    struct reference {
        Work* target;
        Result operator()(Tx& tx) const { return (*target)(tx); }
    };

    alignas(std::max_align_t) std::byte storage_[capacity];
    void const* first_ = nullptr; // what it captures, as a pointer; whatever it is, it is only asked for
    Result (*call_)(void*, Tx&);
};

} // namespace cosaga::detail
