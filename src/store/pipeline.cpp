#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <numeric>
#include <utility>

#include "core/text_internal.h"
#include "store/finite_internal.h"
#include "store/pipeline_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

constexpr const char* kWhere = "store.ActivationWriter";
constexpr std::size_t kCommitsAhead = 2;
constexpr std::int64_t kWritebackBytes = 16 << 20;

// Signals are the program's business, not our threads'. SIGXFSZ, which a write past the file size
// limit raises, stays pending here and the write fails with EFBIG instead.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

Pipeline::Pipeline(std::string store, Manifest manifest, Ring& ring, WriterLock& lock)
    : store_(std::move(store)), ring_(ring), lock_(lock), manifest_(std::move(manifest)) {
  for (const ShardEntry& entry : manifest_.shards) {
    add_entry(entry);
    next_number_ = std::max(next_number_, shard_number(entry.file) + 1);
  }
  open_ = manifest_;
  open_.shards.clear();
  const SignalsBlocked blocked;
  writer_ = std::thread([this] { run_writer(); });
  committer_ = std::thread([this] { run_committer(); });
}

Pipeline::~Pipeline() { stop(); }

void Pipeline::write(ChunkTask task) {
  chunks_.fetch_add(1, std::memory_order_relaxed);
  {
    const std::scoped_lock lock(mutex_);
    tasks_.push_back({.chunk = task});
    ++pending_;
  }
  task_.notify_one();
}

void Pipeline::update(std::vector<StreamSpec> streams, std::vector<std::string> branches) {
  {
    const std::scoped_lock lock(mutex_);
    tasks_.push_back({.update = std::pair(std::move(streams), std::move(branches))});
    ++pending_;
  }
  task_.notify_one();
}

void Pipeline::seal(std::vector<std::int64_t> rows) {
  {
    const std::scoped_lock lock(mutex_);
    tasks_.push_back({.seal = std::move(rows)});
    ++pending_;
  }
  task_.notify_one();
}

void Pipeline::wait() {
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return pending_ == 0 || error_; });
    if (error_) std::rethrow_exception(error_);
  }
  sync_folder(kWhere, store_);  // the last manifest's name; those before it were synced with it
}

void Pipeline::check() {
  const std::scoped_lock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

void Pipeline::stop() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  task_.notify_all();
  commit_.notify_all();
  ring_.stop();
  if (writer_.joinable()) writer_.join();
  if (committer_.joinable()) committer_.join();
  if (shard_) {
    shard_.reset();
    ::unlink(shard_path_.c_str());
  }
}

Pipeline::Totals Pipeline::totals() const {
  const std::scoped_lock lock(mutex_);
  return totals_;
}

Manifest Pipeline::manifest() const {
  const std::scoped_lock lock(mutex_);
  return manifest_;
}

void Pipeline::add_entry(const ShardEntry& entry) {
  if (!entries_.empty()) entries_ += ",\n";
  entries_ += entry_text(entry);
}

void Pipeline::fail() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
  ring_.stop();
  done_.notify_all();
}

void Pipeline::run_writer() {
  while (true) {
    Task task;
    bool failed = false;
    {
      std::unique_lock lock(mutex_);
      task_.wait(lock, [&] { return !tasks_.empty() || stopping_; });
      if (tasks_.empty()) {
        writer_done_ = true;
        break;
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
      failed = error_ != nullptr;
    }
    if (!failed) {
      try {
        process(task);
      } catch (...) {
        fail();
      }
    }
    if (task.chunk) {
      ring_.give(task.chunk->buffer);
      chunks_.fetch_sub(1, std::memory_order_relaxed);
    }
    finish_one();
  }
  commit_.notify_all();
}

void Pipeline::run_committer() {
  while (true) {
    Commit job;
    {
      std::unique_lock lock(mutex_);
      commit_.wait(lock, [&] { return !commits_.empty() || writer_done_; });
      if (commits_.empty()) return;
      job = std::move(commits_.front());
      commits_.pop_front();
    }
    done_.notify_all();
    const std::string temporary = job.temporary;
    try {
      commit(std::move(job));
    } catch (...) {
      fail();
      ::unlink(temporary.c_str());
    }
    finish_one();
  }
}

void Pipeline::finish_one() {
  bool last = false;
  {
    const std::scoped_lock lock(mutex_);
    last = --pending_ == 0;
  }
  if (last) done_.notify_all();
}

void Pipeline::process(Task& task) {
  if (task.update) {
    open_.streams = std::move(task.update->first);
    open_.branches = std::move(task.update->second);
    if (shard_) shard_->update(open_);
    return;
  }
  if (task.seal) {
    seal_shard(*task.seal);
    return;
  }
  if (!task.chunk) return;
  const ChunkTask& chunk = *task.chunk;
  if (!shard_) {
    shard_path_ = store_path(store_, shard_name(next_number_) + ".tmp");
    shard_ = ShardFile::create(shard_path_, open_, shard_alias(open_.store_id, next_number_));
    ++next_number_;
  }
  if (chunk.column == kRowColumn) {
    write_rows(chunk);
    return;
  }
  const SiteColumn& site = open_.streams[chunk.stream].sites[chunk.column];
  if (chunk.nonfinite > 0) suspect_.push_back(chunk);
  const std::int64_t bytes = chunk_bytes(site);
  shard_->write_chunk(chunk.stream, chunk.column, chunk.first_row, chunk.rows, chunk.buffer,
                      static_cast<std::size_t>(bytes), chunk.hash);
  since_writeback_ += bytes;
  if (since_writeback_ >= kWritebackBytes) {
    since_writeback_ = 0;
    shard_->start_writeback();
  }
}

void Pipeline::write_rows(const ChunkTask& chunk) {
  const std::byte* at = chunk.buffer;
  for (std::size_t c = 0; c < kRowColumns; ++c) {
    const std::int64_t bytes = kRowChunk * row_column_bytes(c);
    shard_->write_chunk(chunk.stream, static_cast<std::uint16_t>(kRowColumn | c), chunk.first_row,
                        chunk.rows, at, static_cast<std::size_t>(bytes),
                        hash64(at, static_cast<std::size_t>(bytes)));
    at += bytes;
  }
}

std::vector<std::int64_t> Pipeline::count_nonfinite_rows(
    const std::vector<Extent>& extents, const std::vector<std::int64_t>& rows) const {
  std::vector<std::int64_t> counts(open_.streams.size(), 0);
  for (const ChunkTask& chunk : suspect_) {
    const std::int64_t kept = rows[chunk.stream] - chunk.first_row;
    if (kept <= 0) continue;
    if (kept >= chunk.rows) {
      counts[chunk.stream] += chunk.nonfinite;
      continue;
    }
    // Rows were cut off that not every site had: count again what is left.
    const auto found = std::find_if(extents.begin(), extents.end(), [&](const Extent& e) {
      return e.stream == chunk.stream && e.column == chunk.column && e.first_row == chunk.first_row;
    });
    const SiteColumn& site = open_.streams[chunk.stream].sites[chunk.column];
    std::vector<std::byte> data(static_cast<std::size_t>(kept * site.row_bytes()));
    const Fd fd = open_file(kWhere, shard_path_, O_RDONLY);
    read_at(kWhere, fd.get(), shard_path_, data.data(), data.size(), found->offset);
    counts[chunk.stream] += count_nonfinite(data.data(), kept, site.width, site.dtype);
  }
  return counts;
}

void Pipeline::seal_shard(const std::vector<std::int64_t>& rows) {
  if (!shard_) return;
  const std::int64_t sum = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  if (sum == 0) {  // no row was complete
    shard_.reset();
    ::unlink(shard_path_.c_str());
    suspect_.clear();
    return;
  }
  Commit job{.temporary = shard_path_, .rows = rows, .description = open_};
  job.extents = shard_->finish(rows);
  job.nonfinite = count_nonfinite_rows(job.extents, rows);
  shard_.reset();
  suspect_.clear();
  since_writeback_ = 0;
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return commits_.size() < kCommitsAhead || error_; });
    commits_.push_back(std::move(job));
    ++pending_;
  }
  commit_.notify_one();
}

void Pipeline::commit(Commit job) {
  {
    const std::scoped_lock lock(mutex_);
    if (error_) {  // an earlier shard is lost: what follows must not be committed without it
      ::unlink(job.temporary.c_str());
      return;
    }
  }
  const Fd fd = open_file(kWhere, job.temporary, O_RDWR);
  ShardEntry entry{.rows = std::move(job.rows), .nonfinite = std::move(job.nonfinite)};
  entry.digest =
      seal_file(kWhere, job.temporary, fd.get(), std::move(job.extents), job.description.store_id);
  entry.bytes = file_size(kWhere, fd.get(), job.temporary);
  sync_file(kWhere, fd.get(), job.temporary);
  const std::string path = job.temporary.substr(0, job.temporary.size() - 4);
  entry.file = std::filesystem::path(path).filename().string();
  entry.alias = shard_alias(job.description.store_id, shard_number(entry.file));
  rename_file(kWhere, job.temporary, path);

  std::string text;
  {
    const std::scoped_lock lock(mutex_);
    const bool more_streams = job.description.streams.size() > manifest_.streams.size();
    manifest_.streams = job.description.streams;
    manifest_.branches = job.description.branches;
    if (more_streams) {
      entries_.clear();
      for (ShardEntry& earlier : manifest_.shards) {
        earlier.rows.resize(manifest_.streams.size(), 0);
        earlier.nonfinite.resize(manifest_.streams.size(), 0);
        add_entry(earlier);
      }
    }
    add_entry(entry);
    manifest_.shards.push_back(entry);
    text = manifest_text(manifest_, entries_);
  }
  replace_file(kWhere, store_path(store_, kManifest), text);
  const std::scoped_lock lock(mutex_);
  ++totals_.shards;
  totals_.bytes += entry.bytes;
  for (std::size_t s = 0; s < entry.rows.size(); ++s) {
    totals_.rows_committed += entry.rows[s];
    totals_.nonfinite += entry.nonfinite[s];
    lock_.set_committed(s, manifest_.rows_of(s));
  }
}

}  // namespace tierod::internal
