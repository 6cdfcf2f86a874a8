// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/detail/config.hpp>
#include <cosaga/detail/watchers.hpp>
#include <cosaga/storage/watch_handle.hpp>

#include <utility>

namespace cosaga {

COSAGA_DECL watch_handle::watch_handle(
    std::shared_ptr<detail::watcher_registry> registry, std::shared_ptr<detail::watcher> w)
    : registry_{std::move(registry)}, watcher_{std::move(w)}
{
}

COSAGA_DECL watch_handle& watch_handle::operator=(watch_handle&& other) noexcept
{
    watch_handle{std::move(other)}.swap(*this);
    return *this;
}

COSAGA_DECL watch_handle::~watch_handle()
{
    if (!watcher_)
        return;
    registry_->remove(watcher_);
    watcher_->end();
}

COSAGA_DECL void watch_handle::swap(watch_handle& other) noexcept
{
    registry_.swap(other.registry_);
    watcher_.swap(other.watcher_);
}

} // namespace cosaga
