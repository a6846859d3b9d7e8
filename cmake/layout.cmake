# Where things go, in the build tree and when installed. Inside a wheel (scikit-build-core sets
# SKBUILD) everything lives in the package folder, beside torch in site-packages.
set(TIEROD_GENERATED_INCLUDE_DIR "${PROJECT_BINARY_DIR}/include")
set(TIEROD_PYTHON_BUILD_DIR "${PROJECT_BINARY_DIR}/python/tierod")

if(SKBUILD)
  set(TIEROD_INSTALL_LIBDIR "tierod")
  set(TIEROD_INSTALL_INCLUDEDIR "tierod/include")
  set(TIEROD_INSTALL_CMAKEDIR "tierod/share/cmake/tierod")
  set(TIEROD_INSTALL_MODELDIR "tierod/zoo/models")
else()
  include(GNUInstallDirs)
  set(TIEROD_INSTALL_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
  set(TIEROD_INSTALL_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
  set(TIEROD_INSTALL_CMAKEDIR "${CMAKE_INSTALL_DATADIR}/cmake/tierod")
  set(TIEROD_INSTALL_MODELDIR "${CMAKE_INSTALL_DATADIR}/tierod/zoo")
endif()
