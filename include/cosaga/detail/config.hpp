// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

/// Before the definitions in impl/: they are inline, so that there is nothing to link, unless the whole program is compiled with
/// COSAGA_SEPARATE_COMPILATION and one source of it includes <cosaga/impl/src.hpp>.
#ifdef COSAGA_SEPARATE_COMPILATION
#define COSAGA_DECL
#else
#define COSAGA_DECL inline
#endif
