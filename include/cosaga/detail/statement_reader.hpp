// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/csv_reader.hpp>
#include <cosaga/detail/json_lines.hpp>
#include <cosaga/error.hpp>
#include <cosaga/ledger.hpp>
#include <cosaga/message_id.hpp>
#include <cosaga/statement_options.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// A line of a statement as a record that can be compared.
struct statement_line {
    std::uint64_t number = 0;
    ledger_record record; ///< without time
};

/// Reads the lines of a statement.
class statement_reader {
public:
    /// @throws system_error `errc::malformed_data` when a column is not in the first line.
    statement_reader(std::istream& in, statement_options const& options)
        : in_{&in}, options_{&options}, csv_{in, options.separator}
    {
        wanted_.push_back(options.id_column);
        for (auto const& c : options.columns)
            wanted_.push_back(c.name);
        if (!options.key_column.empty())
            wanted_.push_back(options.key_column);
        if (options.format == statement_format::csv)
            find_columns();
    }

    /// False at the end.
    /// @throws system_error `errc::malformed_data`, `errc::limit_exceeded` that name the line.
    bool next(statement_line& to)
    {
        bool const found = options_->format == statement_format::csv ? next_csv() : next_json();
        if (in_->bad())
            throw make_error(errc::store_failed, "statement: cannot be read behind line " + std::to_string(line_));
        if (found)
            make_record(to);
        return found;
    }

private:
    void find_columns()
    {
        if (!csv_.next(fields_))
            throw make_error(errc::malformed_data, "statement: is empty; its first line must name the columns");
        width_ = fields_.size();
        for (auto const& name : wanted_) {
            auto const found = std::find(fields_.begin(), fields_.end(), name);
            if (found == fields_.end())
                csv_.fail("there is no column '" + name + "'; there are " + names_of(fields_));
            if (std::find(found + 1, fields_.end(), name) != fields_.end())
                csv_.fail("the column '" + name + "' is there twice");
            at_.push_back(static_cast<std::size_t>(found - fields_.begin()));
        }
    }

    static std::string names_of(std::vector<std::string> const& all)
    {
        constexpr std::size_t most = 20;
        std::string text;
        for (std::size_t i = 0; i < std::min(all.size(), most); ++i)
            text += (i > 0 ? ", '" : "'") + all[i].substr(0, 100) + '\'';
        return all.size() > most ? text + " and more" : text;
    }

    bool next_csv()
    {
        if (!csv_.next(fields_))
            return false;
        line_ = csv_.line();
        if (fields_.size() != width_)
            fail("has " + std::to_string(fields_.size()) + " fields, the first line " + std::to_string(width_));
        values_.resize(wanted_.size());
        for (std::size_t i = 0; i < wanted_.size(); ++i)
            values_[i] = fields_[at_[i]];
        return true;
    }

    bool next_json()
    {
        do {
            ++line_;
            if (!read_line())
                return false;
        } while (text_.empty());
        values_.assign(wanted_.size(), std::nullopt);
        auto const problem = read_json_line(text_, [&](std::string_view name, std::string_view value) {
            for (std::size_t i = 0; i < wanted_.size(); ++i)
                if (wanted_[i] == name) {
                    if (values_[i])
                        fail("the member '" + wanted_[i] + "' is there twice");
                    values_[i] = value;
                }
        });
        if (!problem.empty())
            fail(std::string{problem});
        for (std::size_t i = 0; i < wanted_.size(); ++i)
            if (!values_[i])
                fail("has no member '" + wanted_[i] + "' that is text or a number");
        return true;
    }

    bool read_line()
    {
        text_.clear();
        auto& in = *in_->rdbuf();
        constexpr int end = std::char_traits<char>::eof();
        int c = in.sbumpc();
        if (c == end)
            return false;
        for (; c != '\n' && c != end; c = in.sbumpc()) {
            if (text_.size() == csv_reader::max_record)
                fail("has more than " + std::to_string(csv_reader::max_record) + " bytes", errc::limit_exceeded);
            text_ += static_cast<char>(c);
        }
        if (!text_.empty() && text_.back() == '\r')
            text_.pop_back();
        return true;
    }

    void make_record(statement_line& to) const
    {
        to.number = line_;
        to.record = {};
        auto const id = message_id::parse(*values_[0]);
        if (id)
            to.record.id = *id;
        else if (options_->id_source.empty())
            fail("the column '" + options_->id_column + "' is no UUID; if that is right, say in id_source who gave it");
        else if (values_[0]->empty())
            fail("the column '" + options_->id_column + "' is empty");
        else
            to.record.id = message_id::from_foreign(options_->id_source, *values_[0]);
        for (std::size_t i = 0; i < options_->columns.size(); ++i) {
            auto const& c = options_->columns[i];
            auto const& value = *values_[i + 1];
            add_field(to.record.fields, c, c.convert ? converted(c, value) : value);
        }
        if (!options_->key_column.empty())
            to.record.key = *values_.back();
    }

    void add_field(ledger_fields& to, statement_column const& c, std::string const& value) const
    {
        try {
            to.add(c.field.empty() ? c.name : c.field, value);
            return;
        } catch (boost::system::system_error const&) { // named below
        }
        fail("the compared columns have more than " + std::to_string(ledger_fields::max_size) + " bytes", errc::limit_exceeded);
    }

    std::string converted(statement_column const& c, std::string const& value) const
    {
        std::string problem;
        try {
            return c.convert(value);
        } catch (std::exception const& e) {
            problem = e.what();
        }
        fail("the column '" + c.name + "': " + problem);
    }

    [[noreturn]] void fail(std::string const& problem, errc e = errc::malformed_data) const
    {
        throw make_error(e, "statement, line " + std::to_string(line_) + ": " + problem);
    }

    std::istream* in_;
    statement_options const* options_;
    csv_reader csv_;
    std::vector<std::string> wanted_; // the id first, the key last
    std::vector<std::size_t> at_;     // where they are in a record of CSV
    std::size_t width_ = 0;
    std::vector<std::string> fields_;
    std::string text_;
    std::vector<std::optional<std::string>> values_; // as `wanted_`
    std::uint64_t line_ = 0;
};

} // namespace cosaga::detail
