// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/storage/memory.hpp>
#include <cosaga/webhook/address_guard.hpp>
#include <cosaga/webhook/answerer.hpp>
#include <cosaga/webhook/endpoint.hpp>
#include <cosaga/webhook/http.hpp>
#include <cosaga/webhook/query.hpp>
#include <cosaga/webhook/receiver.hpp>
#include <cosaga/webhook/signature.hpp>
#include <cosaga/webhook/sink.hpp>
#include <cosaga/webhook/url.hpp>

// Of other.cpp, which includes all of it a second time.
bool is_refused();
