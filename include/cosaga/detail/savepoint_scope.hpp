// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <type_traits>
#include <utility>

namespace cosaga::detail {

/// Rolls back to where it was made unless it was kept.
template <class Engine>
class savepoint_scope {
public:
    explicit savepoint_scope(Engine& engine) noexcept : engine_{&engine} { engine_->savepoint(); }
    savepoint_scope(savepoint_scope const&) = delete;
    savepoint_scope& operator=(savepoint_scope const&) = delete;
    ~savepoint_scope() { kept_ ? engine_->release() : engine_->rollback_to(); }

    void keep() noexcept { kept_ = true; }

private:
    Engine* engine_;
    bool kept_ = false;
};

/// Runs `f` in a savepoint of its own: if it throws, its changes are undone.
template <class Engine, class F>
std::invoke_result_t<F> run_nested(Engine& engine, F&& f)
{
    savepoint_scope scope{engine};
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
        std::forward<F>(f)();
        scope.keep();
    } else {
        decltype(auto) result = std::forward<F>(f)();
        scope.keep();
        return static_cast<std::invoke_result_t<F>&&>(result);
    }
}

} // namespace cosaga::detail
