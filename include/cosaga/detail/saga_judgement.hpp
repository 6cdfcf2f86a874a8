// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/intake.hpp>
#include <cosaga/error.hpp>

#include <boost/system/system_error.hpp>

#include <exception>
#include <string>

namespace cosaga::detail {

/// What an exception means for a step.
enum class saga_judgement {
    refused,  ///< the business said no
    unknown,  ///< try again
    hopeless, ///< the same can never succeed
    closed,   ///< the store is no longer there
};

inline saga_judgement judge(std::exception_ptr const& e)
{
    try {
        std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        auto const& code = error.code();
        if (code == errc::store_closed)
            return saga_judgement::closed;
        if (code == remedy::compensate)
            return saga_judgement::refused;
        return code == remedy::give_up ? saga_judgement::hopeless : saga_judgement::unknown;
    } catch (...) {
        return saga_judgement::unknown;
    }
}

/// The code of a refusal, for the journal.
inline errc code_of(std::exception_ptr const& e)
{
    try {
        std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        if (error.code().category() == error_category())
            return static_cast<errc>(error.code().value());
    } catch (...) {
    }
    return errc::step_refused;
}

/// The reason that a refusal gives, without the text of `errc::step_refused`: it is thrown again with that.
inline std::string said_by(std::exception_ptr const& e)
{
    auto text = describe(e);
    try {
        std::rethrow_exception(e);
    } catch (boost::system::system_error const& error) {
        auto const of_code = ": " + error.code().what();
        if (error.code() == errc::step_refused && text.ends_with(of_code))
            text.resize(text.size() - of_code.size());
    } catch (...) { // it has no code
    }
    return text;
}

/// True for what undoes a saga when it leaves the body.
inline bool undoes(std::exception_ptr const& e)
{
    return judge(e) == saga_judgement::refused || code_of(e) == errc::timed_out;
}

} // namespace cosaga::detail
