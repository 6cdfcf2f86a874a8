# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# For the project's own programs (tests, benchmarks, examples) and nothing else: users choose their own warnings.

add_library(cosaga_warnings INTERFACE)
target_compile_options(cosaga_warnings INTERFACE
    $<$<CXX_COMPILER_ID:GNU,Clang>:-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror>)

if(PROJECT_IS_TOP_LEVEL)
    target_link_libraries(cosaga_compiled PRIVATE cosaga_warnings)
    if(TARGET cosaga_compiled_webhook)
        target_link_libraries(cosaga_compiled_webhook PRIVATE cosaga_warnings)
    endif()
endif()

# Adds the program `name` from the sources that follow; it links `library`, cosaga or compiled.
function(cosaga_add_program name library)
    add_executable(${name} ${ARGN})
    # Lets Asio keep 8 coroutine frames a thread instead of 2: without it every third nested call allocates.
    target_compile_definitions(${name} PRIVATE BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=8)
    set_target_properties(${name} PROPERTIES
        CXX_EXTENSIONS OFF
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    target_link_libraries(${name} PRIVATE cosaga::${library} cosaga_warnings)
endfunction()
