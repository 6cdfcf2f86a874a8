// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <string>
#include <utility>

namespace cosaga::detail {

/// Why a group failed: an exception of its own for each of its works can be made from it.
struct group_failure {
    boost::system::error_code code;
    std::string context;

    static group_failure current() noexcept
    {
        try {
            throw;
        } catch (boost::system::system_error const& e) {
            // system_error appends ": message" to its context; a second one would append it again.
            std::string context = e.what();
            auto const suffix = ": " + e.code().what();
            if (context.ends_with(suffix))
                context.resize(context.size() - suffix.size());
            return {e.code(), std::move(context)};
        } catch (std::exception const& e) {
            return {make_error_code(errc::store_failed), e.what()};
        } catch (...) {
            return {make_error_code(errc::store_failed), "unknown exception"};
        }
    }

    // Not one exception for all: copies of an exception share their text between threads.
    std::exception_ptr exception() const
    {
        return std::make_exception_ptr(boost::system::system_error{code, context});
    }
    std::string what() const { return boost::system::system_error{code, context}.what(); }
};

} // namespace cosaga::detail
