// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "support.hpp"

#include <sqlite3.h>
#include <zmq.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>

/// What an engineer writes who knows SQLite and ZeroMQ and has no library: the parts that the two yardsticks share.
namespace by_hand {

inline void check_sql(sqlite3* db, int code)
{
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW)
        throw std::runtime_error{std::string{"sqlite: "} + sqlite3_errmsg(db)};
}

inline void check_zmq(int code)
{
    if (code < 0)
        throw std::runtime_error{std::string{"zmq: "} + zmq_strerror(zmq_errno())};
}

struct bytes {
    std::string_view view;
};

class statement {
public:
    statement(sqlite3* db, char const* sql) : db_{db}
    {
        check_sql(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr));
    }
    statement(statement const&) = delete;
    statement& operator=(statement const&) = delete;
    ~statement() { sqlite3_finalize(statement_); }

    template <class... Args>
    void run(Args const&... args)
    {
        int at = 0;
        (bind(++at, args), ...);
        int const code = sqlite3_step(statement_);
        sqlite3_reset(statement_);
        check_sql(db_, code);
    }

private:
    void bind(int at, std::int64_t v) { sqlite3_bind_int64(statement_, at, v); }
    void bind(int at, std::string_view v)
    {
        sqlite3_bind_text(statement_, at, v.data(), static_cast<int>(v.size()), SQLITE_STATIC);
    }
    void bind(int at, bytes v)
    {
        sqlite3_bind_blob(statement_, at, v.view.data(), static_cast<int>(v.view.size()), SQLITE_STATIC);
    }

    sqlite3* db_;
    sqlite3_stmt* statement_ = nullptr;
};

/// A database as durable as the library's: every commit has reached the disk when it returns.
class database {
public:
    database(std::string const& path, std::initializer_list<char const*> schema)
    {
        check_sql(db_, sqlite3_open_v2(path.c_str(), &db_,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr));
        for (auto const* sql : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -16384",
                 "PRAGMA wal_autocheckpoint = 2000"})
            execute(sql);
        for (auto const* sql : schema)
            execute(sql);
        execute(bench::create_ballast);
        for (int i = 0; i < bench::ballast_rows; ++i)
            execute(bench::insert_ballast);
    }
    database(database const&) = delete;
    database& operator=(database const&) = delete;
    ~database() { sqlite3_close_v2(db_); }

    void execute(char const* sql) { check_sql(db_, sqlite3_exec(db_, sql, nullptr, nullptr, nullptr)); }
    operator sqlite3*() const noexcept { return db_; }

private:
    sqlite3* db_ = nullptr;
};

inline constexpr char create_messages[] = "CREATE TABLE messages(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, topic TEXT NOT NULL, key TEXT NOT NULL, type TEXT NOT NULL, payload BLOB NOT NULL)";
inline constexpr char insert_message[] = "INSERT INTO messages(seq, id, topic, key, type, payload) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
inline constexpr char create_marks[] = "CREATE TABLE marks(scope INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY(scope, id)) WITHOUT ROWID";
inline constexpr char insert_mark[] = "INSERT OR IGNORE INTO marks(scope, id) VALUES(?1, ?2)";

class socket {
public:
    socket(void* context, int type) : socket_{zmq_socket(context, type)}
    {
        int const none = 0;
        check_zmq(zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none));
    }
    socket(socket const&) = delete;
    socket& operator=(socket const&) = delete;
    ~socket() { zmq_close(socket_); }

    operator void*() const noexcept { return socket_; }

    std::string bind_loopback()
    {
        check_zmq(zmq_bind(socket_, "tcp://127.0.0.1:*"));
        char endpoint[256];
        std::size_t size = sizeof endpoint;
        check_zmq(zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, endpoint, &size));
        return endpoint;
    }

    void send(std::string_view frame, int flags = 0)
    {
        check_zmq(zmq_send(socket_, frame.data(), frame.size(), flags));
    }

private:
    void* socket_;
};

class context {
public:
    context() : context_{zmq_ctx_new()} {}
    context(context const&) = delete;
    context& operator=(context const&) = delete;
    ~context() { zmq_ctx_term(context_); }
    operator void*() const noexcept { return context_; }

private:
    void* context_;
};

/// A received frame.
class frame {
public:
    frame() { zmq_msg_init(&message_); }
    frame(frame const&) = delete;
    frame& operator=(frame const&) = delete;
    ~frame() { zmq_msg_close(&message_); }

    /// False if there is none and `flags` says not to wait.
    bool receive(void* from, int flags = 0)
    {
        if (zmq_msg_recv(&message_, from, flags) >= 0)
            return true;
        if (zmq_errno() != EAGAIN)
            check_zmq(-1);
        return false;
    }
    std::string_view view()
    {
        return {static_cast<char const*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
    }

private:
    zmq_msg_t message_;
};

using uuid = std::array<char, 16>;

/// UUIDv7: milliseconds, then random bits, the first of which count up within a millisecond.
class uuid_source {
public:
    uuid next()
    {
        auto const now = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
            std::chrono::system_clock::now().time_since_epoch()).count());
        count_ = now == last_ ? count_ + 1 : (random_() & 0x3ff);
        last_ = now;
        std::uint64_t const high = now << 16 | 0x7000 | (count_ >> 6 & 0xfff);
        std::uint64_t const low = std::uint64_t{1} << 63 | (count_ & 0x3f) << 56 | (random_() >> 8);
        uuid id;
        for (unsigned i = 0; i < 8; ++i) {
            id[i] = static_cast<char>(high >> (56 - 8 * i));
            id[8 + i] = static_cast<char>(low >> (56 - 8 * i));
        }
        return id;
    }

private:
    std::mt19937_64 random_{std::random_device{}()};
    std::uint64_t last_ = 0;
    std::uint64_t count_ = 0;
};

inline std::string_view view_of(uuid const& id) { return {id.data(), id.size()}; }

inline void put_number(std::string& to, std::uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        to.push_back(static_cast<char>(v | 0x80));
    to.push_back(static_cast<char>(v));
}

inline void put_bytes(std::string& to, std::string_view v)
{
    put_number(to, v.size());
    to.append(v);
}

class reader {
public:
    explicit reader(std::string_view from) : at_{from.data()}, end_{from.data() + from.size()} {}

    bool at_end() const { return at_ == end_; }
    std::string_view take(std::size_t size)
    {
        if (size > static_cast<std::size_t>(end_ - at_))
            throw std::runtime_error{"short frame"};
        std::string_view const v{at_, size};
        at_ += size;
        return v;
    }
    std::uint64_t number()
    {
        std::uint64_t v = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            auto const byte = static_cast<unsigned char>(take(1).front());
            v |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80)
                break;
        }
        return v;
    }
    std::string_view bytes() { return take(number()); }

private:
    char const* at_;
    char const* end_;
};

inline void encode(bench::order const& o, std::string& to)
{
    put_bytes(to, o.id);
    put_number(to, static_cast<std::uint64_t>(o.customer));
    put_number(to, o.lines.size());
    for (auto const& line : o.lines) {
        put_bytes(to, line.sku);
        put_number(to, static_cast<std::uint64_t>(line.quantity));
        put_number(to, static_cast<std::uint64_t>(line.price_cents));
    }
}

/// Into an order that is used again, so that its strings need not be allocated again.
inline void decode(std::string_view from, bench::order& o)
{
    reader r{from};
    o.id = r.bytes();
    o.customer = static_cast<std::int64_t>(r.number());
    auto const count = r.number();
    if (count > 1000)
        throw std::runtime_error{"too many lines"};
    o.lines.resize(count);
    for (auto& line : o.lines) {
        line.sku = r.bytes();
        line.quantity = static_cast<int>(r.number());
        line.price_cents = static_cast<std::int64_t>(r.number());
    }
}

/// The sender's half of a hop but for the commit: both rows, and the message appended to the frame.
class sending_side {
public:
    explicit sending_side(std::string const& path) : db{path, {bench::create_orders, create_messages}} {}

    /// @return the message's number.
    std::int64_t stage(std::string& to)
    {
        auto const seq = ++last_seq_;
        auto const o = bench::make_order(static_cast<std::uint64_t>(seq));
        auto const id = ids_.next();
        payload_.clear();
        encode(o, payload_);
        insert_order_.run(o.id, o.customer, bench::cents_of(o));
        insert_message_.run(seq, bytes{view_of(id)}, topic, o.id, type, bytes{payload_});
        put_number(to, static_cast<std::uint64_t>(seq));
        to.append(view_of(id));
        put_bytes(to, topic);
        put_bytes(to, o.id);
        put_bytes(to, type);
        put_bytes(to, payload_);
        return seq;
    }

    /// What was acknowledged, in order, up to there.
    void erase(std::int64_t up_to) { erase_.run(up_to); }

    database db;
    statement begin{db, "BEGIN IMMEDIATE"};
    statement commit{db, "COMMIT"};

private:
    static constexpr std::string_view topic = "orders";
    static constexpr std::string_view type = "bench.order";

    statement insert_order_{db, bench::insert_order};
    statement insert_message_{db, insert_message};
    statement erase_{db, "DELETE FROM messages WHERE seq <= ?1"};
    uuid_source ids_;
    std::string payload_;
    std::int64_t last_seq_ = 0;
};

/// The receiver's half but for the commit.
class receiving_side {
public:
    explicit receiving_side(std::string const& path) : db{path, {bench::create_shipments, create_marks}} {}

    /// Applies every message of a frame that is new.
    /// @return how many messages it held.
    std::size_t apply(std::string_view from)
    {
        std::size_t count = 0;
        for (reader r{from}; !r.at_end(); ++count) {
            last_ = static_cast<std::int64_t>(r.number());
            auto const id = r.take(std::tuple_size_v<uuid>);
            if (r.bytes() != "orders")
                throw std::runtime_error{"wrong topic"};
            r.bytes(); // the key
            if (r.bytes() != "bench.order")
                throw std::runtime_error{"wrong type"};
            auto const payload = r.bytes();
            insert_mark_.run(std::int64_t{1}, bytes{id});
            if (sqlite3_changes(db) == 0)
                continue;
            decode(payload, order_);
            insert_shipment_.run(order_.id, order_.customer, bench::cents_of(order_));
        }
        return count;
    }

    std::int64_t last_seq() const { return last_; }

    database db;
    statement begin{db, "BEGIN IMMEDIATE"};
    statement commit{db, "COMMIT"};

private:
    statement insert_mark_{db, insert_mark};
    statement insert_shipment_{db, bench::insert_shipment};
    bench::order order_;
    std::int64_t last_ = 0;
};

/// An acknowledgement: every message up to this one is applied and committed.
inline std::string encode_acknowledgement(std::int64_t seq)
{
    std::string to;
    put_number(to, static_cast<std::uint64_t>(seq));
    return to;
}

inline std::int64_t decode_acknowledgement(std::string_view from)
{
    return static_cast<std::int64_t>(reader{from}.number());
}

} // namespace by_hand
