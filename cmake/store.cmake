# What the activation store needs: HDF5's C library, of Debian or of a CMake prefix, and xxHash's
# header, which is compiled in. Without TIEROD_STORE one file stands for all that includes them.
if(TIEROD_STORE)
  set(HDF5_PREFER_PARALLEL OFF)
  find_package(HDF5 1.10.5 COMPONENTS C)
  find_path(TIEROD_XXHASH_INCLUDE_DIR xxhash.h)
  if(NOT HDF5_FOUND OR NOT TIEROD_XXHASH_INCLUDE_DIR)
    message(FATAL_ERROR "The activation store needs HDF5 >= 1.10.5 and xxHash; install libhdf5-dev and "
                        "libxxhash-dev, or build without it: -DTIEROD_STORE=OFF")
  endif()
  file(GLOB TIEROD_STORE_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/store/hdf5/*.cpp")
  list(REMOVE_ITEM TIEROD_STORE_SOURCES "${PROJECT_SOURCE_DIR}/src/store/hdf5/off.cpp")
  # Only these files see HDF5: an include elsewhere fails, and a build without the store shares the
  # other objects.
  set(_options ${HDF5_C_DEFINITIONS})
  set(_folders ${HDF5_C_INCLUDE_DIRS} "${TIEROD_XXHASH_INCLUDE_DIR}")
  list(REMOVE_ITEM _folders ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  foreach(_folder IN LISTS _folders)
    list(APPEND _options -isystem "${_folder}")
  endforeach()
  # The library alone: what HDF5 itself needs (compression, network) it brings.
  set(TIEROD_HDF5_LIBRARIES "${HDF5_C_LIBRARY_hdf5}")
  if(NOT TIEROD_HDF5_LIBRARIES)
    set(TIEROD_HDF5_LIBRARIES ${HDF5_C_LIBRARIES})
  endif()
  set_source_files_properties(${TIEROD_STORE_SOURCES} PROPERTIES COMPILE_OPTIONS "${_options}")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set_source_files_properties("${PROJECT_SOURCE_DIR}/src/store/hdf5/hash_avx2.cpp" PROPERTIES
      COMPILE_OPTIONS "${_options};-mavx2")
  endif()
else()
  set(TIEROD_STORE_SOURCES "${PROJECT_SOURCE_DIR}/src/store/hdf5/off.cpp")
endif()
