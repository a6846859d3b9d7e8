# Python and the PyTorch to build against. An installed torch is located without importing it.
set(TIEROD_TORCH_MINOR "2.13")

if(TIEROD_BUILD_PYTHON)
  find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
elseif(NOT DEFINED Torch_DIR)
  find_package(Python 3.11 COMPONENTS Interpreter)
endif()

if(NOT DEFINED Torch_DIR AND Python_Interpreter_FOUND)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
      "import importlib.util as u, os
s = u.find_spec('torch')
print(os.path.join(os.path.dirname(s.origin), 'share', 'cmake', 'Torch') if s else '')"
    OUTPUT_VARIABLE _torch_dir OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(_torch_dir)
    set(Torch_DIR "${_torch_dir}" CACHE PATH "Folder of TorchConfig.cmake")
  endif()
endif()

include("${CMAKE_CURRENT_LIST_DIR}/tierod-torch.cmake")
if(NOT tierod_torch_FOUND)
  message(FATAL_ERROR "${tierod_torch_NOT_FOUND_MESSAGE}")
endif()
