// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/codec.hpp>
#include <cosaga/error.hpp>
#include <cosaga/message.hpp>
#include <cosaga/storage.hpp>

#include <boost/system/system_error.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace cosaga::detail {

/// Why a message can never be applied here: wrong topic, unknown type or content type, or an undecodable body.
struct not_applicable {
    std::string reason;
};

/// The body of a message as one of `Bodies`, or why it is none of them. Does not throw for anything in the message.
template <class Codec, class... Bodies>
std::variant<not_applicable, Bodies...> decode_body(message const& m, std::string_view topic)
{
    using result = std::variant<not_applicable, Bodies...>;
    if (m.topic != topic)
        return result{not_applicable{"wrong topic '" + m.topic + "': this consumer reads '" + std::string{topic} + "'"}};
    if (m.content_type != Codec::content_type)
        return result{not_applicable{"content type '" + m.content_type + "' is not '" + std::string{Codec::content_type} + "'"}};
    result decoded{not_applicable{"unknown type '" + m.type + "': no handler is registered for it"}};
    auto const try_as = [&]<class Body>(std::type_identity<Body>) {
        if (m.type != message_type_of<Body>())
            return false;
        try {
            decoded.template emplace<Body>(Codec::template decode<Body>(m.payload));
        } catch (std::exception const& e) {
            decoded.template emplace<not_applicable>(not_applicable{"undecodable body: " + std::string{e.what()}});
        }
        return true;
    };
    static_cast<void>((try_as(std::type_identity<Bodies>{}) || ...));
    return decoded;
}

/// True for an exception that says that the store failed, not the handler that met it.
inline bool is_store_failure(std::exception_ptr const& e)
{
    try {
        std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        auto const& code = error.code();
        return code == errc::store_failed || code == errc::store_full || code == errc::store_busy
            || code == errc::store_closed;
    } catch (...) {
        return false;
    }
}

/// Runs `f` in a savepoint of its own. What it throws is returned, but a failure of the store is no failure of `f`.
template <class Tx, class F>
std::exception_ptr try_nested(Tx& tx, F f)
{
    std::exception_ptr failed;
    try {
        tx.nested(f);
    } catch (...) {
        failed = std::current_exception();
    }
    if (failed && is_store_failure(failed))
        std::rethrow_exception(failed);
    return failed;
}

/// What an exception says, for `last_error`; bounded, since it is stored.
inline std::string describe(std::exception_ptr const& e)
{
    constexpr std::size_t longest = 1000;
    try {
        std::rethrow_exception(e);
    } catch (std::exception const& error) {
        std::string text = error.what();
        if (text.size() > longest)
            text.resize(longest);
        return text;
    } catch (...) {
        return "an exception that is no std::exception";
    }
}

/// The scope of the marks by which a consumer knows what it has taken.
inline std::string inbox_scope(std::string_view topic, std::string_view consumer)
{
    std::string scope = "inbox/";
    scope.append(topic);
    scope.push_back('/');
    scope.append(consumer);
    return scope;
}

} // namespace cosaga::detail
