// What a build with -DTIEROD_STORE=OFF has in place of the other files of this folder: every way
// into the store passes require_store() first, so that the rest is never reached.

#include "core/text_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "store/tensor_file_internal.h"
#include "tierod/core/error.h"

namespace tierod {

bool has_store() noexcept { return false; }

namespace internal {

void require_store(const char* function) {
  throw StateError(cat("[", function,
                       "] this build of tierod has no activation store (-DTIEROD_STORE=OFF); "
                       "install libhdf5-dev and libxxhash-dev and build it again"));
}

std::uint64_t hash64(const void* /*data*/, std::size_t /*size*/) noexcept { return 0; }
void Hasher::reset() noexcept {}
void Hasher::update(const void* /*data*/, std::size_t /*size*/) noexcept {}
std::uint64_t Hasher::digest() const noexcept { return 0; }

struct ShardFile::Impl {};
ShardFile::ShardFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ShardFile::~ShardFile() = default;
std::unique_ptr<ShardFile> ShardFile::create(const std::string& /*path*/, const Manifest&,
                                             const std::string& /*alias*/) {
  require_store("store.ActivationWriter");
  return nullptr;
}
void ShardFile::update(const Manifest& /*manifest*/) {}
void ShardFile::write_chunk(std::size_t, std::uint16_t, std::int64_t, std::int64_t, const void*,
                            std::size_t, std::uint64_t) {}
std::vector<Extent> ShardFile::finish(const std::vector<std::int64_t>& /*rows*/) { return {}; }
void ShardFile::start_writeback() {}

std::string read_description(const char* where, const std::string& /*path*/) {
  require_store(where);
  return {};
}
std::string read_alias(const char* where, const std::string& /*path*/) {
  require_store(where);
  return {};
}
std::vector<Extent> read_chunk_table(const char* where, const std::string& /*path*/,
                                     const Manifest&, const std::vector<std::int64_t>& /*rows*/) {
  require_store(where);
  return {};
}
void write_index(const std::string& /*path*/, const Manifest&) {
  require_store("store.build_index");
}
std::string read_index_digest(const char* where, const std::string& /*path*/) {
  require_store(where);
  return {};
}
void write_label_file(const std::string& /*path*/, const std::vector<Labels>& /*versions*/) {
  require_store("store.set_labels");
}
std::vector<Labels> read_label_file(const char* where, const std::string& /*path*/) {
  require_store(where);
  return {};
}
void write_tensor_file(const char* where, const std::string& /*path*/, const TensorFile&) {
  require_store(where);
}
TensorFile read_tensor_file(const char* where, const std::string& /*path*/) {
  require_store(where);
  return {};
}

}  // namespace internal

}  // namespace tierod
