// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

/// What of the webhooks is compiled once: beside <cosaga/impl/src.hpp>, in a program that uses them.

#ifndef COSAGA_SEPARATE_COMPILATION
#error "define COSAGA_SEPARATE_COMPILATION for every source of the program, or do not include <cosaga/impl/webhook_src.hpp>"
#endif

#include <cosaga/impl/webhook_address_guard.ipp>
#include <cosaga/impl/webhook_answerer.ipp>
#include <cosaga/impl/webhook_content.ipp>
#include <cosaga/impl/webhook_dates.ipp>
#include <cosaga/impl/webhook_endpoint.ipp>
#include <cosaga/impl/webhook_http.ipp>
#include <cosaga/impl/webhook_intake.ipp>
#include <cosaga/impl/webhook_query.ipp>
#include <cosaga/impl/webhook_signature.ipp>
#include <cosaga/impl/webhook_sink.ipp>
#include <cosaga/impl/webhook_url.ipp>
