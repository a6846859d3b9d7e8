#pragma once

#include <string>
#include <vector>

#include "tierod/store/labels.h"

namespace tierod::internal {

/// Read all versions from a label file, its checksums checked before HDF5 opens it.
std::vector<Labels> load_labels(const char* where, const std::string& path);
/// Replace a label file, sealed.
void save_labels(const std::string& path, const std::vector<Labels>& versions);

}  // namespace tierod::internal
