# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# Compiles SOURCE twice. With COSAGA_EXPECT_SUCCESS defined it must compile, so that the other time it fails for
# the right reason; without it must not, and the output must contain every expected text. In SOURCE:
#   // expect: text        a text that the compiler must print; at least one such line
#   // compiler: GNU <13   only this compiler refuses the source, and only before that version
# Only the declarations are needed, so compilation is separate, which is quicker.
cmake_minimum_required(VERSION 3.25)

file(STRINGS ${SOURCE} compiler_lines REGEX "^// compiler: ")
foreach(line IN LISTS compiler_lines)
    if(NOT line MATCHES "^// compiler: ([A-Za-z]+)( <([0-9]+))?$")
        message(FATAL_ERROR "compile_fail: cannot read the line: ${line}")
    endif()
    if(NOT COMPILER_ID STREQUAL CMAKE_MATCH_1
       OR (CMAKE_MATCH_3 AND COMPILER_VERSION VERSION_GREATER_EQUAL CMAKE_MATCH_3))
        message(STATUS "compile_fail: skipped, ${COMPILER_ID} ${COMPILER_VERSION} may accept the source")
        return()
    endif()
endforeach()

list(TRANSFORM INCLUDE_DIRECTORIES PREPEND -I)
function(compile result output)
    execute_process(
        COMMAND ${COMPILER} -std=c++20 -DCOSAGA_SEPARATE_COMPILATION ${ARGN} ${INCLUDE_DIRECTORIES} -c ${SOURCE} -o ${OBJECT}
        RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
    file(REMOVE ${OBJECT})
    set(${result} ${status} PARENT_SCOPE)
    set(${output} "${text}" PARENT_SCOPE)
endfunction()

compile(status output -DCOSAGA_EXPECT_SUCCESS)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "compile_fail: does not compile with COSAGA_EXPECT_SUCCESS either:\n${output}")
endif()

compile(status output)
if(status EQUAL 0)
    message(FATAL_ERROR "compile_fail: compiles, but must not")
endif()
file(STRINGS ${SOURCE} expectations REGEX "^// expect: ")
if(NOT expectations)
    message(FATAL_ERROR "compile_fail: has no line `// expect: text`")
endif()
foreach(expectation IN LISTS expectations)
    string(REGEX REPLACE "^// expect: " "" expectation "${expectation}")
    string(FIND "${output}" "${expectation}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "compile_fail: the compiler does not say `${expectation}` but:\n${output}")
    endif()
endforeach()
