// Note [A file that is checked before HDF5 opens it]
//
// HDF5 trusts what it reads, and a flipped byte in its own structures may lead it anywhere. The
// file therefore begins with a user block of 512 bytes, which HDF5 skips and every HDF5 reader
// knows, and which holds the sha256 of all that follows.

#include <ATen/ops/empty.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "core/json_internal.h"
#include "store/bytes_internal.h"
#include "store/hdf5/handles_internal.h"
#include "store/tensor_file_internal.h"
#include "tierod/core/digest.h"

namespace tierod::internal {

namespace {

constexpr std::size_t kUserBlock = 512;
constexpr std::string_view kMagic = "tierod-tensors/1 sha256=";
constexpr const char* kNames = "tensors";
constexpr const char* kTexts = "texts";

// far above what a model or a checkpoint takes
constexpr std::int64_t kLargest = std::int64_t{1} << 30;

std::string digest_of(const std::string& bytes) {
  return sha256_hex(bytes.data() + kUserBlock, bytes.size() - kUserBlock);
}

void write_hdf5(const char* where, const std::string& path, const TensorFile& file) {
  const h5::Guard guard;
  const h5::Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_userblock(creation.get(), kUserBlock);
  // without times of creation, equal contents are equal bytes
  H5Pset_obj_track_times(creation.get(), false);
  h5::Handle out(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), H5P_DEFAULT), H5Fclose);
  if (!out) h5::fail(where, "create", path);
  const h5::Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.get(), 1);
  const h5::Handle dataset_creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(dataset_creation.get(), false);
  Json names = Json::array();
  Json texts = Json::array();
  for (const auto& [name, tensor] : file.tensors) {
    const at::Tensor values = tensor.to(at::kFloat).contiguous();
    const std::vector<hsize_t> sizes(values.sizes().begin(), values.sizes().end());
    const h5::Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr),
                           H5Sclose);
    const h5::Handle dataset(H5Dcreate2(out.get(), name.c_str(), H5T_IEEE_F32LE, space.get(),
                                        links.get(), dataset_creation.get(), H5P_DEFAULT),
                             H5Dclose);
    if (!dataset || H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                             values.const_data_ptr<float>()) < 0) {
      h5::fail(where, cat("write '", name, "' to"), path);
    }
    names.push_back(name);
  }
  for (const auto& [name, text] : file.texts) {
    h5::write_text(out.get(), name.c_str(), text, where, path);
    texts.push_back(name);
  }
  h5::write_text(out.get(), kNames, names.dump(), where, path);
  h5::write_text(out.get(), kTexts, texts.dump(), where, path);
  if (H5Fflush(out.get(), H5F_SCOPE_LOCAL) < 0) h5::fail(where, "flush", path);
  if (!out.reset()) h5::fail(where, "close", path);
}

at::Tensor read_tensor(hid_t file, const std::string& name, const char* where,
                       const std::string& path) {
  const h5::Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  const h5::Handle space(dataset ? H5Dget_space(dataset.get()) : -1, H5Sclose);
  if (!space) h5::fail(where, cat("open '", name, "' in"), path);
  std::array<hsize_t, H5S_MAX_RANK> sizes{};
  const int rank = H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
  if (rank < 0) h5::fail(where, cat("examine '", name, "' in"), path);
  const std::vector<std::int64_t> shape(sizes.begin(), sizes.begin() + rank);
  at::Tensor values = at::empty(shape, at::kFloat);
  if (H5Dread(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
              values.mutable_data_ptr<float>()) < 0) {
    h5::fail(where, cat("read '", name, "' of"), path);
  }
  return values;
}

}  // namespace

void write_tensor_file(const char* where, const std::string& path, const TensorFile& file) {
  const std::string whole = std::filesystem::absolute(path).string();
  const std::string draft = cat(whole, ".", ::getpid(), ".draft");
  try {
    write_hdf5(where, draft, file);
    std::string bytes = read_file(where, draft, kLargest);
    const std::string block = cat(kMagic, digest_of(bytes), '\n');
    std::memcpy(bytes.data(), block.data(), block.size());
    replace_file(where, whole, bytes);
  } catch (...) {
    ::unlink(draft.c_str());
    throw;
  }
  ::unlink(draft.c_str());
}

TensorFile read_tensor_file(const char* where, const std::string& path) {
  const std::string bytes = read_file(where, path, kLargest);
  const auto refuse = [&](const auto&... why) {
    throw IoError(cat("[", where, "] '", path, "' ", why...));
  };
  if (bytes.size() <= kUserBlock || !std::string_view(bytes).starts_with(kMagic)) {
    refuse("is no file of weights of this version: it does not begin with '", kMagic, "'");
  }
  const std::string stated = bytes.substr(kMagic.size(), 64);
  const std::string seen = digest_of(bytes);
  if (stated != seen) {
    refuse("is damaged: its sha256 is to be ", stated, ", and is ", seen,
           "; take a fresh copy, or train it again");
  }
  const h5::Guard guard;
  const h5::Handle in = h5::open_for_reading(where, path);
  TensorFile file;
  const auto list = [&](const char* name) {
    return parse_json(h5::read_text(in.get(), name, where, path), cat("[", where, "]"))
        .get<std::vector<std::string>>();
  };
  for (const std::string& name : list(kNames)) {
    file.tensors[name] = read_tensor(in.get(), name, where, path);
  }
  for (const std::string& name : list(kTexts)) {
    file.texts[name] = h5::read_text(in.get(), name.c_str(), where, path);
  }
  return file;
}

}  // namespace tierod::internal
