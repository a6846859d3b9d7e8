# Provide the targets torch, torch_library and c10 of PyTorch ${TIEROD_TORCH_MINOR}. Used by the build
# and, installed, by tierod-config.cmake.
#
# Sets tierod_torch_FOUND, tierod_torch_NOT_FOUND_MESSAGE, TIEROD_TORCH_ROOT, TIEROD_TORCH_VERSION.
set(tierod_torch_FOUND FALSE)

find_path(TIEROD_TORCH_CMAKE_DIR TorchConfigVersion.cmake
          HINTS "${Torch_DIR}" PATH_SUFFIXES Torch share/cmake/Torch NO_CACHE)
if(NOT TIEROD_TORCH_CMAKE_DIR)
  set(tierod_torch_NOT_FOUND_MESSAGE
      "PyTorch ${TIEROD_TORCH_MINOR} was not found; install torch==${TIEROD_TORCH_MINOR}.* or add <torch>/share/cmake to CMAKE_PREFIX_PATH")
  return()
endif()
get_filename_component(TIEROD_TORCH_ROOT "${TIEROD_TORCH_CMAKE_DIR}/../../.." ABSOLUTE)
unset(PACKAGE_VERSION)
include("${TIEROD_TORCH_CMAKE_DIR}/TorchConfigVersion.cmake")
set(TIEROD_TORCH_VERSION "${PACKAGE_VERSION}")

# libtorch keeps no ABI between minor versions: another one would link and then misbehave.
string(REPLACE "." "\\." _tierod_torch_pattern "${TIEROD_TORCH_MINOR}")
if(NOT TIEROD_TORCH_VERSION MATCHES "^${_tierod_torch_pattern}\\.")
  set(tierod_torch_NOT_FOUND_MESSAGE
      "PyTorch ${TIEROD_TORCH_MINOR}.* is required, ${TIEROD_TORCH_VERSION} was found in ${TIEROD_TORCH_ROOT}; install torch==${TIEROD_TORCH_MINOR}.*")
  return()
endif()

find_program(TIEROD_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin)
if(TARGET torch_library AND TARGET c10)
  # the including project found torch already
elseif(EXISTS "${TIEROD_TORCH_ROOT}/lib/libtorch_cuda.so" AND NOT TIEROD_NVCC)
  # torch's own config of a CUDA build stops where there is no CUDA toolkit. tierod compiles no
  # CUDA code, so it describes the same libraries itself.
  add_library(c10 SHARED IMPORTED)
  set_target_properties(c10 PROPERTIES
    IMPORTED_LOCATION "${TIEROD_TORCH_ROOT}/lib/libc10.so"
    INTERFACE_INCLUDE_DIRECTORIES "${TIEROD_TORCH_ROOT}/include")
  add_library(torch SHARED IMPORTED)
  set_target_properties(torch PROPERTIES IMPORTED_LOCATION "${TIEROD_TORCH_ROOT}/lib/libtorch.so")
  add_library(torch_library INTERFACE IMPORTED)
  set_target_properties(torch_library PROPERTIES
    INTERFACE_COMPILE_DEFINITIONS "USE_DISTRIBUTED;USE_C10D_GLOO;USE_RPC;USE_TENSORPIPE"
    INTERFACE_INCLUDE_DIRECTORIES
      "${TIEROD_TORCH_ROOT}/include;${TIEROD_TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES
      "-Wl,--no-as-needed,${TIEROD_TORCH_ROOT}/lib/libtorch_cpu.so,${TIEROD_TORCH_ROOT}/lib/libtorch_cuda.so,--as-needed;c10")
else()
  find_package(Torch ${TIEROD_TORCH_MINOR} REQUIRED PATHS "${TIEROD_TORCH_CMAKE_DIR}" NO_DEFAULT_PATH)
endif()
set(tierod_torch_FOUND TRUE)
