// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

// The patterns as templates, for who makes them over a store or a transport that is not the library's own.
#include <cosaga/impl/consumer.ipp>
#include <cosaga/impl/coordinator.ipp>
#include <cosaga/impl/node.ipp>
#include <cosaga/impl/notifier.ipp>
#include <cosaga/impl/outbox.ipp>
#include <cosaga/impl/requester.ipp>
#include <cosaga/impl/responder.ipp>
#include <cosaga/impl/saga.ipp>
#include <cosaga/impl/transactional_producer.ipp>
