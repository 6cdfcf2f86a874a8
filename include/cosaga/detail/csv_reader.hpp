// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/error.hpp>

#include <cstddef>
#include <cstdint>
#include <istream>
#include <streambuf>
#include <string>
#include <string_view>
#include <vector>

namespace cosaga::detail {

/// Reads CSV (RFC 4180) record by record: quoted fields with separators, quotes and line breaks in them, lines that end with CRLF or
/// LF, a byte order mark. Memory is one record.
class csv_reader {
public:
    static constexpr std::size_t max_record = std::size_t{1} << 20; ///< bytes
    static constexpr std::size_t max_fields = 4096;

    csv_reader(std::istream& in, char separator) : in_{in.rdbuf()}, separator_{separator} {}

    /// Reads the next record that is no empty line; false at the end.
    /// @throws system_error `errc::malformed_data`, `errc::limit_exceeded` that name the line.
    bool next(std::vector<std::string>& fields)
    {
        if (at_begin_)
            skip_byte_order_mark();
        for (int c = in_->sgetc(); c == '\n' || c == '\r'; c = in_->snextc())
            line_ += c == '\n';
        if (in_->sgetc() == end)
            return false;
        record_line_ = line_;
        count_ = size_ = 0;
        while (read_field(field(fields))) {
        }
        fields.resize(count_);
        ++line_;
        return true;
    }

    /// Where the last record begins, from 1.
    std::uint64_t line() const noexcept { return record_line_; }

    [[noreturn]] void fail(std::string const& problem, errc e = errc::malformed_data) const
    {
        throw make_error(e, "statement, line " + std::to_string(record_line_) + ": " + problem);
    }

private:
    static constexpr int end = std::char_traits<char>::eof();

    void skip_byte_order_mark()
    {
        at_begin_ = false;
        if (in_->sgetc() != 0xef)
            return;
        in_->sbumpc();
        if (in_->sbumpc() != 0xbb || in_->sbumpc() != 0xbf)
            fail("begins with bytes that are no text");
    }

    std::string& field(std::vector<std::string>& fields)
    {
        if (count_ == max_fields)
            fail("has more than " + std::to_string(max_fields) + " fields", errc::limit_exceeded);
        if (count_ == fields.size())
            fields.emplace_back();
        auto& f = fields[count_++];
        f.clear();
        return f;
    }

    /// True if another field of the record follows; then `read_field` is called with it.
    bool read_field(std::string& f)
    {
        if (in_->sgetc() == '"') {
            in_->sbumpc();
            read_quoted(f);
        } else
            for (int c = in_->sgetc(); c != end && c != separator_ && c != '\n' && c != '\r'; c = in_->snextc()) {
                if (c == '"')
                    fail("has a quote inside a field that does not begin with one: double it, and quote the field");
                add(f, c);
            }
        int const c = in_->sbumpc();
        if (c == separator_)
            return true;
        if (c == '\r' && in_->sgetc() == '\n')
            in_->sbumpc();
        else if (c != '\n' && c != '\r' && c != end)
            fail("has text behind the closing quote of a field");
        return false;
    }

    void read_quoted(std::string& f)
    {
        for (;;) {
            int const c = in_->sbumpc();
            if (c == end)
                fail("has a quoted field without an end");
            if (c == '"' && in_->sgetc() != '"')
                return;
            if (c == '"')
                in_->sbumpc();
            line_ += c == '\n';
            add(f, c);
        }
    }

    void add(std::string& f, int c)
    {
        if (++size_ > max_record)
            fail("has more than " + std::to_string(max_record) + " bytes", errc::limit_exceeded);
        f += static_cast<char>(c);
    }

    std::streambuf* in_;
    int separator_;
    bool at_begin_ = true;
    std::uint64_t line_ = 1;
    std::uint64_t record_line_ = 1;
    std::size_t count_ = 0; // of the record's fields
    std::size_t size_ = 0;  // of the record in bytes
};

/// Appends a field as RFC 4180 has it. One that a spreadsheet would take for a formula stays text.
inline void write_csv_field(std::string& out, std::string_view field)
{
    bool const formula = !field.empty() && std::string_view{"=+-@\t\r"}.find(field.front()) != std::string_view::npos
                      && field.find_first_not_of("+-0123456789.,") != std::string_view::npos;
    if (!formula && field.find_first_of(",;\"\r\n") == std::string_view::npos) {
        out += field;
        return;
    }
    out += formula ? "\"'" : "\"";
    for (auto const c : field) {
        if (c == '"')
            out += '"';
        out += c;
    }
    out += '"';
}

} // namespace cosaga::detail
