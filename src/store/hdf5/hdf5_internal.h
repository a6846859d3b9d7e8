#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/manifest_internal.h"
#include "store/seal_internal.h"
#include "tierod/store/labels.h"

// What needs HDF5, and nothing of HDF5's own types. The folder store/hdf5 is all that includes its
// headers; a build without the store compiles off.cpp in its place.
namespace tierod::internal {

/// Write the HDF5 part of one shard.
class ShardFile {
 public:
  /// Create `path` with a data set for every site and row column, also to be found below `/alias`.
  static std::unique_ptr<ShardFile> create(const std::string& path, const Manifest& manifest,
                                           const std::string& alias);
  ~ShardFile();
  ShardFile(const ShardFile&) = delete;
  ShardFile& operator=(const ShardFile&) = delete;

  /// Take over sites and branches that `manifest` has and the file lacks.
  void update(const Manifest& manifest);
  /// Write a whole chunk: `column` is the number of a site, or kRowColumn | the number of a
  /// RowColumn. `rows` of its rows count, the rest is padding; `hash` is that of all its bytes.
  void write_chunk(std::size_t stream, std::uint16_t column, std::int64_t first_row,
                   std::int64_t rows, const void* data, std::size_t bytes, std::uint64_t hash);
  /// Set the number of rows of each stream, write what the shard says of itself, close, and return
  /// where each chunk lies.
  std::vector<Extent> finish(const std::vector<std::int64_t>& rows);
  /// Start writing back what was handed to the kernel, without waiting.
  void start_writeback();

 private:
  struct Impl;
  explicit ShardFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Read what a (verified) shard says of itself.
std::string read_description(const char* where, const std::string& path);
std::string read_alias(const char* where, const std::string& path);

/// Return where HDF5's own index has the chunks of a shard, and check the numbers of rows against
/// `rows`. @throws IoError.
std::vector<Extent> read_chunk_table(const char* where, const std::string& path,
                                     const Manifest& manifest,
                                     const std::vector<std::int64_t>& rows);

/// Write a virtual data set over all shards to `path`.
///
/// HDF5 looks for a shard beside the index and then, if it is not there, in the current folder,
/// which may be another store with a shard of the same name. The index therefore refers to data
/// sets below the shard's alias, which no other shard has.
void write_index(const std::string& path, const Manifest& manifest);

/// Return the digest of the shards that an index was made of (`shards_digest`).
std::string read_index_digest(const char* where, const std::string& path);

/// Write and read all versions of a concept's labels.
void write_label_file(const std::string& path, const std::vector<Labels>& versions);
std::vector<Labels> read_label_file(const char* where, const std::string& path);

}  // namespace tierod::internal
