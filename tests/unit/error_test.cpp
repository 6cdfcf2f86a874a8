// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/error.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <set>
#include <string>
#include <system_error>
#include <tuple>

namespace {

namespace asio = boost::asio;
using cosaga::errc;
using cosaga::remedy;

constexpr int first_error = static_cast<int>(errc::bad_argument);
constexpr int last_error = static_cast<int>(errc::saga_ended);

TEST(error, every_code_has_a_message_of_its_own)
{
    std::set<std::string> messages;
    for (int value = first_error; value <= last_error; ++value) {
        auto const message = make_error_code(static_cast<errc>(value)).message();
        EXPECT_EQ(message.find("unknown"), std::string::npos) << value;
        EXPECT_TRUE(messages.insert(message).second) << message;
    }
    EXPECT_EQ(make_error_code(static_cast<errc>(last_error + 1)).message(),
        "unknown cosaga error " + std::to_string(last_error + 1));
}

TEST(error, every_code_has_exactly_one_remedy)
{
    for (int value = first_error; value <= last_error; ++value) {
        auto const code = make_error_code(static_cast<errc>(value));
        EXPECT_EQ((code == remedy::retry) + (code == remedy::compensate) + (code == remedy::give_up), 1) << code.message();
    }
}

TEST(error, remedies_follow_the_cause)
{
    EXPECT_TRUE(make_error_code(errc::unreachable) == remedy::retry);
    EXPECT_TRUE(make_error_code(errc::store_busy) == remedy::retry);
    EXPECT_TRUE(make_error_code(errc::request_refused) == remedy::compensate);
    EXPECT_TRUE(make_error_code(errc::malformed_data) == remedy::give_up);
    EXPECT_FALSE(make_error_code(errc::timed_out) == remedy::compensate); // what is unknown must not be undone
}

TEST(error, foreign_codes_and_success_have_no_remedy)
{
    boost::system::error_code const foreign{ENOENT, boost::system::generic_category()};
    for (auto const& code : {foreign, boost::system::error_code{}}) {
        EXPECT_FALSE(code == remedy::retry);
        EXPECT_FALSE(code == remedy::compensate);
        EXPECT_FALSE(code == remedy::give_up);
    }
}

TEST(error, works_as_a_standard_error_code)
{
    boost::system::error_code const code = errc::store_full;
    std::error_code const standard = code;
    EXPECT_EQ(standard.value(), static_cast<int>(errc::store_full));
    EXPECT_STREQ(standard.category().name(), "cosaga");
    EXPECT_EQ(standard.message(), "the store is full");
    EXPECT_EQ(standard, std::error_code{code});
    std::error_condition const retry = make_error_condition(remedy::retry);
    std::error_condition const compensate = make_error_condition(remedy::compensate);
    EXPECT_TRUE(standard == retry);
    EXPECT_FALSE(standard == compensate);
}

TEST(error, an_exception_says_what_happened_and_to_what)
{
    try {
        throw make_error(errc::not_found, "queue orders");
    } catch (std::system_error const&) {
        FAIL() << "a boost error is no std::system_error; catch std::exception or the boost one";
    } catch (std::exception const& e) {
        std::string const what = e.what();
        EXPECT_NE(what.find("queue orders"), std::string::npos) << what;
        EXPECT_NE(what.find("not found"), std::string::npos) << what;
    }
}

asio::awaitable<int> fail(errc code)
{
    throw make_error(code, "on purpose");
    co_return 1;
}

asio::awaitable<errc> catch_as_tuple(errc code)
{
    auto const executor = co_await asio::this_coro::executor;
    auto const result = co_await asio::co_spawn(executor, fail(code), asio::as_tuple(asio::use_awaitable));
    auto const& [failure, value] = result;
    EXPECT_EQ(value, 0);
    try {
        std::rethrow_exception(failure);
    } catch (boost::system::system_error const& e) {
        co_return static_cast<errc>(e.code().value());
    }
}

TEST(error, an_awaitable_that_throws_gives_its_error_through_as_tuple)
{
    asio::io_context context;
    auto found = asio::co_spawn(context, catch_as_tuple(errc::transaction_fenced), asio::use_future);
    context.run();
    EXPECT_EQ(found.get(), errc::transaction_fenced);
}

} // namespace
