# Link as $<BUILD_INTERFACE:tierod_warnings>, or the exported targets would ask consumers for it.
# Designated initialisers leave the other members at their defaults on purpose, which g++ still
# calls a missing initialiser.
add_library(tierod_warnings INTERFACE)
target_compile_options(tierod_warnings INTERFACE -Wall -Wextra -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # g++ 12 warns wrongly of overlapping copies in "literal" + std::string (GCC bug 105651).
  target_compile_options(tierod_warnings INTERFACE -Wno-restrict)
endif()
if(TIEROD_WERROR)
  target_compile_options(tierod_warnings INTERFACE -Werror)
endif()
