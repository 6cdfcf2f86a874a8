// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <boost/asio/any_io_executor.hpp>

#include <exception>

namespace cosaga::detail {

namespace asio = boost::asio;

class pending_list;

/// A coroutine that waits for the store. It is in one `pending_list` at a time, and owns itself.
class pending {
public:
    pending() = default;
    pending(pending const&) = delete;
    pending& operator=(pending const&) = delete;

    /// Resumes the coroutine, with `error` if there is one; runs on `executor`. Destroys this object.
    virtual void complete() = 0;
    /// Destroys the coroutine and this object.
    virtual void abandon() noexcept = 0;

    asio::any_io_executor executor; ///< of the coroutine; counts as outstanding work there
    std::exception_ptr error;
    pending_list* queue = nullptr; ///< where it can be cancelled; null once it was taken from there

protected:
    ~pending() = default;

private:
    friend class pending_list;
    pending* next_ = nullptr;
    pending* previous_ = nullptr;
};

} // namespace cosaga::detail
