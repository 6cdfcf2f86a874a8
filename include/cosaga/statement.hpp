// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/external_sorter.hpp>
#include <cosaga/detail/safe_to_await.hpp>
#include <cosaga/detail/statement_reader.hpp>
#include <cosaga/detail/time_text.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/ledger_difference.hpp>
#include <cosaga/statement_options.hpp>
#include <cosaga/storage.hpp>

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cosaga {

/// Compares a ledger with a statement that somebody else has exported, as accounting departments do at the day's end.
///
/// @code
/// cosaga::statement day{{.id_column = "Reference", .columns = {{"Amount", "cents", to_cents}}, .from = morning, .until = evening}};
/// day.read(file);                          // CSV or JSON Lines, of any size, in any order
/// auto const summary = co_await day.compare(store, "inbox/payments/shop/bank", cosaga::difference_report{out});
/// std::cout << summary.to_string();
/// @endcode
/// Both are sorted by id, in temporary files if they do not fit the memory of the options, and joined. Nothing is changed.
/// @par Thread safety
/// one call at a time. It reads files and sorts where it is called: give it a thread of its own if that must not wait.
class statement {
public:
    explicit statement(statement_options options)
        : options_{std::move(options)}, lines_{options_.memory / 2, options_.folder}, records_{options_.memory / 2, options_.folder}
    {
    }

    /// Reads a part of the statement, or all of it; every part of CSV begins with the names of its columns.
    /// @throws system_error `errc::malformed_data`, `errc::limit_exceeded` that name the line and what is wrong there;
    /// `errc::store_full`, `errc::store_failed` for the temporary files.
    void read(std::istream& in)
    {
        detail::statement_reader reader{in, options_};
        std::string content;
        for (detail::statement_line line; reader.next(line); ++in_statement_) {
            content.clear();
            detail::wire_writer w{content};
            w.varint(line.number);
            write(w, line.record);
            lines_.add(line.record.id, content);
        }
    }

    /// Joins the statement with a ledger. To be called once, after `read`.
    /// @param tell `void(ledger_difference const&)`: `here` is the ledger's record, `there` the statement's, which has no time.
    /// @par Errors
    /// @li `errc::malformed_data` - two lines have the same id; told before any difference.
    /// @li what reading the store throws.
    /// @par Cancellation
    /// between pages of the ledger.
    template <store Store, std::invocable<ledger_difference const&> Tell>
    asio::awaitable<statement_summary> compare(Store& s, std::string ledger, Tell&& tell)
    {
        static_assert(detail::safe_to_await<Tell>, "name the function object first: g++ 12 destroys it twice (GCC PR 99576)");
        return run<Store, Tell>(s, std::move(ledger), std::forward<Tell>(tell));
    }

    /// Records of the ledger, in any order: for who has them from elsewhere than a store.
    void add(std::span<ledger_record const> records)
    {
        std::string content;
        for (auto const& r : records) {
            content.clear();
            detail::wire_writer w{content};
            w.zigzag(r.time.time_since_epoch().count());
            write(w, r);
            records_.add(r.id, content);
        }
        in_ledger_ += records.size();
    }

    /// Joins what was read and added.
    /// @throws system_error `errc::malformed_data` when two lines have the same id, before anything is told.
    template <std::invocable<ledger_difference const&> Tell>
    statement_summary join(Tell&& tell)
    {
        refuse_duplicates();
        statement_summary sum;
        sum.in_ledger = in_ledger_;
        sum.in_statement = in_statement_;
        detail::external_sorter::reader ledger{records_};
        detail::external_sorter::reader lines{lines_};
        auto here = next(ledger);
        auto there = next(lines);
        while (here || there) {
            bool const take_here = here && (!there || here->first <= there->first);
            bool const take_there = there && (!here || there->first <= here->first);
            ledger_difference d;
            if (take_here)
                d.here = record_of(here->first, here->second);
            if (take_there)
                d.there = line_of(there->first, there->second).record;
            if (take_here && take_there && agree(*d.here, *d.there))
                ++sum.equal;
            else {
                ++(take_here && take_there ? sum.differing : take_here ? sum.only_in_ledger : sum.only_in_statement);
                tell(std::as_const(d));
            }
            if (take_here)
                here = next(ledger);
            if (take_there)
                there = next(lines);
        }
        return sum;
    }

private:
    using entry = std::optional<std::pair<message_id, std::string>>;
    static constexpr std::size_t page = 1024;

    // `Tell` is a reference to what the caller has named, or a type to keep.
    template <class Store, class Tell>
    asio::awaitable<statement_summary> run(Store& s, std::string ledger, Tell tell)
    {
        ledger_range left{{options_.from, {}}, {options_.until, {}}};
        std::vector<ledger_record> records;
        auto read_page = [&](typename Store::transaction_type& tx) { records = tx.read_records(ledger, left, page); };
        do {
            co_await s.transact(read_page);
            add(records);
            if (!records.empty())
                left.from = detail::position_after(records.back().position());
        } while (records.size() == page);
        co_return join(tell);
    }

    static entry next(detail::external_sorter::reader& from)
    {
        detail::external_sorter::item i;
        return from.next(i) ? entry{{i.id, std::move(i.content)}} : std::nullopt;
    }

    static void write(detail::wire_writer& w, ledger_record const& r)
    {
        w.bytes(r.key);
        w.bytes(r.fields.bytes());
    }
    static void read(detail::wire_reader& r, ledger_record& to)
    {
        to.key = r.bytes();
        to.fields = ledger_fields::from_bytes(r.bytes());
    }
    static ledger_record record_of(message_id const& id, std::string_view content)
    {
        detail::wire_reader r{content, "sorted record"};
        ledger_record record;
        record.id = id;
        record.time = time_point{duration{r.zigzag()}};
        read(r, record);
        return record;
    }
    static detail::statement_line line_of(message_id const& id, std::string_view content)
    {
        detail::wire_reader r{content, "sorted line"};
        detail::statement_line line;
        line.number = r.varint();
        line.record.id = id;
        read(r, line.record);
        return line;
    }

    bool agree(ledger_record const& ours, ledger_record const& theirs) const
    {
        bool same = options_.key_column.empty() || ours.key == theirs.key;
        theirs.fields.each([&](std::string_view name, std::string_view value) { same = same && ours.fields.find(name) == value; });
        return same;
    }

    void refuse_duplicates()
    {
        detail::external_sorter::reader lines{lines_};
        for (entry last, at = next(lines); at; last = std::move(at), at = next(lines))
            if (last && last->first == at->first)
                throw make_error(errc::malformed_data,
                    "statement: lines " + std::to_string(line_of(last->first, last->second).number) + " and "
                        + std::to_string(line_of(at->first, at->second).number) + " have the same id: remove one, or add them up");
    }

    statement_options options_;
    detail::external_sorter lines_;
    detail::external_sorter records_;
    std::uint64_t in_statement_ = 0;
    std::uint64_t in_ledger_ = 0;
};

/// Writes differences as CSV, for `statement::compare` or a reconciler's callback: what is wrong, id, time, and both sides.
class difference_report {
public:
    /// @param out outlives it.
    explicit difference_report(std::ostream& out, std::string_view ours = "ledger", std::string_view theirs = "statement")
        : out_{&out}, ours_{ours}, theirs_{theirs}
    {
        *out_ << "difference,id,time," << ours_ << "_key," << ours_ << ',' << theirs_ << "_key," << theirs_ << "\r\n";
    }

    void operator()(ledger_difference const& d) const
    {
        std::string line = d.here && d.there ? "differs" : "only in the " + (d.here ? ours_ : theirs_);
        line += ',' + d.id().to_string() + ',';
        if (d.here)
            line += detail::time_text(d.here->time);
        for (auto const& side : {d.here, d.there}) {
            line += ',';
            if (side)
                detail::write_csv_field(line, side->key);
            line += ',';
            if (side)
                detail::write_csv_field(line, side->fields.to_string());
        }
        *out_ << line << "\r\n";
    }

private:
    std::ostream* out_;
    std::string ours_;
    std::string theirs_;
};

} // namespace cosaga
