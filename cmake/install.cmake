# Two destinations from one set of rules (see layout.cmake): a CMake prefix with the C++ side, or a
# wheel, which adds the extension module.
include(CMakePackageConfigHelpers)

# INCLUDES DESTINATION only: INSTALL_INTERFACE:include would break the consumer of the wheel.
install(TARGETS tierod EXPORT tierod-targets
        LIBRARY DESTINATION "${TIEROD_INSTALL_LIBDIR}"
        INCLUDES DESTINATION "${TIEROD_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/tierod" "${TIEROD_GENERATED_INCLUDE_DIR}/tierod"
        DESTINATION "${TIEROD_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/src/zoo/models/" DESTINATION "${TIEROD_INSTALL_MODELDIR}"
        FILES_MATCHING PATTERN "*.h5")
install(EXPORT tierod-targets NAMESPACE tierod:: DESTINATION "${TIEROD_INSTALL_CMAKEDIR}")

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/tierod-config.cmake.in" "${PROJECT_BINARY_DIR}/tierod-config.cmake"
  INSTALL_DESTINATION "${TIEROD_INSTALL_CMAKEDIR}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tierod-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tierod-config.cmake"
              "${PROJECT_BINARY_DIR}/tierod-config-version.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/tierod-torch.cmake"
        DESTINATION "${TIEROD_INSTALL_CMAKEDIR}")

if(SKBUILD)
  install(TARGETS _core LIBRARY DESTINATION tierod)
  install(FILES "${TIEROD_PYTHON_BUILD_DIR}/_build_info.py" DESTINATION tierod)
endif()
