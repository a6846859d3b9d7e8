#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace tierod::internal {

/// Hold the contents of a file of named tensors (f32, contiguous, on the CPU) and named texts.
struct TensorFile {
  std::map<std::string, at::Tensor> tensors{};
  std::map<std::string, std::string> texts{};

  /// Return the tensor called `name`. @throws IoError that names the file where there is none.
  const at::Tensor& at(const std::string& name, const char* where, const std::string& path) const;
  const std::string& text(const std::string& name, const char* where,
                          const std::string& path) const;
  /// Return the sha256 over names, sizes, values and texts, in the order of the names.
  std::string sha256() const;
};

/// Write an HDF5 file with a data set for each tensor, an attribute for each text and their sha256,
/// under another name first, so that `path` is either the old file or the whole new one.
/// @throws IoError if it cannot be written, StateError in a build without HDF5.
void write_tensor_file(const char* where, const std::string& path, const TensorFile& file);
/// Read such a file and check its sha256.
/// @throws IoError if it cannot be read or is damaged, StateError in a build without HDF5.
TensorFile read_tensor_file(const char* where, const std::string& path);

}  // namespace tierod::internal
