// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cosaga::detail {

/// Asks for memory that another processor has written, before it is needed: the answer takes as long as hundreds of instructions. The memory
/// need not be there.
/// @param before bytes before `at`. @param size how many bytes, from there on.
inline void prefetch(void const* at, std::ptrdiff_t before, std::ptrdiff_t size) noexcept
{
#if defined(__GNUC__)
    constexpr std::ptrdiff_t line = 64;
    auto const address = reinterpret_cast<std::uintptr_t>(at); // a pointer must not leave its object
    for (auto offset = -before; offset < size - before; offset += line)
        __builtin_prefetch(reinterpret_cast<void const*>(address + static_cast<std::uintptr_t>(offset)));
#else
    static_cast<void>(at), static_cast<void>(before), static_cast<void>(size);
#endif
}

} // namespace cosaga::detail
