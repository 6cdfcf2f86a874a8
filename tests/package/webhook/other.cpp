// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "everything.hpp"

bool is_refused()
{
    try {
        cosaga::parse_webhook_url("https://user@merchant.example/");
        return false;
    } catch (boost::system::system_error const& e) {
        return e.code() == cosaga::errc::bad_argument;
    }
}
