#include <unistd.h>

#include <cstring>

#include "core/text_internal.h"
#include "store/finite_internal.h"
#include "store/writer_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;
using internal::Filling;
using internal::kRowColumn;
using internal::kSpareBuffers;
using internal::SiteState;
using internal::StreamState;

namespace {

constexpr const char* kAppend = "store.ActivationWriter.append";

template <typename T>
void put_column(std::byte* target, const std::vector<std::int64_t>& values, std::int64_t fill,
                std::int64_t begin, std::int64_t count) {
  T* out = reinterpret_cast<T*>(target);
  if (values.empty()) {
    std::fill_n(out, count, static_cast<T>(fill));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<T>(values[static_cast<std::size_t>(begin + i)]);
  }
}

// Copy rows into the buffer, a few at a time, and take their checksum and look for NaN and Inf
// while they are in the nearest cache: one way through memory instead of three.
void copy_rows(SiteState& site, const std::byte* source, std::int64_t rows) {
  constexpr std::int64_t kBlockBytes = 8 << 10;
  const std::int64_t row_bytes = site.site.row_bytes();
  const std::int64_t block = std::max<std::int64_t>(1, kBlockBytes / row_bytes);
  std::byte* target = site.buffer + site.buffered * row_bytes;
  while (rows > 0) {
    const std::int64_t count = std::min(block, rows);
    const auto bytes = static_cast<std::size_t>(count * row_bytes);
    std::memcpy(target, source, bytes);
    site.nonfinite += internal::count_nonfinite(target, count, site.site.width, site.site.dtype);
    site.hasher.update(target, bytes);
    source += bytes;
    target += bytes;
    rows -= count;
  }
}

}  // namespace

std::vector<StreamSpec> ActivationWriter::Impl::specs() const {
  std::vector<StreamSpec> list;
  for (const StreamState& stream : streams) {
    list.push_back({stream.name});
    for (const SiteState& site : stream.sites) list.back().sites.push_back(site.site);
  }
  return list;
}

void ActivationWriter::Impl::need_own_process(const char* function) const {
  if (::getpid() == process) return;
  throw StateError(cat("[store.ActivationWriter.", function, "] the writer belongs to process ",
                       process,
                       ", of which this one is a fork; open a store of its own here and "
                       "merge the two"));
}

void ActivationWriter::Impl::need_open(const char* function) const {
  if (!open) {
    throw StateError(cat("[store.ActivationWriter.", function, "] the writer is closed"));
  }
}

StreamState& ActivationWriter::Impl::stream(std::string_view name, const char* function) {
  for (StreamState& stream : streams) {
    if (stream.name == name) return stream;
  }
  std::vector<std::string> names;
  names.reserve(streams.size());
  for (const StreamState& stream : streams) names.push_back(stream.name);
  throw SiteError(cat("[store.ActivationWriter.", function, "] there is no stream '", name,
                      "'; there are ", internal::list_text(names)));
}

std::size_t ActivationWriter::Impl::number(const StreamState& stream) const {
  return static_cast<std::size_t>(&stream - streams.data());
}

std::byte* ActivationWriter::Impl::take_buffer() {
  // So many on their way keep the writing thread busy and fit the processor's cache.
  constexpr std::int64_t kEnough = 16;
  std::byte* buffer = ring->take(pipeline->chunks() >= kEnough);
  if (buffer != nullptr) return buffer;
  pipeline->check();
  throw StateError("[store.ActivationWriter.append] the writer was closed meanwhile");
}

void ActivationWriter::Impl::need_buffers(std::size_t extra_sites, std::size_t extra_streams,
                                          std::int64_t row_bytes) const {
  std::size_t columns = streams.size() + extra_streams + extra_sites;
  for (const StreamState& stream : streams) columns += stream.sites.size();
  const auto needed = static_cast<std::int64_t>(columns) + kSpareBuffers;
  const auto bytes = static_cast<std::int64_t>(ring->buffer_bytes());
  if (row_bytes > bytes) {
    throw InvalidArgument(cat("[store.ActivationWriter.add_site] a row has ", row_bytes,
                              " bytes, a buffer of the ring ", bytes,
                              "; declare the site when the store is opened"));
  }
  if (needed > static_cast<std::int64_t>(ring->buffers())) {
    throw InvalidArgument(cat("[store.ActivationWriter.add_site] ", needed, " buffers of ", bytes,
                              " bytes are needed, the memory limit of ", options.memory_bytes,
                              " bytes holds ", ring->buffers(), "; raise memory_bytes to ",
                              needed * bytes, ", or capture fewer sites"));
  }
}

void ActivationWriter::Impl::push_rows(Filling& table, std::size_t stream) {
  pipeline->write({.stream = stream,
                   .column = kRowColumn,
                   .first_row = table.rows - table.buffered,
                   .rows = table.buffered,
                   .buffer = table.buffer});
  table.buffer = nullptr;
  table.buffered = 0;
}

void ActivationWriter::Impl::push_site(SiteState& site, std::size_t stream, std::uint16_t column) {
  if (site.buffered < site.chunk_rows) {
    const std::int64_t used = site.buffered * site.site.row_bytes();
    const auto rest = static_cast<std::size_t>(internal::chunk_bytes(site.site) - used);
    std::memset(site.buffer + used, 0, rest);
    site.hasher.update(site.buffer + used, rest);
  }
  pipeline->write({.stream = stream,
                   .column = column,
                   .first_row = site.rows - site.buffered,
                   .rows = site.buffered,
                   .buffer = site.buffer,
                   .hash = site.hasher.digest(),
                   .nonfinite = site.nonfinite});
  site.buffer = nullptr;
  site.buffered = 0;
  site.hasher.reset();
  site.nonfinite = 0;
}

void ActivationWriter::Impl::put_rows(StreamState& stream, const Rows& rows, std::int64_t begin,
                                      std::int64_t count) {
  Filling& table = stream.table;
  while (count > 0) {
    if (table.buffer == nullptr) {
      table.buffer = take_buffer();
      std::memset(table.buffer, 0,
                  static_cast<std::size_t>(internal::kRowChunk * row_table_bytes()));
    }
    const std::int64_t part = std::min(count, internal::kRowChunk - table.buffered);
    std::byte* at = table.buffer;
    for (std::size_t c = 0; c < kRowColumns; ++c) {
      const std::int64_t bytes = internal::row_column_bytes(c);
      std::byte* target = at + table.buffered * bytes;
      const auto& values = rows.values[c];
      const std::int64_t fill = rows.fill[c];
      switch (bytes) {
        case 8:
          put_column<std::int64_t>(target, values, fill, begin, part);
          break;
        case 4:
          put_column<std::int32_t>(target, values, fill, begin, part);
          break;
        case 2:
          put_column<std::int16_t>(target, values, fill, begin, part);
          break;
        default:
          put_column<std::int8_t>(target, values, fill, begin, part);
      }
      at += internal::kRowChunk * bytes;
    }
    table.buffered += part;
    table.rows += part;
    begin += part;
    count -= part;
    if (table.buffered == internal::kRowChunk) push_rows(table, number(stream));
  }
}

void ActivationWriter::Impl::put_site(StreamState& stream, SiteState& site,
                                      const at::Tensor& values, std::int64_t begin,
                                      std::int64_t count) {
  const std::int64_t row_bytes = site.site.row_bytes();
  while (count > 0) {
    if (site.buffer == nullptr) site.buffer = take_buffer();
    const std::int64_t part = std::min(count, site.chunk_rows - site.buffered);
    at::Tensor piece = values.narrow(0, begin, part);
    if (piece.scalar_type() != site.site.dtype || !piece.is_cpu()) {
      piece = piece.to(at::kCPU, site.site.dtype);
    }
    piece = piece.contiguous();
    copy_rows(site, static_cast<const std::byte*>(piece.const_data_ptr()), part);
    site.buffered += part;
    site.rows += part;
    begin += part;
    count -= part;
    shard_bytes += part * row_bytes;
    if (site.buffered == site.chunk_rows) {
      push_site(site, number(stream), static_cast<std::uint16_t>(&site - stream.sites.data()));
    }
  }
}

void ActivationWriter::Impl::check_finite(const SiteColumn& site, const at::Tensor& values) const {
  if (options.nonfinite != NonFinite::refuse) return;
  // What counts is what would be stored: f16 overflows where f32 does not.
  const at::Tensor stored = values.to(at::kCPU, site.dtype).contiguous();
  const std::int64_t row =
      internal::first_nonfinite(stored.const_data_ptr(), stored.size(0), site.width, site.dtype);
  if (row < 0) return;
  throw NumericalError(cat("[", kAppend, "] '", site.site, "': row ", row, " of ", stored.size(0),
                           " holds NaN or Inf as ", internal::store_dtype_name(site.dtype),
                           "; find the layer that makes it, store a wider dtype, or keep such "
                           "rows with nonfinite = keep"));
}

void ActivationWriter::Impl::count_rows(const StreamState& stream) {
  lock->set_appended(number(stream), stream.before + stream.complete());
}

void ActivationWriter::Impl::seal_if_large() {
  if (shard_bytes < options.shard_bytes) return;
  if (std::all_of(streams.begin(), streams.end(),
                  [](const StreamState& stream) { return stream.aligned(); })) {
    seal();
  }
}

void ActivationWriter::Impl::seal() {
  std::vector<std::int64_t> rows;
  for (std::size_t s = 0; s < streams.size(); ++s) {
    StreamState& stream = streams[s];
    rows.push_back(stream.complete());
    for (std::size_t c = 0; c < stream.sites.size(); ++c) {
      SiteState& site = stream.sites[c];
      if (site.buffer == nullptr) continue;
      push_site(site, s, static_cast<std::uint16_t>(c));
    }
    if (stream.table.buffer != nullptr) push_rows(stream.table, s);
  }
  pipeline->seal(rows);
  for (std::size_t s = 0; s < streams.size(); ++s) {
    streams[s].before += rows[s];
    streams[s].table.rows = 0;
    for (SiteState& site : streams[s].sites) site.rows = 0;
  }
  shard_bytes = 0;
}

std::string ActivationWriter::Impl::misaligned() const {
  for (const StreamState& stream : streams) {
    for (const SiteState& site : stream.sites) {
      if (site.rows == stream.table.rows) continue;
      return cat("'", site.site.site, "' has ", site.rows, " rows where the row table of '",
                 stream.name, "' has ", stream.table.rows, " (in the open shard)");
    }
  }
  return {};
}

}  // namespace tierod
