// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/storage/sqlite.hpp>

int main()
{
    return cosaga::message_id{}.is_nil() ? 0 : 1;
}
