#include "tierod/core/version.h"

namespace tierod {

const char* version() noexcept { return TIEROD_VERSION; }

}  // namespace tierod
