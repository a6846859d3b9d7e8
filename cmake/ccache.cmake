# Compiler cache. Paths below the source tree are hashed relative to the build folder, so that
# build/release, build/wheel and another clone of the same commit share their objects.
find_program(TIEROD_CCACHE ccache)
if(TIEROD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND};-E;env;CCACHE_BASEDIR=${CMAKE_SOURCE_DIR};CCACHE_NOHASHDIR=1;${TIEROD_CCACHE}")
endif()
