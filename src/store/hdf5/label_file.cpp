#include <array>

#include "core/text_internal.h"
#include "store/hdf5/handles_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

constexpr const char* kWhere = "store.set_labels";

void write_list(hid_t folder, const char* name, hid_t file_type, hid_t memory_type,
                const void* data, std::size_t count, const std::string& path) {
  const hsize_t size = count;
  const h5::Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const h5::Handle dataset(
      H5Dcreate2(folder, name, file_type, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
      H5Dclose);
  if (!dataset || (count > 0 &&
                   H5Dwrite(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)) {
    h5::fail(kWhere, cat("write '", name, "' to"), path);
  }
}

template <typename T>
std::vector<T> read_list(hid_t folder, const char* name, hid_t memory_type, const char* where,
                         const std::string& path) {
  const h5::Handle dataset(H5Dopen2(folder, name, H5P_DEFAULT), H5Dclose);
  const h5::Handle space(dataset ? H5Dget_space(dataset.get()) : -1, H5Sclose);
  if (!space) h5::fail(where, cat("open '", name, "' in"), path);
  std::vector<T> list(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space.get())));
  if (!list.empty() &&
      H5Dread(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, list.data()) < 0) {
    h5::fail(where, cat("read '", name, "' of"), path);
  }
  return list;
}

}  // namespace

void write_label_file(const std::string& path, const std::vector<Labels>& versions) {
  const h5::Guard guard;
  const h5::Handle access = h5::writing_access();
  h5::Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  if (!file) h5::fail(kWhere, "create", path);
  for (const Labels& labels : versions) {
    const h5::Handle folder(H5Gcreate2(file.get(), cat("/v", labels.version).c_str(), H5P_DEFAULT,
                                       H5P_DEFAULT, H5P_DEFAULT),
                            H5Gclose);
    if (!folder) h5::fail(kWhere, "create a version in", path);
    write_list(folder.get(), "sample", H5T_STD_I64LE, H5T_NATIVE_INT64, labels.samples.data(),
               labels.samples.size(), path);
    write_list(folder.get(), "label", H5T_STD_U8LE, H5T_NATIVE_UINT8, labels.values.data(),
               labels.values.size(), path);
    h5::write_text(folder.get(), "note", labels.note, kWhere, path);
  }
  h5::write_text(file.get(), "versions", std::to_string(versions.size()), kWhere, path);
  h5::write_text(file.get(), "missing", std::to_string(int{kMissingLabel}), kWhere, path);
  if (H5Fflush(file.get(), H5F_SCOPE_LOCAL) < 0) h5::fail(kWhere, "flush", path);
  const int error = h5::driver_error(file.get());
  const bool closed = file.reset();
  if (error != 0) throw_errno(kWhere, "write", path, error);
  if (!closed) h5::fail(kWhere, "close", path);
}

std::vector<Labels> read_label_file(const char* where, const std::string& path) {
  const h5::Guard guard;
  const h5::Handle file = h5::open_for_reading(where, path);
  const std::string count = h5::read_text(file.get(), "versions", where, path);
  std::vector<Labels> versions;
  for (std::int64_t v = 1; v <= std::stoll(count); ++v) {
    const h5::Handle folder(H5Gopen2(file.get(), cat("/v", v).c_str(), H5P_DEFAULT), H5Gclose);
    if (!folder) h5::fail(where, cat("open version ", v, " in"), path);
    versions.push_back(
        {v, h5::read_text(folder.get(), "note", where, path),
         read_list<std::int64_t>(folder.get(), "sample", H5T_NATIVE_INT64, where, path),
         read_list<std::uint8_t>(folder.get(), "label", H5T_NATIVE_UINT8, where, path)});
    if (versions.back().samples.size() != versions.back().values.size()) {
      throw IoError(cat("[", where, "] '", path, "': version ", v, " has lists of two lengths"));
    }
  }
  return versions;
}

}  // namespace tierod::internal
