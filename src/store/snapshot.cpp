#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/text_internal.h"
#include "store/reader_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

const ShardView& Snapshot::view(std::size_t shard, const char* where) const {
  Slot& slot = *slots[shard];
  if (const ShardView* view = slot.view.load(std::memory_order_acquire)) return *view;
  const std::scoped_lock lock(slot.mutex);
  if (!slot.owner) {
    slot.owner =
        std::make_shared<ShardView>(where, store, manifest.shards[shard], manifest, verify);
    slot.view.store(slot.owner.get(), std::memory_order_release);
  }
  return *slot.owner;
}

std::shared_ptr<const Snapshot> Snapshot::make(const std::string& store, Manifest manifest,
                                               bool verify, const Snapshot* before) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->store = store;
  snapshot->verify = verify;
  snapshot->manifest = std::move(manifest);
  const auto& shards = snapshot->manifest.shards;
  for (std::size_t s = 0; s < snapshot->manifest.streams.size(); ++s) {
    std::vector<std::int64_t> starts = {0};
    for (const ShardEntry& shard : shards) starts.push_back(starts.back() + shard.rows[s]);
    Lookup lookup;
    const auto cells = 4 * static_cast<std::int64_t>(shards.size());
    while ((starts.back() >> lookup.shift) > cells) ++lookup.shift;
    std::uint32_t at = 0;
    for (std::int64_t row = 0; row < starts.back(); row += std::int64_t{1} << lookup.shift) {
      while (starts[at + 1] <= row) ++at;
      lookup.shard.push_back(at);
    }
    snapshot->starts.push_back(std::move(starts));
    snapshot->lookups.push_back(std::move(lookup));
  }
  // Views of shards that were there before are kept: they are mapped and checked already.
  const bool same_streams =
      before != nullptr && before->manifest.streams == snapshot->manifest.streams;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const bool kept =
        same_streams && i < before->slots.size() && before->manifest.shards[i] == shards[i];
    snapshot->slots.push_back(kept ? before->slots[i] : std::make_shared<Slot>());
  }
  return snapshot;
}

SiteRef find_site(const Snapshot& snapshot, std::string_view stream, std::string_view site,
                  const char* where) {
  const std::size_t s = snapshot.manifest.stream_number(stream, where);
  const std::size_t c = site_number(snapshot.manifest.streams[s], site, where);
  return {s, c, snapshot.manifest.streams[s].sites[c]};
}

namespace {

// Call visit(view, first row in it, number of rows) for each run of rows [begin, end).
template <typename Visit>
void each_shard(const Snapshot& snapshot, std::size_t stream, std::int64_t begin, std::int64_t end,
                const char* where, Visit&& visit) {
  while (begin < end) {
    const std::size_t shard = snapshot.shard_of(stream, begin);
    const std::int64_t first = begin - snapshot.starts[stream][shard];
    const std::int64_t count = std::min(end, snapshot.starts[stream][shard + 1]) - begin;
    visit(snapshot.view(shard, where), first, count);
    begin += count;
  }
}

template <typename T>
void widen(const std::byte* source, std::int64_t count, std::int64_t* target) {
  for (std::int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, source + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    target[i] = std::int64_t{value};
  }
}

constexpr std::int64_t kLine = 64;
// How many rows ahead their lines are asked for: a row is more than the processor keeps in flight.
constexpr std::int64_t kAhead = 6;

void prefetch(const std::byte* row, std::int64_t bytes) {
  for (std::int64_t at = 0; at < bytes; at += kLine) __builtin_prefetch(row + at, 0, 0);
}

// One thread's part of a gather: find the rows first, then copy while later ones are on their way.
void gather_part(const Snapshot& snapshot, const SiteRef& ref, const std::int64_t* rows,
                 std::int64_t count, std::byte* target, const char* where) {
  constexpr std::int64_t kBatch = 512;
  std::array<const std::byte*, kBatch> at;
  const std::int64_t row_bytes = ref.site.row_bytes();
  const std::int64_t near = std::min<std::int64_t>(row_bytes, 2048);  // the rest comes by itself
  const auto& starts = snapshot.starts[ref.stream];
  for (std::int64_t done = 0; done < count; done += kBatch) {
    const std::int64_t part = std::min(kBatch, count - done);
    for (std::int64_t i = 0; i < part; ++i) {
      const std::int64_t row = rows[done + i];
      const std::size_t shard = snapshot.shard_of(ref.stream, row);
      const ShardView& view = snapshot.view(shard, where);
      at[static_cast<std::size_t>(i)] =
          view.row(where, view.site(ref.stream, ref.number), row - starts[shard]);
    }
    for (std::int64_t i = 0; i < std::min(kAhead, part); ++i) {
      prefetch(at[static_cast<std::size_t>(i)], near);
    }
    for (std::int64_t i = 0; i < part; ++i) {
      if (i + kAhead < part) prefetch(at[static_cast<std::size_t>(i + kAhead)], near);
      std::memcpy(target + (done + i) * row_bytes, at[static_cast<std::size_t>(i)],
                  static_cast<std::size_t>(row_bytes));
    }
  }
}

}  // namespace

void copy_rows(const Snapshot& snapshot, const SiteRef& ref, std::int64_t begin, std::int64_t end,
               std::byte* target, const char* where) {
  each_shard(snapshot, ref.stream, begin, end, where,
             [&](const ShardView& view, std::int64_t first, std::int64_t count) {
               const ShardView::Column& column = view.site(ref.stream, ref.number);
               while (count > 0) {
                 const std::int64_t part =
                     std::min(count, column.chunk_rows - (first & (column.chunk_rows - 1)));
                 const auto bytes = static_cast<std::size_t>(part * column.row_bytes);
                 std::memcpy(target, view.row(where, column, first), bytes);
                 target += bytes;
                 first += part;
                 count -= part;
               }
             });
}

void gather_rows(const Snapshot& snapshot, const SiteRef& ref, const std::int64_t* rows,
                 std::int64_t count, std::byte* target, const char* where) {
  const std::int64_t total = snapshot.rows(ref.stream);
  for (std::int64_t i = 0; i < count; ++i) {
    if (rows[i] >= 0 && rows[i] < total) continue;
    throw OutOfRange(cat("[", where, "] row ", rows[i], " does not lie within the ", total,
                         " rows of '", snapshot.manifest.streams[ref.stream].name, "'"));
  }
  const std::int64_t row_bytes = ref.site.row_bytes();
  const std::int64_t grain = std::max<std::int64_t>(1, (std::int64_t{1} << 20) / row_bytes);
  at::parallel_for(0, count, grain, [&](std::int64_t begin, std::int64_t end) {
    gather_part(snapshot, ref, rows + begin, end - begin, target + begin * row_bytes, where);
  });
}

void copy_column(const Snapshot& snapshot, std::size_t stream, std::size_t column,
                 std::int64_t begin, std::int64_t end, std::int64_t* target, const char* where) {
  each_shard(snapshot, stream, begin, end, where,
             [&](const ShardView& view, std::int64_t first, std::int64_t count) {
               const ShardView::Column& place = view.row_column(stream, column);
               while (count > 0) {
                 const std::int64_t part =
                     std::min(count, place.chunk_rows - (first & (place.chunk_rows - 1)));
                 const std::byte* source = view.row(where, place, first);
                 switch (place.row_bytes) {
                   case 8:
                     widen<std::int64_t>(source, part, target);
                     break;
                   case 4:
                     widen<std::int32_t>(source, part, target);
                     break;
                   case 2:
                     widen<std::int16_t>(source, part, target);
                     break;
                   default:
                     widen<std::int8_t>(source, part, target);
                 }
                 target += part;
                 first += part;
                 count -= part;
               }
             });
}

void will_need(const Snapshot& snapshot, const SiteRef& ref, std::int64_t begin, std::int64_t end,
               const char* where) {
  each_shard(snapshot, ref.stream, begin, end, where,
             [&](const ShardView& view, std::int64_t first, std::int64_t count) {
               view.will_need(view.site(ref.stream, ref.number), first, first + count);
             });
}

void touch_rows(const Snapshot& snapshot, const SiteRef& ref, std::int64_t begin, std::int64_t end,
                const char* where) {
  each_shard(snapshot, ref.stream, begin, end, where,
             [&](const ShardView& view, std::int64_t first, std::int64_t count) {
               const ShardView::Column& column = view.site(ref.stream, ref.number);
               while (count > 0) {
                 const std::int64_t part =
                     std::min(count, column.chunk_rows - (first & (column.chunk_rows - 1)));
                 view.map_pages(column, first, first + part);
                 static_cast<void>(view.row(where, column, first));  // checks the chunk
                 first += part;
                 count -= part;
               }
             });
}

}  // namespace tierod::internal
