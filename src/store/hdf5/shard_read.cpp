#include <array>

#include "core/text_internal.h"
#include "store/hdf5/handles_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

std::string read_description(const char* where, const std::string& path) {
  const h5::Guard guard;
  const h5::Handle file = h5::open_for_reading(where, path);
  return h5::read_text(file.get(), "tierod", where, path);
}

std::string read_alias(const char* where, const std::string& path) {
  const h5::Guard guard;
  const h5::Handle file = h5::open_for_reading(where, path);
  return h5::read_text(file.get(), "alias", where, path);
}

namespace {

void read_column_chunks(const char* where, const std::string& path, hid_t file,
                        const std::string& name, std::int64_t rows, std::int64_t width,
                        std::int64_t chunk_rows, std::uint16_t stream, std::uint16_t column,
                        std::vector<Extent>& extents) {
  const h5::Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset) h5::fail(where, cat("open '", name, "' in"), path);
  const h5::Handle space(H5Dget_space(dataset.get()), H5Sclose);
  std::array<hsize_t, 2> size{};
  const int dimensions = H5Sget_simple_extent_ndims(space.get());
  const bool shaped = dimensions == (width > 0 ? 2 : 1) &&
                      H5Sget_simple_extent_dims(space.get(), size.data(), nullptr) == dimensions;
  if (!shaped || size[0] != static_cast<hsize_t>(rows) ||
      (width > 0 && size[1] != static_cast<hsize_t>(width))) {
    throw IoError(
        cat("[", where, "] '", path, "': '", name, "' has ", size[0], " rows, expected ", rows));
  }
  for (std::int64_t first = 0; first < rows; first += chunk_rows) {
    const std::array<hsize_t, 2> offset = {static_cast<hsize_t>(first), 0};
    unsigned filters = 0;
    haddr_t address = HADDR_UNDEF;
    hsize_t bytes = 0;
    if (H5Dget_chunk_info_by_coord(dataset.get(), offset.data(), &filters, &address, &bytes) < 0 ||
        address == HADDR_UNDEF || filters != 0) {
      h5::fail(where, cat("find the chunk at row ", first, " of '", name, "' in"), path);
    }
    extents.push_back({.offset = static_cast<std::int64_t>(address),
                       .length = static_cast<std::int64_t>(bytes),
                       .first_row = first,
                       .rows = static_cast<std::uint32_t>(std::min(chunk_rows, rows - first)),
                       .stream = stream,
                       .column = column});
  }
}

}  // namespace

std::vector<Extent> read_chunk_table(const char* where, const std::string& path,
                                     const Manifest& manifest,
                                     const std::vector<std::int64_t>& rows) {
  const h5::Guard guard;
  const h5::Handle file = h5::open_for_reading(where, path);
  std::vector<Extent> extents;
  for (std::size_t s = 0; s < manifest.streams.size(); ++s) {
    if (rows[s] == 0) continue;  // a stream may have come after this shard
    const StreamSpec& stream = manifest.streams[s];
    for (std::size_t c = 0; c < stream.sites.size(); ++c) {
      const SiteColumn& site = stream.sites[c];
      read_column_chunks(where, path, file.get(), cat("/", stream.name, "/sites/", site.site),
                         rows[s], site.width, rows_per_chunk(site), static_cast<std::uint16_t>(s),
                         static_cast<std::uint16_t>(c), extents);
    }
    for (std::size_t c = 0; c < kRowColumns; ++c) {
      read_column_chunks(
          where, path, file.get(),
          cat("/", stream.name, "/rows/", row_column_name(static_cast<RowColumn>(c))), rows[s], 0,
          kRowChunk, static_cast<std::uint16_t>(s), static_cast<std::uint16_t>(kRowColumn | c),
          extents);
    }
  }
  return extents;
}

}  // namespace tierod::internal
