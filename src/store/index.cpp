#include <unistd.h>

#include "store/hdf5/hdf5_internal.h"
#include "tierod/store/maintain.h"

namespace tierod {

namespace internal {

void build_index_of(const std::string& store, const Manifest& manifest) {
  constexpr const char* kWhere = "store.build_index";
  const std::string path = store_path(store, "index.h5");
  const std::string temporary = cat(path, ".", ::getpid(), ".tmp");
  try {
    write_index(temporary, manifest);
    // Not synced: what a power failure takes of it, build_index() makes again.
    rename_file(kWhere, temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace internal

void build_index(const std::string& path) {
  internal::require_store("store.build_index");
  internal::build_index_of(path, internal::load_manifest("store.build_index", path));
}

}  // namespace tierod
