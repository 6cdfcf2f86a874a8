// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/message_id.hpp>

#include <boost/describe/enum_to_string.hpp>
#include <boost/describe/members.hpp>
#include <boost/mp11/algorithm.hpp>

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>

namespace cosaga::detail {

template <class Body>
concept names_reconciled_members = requires { std::string_view{Body::reconciled[0]}; };

template <class>
inline constexpr bool is_optional_member = false;
template <class T>
inline constexpr bool is_optional_member<std::optional<T>> = true;

template <class T>
void add_reconciled(ledger_fields& to, std::string_view name, T const& v)
{
    if constexpr (is_optional_member<T>) {
        if (v)
            add_reconciled(to, name, *v);
    } else if constexpr (std::convertible_to<T const&, std::string_view>)
        to.add(name, v);
    else if constexpr (std::same_as<T, bool>)
        to.add(name, v ? "true" : "false");
    else if constexpr (std::same_as<T, message_id>)
        to.add(name, v.to_string());
    else if constexpr (std::same_as<T, time_point>)
        add_reconciled(to, name, v.time_since_epoch().count());
    else if constexpr (std::is_enum_v<T>)
        to.add(name, boost::describe::enum_to_string(v, "?"));
    else if constexpr (std::integral<T>) {
        std::array<char, 24> digits;
        auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), v).ptr;
        to.add(name, {digits.data(), static_cast<std::size_t>(end - digits.data())});
    } else
        static_assert(sizeof(T) == 0,
            "a reconciled member is text, an integer, bool, described enum, message_id, time_point or an optional of these: what two "
            "programs write in one way");
}

template <class Body>
constexpr bool is_reconciled(std::string_view member)
{
    for (std::string_view const name : Body::reconciled)
        if (name == member)
            return true;
    return false;
}

/// Whether every name is that of a member.
template <class Body>
constexpr bool names_known_members()
{
    using members = boost::describe::describe_members<Body, boost::describe::mod_public | boost::describe::mod_inherited>;
    for (std::string_view const name : Body::reconciled) {
        bool known = false;
        boost::mp11::mp_for_each<members>([&](auto member) { known = known || name == member.name; });
        if (!known)
            return false;
    }
    return true;
}

/// What the ledger keeps of a body: the members that `Body::reconciled` names, in its order.
template <class Body>
ledger_fields reconciled_fields(Body const& body)
{
    ledger_fields fields;
    if constexpr (names_reconciled_members<Body>) {
        using members = boost::describe::describe_members<Body, boost::describe::mod_public | boost::describe::mod_inherited>;
        static_assert(names_known_members<Body>(), "`reconciled` names a member that the body does not have, or that is not described");
        for (std::string_view const name : Body::reconciled)
            boost::mp11::mp_for_each<members>([&]<class Member>(Member) {
                if constexpr (is_reconciled<Body>(Member::name))
                    if (name == Member::name)
                        add_reconciled(fields, name, body.*Member::pointer);
            });
    }
    return fields;
}

} // namespace cosaga::detail
