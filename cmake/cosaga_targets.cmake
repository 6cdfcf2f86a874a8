# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# One INTERFACE target for each driver, so that who does not use an adapter does not need its driver:
#   cosaga::core     Boost headers and threads only
#   cosaga::json     + Boost.JSON
#   cosaga::sqlite   + SQLite
#   cosaga::zeromq   + cppzmq
#   cosaga::cosaga   all of them
#   cosaga::webhook  + json, OpenSSL and Boost.Beast; where OpenSSL is, and no part of cosaga::cosaga

set(cosaga_include_dir ${PROJECT_SOURCE_DIR}/include)

# Sets `result` to the components whose drivers `header` includes, by itself or through other headers of the library.
function(cosaga_drivers_of header result)
    set(drivers "")
    set(seen "")
    set(open ${header})
    while(open)
        list(POP_FRONT open next)
        if(next IN_LIST seen OR NOT EXISTS ${cosaga_include_dir}/${next})
            continue()
        endif()
        list(APPEND seen ${next})
        file(STRINGS ${cosaga_include_dir}/${next} lines REGEX "^#include <")
        foreach(line IN LISTS lines)
            if(line MATCHES "<(cosaga[^>]*)>")
                list(APPEND open ${CMAKE_MATCH_1})
            elseif(line MATCHES "<boost/json[./]")
                list(APPEND drivers json)
            elseif(line MATCHES "<sqlite3\\.h>")
                list(APPEND drivers sqlite)
            elseif(line MATCHES "<zmq\\.h(pp)?>")
                list(APPEND drivers zeromq)
            elseif(line MATCHES "<(openssl|boost/asio/ssl|boost/beast)[./]")
                list(APPEND drivers webhook)
            endif()
        endforeach()
    endwhile()
    list(REMOVE_DUPLICATES drivers)
    set(${result} ${drivers} PARENT_SCOPE)
endfunction()

# Adds the INTERFACE target cosaga::<name>; what follows the name is linked.
function(cosaga_add_component name)
    set(target cosaga_${name})
    add_library(${target} INTERFACE)
    add_library(cosaga::${name} ALIAS ${target})
    set_target_properties(${target} PROPERTIES
        EXPORT_NAME ${name}
        VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL}
        INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)
    target_sources(${target} INTERFACE
        FILE_SET HEADERS BASE_DIRS ${cosaga_include_dir}
        FILE_SET implementation TYPE HEADERS BASE_DIRS ${cosaga_include_dir})
    target_link_libraries(${target} INTERFACE ${ARGN})
endfunction()

set(cosaga_components core json sqlite zeromq)
cosaga_add_component(core Boost::headers Threads::Threads)
target_compile_features(cosaga_core INTERFACE cxx_std_20)
cosaga_add_component(json cosaga_core Boost::json)
cosaga_add_component(sqlite cosaga_core SQLite::SQLite3)
cosaga_add_component(zeromq cosaga_core cppzmq)
cosaga_add_component(cosaga cosaga_core cosaga_json cosaga_sqlite cosaga_zeromq)
if(OPENSSL_FOUND)
    list(APPEND cosaga_components webhook)
    cosaga_add_component(webhook cosaga_core cosaga_json OpenSSL::SSL OpenSSL::Crypto)
endif()

# A header belongs to the target of its only driver; one that needs several belongs to cosaga::cosaga. What is in webhook/ belongs
# to cosaga::webhook, which has JSON.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${cosaga_include_dir}
    ${cosaga_include_dir}/*.hpp ${cosaga_include_dir}/*.ipp)
foreach(header IN LISTS headers)
    cosaga_drivers_of(${header} drivers)
    list(LENGTH drivers count)
    if(header MATCHES "/webhook[/_]")
        set(owner webhook)
        if(NOT TARGET cosaga_webhook)
            continue()
        endif()
    elseif(count EQUAL 0)
        set(owner core)
    elseif(count EQUAL 1)
        set(owner ${drivers})
    else()
        set(owner cosaga)
    endif()
    # What users include is compiled alone by a test; so are the details, but without what is in impl/: see tests/.
    set(set HEADERS)
    if(header MATCHES "^cosaga/(detail|impl)/")
        set(set implementation)
    endif()
    target_sources(cosaga_${owner} INTERFACE FILE_SET ${set} FILES ${cosaga_include_dir}/${header})
endforeach()
