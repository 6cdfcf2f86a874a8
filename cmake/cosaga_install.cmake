# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(cosaga_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/cosaga)

# An export of its own for each component: cosagaConfig.cmake loads only what was asked for.
foreach(name IN LISTS cosaga_components ITEMS cosaga)
    install(TARGETS cosaga_${name} EXPORT cosaga_${name}
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILE_SET implementation DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
    install(EXPORT cosaga_${name} NAMESPACE cosaga:: FILE cosaga_${name}.cmake DESTINATION ${cosaga_package_dir})
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/cosagaConfig.cmake.in ${PROJECT_BINARY_DIR}/cosagaConfig.cmake
    INSTALL_DESTINATION ${cosaga_package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cosagaConfigVersion.cmake
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/cosagaConfig.cmake ${PROJECT_BINARY_DIR}/cosagaConfigVersion.cmake
    ${CMAKE_CURRENT_LIST_DIR}/cosaga_compiled.cmake
    DESTINATION ${cosaga_package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
