#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/export.h"
#include "tierod/store/schema.h"

namespace tierod {

/// Choose rows of a stream; what is absent is not restricted.
struct TIEROD_API RowQuery {
  std::optional<std::vector<Phase>> phases{};
  std::optional<std::vector<std::int64_t>> steps{}, samples{}, scenes{}, groups{}, token_ids{};
  std::optional<std::vector<std::string>> branches{};
  /// A bool tensor [rows].
  at::Tensor mask{};
  /// Keep rows whose sample has this concept's label, and with `label` that value.
  std::string concept_name{};
  std::optional<std::int64_t> label{};
};

/// Say in which batches to read.
struct TIEROD_API BatchOptions {
  std::int64_t batch_rows = 4096;
  /// Shuffle by this seed; absent: in order.
  std::optional<std::uint64_t> seed{};
  /// Count of passes before this one: each has an order of its own.
  std::uint64_t epoch = 0;
  /// 0: every order of rows is possible (best where the page cache holds the store). Otherwise
  /// blocks of so many rows are shuffled, then the rows of `window_blocks` blocks among themselves:
  /// the disk sees long reads.
  std::int64_t block_rows = 0;
  std::int64_t window_blocks = 16;
  bool drop_last = false;
};

/// Hold one batch: the rows' numbers and, in the order asked for, each site's values.
struct TIEROD_API Batch {
  at::Tensor rows{};
  std::vector<at::Tensor> sites{};
};

class ActivationReader;

/// Walk through rows of a stream in batches. Nothing but the order of rows is held in memory.
class TIEROD_API Batches {
 public:
  ~Batches();
  Batches(Batches&&) noexcept;
  /// Read the next batch into `batch`; false at the end.
  bool next(Batch& batch);
  std::int64_t count() const noexcept;

 private:
  friend class ActivationReader;
  struct Impl;
  explicit Batches(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Set up a reader.
struct TIEROD_API ReaderOptions {
  /// Check each part of a shard against its checksum when it is first touched.
  bool verify = true;
};

/// Read a store, also while a writer appends to it: a reader sees the shards that were committed
/// when it opened or last refreshed.
///
/// Shards are mapped, not loaded. A shard's row numbers count through all shards. Of a shard, what
/// HDF5 would read is checked before anything is used, each chunk of rows when a row of it is first
/// asked for. Safe to use from several threads.
class TIEROD_API ActivationReader {
 public:
  /// @throws IoError if there is no store, or its manifest is damaged or of a newer version.
  static ActivationReader open(const std::string& path, ReaderOptions options = {});
  ~ActivationReader();
  ActivationReader(ActivationReader&&) noexcept;

  /// Look for shards that were committed since; return how many there are.
  std::int64_t refresh();

  std::vector<StreamSpec> streams() const;
  std::int64_t row_count(std::string_view stream) const;
  std::int64_t shard_count() const;
  std::map<std::string, std::string> provenance() const;
  std::string configuration() const;
  /// Return the names that RowColumn::branch numbers.
  std::vector<std::string> branches() const;
  const std::string& path() const;

  /// Return one column of the row table, int64 [rows].
  at::Tensor column(std::string_view stream, RowColumn column) const;
  /// Return the numbers of the rows that `query` chooses, ascending, int64.
  at::Tensor select(std::string_view stream, const RowQuery& query) const;
  /// Return the labels of each row by its sample, uint8 [rows]; 255 is missing.
  at::Tensor row_labels(std::string_view stream, std::string_view concept_name) const;

  /// Return rows [begin, end) of a site.
  /// @throws OutOfRange, SiteError; IoError if a shard is missing or damaged.
  at::Tensor read(std::string_view stream, std::string_view site, std::int64_t begin = 0,
                  std::optional<std::int64_t> end = std::nullopt) const;
  /// Return the rows with these numbers, int64 [n], in their order.
  at::Tensor gather(std::string_view stream, std::string_view site, const at::Tensor& rows) const;
  /// Walk through `rows` (default: all) of `sites`.
  Batches batches(std::string_view stream, const std::vector<std::string>& sites,
                  BatchOptions options = {}, const at::Tensor& rows = {}) const;

  struct Impl;
  /// For the store room's own use.
  const Impl& impl() const noexcept { return *impl_; }

 private:
  explicit ActivationReader(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tierod
