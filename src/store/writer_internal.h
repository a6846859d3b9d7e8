#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "store/pipeline_internal.h"
#include "tierod/store/writer.h"

namespace tierod {

namespace internal {

/// Hold a column's part of the open shard: how far it is, and the buffer that it is filling.
struct Filling {
  std::int64_t rows = 0;  // in the open shard
  std::byte* buffer = nullptr;
  std::int64_t buffered = 0;  // rows in the buffer
};

struct SiteState : Filling {
  SiteColumn site;
  std::int64_t chunk_rows = 0;
  Hasher hasher;  // of what the buffer holds
  std::int64_t nonfinite = 0;
};

struct StreamState {
  std::string name;
  std::vector<SiteState> sites;
  Filling table;
  std::int64_t before = 0;  // rows in closed shards

  std::int64_t complete() const {
    std::int64_t rows = table.rows;
    for (const SiteState& site : sites) rows = std::min(rows, site.rows);
    return rows;
  }
  bool aligned() const {
    return std::all_of(sites.begin(), sites.end(),
                       [&](const SiteState& site) { return site.rows == table.rows; });
  }
};

/// Two buffers besides those that sites are filling: one being written, one on its way.
inline constexpr std::int64_t kSpareBuffers = 2;

}  // namespace internal

struct ActivationWriter::Impl {
  std::string path;
  WriterOptions options;
  std::unique_ptr<internal::WriterLock> lock;
  std::unique_ptr<internal::Ring> ring;
  std::unique_ptr<internal::Pipeline> pipeline;
  std::vector<std::string> branches;

  std::mutex mutex;
  std::vector<internal::StreamState> streams;
  std::int64_t shard_bytes = 0;  // of the open shard
  std::int64_t rows_at_open = 0;
  std::atomic<bool> open = true;
  pid_t process = 0;  // whose threads write: a fork has none of them

  /// Throw StateError in a forked child.
  void need_own_process(const char* function) const;
  std::vector<StreamSpec> specs() const;
  void need_open(const char* function) const;
  internal::StreamState& stream(std::string_view name, const char* function);
  std::size_t number(const internal::StreamState& stream) const;
  std::byte* take_buffer();
  /// Throw InvalidArgument unless the ring holds a buffer for each column, and two.
  void need_buffers(std::size_t extra_sites, std::size_t extra_streams,
                    std::int64_t row_bytes) const;
  /// Hand a buffer to the pipeline.
  void push_rows(internal::Filling& table, std::size_t stream);
  void push_site(internal::SiteState& site, std::size_t stream, std::uint16_t column);
  void put_rows(internal::StreamState& stream, const Rows& rows, std::int64_t begin,
                std::int64_t count);
  void put_site(internal::StreamState& stream, internal::SiteState& site, const at::Tensor& values,
                std::int64_t begin, std::int64_t count);
  /// Throw NumericalError where NaN and Inf are refused.
  void check_finite(const SiteColumn& site, const at::Tensor& values) const;
  /// Tell the lock file how many rows there are.
  void count_rows(const internal::StreamState& stream);
  void seal_if_large();
  /// Close the open shard at the rows that every site has.
  void seal();
  /// Name a site that has other rows than its row table; empty if there is none.
  std::string misaligned() const;
};

}  // namespace tierod
