#include <array>
#include <cmath>
#include <limits>

#include "core/text_internal.h"
#include "store/hdf5/handles_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/version.h"

namespace tierod::internal {

namespace {

constexpr const char* kWhere = "store.build_index";

// One virtual data set [rows, width] (or [rows]) over the same data set of every shard.
h5::Handle create_virtual(hid_t file, const std::string& path, const std::string& name, hid_t type,
                          std::int64_t width, const Manifest& manifest, std::size_t stream) {
  const int dimensions = width > 0 ? 2 : 1;
  const auto shape = [&](std::int64_t rows) {
    return std::array<hsize_t, 2>{static_cast<hsize_t>(rows), static_cast<hsize_t>(width)};
  };
  const std::int64_t total = manifest.rows_of(stream);
  const h5::Handle space(H5Screate_simple(dimensions, shape(total).data(), nullptr), H5Sclose);
  const h5::Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  // What a missing shard reads as: never zeros, which would look like data.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::int64_t missing = -1;
  const herr_t filled = width > 0 ? H5Pset_fill_value(create.get(), H5T_NATIVE_FLOAT, &nan)
                                  : H5Pset_fill_value(create.get(), H5T_NATIVE_INT64, &missing);
  if (filled < 0) h5::fail(kWhere, "set the fill value in", path);
  std::int64_t first = 0;
  for (const ShardEntry& shard : manifest.shards) {
    const std::int64_t rows = shard.rows[stream];
    if (rows == 0) continue;
    const std::array<hsize_t, 2> start = {static_cast<hsize_t>(first), 0};
    const auto count = shape(rows);
    const h5::Handle source(H5Screate_simple(dimensions, count.data(), nullptr), H5Sclose);
    if (H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                            nullptr) < 0 ||
        H5Pset_virtual(create.get(), space.get(), shard.file.c_str(),
                       cat("/", shard.alias, name).c_str(), source.get()) < 0) {
      h5::fail(kWhere, cat("map '", name, "' in"), path);
    }
    first += rows;
  }
  H5Sselect_all(space.get());
  h5::Handle dataset(
      H5Dcreate2(file, name.c_str(), type, space.get(), H5P_DEFAULT, create.get(), H5P_DEFAULT),
      H5Dclose);
  if (!dataset) h5::fail(kWhere, cat("create '", name, "' in"), path);
  return dataset;
}

}  // namespace

void write_index(const std::string& path, const Manifest& manifest) {
  const h5::Guard guard;
  const h5::Handle access = h5::writing_access();
  h5::Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  if (!file) h5::fail(kWhere, "create", path);
  for (std::size_t s = 0; s < manifest.streams.size(); ++s) {
    const StreamSpec& stream = manifest.streams[s];
    for (const char* folder : {"", "/sites", "/rows"}) {
      const h5::Handle group(H5Gcreate2(file.get(), cat("/", stream.name, folder).c_str(),
                                        H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                             H5Gclose);
      if (!group) h5::fail(kWhere, cat("create '", stream.name, folder, "' in"), path);
    }
    for (const SiteColumn& site : stream.sites) {
      const h5::Handle type = h5::float_type(site.dtype);
      const h5::Handle dataset =
          create_virtual(file.get(), path, cat("/", stream.name, "/sites/", site.site), type.get(),
                         site.width, manifest, s);
      h5::describe_site(dataset.get(), site, kWhere, path);
    }
    for (std::size_t c = 0; c < kRowColumns; ++c) {
      const h5::Handle dataset = create_virtual(
          file.get(), path,
          cat("/", stream.name, "/rows/", row_column_name(static_cast<RowColumn>(c))),
          h5::row_type(c), 0, manifest, s);
      h5::describe_row_column(dataset.get(), c, manifest.branches, kWhere, path);
    }
  }
  h5::write_text(file.get(), "shards", shards_digest(manifest), kWhere, path);
  h5::write_text(file.get(), "format", kFormat, kWhere, path);
  h5::write_text(file.get(), "tool_version", version(), kWhere, path);
  for (const auto& [name, text] : manifest.provenance) {
    h5::write_text(file.get(), ("provenance." + name).c_str(), text, kWhere, path);
  }
  if (H5Fflush(file.get(), H5F_SCOPE_LOCAL) < 0) h5::fail(kWhere, "flush", path);
  const int error = h5::driver_error(file.get());
  const bool closed = file.reset();
  if (error != 0) throw_errno(kWhere, "write", path, error);
  if (!closed) h5::fail(kWhere, "close", path);
}

std::string read_index_digest(const char* where, const std::string& path) {
  const h5::Guard guard;
  const h5::Handle file = h5::open_for_reading(where, path);
  return h5::read_text(file.get(), "shards", where, path);
}

}  // namespace tierod::internal
