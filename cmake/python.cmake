# _core: a thin pybind11 module (torch's bundled pybind11), and a build tree that Python can import.
file(GLOB _binding_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/python/bindings/*.cpp")
Python_add_library(_core MODULE WITH_SOABI ${_binding_sources})
target_compile_definitions(_core PRIVATE TORCH_EXTENSION_NAME=_core)
target_include_directories(_core SYSTEM PRIVATE 
  "${TIEROD_TORCH_ROOT}/include" "${TIEROD_TORCH_ROOT}/include/torch/csrc/api/include")
# the private headers that say how Python hooks into libtierod
target_include_directories(_core PRIVATE "${PROJECT_SOURCE_DIR}/src")
# torch has no CMake target for its Python library.
target_link_libraries(_core PRIVATE
  tierod tierod_warnings "${TIEROD_TORCH_ROOT}/lib/libtorch_python.so")
set_target_properties(_core PROPERTIES
  LIBRARY_OUTPUT_DIRECTORY "${TIEROD_PYTHON_BUILD_DIR}"
  INSTALL_RPATH "$ORIGIN;$ORIGIN/../torch/lib")

# What `tierod doctor` compares with the running interpreter, readable even if _core does not load.
configure_file("${PROJECT_SOURCE_DIR}/cmake/_build_info.py.in"
               "${TIEROD_PYTHON_BUILD_DIR}/_build_info.py" @ONLY)

# Links, not copies: an edited .py file needs no rebuild. File by file, so that __pycache__ stays
# in the build folder.
set(_package "${PROJECT_SOURCE_DIR}/python/tierod")
file(GLOB_RECURSE _package_files CONFIGURE_DEPENDS RELATIVE "${_package}"
     "${_package}/*.py" "${_package}/*.pyi" "${_package}/py.typed")
foreach(_file IN LISTS _package_files)
  get_filename_component(_folder "${TIEROD_PYTHON_BUILD_DIR}/${_file}" DIRECTORY)
  file(MAKE_DIRECTORY "${_folder}")
  file(CREATE_LINK "${_package}/${_file}" "${TIEROD_PYTHON_BUILD_DIR}/${_file}" SYMBOLIC)
endforeach()

# A link whose file was deleted would keep an old module importable from its cached bytecode.
file(GLOB_RECURSE _links RELATIVE "${TIEROD_PYTHON_BUILD_DIR}"
     "${TIEROD_PYTHON_BUILD_DIR}/*.py" "${TIEROD_PYTHON_BUILD_DIR}/*.pyi")
list(REMOVE_ITEM _links ${_package_files} _build_info.py)
foreach(_stale IN LISTS _links)
  file(REMOVE "${TIEROD_PYTHON_BUILD_DIR}/${_stale}")
endforeach()
