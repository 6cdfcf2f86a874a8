// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "transaction_services.hpp"

namespace {

using namespace cosaga_tests;

template <class Kit>
struct fence : ::testing::Test {
    using local = std::function<void(typename Kit::transaction&)>;

    fence()
    {
        auto create = [this](typename Kit::transaction& tx) { kit.create(tx); };
        run_in_store(create);
    }

    template <class Work>
    void run_in_store(Work& work)
    {
        cosaga_tests::run(env, store->transact(work));
    }
    /// Runs a local transaction that writes `value` under "key".
    failure place(cosaga::message_id const& id, std::string const& value = "placed")
    {
        local work = [&](typename Kit::transaction& tx) { Kit::put(tx, "key", value); };
        return failure_of([&] { cosaga_tests::run(env, marks.run(id, work)); });
    }
    transaction_outcome check(cosaga::message_id const& id) { return cosaga_tests::run(env, marks.check(id)); }
    std::optional<std::string> written()
    {
        std::optional<std::string> found;
        auto read = [&](typename Kit::transaction& tx) { found = Kit::get(tx, "key"); };
        run_in_store(read);
        return found;
    }

    cosaga::testing::virtual_environment env;
    Kit kit;
    std::unique_ptr<typename Kit::store> store = kit.open(env);
    cosaga::fence<typename Kit::store> marks{*store, 1h};
    cosaga::message_id_generator ids{env};
};

using kits = testing::Types<storage_kits::memory_kit, storage_kits::sqlite_kit>;
TYPED_TEST_SUITE(fence, kits);

TYPED_TEST(fence, says_commit_after_a_commit_as_often_as_it_is_asked)
{
    auto const id = this->ids();
    EXPECT_EQ(this->place(id).what, "");
    EXPECT_EQ(this->check(id), transaction_outcome::commit);
    EXPECT_EQ(this->check(id), transaction_outcome::commit);
    EXPECT_EQ(this->written(), "placed");
}

TYPED_TEST(fence, lets_no_transaction_commit_after_it_has_said_rollback)
{
    auto const id = this->ids();
    EXPECT_EQ(this->check(id), transaction_outcome::rollback);
    auto const f = this->place(id);
    EXPECT_EQ(f.code, errc::transaction_fenced);
    EXPECT_TRUE(contains(f.what, "comes too late: a check-back was answered that it did not commit")) << f.what;
    EXPECT_EQ(this->written(), std::nullopt);
    EXPECT_EQ(this->check(id), transaction_outcome::rollback);
}

TYPED_TEST(fence, lets_a_transaction_commit_once)
{
    auto const id = this->ids();
    this->place(id, "first");
    auto const f = this->place(id, "second");
    EXPECT_EQ(f.code, errc::transaction_fenced);
    EXPECT_TRUE(contains(f.what, "has committed already")) << f.what;
    EXPECT_EQ(this->written(), "first");
}

TYPED_TEST(fence, leaves_no_mark_of_a_transaction_that_throws)
{
    auto const id = this->ids();
    typename TestFixture::local work = [](auto& tx) {
        TypeParam::put(tx, "key", "half done");
        throw std::runtime_error{"no money"};
    };
    EXPECT_EQ(failure_of([&] { cosaga_tests::run(this->env, this->marks.run(id, work)); }).what, "no money");
    EXPECT_EQ(this->written(), std::nullopt);
    EXPECT_EQ(this->place(id).what, "") << "it may be tried again before anybody has asked";
}

TYPED_TEST(fence, decides_between_a_transaction_and_a_check_that_come_together)
{
    for (int i = 0; i < 20; ++i) {
        auto const id = this->ids();
        typename TestFixture::local work = [](auto& tx) { TypeParam::put(tx, "key", "placed"); };
        failure placed{errc::timed_out, {}};
        std::optional<transaction_outcome> outcome;
        asio::co_spawn(this->env.get_executor(), this->marks.check(id), [&](std::exception_ptr, transaction_outcome o) { outcome = o; });
        asio::co_spawn(this->env.get_executor(), this->marks.run(id, work), [&](std::exception_ptr e) {
            placed = failure_of([&] {
                if (e)
                    std::rethrow_exception(e);
            });
        });
        this->env.run_for(1s);
        ASSERT_TRUE(outcome);
        EXPECT_EQ(*outcome == transaction_outcome::commit, placed.code == errc{});
    }
}

TYPED_TEST(fence, remembers_across_a_restart)
{
    auto const committed = this->ids();
    auto const refused = this->ids();
    this->place(committed);
    this->check(refused);
    this->store.reset();
    this->store = this->kit.open(this->env);
    this->marks = cosaga::fence{*this->store, 1h};
    EXPECT_EQ(this->check(committed), transaction_outcome::commit);
    EXPECT_EQ(this->place(refused).code, errc::transaction_fenced);
}

TYPED_TEST(fence, says_nothing_about_what_is_older_than_its_marks)
{
    auto const old = this->ids();
    auto const late = this->ids();
    this->place(old);
    this->env.run_for(1h + 1s);
    EXPECT_EQ(this->check(old), transaction_outcome::unknown);
    auto const f = this->place(late, "late");
    EXPECT_EQ(f.code, errc::transaction_fenced);
    EXPECT_TRUE(contains(f.what, "after the retention of marks")) << f.what;
    EXPECT_EQ(this->written(), "placed");
    cosaga::message_id const foreign = cosaga::message_id::from_foreign("elsewhere", "1");
    EXPECT_EQ(this->check(foreign), transaction_outcome::unknown) << "nobody knows how old it is";
}

TYPED_TEST(fence, keeps_no_more_marks_than_its_retention_asks_for)
{
    for (int i = 0; i < 50; ++i)
        this->place(this->ids());
    this->env.run_for(1h + 1s);
    for (int i = 0; i < 50; ++i)
        this->place(this->ids());
    std::size_t old = 0;
    auto const before = this->env.now() - 30min;
    auto purge = [&](typename TypeParam::transaction& tx) { old = tx.purge_marks("transactions", before, 1000); };
    this->run_in_store(purge);
    EXPECT_EQ(old, 0u);
}

} // namespace
