// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "conformance/storage_kits.hpp"
#include "two_services.hpp"

#include <cosaga/coordinator.hpp>
#include <cosaga/detail/transaction_messages.hpp>
#include <cosaga/fence.hpp>
#include <cosaga/transactional_producer.hpp>

#include <boost/system/system_error.hpp>

#include <algorithm>
#include <functional>
#include <set>

namespace cosaga_tests {

using cosaga::errc;
using cosaga::message_state;
using cosaga::transaction_outcome;

/// What a call threw; `errc{}` if nothing, or what is no error of the library.
struct failure {
    errc code{};
    std::string what;
};

inline failure failure_of(std::function<void()> const& f)
{
    try {
        f();
    } catch (boost::system::system_error const& e) {
        if (e.code().category() == cosaga::error_category())
            return {static_cast<errc>(e.code().value()), e.what()};
        return {errc{}, e.what()};
    } catch (std::exception const& e) {
        return {errc{}, e.what()};
    }
    return {};
}

inline bool contains(std::string_view text, std::string_view part)
{
    return text.find(part) != std::string_view::npos;
}

/// One process: its transport, its store on a disk that outlives it, and a node.
template <class Kit>
struct process {
    using store_type = typename Kit::store;
    using node_type = cosaga::node<store_type, cosaga::memory_transport>;

    process(cosaga::testing::virtual_environment& e, cosaga::memory_transport& h, cosaga::memory_transport_options o)
        : env{&e}, hub{&h}, options{std::move(o)}
    {
    }
    process(process const&) = delete;
    process& operator=(process const&) = delete;
    virtual ~process() = default;

    void begin()
    {
        transport = std::make_unique<cosaga::memory_transport>(*hub, *env, options);
        store = kit.open(*env);
        auto create = [this](typename Kit::transaction& tx) { kit.create(tx); };
        run(*env, store->transact(create));
        node = std::make_unique<node_type>(*store, *transport, cosaga::node_options{.service = options.service});
        prepare();
        run(*env, node->start());
    }
    void end()
    {
        if (!node)
            return;
        run(*env, node->stop());
        node.reset();
        dismiss();
        store.reset();
        transport.reset();
    }
    void restart()
    {
        end();
        begin();
    }

    virtual void prepare() {}
    virtual void dismiss() {}

    std::optional<std::string> get(std::string const& key)
    {
        std::optional<std::string> found;
        auto read = [&](typename Kit::transaction& tx) { found = Kit::get(tx, key); };
        run(*env, store->transact(read));
        return found;
    }

    cosaga::testing::virtual_environment* env;
    cosaga::memory_transport* hub;
    cosaga::memory_transport_options options;
    Kit kit;
    std::unique_ptr<cosaga::memory_transport> transport;
    std::unique_ptr<store_type> store;
    std::unique_ptr<node_type> node;
};

/// A fence that can be told to behave like a resource of another kind.
template <class Store>
struct scripted_resource {
    template <class Local>
    asio::awaitable<void> run(cosaga::message_id id, Local& local)
    {
        ++started;
        co_await marks.run(id, local);
        if (takes > cosaga::duration::zero())
            co_await env->sleep_for(takes);
        if (fails_after_commit)
            throw std::runtime_error{"the connection was lost"};
    }

    asio::awaitable<transaction_outcome> check(cosaga::message_id id)
    {
        checked.push_back(env->steady_now());
        return checker ? checker(id) : marks.check(id);
    }

    cosaga::testing::virtual_environment* env;
    cosaga::fence<Store> marks;
    std::function<asio::awaitable<transaction_outcome>(cosaga::message_id)> checker{}; // instead of the fence
    cosaga::duration takes{};        // between the commit and the end of `run`
    bool fails_after_commit = false;
    int started = 0;
    std::vector<cosaga::steady_time> checked{};
};

template <class Kit>
struct producing_process : process<Kit> {
    using process<Kit>::process;
    using resource_type = scripted_resource<typename Kit::store>;
    using producer_type = cosaga::transactional_producer<cosaga::memory_transport, resource_type>;

    void prepare() override
    {
        if (settings.service.empty())
            settings.service = this->options.service;
        resource = std::make_unique<resource_type>(resource_type{this->env, cosaga::fence{*this->store}});
        producer = std::make_unique<producer_type>(*this->transport, *resource, settings);
        this->node->attach(*producer);
    }
    void dismiss() override
    {
        producer.reset();
        resource.reset();
    }

    cosaga::producer_options settings{.service = {}, .coordinators = {"coordinator"}};
    std::unique_ptr<resource_type> resource;
    std::unique_ptr<producer_type> producer;
};

template <class Kit>
struct coordinating_process : process<Kit> {
    using process<Kit>::process;
    using coordinator_type = cosaga::coordinator<typename process<Kit>::node_type::outbox_type>;

    void prepare() override
    {
        settings.name = this->options.service;
        part = std::make_unique<coordinator_type>(this->node->get_outbox(), settings);
        this->node->attach(*part);
    }
    void dismiss() override { part.reset(); }

    static cosaga::queue_name halves_of(std::string service)
    {
        return {cosaga::queue_side::inbox, "cosaga.half_messages", std::move(service)};
    }
    std::size_t count(message_state state, std::string service = "shop")
    {
        std::size_t n = 0;
        auto read = [&](typename Kit::transaction& tx) { n = tx.count(halves_of(service), state); };
        run(*this->env, this->store->transact(read));
        return n;
    }
    /// The half messages of a service in one state.
    std::vector<cosaga::message_row> rows(message_state state, std::string service = "shop")
    {
        std::vector<cosaga::message_row> found;
        auto read = [&](typename Kit::transaction& tx) { found = tx.read(halves_of(service), state, 0, 10'000); };
        run(*this->env, this->store->transact(read));
        return found;
    }
    cosaga::dead_letters<typename Kit::store> dead() { return cosaga::dead_letters{*this->store}; }
    cosaga::coordinator_counters counters() const { return part->counters(); }

    cosaga::coordinator_options settings;
    std::unique_ptr<coordinator_type> part;
};

template <class Kit>
struct consuming_process : process<Kit> {
    using process<Kit>::process;

    struct received {
        std::string order;
        cosaga::message content;
        cosaga::steady_time at;
    };

    void prepare() override
    {
        for (auto const* const topic : {"orders", "news"})
            this->node->template consume<order>(topic, this->options.service,
                [this](auto&, order const& o, cosaga::message const& m) { all.push_back({o.id, m, this->env->steady_now()}); });
    }

    std::vector<std::string> orders() const
    {
        std::vector<std::string> ids;
        for (auto const& r : all)
            ids.push_back(r.order);
        return ids;
    }

    std::vector<received> all;
};

/// Who speaks to coordinators and services without the library's patterns.
class raw_client {
public:
    raw_client(cosaga::testing::virtual_environment& env, cosaga::memory_transport& hub, std::string name)
        : env_{&env},
          name_{name},
          transport_{hub, env, {.service = std::move(name),
                                   .routes = {{std::string{cosaga::transactions_topic}, "coordinator"},
                                       {std::string{cosaga::checks_topic}, "shop"}}}},
          ids_{env}
    {
        transport_.start();
    }

    /// A half message with that order.
    cosaga::message half(std::string const& id, std::string const& topic = "orders")
    {
        cosaga::message m;
        m.id = ids_();
        m.time = env_->now();
        m.topic = cosaga::transactions_topic;
        m.type = cosaga::message_type_of<order>();
        m.source = name_;
        m.content_type = cosaga::json_codec::content_type;
        m.headers.push_back({std::string{cosaga::detail::half_topic_header}, topic});
        order const body{id, 100};
        m.payload = cosaga::json_codec::encode(body);
        return m;
    }
    cosaga::message outcome(cosaga::message_id const& about, transaction_outcome o)
    {
        return control(cosaga::transactions_topic, cosaga::detail::type_of(o), about);
    }
    cosaga::message check(cosaga::message_id const& about)
    {
        return control(cosaga::checks_topic, cosaga::detail::check_type, about);
    }

    /// Publishes to the coordinator, or to the shop when it is about check-backs, and waits for what becomes of it.
    cosaga::settlement publish(cosaga::message m)
    {
        bool const asks = m.topic == cosaga::checks_topic;
        auto p = transport_.open_publisher(m.topic, asks ? "shop" : "coordinator");
        std::vector<cosaga::envelope> batch;
        batch.push_back({1, std::move(m)});
        p.publish(std::move(batch));
        return run(*env_, p.settled()).front();
    }
    /// Stores a half message with that order.
    cosaga::message_id store(std::string const& id) { return store(half(id)); }
    cosaga::message_id store(cosaga::message m)
    {
        auto const id = m.id;
        EXPECT_EQ(publish(std::move(m)).result, cosaga::verdict::accepted);
        return id;
    }
    cosaga::settlement resolve(cosaga::message_id const& about, transaction_outcome o) { return publish(outcome(about, o)); }

    cosaga::memory_transport& transport() { return transport_; }

private:
    cosaga::message control(std::string_view topic, std::string_view type, cosaga::message_id const& about)
    {
        return cosaga::detail::make_control(ids_(), topic, type, about, name_, env_->now());
    }

    cosaga::testing::virtual_environment* env_;
    std::string name_;
    cosaga::memory_transport transport_;
    cosaga::message_id_generator ids_;
};

/// A shop, a coordinator and a warehouse on a network in memory, in virtual time. `shop_client` is the shop, too, without
/// its producer: what it leaves undecided is asked of the shop.
template <class Kit>
struct basic_transaction_services : ::testing::Test {
    using transaction = typename Kit::transaction;
    using local = std::function<void(transaction&)>;

    ~basic_transaction_services() override
    {
        shop.end();
        second.end();
        coordinator.end();
        warehouse.end();
        archive.end();
    }

    static cosaga::memory_transport_options coordinating(std::string name)
    {
        return {.service = std::move(name),
            .routes = {{"orders", "warehouse"}, {"news", "warehouse"}, {"news", "archive"},
                {std::string{cosaga::checks_topic}, "shop"}, {std::string{cosaga::checks_topic}, "bank"}}};
    }

    void begin_all()
    {
        coordinator.begin();
        warehouse.begin();
        shop.begin();
    }

    /// Sends an order whose local transaction notes it.
    cosaga::message_id send(std::string const& id, cosaga::transaction_options const& o = {}, std::string_view topic = "orders")
    {
        return send(id, [&](transaction& tx) { Kit::put(tx, id, "placed"); }, o, topic);
    }
    cosaga::message_id send(
        std::string const& id, local work, cosaga::transaction_options const& o = {}, std::string_view topic = "orders")
    {
        order const body{id, 100};
        return run(env, shop.producer->send(topic, body, work, o));
    }

    /// Begins to send; what it throws, or that it did not, is found in `sent` when it has ended.
    void start_sending(std::string id, cosaga::transaction_options o = {})
    {
        auto const task = [](basic_transaction_services& self, std::string name, cosaga::transaction_options options) -> asio::awaitable<void> {
            local work = [&](transaction& tx) { Kit::put(tx, name, "placed"); };
            order const body{name, 100};
            co_await self.shop.producer->send("orders", body, work, options);
        };
        asio::co_spawn(env.get_executor(), task(*this, id, o), [this, id](std::exception_ptr e) {
            sent[id] = failure_of([&] {
                if (e)
                    std::rethrow_exception(e);
            });
        });
    }

    /// Runs a local transaction of which no coordinator is told.
    void commit_silently(cosaga::message_id const& id, std::string const& order_id)
    {
        local work = [&](transaction& tx) { Kit::put(tx, order_id, "placed"); };
        run(env, shop.resource->marks.run(id, work));
    }

    /// Answers every check with `o`.
    void answer_checks(transaction_outcome o)
    {
        shop.resource->checker = [o](cosaga::message_id) -> asio::awaitable<transaction_outcome> { co_return o; };
    }

    /// Seconds from `since` to each check of the shop.
    std::vector<double> check_times(cosaga::steady_time since) const
    {
        std::vector<double> times;
        for (auto const at : shop.resource->checked)
            times.push_back(static_cast<double>((at - since).count()) / 1e6);
        return times;
    }

    bool reported(std::string_view part) const
    {
        return std::any_of(env.reports().begin(), env.reports().end(), [&](auto const& r) { return contains(r, part); });
    }

    cosaga::testing::virtual_environment env{static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()) + 1};
    cosaga::memory_transport hub{env, {.service = "hub"}};
    coordinating_process<Kit> coordinator{env, hub, coordinating("coordinator")};
    coordinating_process<Kit> second{env, hub, coordinating("second")};
    producing_process<Kit> shop{env, hub,
        {.service = "shop", .routes = {{std::string{cosaga::transactions_topic}, "coordinator"}, {std::string{cosaga::transactions_topic}, "second"}}}};
    consuming_process<Kit> warehouse{env, hub, {.service = "warehouse"}};
    consuming_process<Kit> archive{env, hub, {.service = "archive"}};
    raw_client shop_client{env, hub, "shop"};
    std::map<std::string, failure> sent;
};

using transaction_services = basic_transaction_services<storage_kits::memory_kit>;

} // namespace cosaga_tests
