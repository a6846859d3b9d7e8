#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <filesystem>

#include "core/text_internal.h"
#include "store/finite_internal.h"
#include "store/shard_view_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

constexpr std::int64_t kPage = 4096;

}  // namespace

ShardView::ShardView(const char* where, const std::string& store, const ShardEntry& entry,
                     const Manifest& manifest, bool verify)
    : path_(store_path(store, entry.file)) {
  if (!std::filesystem::exists(path_)) {
    throw IoError(
        cat("[", where, "] the shard '", path_,
            "' is missing; restore it, or run `tierod store recover` to go on without its "
            "rows"));
  }
  file_ = Mapping(where, path_);
  if (file_.size() != entry.bytes) {
    throw IoError(cat("[", where, "] '", path_, "' has ", file_.size(),
                      " bytes, the manifest says ", entry.bytes,
                      "; it was truncated or replaced: restore it, or run `tierod store recover`"));
  }
  seal_ = read_seal(where, file_, path_);
  if (seal_.digest != entry.digest) {
    throw IoError(cat("[", where, "] '", path_, "' has digest ", hex64(seal_.digest),
                      ", the manifest says ", hex64(entry.digest),
                      "; it is another shard than the one that was written: restore it"));
  }
  place_chunks(where, entry, manifest, verify);
  if (verify) {
    for (const Extent& extent : seal_.extents) {
      if (extent.stream == kNoStream) check_extent(where, file_, extent, path_);
    }
  }
}

void ShardView::place_chunks(const char* where, const ShardEntry& entry, const Manifest& manifest,
                             bool verify) {
  const auto prepare = [&](std::int64_t rows, std::int64_t chunk_rows, std::int64_t row_bytes) {
    Column column{.chunk_rows = chunk_rows,
                  .shift = std::countr_zero(static_cast<std::uint64_t>(chunk_rows)),
                  .row_bytes = row_bytes};
    const auto chunks = static_cast<std::size_t>((rows + chunk_rows - 1) / chunk_rows);
    // A hostile manifest may claim any number of rows; the seal has an extent for each chunk.
    if (chunks > seal_.extents.size()) {
      throw IoError(cat("[", where, "] '", path_, "' has ", seal_.extents.size(),
                        " chunks at most, ", rows, " rows need ", chunks));
    }
    column.offsets.assign(chunks, -1);
    column.extents.assign(chunks, 0);
    column.checked = std::make_unique<std::atomic<std::uint8_t>[]>(chunks);
    for (std::size_t i = 0; i < chunks; ++i) column.checked[i] = verify ? 0 : 1;
    return column;
  };
  for (std::size_t s = 0; s < manifest.streams.size(); ++s) {
    Stream stream;
    for (const SiteColumn& site : manifest.streams[s].sites) {
      stream.sites.push_back(prepare(entry.rows[s], rows_per_chunk(site), site.row_bytes()));
    }
    for (std::size_t c = 0; c < kRowColumns; ++c) {
      stream.rows.push_back(prepare(entry.rows[s], kRowChunk, row_column_bytes(c)));
    }
    streams_.push_back(std::move(stream));
  }
  const auto wrong = [&](const Extent& extent) {
    return IoError(cat("[", where, "] '", path_, "' has a chunk of rows at byte ", extent.offset,
                       " that does not fit the store's streams"));
  };
  for (std::size_t e = 0; e < seal_.extents.size(); ++e) {
    const Extent& extent = seal_.extents[e];
    if (extent.stream == kNoStream) continue;
    if (extent.stream >= streams_.size()) throw wrong(extent);
    Stream& stream = streams_[extent.stream];
    const bool table = (extent.column & kRowColumn) != 0;
    const auto number = static_cast<std::size_t>(extent.column & ~kRowColumn);
    auto& columns = table ? stream.rows : stream.sites;
    if (number >= columns.size()) throw wrong(extent);
    Column& column = columns[number];
    const std::int64_t rows = entry.rows[extent.stream];
    const bool fits = extent.first_row >= 0 && extent.first_row < rows &&
                      extent.first_row % column.chunk_rows == 0 &&
                      extent.rows == std::min(column.chunk_rows, rows - extent.first_row) &&
                      extent.length == column.chunk_rows * column.row_bytes;
    if (!fits) throw wrong(extent);
    const auto chunk = static_cast<std::size_t>(extent.first_row / column.chunk_rows);
    column.offsets[chunk] = extent.offset;
    column.extents[chunk] = static_cast<std::uint32_t>(e);
  }
  for (const Stream& stream : streams_) {
    for (const auto* columns : {&stream.sites, &stream.rows}) {
      for (const Column& column : *columns) {
        if (std::find(column.offsets.begin(), column.offsets.end(), -1) == column.offsets.end()) {
          continue;
        }
        throw IoError(cat("[", where, "] '", path_, "' lacks a chunk of rows that the manifest ",
                          "counts; run `tierod store verify`"));
      }
    }
  }
}

void ShardView::check(const char* where, const Column& column, std::size_t chunk) const {
  check_extent(where, file_, seal_.extents[column.extents[chunk]], path_);
  column.checked[chunk].store(1, std::memory_order_release);
}

namespace {

// Call `visit(first byte, bytes)` for the pages of the file in which rows [begin, end) lie.
template <typename Visit>
void each_range(const ShardView::Column& column, std::int64_t begin, std::int64_t end,
                const Visit& visit) {
  for (std::int64_t chunk = begin >> column.shift; chunk <= (end - 1) >> column.shift; ++chunk) {
    const std::int64_t first = std::max(begin, chunk << column.shift) & (column.chunk_rows - 1);
    const std::int64_t last = std::min(end, (chunk + 1) << column.shift) - (chunk << column.shift);
    const std::int64_t at = column.offsets[static_cast<std::size_t>(chunk)];
    const std::int64_t from = (at + first * column.row_bytes) / kPage * kPage;
    visit(from, at + last * column.row_bytes - from);
  }
}

}  // namespace

void ShardView::will_need(const Column& column, std::int64_t begin,
                          std::int64_t end) const noexcept {
  each_range(column, begin, end, [&](std::int64_t from, std::int64_t bytes) {
    ::madvise(const_cast<std::byte*>(file_.data()) + from, static_cast<std::size_t>(bytes),
              MADV_WILLNEED);
  });
}

void ShardView::map_pages(const Column& column, std::int64_t begin,
                          std::int64_t end) const noexcept {
  each_range(column, begin, end, [&](std::int64_t from, std::int64_t bytes) {
#ifdef MADV_POPULATE_READ
    // one call where touching takes a page fault for every 16 pages; a kernel before 5.14 refuses
    if (::madvise(const_cast<std::byte*>(file_.data()) + from, static_cast<std::size_t>(bytes),
                  MADV_POPULATE_READ) == 0) {
      return;
    }
#endif
    for (std::int64_t at = from; at < from + bytes; at += kPage) {
      static_cast<void>(*static_cast<const volatile std::byte*>(file_.data() + at));
    }
  });
}

std::int64_t count_nonfinite(const char* where, const ShardView& view, const StreamSpec& stream,
                             std::size_t number, std::int64_t rows) {
  std::int64_t count = 0;
  for (std::size_t c = 0; c < stream.sites.size(); ++c) {
    const ShardView::Column& column = view.site(number, c);
    for (std::int64_t first = 0; first < rows; first += column.chunk_rows) {
      count +=
          count_nonfinite(view.row(where, column, first), std::min(column.chunk_rows, rows - first),
                          stream.sites[c].width, stream.sites[c].dtype);
    }
  }
  return count;
}

}  // namespace tierod::internal
