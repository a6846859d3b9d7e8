#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "store/shard_view_internal.h"
#include "tierod/store/reader.h"

namespace tierod {

namespace internal {

/// Hold what a reader sees: the shards of one manifest. Replaced as a whole by refresh().
struct Snapshot {
  std::string store;
  bool verify = true;
  Manifest manifest;
  /// By stream: the first row of each shard, and the number of rows behind the last.
  std::vector<std::vector<std::int64_t>> starts;
  /// By stream: for each 2^shift rows, the shard of the first of them.
  struct Lookup {
    int shift = 0;
    std::vector<std::uint32_t> shard;
  };
  std::vector<Lookup> lookups;

  /// Return the shard's view, made at first touch.
  const ShardView& view(std::size_t shard, const char* where) const;
  std::int64_t rows(std::size_t stream) const { return starts[stream].back(); }
  /// Return the shard that holds a row.
  std::size_t shard_of(std::size_t stream, std::int64_t row) const {
    const Lookup& lookup = lookups[stream];
    std::size_t shard = lookup.shard[static_cast<std::size_t>(row >> lookup.shift)];
    while (starts[stream][shard + 1] <= row) ++shard;
    return shard;
  }

  struct Slot {
    std::mutex mutex;
    std::atomic<ShardView*> view = nullptr;
    std::shared_ptr<ShardView> owner;
  };
  mutable std::vector<std::shared_ptr<Slot>> slots;

  static std::shared_ptr<const Snapshot> make(const std::string& store, Manifest manifest,
                                              bool verify, const Snapshot* before);
};

/// Find a site of a stream.
struct SiteRef {
  std::size_t stream = 0;
  std::size_t number = 0;
  SiteColumn site{};
};
SiteRef find_site(const Snapshot& snapshot, std::string_view stream, std::string_view site,
                  const char* where);

/// Copy rows [begin, end) of a site to `target`.
void copy_rows(const Snapshot& snapshot, const SiteRef& ref, std::int64_t begin, std::int64_t end,
               std::byte* target, const char* where);
/// Copy the rows of these numbers, in their order.
void gather_rows(const Snapshot& snapshot, const SiteRef& ref, const std::int64_t* rows,
                 std::int64_t count, std::byte* target, const char* where);
/// Widen a row column to int64, rows [begin, end).
void copy_column(const Snapshot& snapshot, std::size_t stream, std::size_t column,
                 std::int64_t begin, std::int64_t end, std::int64_t* target, const char* where);
/// Ask the kernel for rows [begin, end), and wait until they are there and their chunks checked.
void will_need(const Snapshot& snapshot, const SiteRef& ref, std::int64_t begin, std::int64_t end,
               const char* where);
void touch_rows(const Snapshot& snapshot, const SiteRef& ref, std::int64_t begin, std::int64_t end,
                const char* where);

}  // namespace internal

struct ActivationReader::Impl {
  std::string path;
  ReaderOptions options;
  /// Held while the manifest is read and put in place: of two refreshes side by side the one that
  /// read it first must not come last, or rows that were there would be gone.
  std::mutex refreshing;
  mutable std::mutex mutex;  ///< of `current`
  std::shared_ptr<const internal::Snapshot> current;

  std::shared_ptr<const internal::Snapshot> snapshot() const {
    const std::scoped_lock lock(mutex);
    return current;
  }
};

}  // namespace tierod
