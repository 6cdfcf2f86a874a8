# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# The oldest versions that the tests were run with; cosagaConfig.cmake asks for the same.
set(COSAGA_BOOST_VERSION 1.81)
set(COSAGA_SQLITE_VERSION 3.40)
set(COSAGA_CPPZMQ_VERSION 4.9)
set(COSAGA_OPENSSL_VERSION 3.0)

find_package(Threads REQUIRED)
find_package(Boost ${COSAGA_BOOST_VERSION} CONFIG REQUIRED COMPONENTS json)
find_package(SQLite3 ${COSAGA_SQLITE_VERSION} REQUIRED)
find_package(cppzmq ${COSAGA_CPPZMQ_VERSION} CONFIG REQUIRED) # where libzmq has no CMake package it uses pkg-config
find_package(OpenSSL ${COSAGA_OPENSSL_VERSION}) # without it there is no cosaga::webhook
