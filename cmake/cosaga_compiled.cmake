# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
# cosaga::compiled: the same library as cosaga::cosaga, but with what is no template (and Asio) compiled once, into a
# static library that is built when something links it. A program links one of the two, in all of its parts; to
# cosaga::compiled_webhook beside it what cosaga::webhook is to cosaga::cosaga.
# The installed package uses this file, too.

if(TARGET cosaga_compiled)
    return()
endif()

set(cosaga_compiled_dir ${CMAKE_CURRENT_BINARY_DIR}/cosaga_compiled)
# Two sources: the linker leaves out Asio's if the program has them already.
file(CONFIGURE OUTPUT ${cosaga_compiled_dir}/cosaga.cpp CONTENT "#include <cosaga/impl/src.hpp>\n" @ONLY)
file(CONFIGURE OUTPUT ${cosaga_compiled_dir}/asio.cpp CONTENT "#include <boost/asio/impl/src.hpp>\n" @ONLY)

add_library(cosaga_compiled STATIC EXCLUDE_FROM_ALL ${cosaga_compiled_dir}/cosaga.cpp ${cosaga_compiled_dir}/asio.cpp)
add_library(cosaga::compiled ALIAS cosaga_compiled)
target_compile_definitions(cosaga_compiled PUBLIC
    COSAGA_SEPARATE_COMPILATION
    BOOST_ASIO_SEPARATE_COMPILATION
    BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=8) # see the README; it must be the same in all of a program
target_link_libraries(cosaga_compiled PUBLIC cosaga::cosaga)

if(TARGET cosaga::webhook)
    file(CONFIGURE OUTPUT ${cosaga_compiled_dir}/webhook.cpp CONTENT "#include <cosaga/impl/webhook_src.hpp>\n" @ONLY)
    file(CONFIGURE OUTPUT ${cosaga_compiled_dir}/asio_ssl.cpp CONTENT "#include <boost/asio/ssl/impl/src.hpp>\n" @ONLY)
    add_library(cosaga_compiled_webhook STATIC EXCLUDE_FROM_ALL
        ${cosaga_compiled_dir}/webhook.cpp ${cosaga_compiled_dir}/asio_ssl.cpp)
    add_library(cosaga::compiled_webhook ALIAS cosaga_compiled_webhook)
    target_link_libraries(cosaga_compiled_webhook PUBLIC cosaga_compiled cosaga::webhook)
endif()
