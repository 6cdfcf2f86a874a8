// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/webhook_text.hpp>
#include <cosaga/webhook/http.hpp>

#include <algorithm>

namespace cosaga {

COSAGA_DECL std::string_view webhook_request::find_header(std::string_view name) const noexcept
{
    for (auto const& h : headers)
        if (std::equal(h.name.begin(), h.name.end(), name.begin(), name.end(),
                [](char a, char b) { return detail::to_lower_ascii(a) == b; }))
            return h.value;
    return {};
}

} // namespace cosaga
