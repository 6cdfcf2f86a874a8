// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cstddef>
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
        made.call_ = [](void* self, Tx& tx) -> Result { return (*static_cast<Work*>(self))(tx); };
        return made;
    }

    Result operator()(Tx& tx) { return call_(storage_, tx); }

private:
    any_work() = default;

    template <class Work>
    struct reference {
        Work* target;
        Result operator()(Tx& tx) const { return (*target)(tx); }
    };

    alignas(std::max_align_t) std::byte storage_[capacity];
    Result (*call_)(void*, Tx&);
};

} // namespace cosaga::detail
