// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

/// Everything that the default needs: SQLite for the store, ZeroMQ for the transport, JSON for the bodies.

#include <cosaga/codec/json.hpp>
#include <cosaga/dead_letters.hpp>
#include <cosaga/inbox.hpp>
#include <cosaga/node.hpp>
#include <cosaga/storage/sqlite.hpp>
#include <cosaga/transport/zeromq.hpp>
