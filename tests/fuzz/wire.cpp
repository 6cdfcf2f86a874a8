// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include "fuzz.hpp"

#include <cosaga/detail/wire.hpp>

#include <array>
#include <string>
#include <string_view>

namespace {

using cosaga::detail::wire_reader;
using cosaga::detail::wire_writer;
using fuzz::require;

// Reads one thing, and writes what was read.
void read_one(std::size_t what, std::size_t number, wire_reader& in, wire_writer out)
{
    switch (what) {
    case 0: out.u8(in.u8()); break;
    case 1: out.varint(in.varint()); break;
    case 2: {
        auto const v = in.varint(number);
        require(v <= number, "a varint is within its limit");
        out.varint(v);
        break;
    }
    case 3: out.zigzag(in.zigzag()); break;
    case 4: out.fixed32(in.fixed32()); break;
    case 5: out.fixed64(in.fixed64()); break;
    case 6: out.bytes(in.bytes()); break;
    case 7: {
        auto const v = in.bytes(number);
        require(v.size() <= number, "bytes are within their limit");
        out.nested([&] { out.raw(v); });
        break;
    }
    case 8: out.raw(in.raw(number)); break;
    case 9: out.raw(in.raw<16>()); break;
    case 10: {
        auto const count = in.count(number, 1 + number % 3);
        require(count <= number && count * (1 + number % 3) <= in.remaining(), "a count fits what is left");
        out.varint(count);
        break;
    }
    case 11: {
        auto inner = in.nested(number);
        out.bytes(inner.rest());
        inner.expect_end();
        break;
    }
    case 12: in.expect_end(); break;
    default: out.raw(in.rest()); break;
    }
}

} // namespace

// The first half of the input says what to read from the second.
int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size > 256)
        return -1; // what is longer finds nothing new
    fuzz::choices steps{data, size / 2};
    std::string_view const bytes{reinterpret_cast<char const*>(data + size / 2), size - size / 2};
    wire_reader in{bytes, "bytes"};
    std::string written;
    for (int errors = 0; errors < 3 && !steps.at_end();) {
        auto const what = steps.below(14);
        auto const number = steps.byte();
        auto const before = in.position();
        written.clear();
        bool const read = fuzz::decodes([&] { read_one(what, number, in, wire_writer{written}); });
        if (read) {
            require(written == bytes.substr(before, in.position() - before), "every value has exactly one encoding");
        } else {
            require(in.position() == before, "a reader that threw stands where it stood");
            ++errors;
        }
    }
    return 0;
}
