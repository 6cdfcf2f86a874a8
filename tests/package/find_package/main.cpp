// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <everything.hpp>

cosaga::message_id other_unit();

int main()
{
    return other_unit() == cosaga::message_id{} ? 0 : 1;
}
