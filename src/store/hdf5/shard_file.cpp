#include <fcntl.h>

#include <algorithm>
#include <array>

#include "core/text_internal.h"
#include "store/hdf5/handles_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/version.h"

namespace tierod::internal {

namespace {

constexpr const char* kWhere = "store.ActivationWriter";

struct Column {
  h5::Handle dataset;
  std::int64_t chunk_rows = 0;
  int dimensions = 1;
};

struct Written {
  std::size_t stream;
  std::uint16_t column;
  std::int64_t first_row;
  std::int64_t rows;
  std::size_t bytes;
  std::uint64_t hash;
  std::int64_t offset;  // in the file
};

}  // namespace

struct ShardFile::Impl {
  std::string path;
  std::string alias;
  Manifest manifest;  // without its shards
  h5::Handle file;
  /// By stream: the sites, then the row columns.
  std::vector<std::vector<Column>> columns;
  std::vector<Written> written;
  Fd descriptor;  // our own, for what goes past HDF5

  Column& column(std::size_t stream, std::uint16_t number) {
    const std::size_t sites = manifest.streams[stream].sites.size();
    return columns[stream][(number & kRowColumn) != 0 ? sites + (number & ~kRowColumn) : number];
  }

  void check() const {
    if (const int error = h5::driver_error(file.get()); error != 0) {
      throw_errno(kWhere, "write", path, error);
    }
  }

  Column create_column(hid_t folder, const std::string& name, hid_t type, std::int64_t chunk_rows,
                       std::int64_t width) const {
    const int dimensions = width > 0 ? 2 : 1;
    const std::array<hsize_t, 2> size = {0, static_cast<hsize_t>(width)};
    const std::array<hsize_t, 2> most = {H5S_UNLIMITED, static_cast<hsize_t>(width)};
    const std::array<hsize_t, 2> chunk = {static_cast<hsize_t>(chunk_rows),
                                          static_cast<hsize_t>(width)};
    const h5::Handle space(H5Screate_simple(dimensions, size.data(), most.data()), H5Sclose);
    const h5::Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(create.get(), dimensions, chunk.data());
    H5Pset_fill_time(create.get(), H5D_FILL_TIME_NEVER);
    H5Pset_attr_phase_change(create.get(), 8, 0);
    // Whole chunks go past the cache of chunks.
    const h5::Handle access(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose);
    H5Pset_chunk_cache(access.get(), 0, 0, 1.0);
    Column column{h5::Handle(H5Dcreate2(folder, name.c_str(), type, space.get(), H5P_DEFAULT,
                                        create.get(), access.get()),
                             H5Dclose),
                  chunk_rows, dimensions};
    if (!column.dataset) h5::fail(kWhere, cat("create '", name, "' in"), path);
    return column;
  }

  h5::Handle folder(const std::string& name, bool create) const {
    h5::Handle folder(
        create ? H5Gcreate2(file.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)
               : H5Gopen2(file.get(), name.c_str(), H5P_DEFAULT),
        H5Gclose);
    if (!folder) h5::fail(kWhere, cat("create '", name, "' in"), path);
    return folder;
  }

  void create_stream(const std::string& name) {
    folder("/" + name, true);
    const std::string second = cat("/", alias, "/", name);
    if (H5Lcreate_hard(file.get(), ("/" + name).c_str(), file.get(), second.c_str(), H5P_DEFAULT,
                       H5P_DEFAULT) < 0) {
      h5::fail(kWhere, cat("create '", second, "' in"), path);
    }
    folder(cat("/", name, "/sites"), true);
    const h5::Handle rows = folder(cat("/", name, "/rows"), true);
    columns.emplace_back();
    for (std::size_t i = 0; i < kRowColumns; ++i) {
      columns.back().push_back(create_column(rows.get(), row_column_name(static_cast<RowColumn>(i)),
                                             h5::row_type(i), kRowChunk, 0));
    }
  }

  // Site columns come before the row columns.
  void create_site(std::size_t stream, const SiteColumn& site) {
    std::vector<Column>& list = columns[stream];
    const h5::Handle sites = folder(cat("/", manifest.streams[stream].name, "/sites"), false);
    const h5::Handle type = h5::float_type(site.dtype);
    Column column =
        create_column(sites.get(), site.site, type.get(), rows_per_chunk(site), site.width);
    h5::describe_site(column.dataset.get(), site, kWhere, path);
    list.insert(list.end() - kRowColumns, std::move(column));
  }

  // Last, since branches and sites may have come meanwhile.
  void describe() const {
    const hid_t root = file.get();
    h5::write_text(root, "tierod", self_description(manifest), kWhere, path);
    h5::write_text(root, "alias", alias, kWhere, path);
    h5::write_text(root, "format", kFormat, kWhere, path);
    h5::write_text(root, "tool_version", version(), kWhere, path);
    h5::write_text(root, "configuration", manifest.configuration, kWhere, path);
    for (const auto& [name, text] : manifest.provenance) {
      h5::write_text(root, ("provenance." + name).c_str(), text, kWhere, path);
    }
    for (const std::vector<Column>& list : columns) {
      for (std::size_t i = 0; i < kRowColumns; ++i) {
        h5::describe_row_column(list[list.size() - kRowColumns + i].dataset.get(), i,
                                manifest.branches, kWhere, path);
      }
    }
  }
};

ShardFile::ShardFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ShardFile::~ShardFile() {
  const h5::Guard guard;
  impl_.reset();
}

std::unique_ptr<ShardFile> ShardFile::create(const std::string& path, const Manifest& manifest,
                                             const std::string& alias) {
  const h5::Guard guard;
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->alias = alias;
  impl->manifest = manifest;
  impl->manifest.shards.clear();
  // Opened by ourselves first: its errors are the system's, not HDF5's.
  impl->descriptor = open_file(kWhere, path, O_RDWR | O_CREAT | O_TRUNC);
  const h5::Handle access = h5::writing_access();
  const h5::Handle create(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  impl->file =
      h5::Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, create.get(), access.get()), H5Fclose);
  if (!impl->file) h5::fail(kWhere, "create", path);
  impl->folder("/" + alias, true);
  impl->manifest.streams.clear();
  auto shard = std::unique_ptr<ShardFile>(new ShardFile(std::move(impl)));
  shard->update(manifest);
  return shard;
}

void ShardFile::update(const Manifest& manifest) {
  const h5::Guard guard;
  Impl& impl = *impl_;
  impl.manifest.branches = manifest.branches;
  for (std::size_t s = 0; s < manifest.streams.size(); ++s) {
    const StreamSpec& stream = manifest.streams[s];
    if (s == impl.manifest.streams.size()) {
      impl.manifest.streams.push_back({stream.name});
      impl.create_stream(stream.name);
    }
    auto& sites = impl.manifest.streams[s].sites;
    for (std::size_t c = sites.size(); c < stream.sites.size(); ++c) {
      impl.create_site(s, stream.sites[c]);
      sites.push_back(stream.sites[c]);
    }
  }
  impl.check();
}

void ShardFile::write_chunk(std::size_t stream, std::uint16_t column, std::int64_t first_row,
                            std::int64_t rows, const void* data, std::size_t bytes,
                            std::uint64_t hash) {
  const h5::Guard guard;
  Column& target = impl_->column(stream, column);
  const std::array<hsize_t, 2> offset = {static_cast<hsize_t>(first_row), 0};
  const std::array<hsize_t, 2> size = {
      static_cast<hsize_t>(first_row + rows),
      target.dimensions == 2
          ? static_cast<hsize_t>(impl_->manifest.streams[stream].sites[column].width)
          : 0};
  if (H5Dset_extent(target.dataset.get(), size.data()) < 0 ||
      H5Dwrite_chunk(target.dataset.get(), H5P_DEFAULT, 0, offset.data(), bytes, data) < 0) {
    impl_->check();
    h5::fail(kWhere, "write a chunk to", impl_->path);
  }
  impl_->check();
  const auto [at, written] = h5::last_raw_write(impl_->file.get());
  if (at <= 0 || written != bytes) {
    throw IoError(cat("[", kWhere, "] '", impl_->path, "': a chunk of ", bytes,
                      " bytes was written as one of ", written));
  }
  impl_->written.push_back({stream, column, first_row, rows, bytes, hash, at});
}

void ShardFile::start_writeback() {
  ::sync_file_range(impl_->descriptor.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

std::vector<Extent> ShardFile::finish(const std::vector<std::int64_t>& rows) {
  const h5::Guard guard;
  Impl& impl = *impl_;
  std::vector<Extent> extents;
  std::vector<std::size_t> cut;  // HDF5 may fill what a smaller extent cuts off
  extents.reserve(impl.written.size());
  for (const Written& chunk : impl.written) {
    const std::int64_t kept = std::min(chunk.rows, rows[chunk.stream] - chunk.first_row);
    if (kept <= 0) continue;  // beyond the last complete row: its bytes count as padding
    if (kept < chunk.rows) cut.push_back(extents.size());
    extents.push_back({.offset = chunk.offset,
                       .length = static_cast<std::int64_t>(chunk.bytes),
                       .hash = chunk.hash,
                       .first_row = chunk.first_row,
                       .rows = static_cast<std::uint32_t>(kept),
                       .stream = static_cast<std::uint16_t>(chunk.stream),
                       .column = chunk.column});
  }
  for (std::size_t s = 0; s < impl.columns.size(); ++s) {
    const auto& sites = impl.manifest.streams[s].sites;
    for (std::size_t c = 0; c < impl.columns[s].size(); ++c) {
      const std::array<hsize_t, 2> size = {
          static_cast<hsize_t>(rows[s]),
          static_cast<hsize_t>(c < sites.size() ? sites[c].width : 0)};
      if (H5Dset_extent(impl.columns[s][c].dataset.get(), size.data()) < 0) {
        h5::fail(kWhere, "set the number of rows of", impl.path);
      }
    }
  }
  impl.describe();
  impl.columns.clear();
  if (H5Fflush(impl.file.get(), H5F_SCOPE_LOCAL) < 0) h5::fail(kWhere, "flush", impl.path);
  impl.check();
  if (!impl.file.reset()) h5::fail(kWhere, "close", impl.path);
  for (const std::size_t index : cut) {
    Extent& extent = extents[index];
    std::vector<char> data(static_cast<std::size_t>(extent.length));
    read_at(kWhere, impl.descriptor.get(), impl.path, data.data(), data.size(), extent.offset);
    extent.hash = hash64(data.data(), data.size());
  }
  return extents;
}

}  // namespace tierod::internal
