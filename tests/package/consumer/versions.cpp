// Headers and library of one version.
#include <tierod/core/version.h>

#include <cstring>
#include <iostream>

int main() {
  std::cout << "tierod " << tierod::version() << "\n";
  return std::strcmp(tierod::version(), TIEROD_VERSION) == 0 ? 0 : 1;
}
