# libtierod: the whole C++ side, Python-free, owner of the single TORCH_LIBRARY(tierod, m).
include(GenerateExportHeader)
find_package(nlohmann_json 3.10 REQUIRED)
# Headers only: the distributions of Boost.Math.
find_package(Boost 1.74 REQUIRED CONFIG)

file(GLOB _core_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/core/*.cpp")
file(GLOB _room_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/*/*.cpp")
list(REMOVE_ITEM _room_sources ${_core_sources})

set(TIEROD_COMPILER "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/version_config.h.in"
               "${TIEROD_GENERATED_INCLUDE_DIR}/tierod/version_config.h" @ONLY)

# The core knows nothing of torch: it is compiled without torch's include folders, so that an
# accidental include fails here, and it can be tested without libtorch in the process.
add_library(tierod_core_objects OBJECT ${_core_sources})
target_include_directories(tierod_core_objects
  PUBLIC "${PROJECT_SOURCE_DIR}/include" "${TIEROD_GENERATED_INCLUDE_DIR}"
  PRIVATE "${PROJECT_SOURCE_DIR}/src")
target_compile_definitions(tierod_core_objects PRIVATE tierod_EXPORTS)
target_link_libraries(tierod_core_objects PRIVATE tierod_warnings nlohmann_json::nlohmann_json)

add_library(tierod SHARED ${_room_sources} ${TIEROD_STORE_SOURCES} $<TARGET_OBJECTS:tierod_core_objects>)
add_library(tierod::tierod ALIAS tierod)
generate_export_header(tierod
  EXPORT_MACRO_NAME TIEROD_API
  EXPORT_FILE_NAME "${TIEROD_GENERATED_INCLUDE_DIR}/tierod/export.h")
target_compile_features(tierod PUBLIC cxx_std_20)
target_include_directories(tierod
  PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
         "$<BUILD_INTERFACE:${TIEROD_GENERATED_INCLUDE_DIR}>"
  PRIVATE "${PROJECT_SOURCE_DIR}/src")
target_link_libraries(tierod
  PUBLIC torch torch_library c10
  PRIVATE $<BUILD_INTERFACE:tierod_warnings> $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>
          $<BUILD_INTERFACE:Boost::headers>)

if(TIEROD_STORE)
  target_link_libraries(tierod PRIVATE ${TIEROD_HDF5_LIBRARIES})
endif()

# The zoo's models lie beside the library, here as in a wheel.
file(MAKE_DIRECTORY "${TIEROD_PYTHON_BUILD_DIR}/zoo")
file(CREATE_LINK "${PROJECT_SOURCE_DIR}/src/zoo/models" "${TIEROD_PYTHON_BUILD_DIR}/zoo/models" SYMBOLIC)

# No VERSION or SOVERSION: a wheel turns the symlinks into copies.
set_target_properties(tierod PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${TIEROD_PYTHON_BUILD_DIR}")
if(SKBUILD)
  set_target_properties(tierod PROPERTIES INSTALL_RPATH "$ORIGIN;$ORIGIN/../torch/lib")
else()
  set_target_properties(tierod PROPERTIES INSTALL_RPATH "$ORIGIN;${TIEROD_TORCH_ROOT}/lib")
endif()
