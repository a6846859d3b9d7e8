#pragma once

#include "tierod/export.h"
#include "tierod/version_config.h"

namespace tierod {

/// Return the version of the loaded library, "MAJOR.MINOR.PATCH".
///
/// It may differ from the macro `TIEROD_VERSION`, which is that of the headers compiled against.
TIEROD_API const char* version() noexcept;

}  // namespace tierod
