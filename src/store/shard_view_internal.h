#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/manifest_internal.h"
#include "store/seal_internal.h"

namespace tierod::internal {

/// Show the rows of one mapped shard. The seal and all of HDF5's own structures are checked when
/// the view is made, chunks when they are first touched.
class ShardView {
 public:
  /// @throws IoError if the file is missing, of another size or digest than `entry` says, or
  /// damaged.
  ShardView(const char* where, const std::string& store, const ShardEntry& entry,
            const Manifest& manifest, bool verify);

  struct Column {
    std::int64_t chunk_rows = 1;
    int shift = 0;  // log2 of chunk_rows
    std::int64_t row_bytes = 0;
    std::vector<std::int64_t> offsets;  // of chunks in the file
    std::vector<std::uint32_t> extents;
    /// 1: checked. A byte each, written by whoever checks; checking twice does no harm.
    std::unique_ptr<std::atomic<std::uint8_t>[]> checked;
  };
  const Column& site(std::size_t stream, std::size_t site) const {
    return streams_[stream].sites[site];
  }
  const Column& row_column(std::size_t stream, std::size_t column) const {
    return streams_[stream].rows[column];
  }
  /// Return the address of a row (of this shard), its chunk checked.
  const std::byte* row(const char* where, const Column& column, std::int64_t row) const {
    const auto chunk = static_cast<std::size_t>(row >> column.shift);
    if (column.checked[chunk].load(std::memory_order_acquire) == 0) check(where, column, chunk);
    return file_.data() + column.offsets[chunk] +
           (row & (column.chunk_rows - 1)) * column.row_bytes;
  }
  void check(const char* where, const Column& column, std::size_t chunk) const;
  /// Ask the kernel to read rows [begin, end) ahead.
  void will_need(const Column& column, std::int64_t begin, std::int64_t end) const noexcept;
  /// Map the pages of rows [begin, end), waiting for the disk.
  void map_pages(const Column& column, std::int64_t begin, std::int64_t end) const noexcept;

  const Seal& seal() const noexcept { return seal_; }
  const Mapping& file() const noexcept { return file_; }
  const std::string& path() const noexcept { return path_; }

 private:
  struct Stream {
    std::vector<Column> sites, rows;
  };
  void place_chunks(const char* where, const ShardEntry& entry, const Manifest& manifest,
                    bool verify);
  std::string path_;
  Mapping file_;
  Seal seal_;
  std::vector<Stream> streams_;
};

/// Count the (row, site) pairs of a stream with NaN or Inf among the first `rows` of a shard.
std::int64_t count_nonfinite(const char* where, const ShardView& view, const StreamSpec& stream,
                             std::size_t number, std::int64_t rows);

}  // namespace tierod::internal
