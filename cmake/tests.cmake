# One gtest binary a room: tests/cpp/<room> -> tierod_<room>_tests, and one ctest entry a binary.
# Discovering the tests one by one would start a process a test, each loading libtorch for about a
# second; gtest's own --gtest_filter selects inside a binary.
find_package(GTest REQUIRED)

file(GLOB _test_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/cpp/*/*.cpp")
# The store's tests need it; without it there is one that says how its absence shows.
if(TIEROD_STORE)
  list(FILTER _test_sources EXCLUDE REGEX "/tests/cpp/store_off/")
else()
  list(FILTER _test_sources EXCLUDE REGEX "/tests/cpp/store/")
endif()
set(_rooms "")
foreach(_source IN LISTS _test_sources)
  get_filename_component(_folder "${_source}" DIRECTORY)
  get_filename_component(_room "${_folder}" NAME)
  list(APPEND _rooms "${_room}")
  list(APPEND _tests_of_${_room} "${_source}")
endforeach()
list(REMOVE_DUPLICATES _rooms)

add_custom_target(tierod_tests)
foreach(_room IN LISTS _rooms)
  set(_target tierod_${_room}_tests)
  add_executable(${_target} ${_tests_of_${_room}})
  # tests of private helpers include <room>/*_internal.h
  target_include_directories(${_target} PRIVATE
    "${PROJECT_SOURCE_DIR}/tests/cpp" "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${_target} PRIVATE
    tierod_warnings nlohmann_json::nlohmann_json GTest::gtest_main)
  if(_room STREQUAL "core")
    # without libtorch: starts at once, and ThreadSanitizer sees every line of the process
    target_link_libraries(${_target} PRIVATE tierod_core_objects)
  else()
    target_link_libraries(${_target} PRIVATE tierod)
    if(TARGET tierod_example_model)
      target_link_libraries(${_target} PRIVATE tierod_example_model)
    endif()
  endif()
  set_target_properties(${_target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  add_test(NAME ${_room} COMMAND ${_target}
           "--gtest_output=xml:${PROJECT_BINARY_DIR}/reports/cpp_${_room}.xml")
  set_tests_properties(${_room} PROPERTIES ENVIRONMENT
    "OMP_NUM_THREADS=1;TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/tsan.supp:halt_on_error=1;UBSAN_OPTIONS=print_stacktrace=1")
  add_dependencies(tierod_tests ${_target})
endforeach()
