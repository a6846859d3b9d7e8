#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/store/plan.h"
#include "tierod/store/schema.h"

namespace tierod {

/// Say what happens to a row that holds NaN or Inf.
enum class NonFinite : std::uint8_t {
  keep,    ///< store and count it
  refuse,  ///< throw a NumericalError that names the site and the row
};

/// Set up a writer.
struct TIEROD_API WriterOptions {
  /// Bound of the ring of buffers between the model and the disk.
  std::int64_t memory_bytes = std::int64_t{256} << 20;
  /// A shard is closed when its sites hold this much.
  std::int64_t shard_bytes = std::int64_t{256} << 20;
  NonFinite nonfinite = NonFinite::keep;
  /// Go on with a store that is there instead of refusing it.
  bool append = false;
  /// Kept as attributes of every shard: model, weights_sha256, ...
  std::map<std::string, std::string> provenance{};
  /// The configuration that made the data, as JSON.
  std::string configuration = "{}";
  /// Rows that each stream will have, where known: open() then plans and refuses what does not fit.
  std::map<std::string, std::int64_t> expected_rows{};
  /// Build index.h5 on close.
  bool index = true;
};

/// Say what a writer did.
struct TIEROD_API WriterStats {
  std::int64_t rows = 0;            ///< appended
  std::int64_t rows_committed = 0;  ///< of those, in shards that a crash cannot take
  std::int64_t shards = 0;
  std::int64_t bytes = 0;            ///< of the shards written
  std::int64_t nonfinite_rows = 0;   ///< (row, site) pairs with NaN or Inf
  std::int64_t ring_bytes = 0;       ///< size of the ring
  std::int64_t ring_peak_bytes = 0;  ///< of it, the most that was ever in use
  std::int64_t waits = 0;            ///< how often the model had to wait for the disk
};

/// Append activations to a store: a folder of immutable HDF5 shards.
///
///     auto writer = tierod::ActivationWriter::open("run/store", streams);
///     writer->append("prefill", rows, {resid_0, resid_1});
///     writer->close();
///
/// A thread writes behind a ring of preallocated buffers; when the ring is full, append() waits. A
/// shard is written under a temporary name, checksummed, flushed to disk, renamed and entered in
/// the manifest: a crash loses the shard being written and nothing else. One writer a store; the
/// lock ends with its process.
class TIEROD_API ActivationWriter {
 public:
  /// Create the store, or with `append` go on with it.
  /// @throws StateError if another writer has it, or it exists and `append` is not set, or this
  /// build
  ///         has no store; InvalidArgument if streams or options are unusable or differ from the
  ///         store's; IoError if the folder cannot be written or a crash left something to recover.
  static std::shared_ptr<ActivationWriter> open(const std::string& path,
                                                std::vector<StreamSpec> streams,
                                                WriterOptions options = {});
  ~ActivationWriter();
  ActivationWriter(const ActivationWriter&) = delete;
  ActivationWriter& operator=(const ActivationWriter&) = delete;

  /// Add rows to `stream`: the row table and [n, width] of each of its sites, in their order. Other
  /// dtypes and devices are converted.
  /// @throws InvalidArgument on another shape; NumericalError on NaN where that is refused;
  /// StateError
  ///         if closed; IoError if the disk failed: what was committed stays.
  void append(std::string_view stream, const Rows& rows, const std::vector<at::Tensor>& sites);

  /// Add to the row table alone, and to one site alone, as a model reaches them. A row counts once
  /// every site has it.
  void append_rows(std::string_view stream, const Rows& rows);
  void append_site(std::string_view stream, std::string_view site, const at::Tensor& values);

  /// Add a site to `stream`, and the stream where it is new, as long as no shard with rows of it
  /// was closed. It then needs every row that the stream has.
  /// @throws StateError if it comes later; InvalidArgument if the ring is too small for it.
  void add_site(std::string_view stream, const SiteColumn& site);

  /// Return the number of a branch's name, for RowColumn::branch; new names are remembered.
  std::int64_t branch(std::string_view name);

  /// Close the open shard now and wait until everything is committed.
  void flush();
  /// Commit everything, build the index and let go of the lock. Called again, do nothing.
  /// @throws IoError if the disk failed; StateError if a site lacks rows that its row table has
  /// (the
  ///         complete rows are committed).
  void close();
  bool is_open() const noexcept;

  std::vector<StreamSpec> streams() const;
  WriterStats stats() const;
  const std::string& path() const noexcept;

 private:
  struct Impl;
  explicit ActivationWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tierod
