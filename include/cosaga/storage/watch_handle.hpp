// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <memory>

namespace cosaga {

namespace detail {
class watcher;
class watcher_registry;
} // namespace detail

/// Keeps a watch on a queue going. Once it is destroyed, its function neither runs nor is called again.
///
/// Destroying it waits for a call that is running on the store's thread, so not while holding a lock that the
/// function takes; within the function itself it may be destroyed.
class watch_handle {
public:
    watch_handle() = default;
    watch_handle(std::shared_ptr<detail::watcher_registry> registry, std::shared_ptr<detail::watcher> w);
    watch_handle(watch_handle&&) = default;
    watch_handle& operator=(watch_handle&& other) noexcept;
    ~watch_handle();

    void swap(watch_handle& other) noexcept;

private:
    std::shared_ptr<detail::watcher_registry> registry_; // outlives the store for a handle that does
    std::shared_ptr<detail::watcher> watcher_;
};

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/watch_handle.ipp>
#endif
