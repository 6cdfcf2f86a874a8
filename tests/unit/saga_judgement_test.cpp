// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/detail/saga_judgement.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <stdexcept>
#include <string>

namespace {

using namespace cosaga::detail;

std::string said(auto const& e)
{
    return said_by(std::make_exception_ptr(e));
}

TEST(what_a_refusal_says, is_its_reason_however_often_it_is_thrown_again)
{
    auto const first = said(cosaga::refusal("no funds"));
    EXPECT_EQ(first, "no funds");
    EXPECT_EQ(said(cosaga::refusal(first)), first);
}

TEST(what_a_refusal_says, keeps_the_text_of_any_other_code)
{
    auto const other = cosaga::make_error(cosaga::errc::timed_out, "no answer");
    EXPECT_EQ(said(other), other.what());
    EXPECT_EQ(said(std::runtime_error{"no code at all"}), "no code at all");
}

} // namespace
