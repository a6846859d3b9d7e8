#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "store/hdf5/hdf5_internal.h"
#include "store/lock_internal.h"
#include "store/ring_internal.h"

namespace tierod::internal {

/// Hand over one full (or last) buffer.
struct ChunkTask {
  std::size_t stream = 0;
  /// Number of a site, or kRowColumn: the buffer holds a block of the row table, column by column.
  std::uint16_t column = 0;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::byte* buffer = nullptr;
  /// Of a site: the checksum of the whole chunk, and how many of its rows hold NaN or Inf. The
  /// model's thread takes both while it copies, with the bytes at hand in its cache.
  std::uint64_t hash = 0;
  std::int64_t nonfinite = 0;
};

/// Write shards in the background: one thread fills the open shard, another commits finished ones
/// (checksum of the rest, fsync, rename, manifest), so that waiting for the disk does not stop the
/// writing.
class Pipeline {
 public:
  Pipeline(std::string store, Manifest manifest, Ring& ring, WriterLock& lock);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  void write(ChunkTask task);
  /// Return how many buffers are on their way through.
  std::int64_t chunks() const noexcept { return chunks_.load(std::memory_order_relaxed); }
  /// Take over streams, sites or branches that came.
  void update(std::vector<StreamSpec> streams, std::vector<std::string> branches);
  /// Close the open shard at these numbers of rows.
  void seal(std::vector<std::int64_t> rows);
  /// Wait until everything is committed. @throws what a thread met.
  void wait();
  /// Throw what a thread met, if it did.
  void check();
  /// End the threads; what is not sealed is dropped.
  void stop() noexcept;

  struct Totals {
    std::int64_t rows_committed = 0;
    std::int64_t shards = 0;
    std::int64_t bytes = 0;
    std::int64_t nonfinite = 0;
  };
  Totals totals() const;
  Manifest manifest() const;

 private:
  struct Task {
    std::optional<ChunkTask> chunk{};
    std::optional<std::vector<std::int64_t>> seal{};
    std::optional<std::pair<std::vector<StreamSpec>, std::vector<std::string>>> update{};
  };
  struct Commit {
    std::string temporary;
    std::vector<Extent> extents;
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> nonfinite;
    Manifest description;
  };

  void run_writer();
  void run_committer();
  void process(Task& task);
  void write_rows(const ChunkTask& chunk);
  void seal_shard(const std::vector<std::int64_t>& rows);
  std::vector<std::int64_t> count_nonfinite_rows(const std::vector<Extent>& extents,
                                                 const std::vector<std::int64_t>& rows) const;
  void commit(Commit job);
  void add_entry(const ShardEntry& entry);
  void finish_one();
  void fail() noexcept;

  const std::string store_;
  Ring& ring_;
  WriterLock& lock_;

  mutable std::mutex mutex_;
  std::condition_variable task_;    // for the writer: there is a task, or the end
  std::condition_variable commit_;  // for the committer: there is a shard, or the end
  std::condition_variable done_;    // for who waits: less is pending, or there is an error
  std::deque<Task> tasks_;
  std::deque<Commit> commits_;
  std::atomic<std::int64_t> chunks_ = 0;
  std::int64_t pending_ = 0;  // tasks and commits that are not done
  bool stopping_ = false;
  bool writer_done_ = false;
  std::exception_ptr error_;
  Manifest manifest_;
  std::string entries_;  // of the manifest, as text
  Totals totals_;

  // the writer thread's own
  Manifest open_;  // what the open shard has, without shards
  std::unique_ptr<ShardFile> shard_;
  std::string shard_path_;
  std::int64_t next_number_ = 0;
  std::int64_t since_writeback_ = 0;
  std::vector<ChunkTask> suspect_;  // chunks of the open shard with NaN or Inf

  std::thread writer_;
  std::thread committer_;
};

}  // namespace tierod::internal
