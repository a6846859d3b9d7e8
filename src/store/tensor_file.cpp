#include "core/text_internal.h"
#include "store/tensor_file_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

template <typename Map>
const typename Map::mapped_type& find(const Map& map, const std::string& name, const char* what,
                                      const char* where, const std::string& path) {
  const auto found = map.find(name);
  if (found != map.end()) return found->second;
  throw IoError(cat("[", where, "] '", path, "' has no ", what, " '", name,
                    "'; it is of another kind or version"));
}

}  // namespace

const at::Tensor& TensorFile::at(const std::string& name, const char* where,
                                 const std::string& path) const {
  return find(tensors, name, "tensor", where, path);
}

const std::string& TensorFile::text(const std::string& name, const char* where,
                                    const std::string& path) const {
  return find(texts, name, "text", where, path);
}

std::string TensorFile::sha256() const {
  std::string bytes;
  for (const auto& [name, tensor] : tensors) {
    bytes += cat(name, tensor.sizes(), '\n');
    const at::Tensor values = tensor.contiguous();
    bytes.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
  }
  for (const auto& [name, text] : texts) bytes += cat(name, ' ', text.size(), '\n', text);
  return sha256_hex(bytes.data(), bytes.size());
}

}  // namespace tierod::internal
