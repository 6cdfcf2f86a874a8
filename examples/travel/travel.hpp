// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include "../program.hpp"

#include <cosaga.hpp>

#include <boost/describe/class.hpp>

#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>

// What the programs of this example share.
namespace travel {

namespace asio = boost::asio;
using namespace examples;

/// The value of an argument that may be missing.
inline std::int64_t number_in(arguments const& given, std::string const& name, std::int64_t otherwise)
{
    if (!given.has(name))
        return otherwise;
    auto const& text = given[name];
    std::int64_t n = 0;
    auto const read = std::from_chars(text.data(), text.data() + text.size(), n);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || n < 0)
        throw usage_error{name + " needs a number"};
    return n;
}

/// The names by which the programs know each other.
inline constexpr char agency_name[] = "agency";
inline constexpr char answers_topic[] = "agency.answers";

/// A line of the agency's input.
struct trip {
    std::string id; ///< the same trip has the same, also when it is asked for twice
    std::string city;
};
BOOST_DESCRIBE_STRUCT(trip, (), (id, city))

/// What a supplier answers to each booking.
struct booking {
    std::int64_t number = 0;
};
BOOST_DESCRIBE_STRUCT(booking, (), (number))

struct book_flight {
    using reply = booking;
    std::string trip;
    std::string city;
};
BOOST_DESCRIBE_STRUCT(book_flight, (), (trip, city))
struct cancel_flight {
    std::string trip;
    std::string city;
};
BOOST_DESCRIBE_STRUCT(cancel_flight, (), (trip, city))

struct book_room {
    using reply = booking;
    std::string trip;
    std::string city;
};
BOOST_DESCRIBE_STRUCT(book_room, (), (trip, city))
struct cancel_room {
    std::string trip;
    std::string city;
};
BOOST_DESCRIBE_STRUCT(cancel_room, (), (trip, city))

struct rent_car {
    using reply = booking;
    std::string trip;
    std::string city;
};
BOOST_DESCRIBE_STRUCT(rent_car, (), (trip, city))
struct return_car {
    std::string trip;
    std::string city;
};
BOOST_DESCRIBE_STRUCT(return_car, (), (trip, city))

/// What a saga comes to: a trip that is booked with all three.
struct itinerary {
    std::int64_t flight = 0;
    std::int64_t room = 0;
    std::int64_t car = 0;
};
BOOST_DESCRIBE_STRUCT(itinerary, (), (flight, room, car))

} // namespace travel
