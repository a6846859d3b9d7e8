#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/bytes_internal.h"

namespace tierod::internal {

// Note [The seal of a shard]
//
// Behind its HDF5 part, which any HDF5 reader sees as the whole file, a shard carries a table that
// covers every byte of it: chunks of rows, and the rest (superblock, object headers, index) in
// pieces. Each has its XXH3 checksum; the table has one, and the footer that names it. The manifest
// keeps the footer's. So
//   - checksums are taken while a chunk is still in the processor's cache, not in a second pass;
//   - a reader checks what HDF5 would read before HDF5 opens the file, and chunks one by one;
//   - rows are found without HDF5, in a format simple enough to be parsed from hostile bytes.

/// Say what an extent holds.
inline constexpr std::uint16_t kNoStream = 0xFFFF;   ///< not rows: HDF5's own structures
inline constexpr std::uint16_t kRowColumn = 0x8000;  ///< or-ed to the number of a RowColumn

struct Extent {
  std::int64_t offset = 0;
  std::int64_t length = 0;
  std::uint64_t hash = 0;
  std::int64_t first_row = 0;
  std::uint32_t rows = 0;
  std::uint16_t stream = kNoStream;
  std::uint16_t column = 0;
};
static_assert(sizeof(Extent) == 40);

struct Seal {
  std::uint64_t store_id = 0;
  std::uint64_t digest = 0;      ///< checksum of the footer, which names that of the table
  std::int64_t table_bytes = 0;  ///< length of what the extents cover
  std::vector<Extent> extents{};
};

/// Add the seal to a finished file: `extents` of rows, to which the pieces between them are added.
/// Return the digest.
std::uint64_t seal_file(const char* where, const std::string& path, int fd,
                        std::vector<Extent> extents, std::uint64_t store_id);

/// Read the seal of a mapped file and check it against itself: the table's checksum, and that the
/// extents cover the file without gap or overlap. Takes no more memory than the file has bytes.
/// @throws IoError naming what is wrong: truncated, not sealed, of a newer version, damaged.
TIEROD_API Seal read_seal(const char* where, const Mapping& file, const std::string& path);

/// Check one extent. @throws IoError.
void check_extent(const char* where, const Mapping& file, const Extent& extent,
                  const std::string& path);

}  // namespace tierod::internal
