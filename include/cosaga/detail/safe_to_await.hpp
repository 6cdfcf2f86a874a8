// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <type_traits>

namespace cosaga::detail {

/// Whether a function object of that form may be part of a `co_await` expression: g++ 12 destroys some temporaries twice.
template <class Work>
inline constexpr bool safe_to_await =
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
    std::is_lvalue_reference_v<Work> || std::is_trivially_destructible_v<Work>;
#else
    true;
#endif

} // namespace cosaga::detail
