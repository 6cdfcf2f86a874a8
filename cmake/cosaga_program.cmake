# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# For the project's own programs (tests, benchmarks, examples) and nothing else: users choose their own warnings.

add_library(cosaga_warnings INTERFACE)
target_compile_options(cosaga_warnings INTERFACE
    $<$<CXX_COMPILER_ID:GNU,Clang>:-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror>)

# Adds the program `name` from the sources that follow.
function(cosaga_add_program name)
    add_executable(${name} ${ARGN})
    set_target_properties(${name} PROPERTIES
        CXX_EXTENSIONS OFF
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    target_link_libraries(${name} PRIVATE cosaga::cosaga cosaga_warnings)
endfunction()

# Lets Asio keep 8 coroutine frames a thread instead of 2: without it every third nested call allocates.
# It must be the same in all of a program.
function(cosaga_recycle_frames name)
    target_compile_definitions(${name} PRIVATE BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=8)
endfunction()
