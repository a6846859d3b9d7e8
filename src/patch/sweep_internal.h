#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/patch/sweep.h"
#include "tierod/vla/split_block_model.h"

namespace tierod::internal {

inline constexpr auto* kSweep = "patch.sweep";

/// Hold a request whose defaults are written out and whose parts agree with each other.
struct SweepTask {
  std::vector<patch::PatchSource> sources;
  std::vector<std::int64_t> layers;
  std::vector<Span> spans;
  patch::Metric metric;
  std::int64_t rows = 0, blocks = 0, positions = 0;
  at::Tensor embedded;                      // [rows, positions, width], of the base
  std::vector<at::Tensor> source_embedded;  // the same; undefined where residuals were given
  vla::SplitBlockModel* parts = nullptr;    // the model, if its blocks are run by their parts
  std::int64_t cells() const;               // of one row
};

/// Number one cell of a row.
struct SweepCell {
  std::int64_t source, layer, span;  // places in the lists of the task
};

/// Name cells that pass the blocks together: they share the first position that is computed.
struct SweepUnit {
  std::int64_t begin = 0;
  std::vector<SweepCell> cells;  // by layer
};

/// Say what memory a block and the metric need, measured on one and two rows.
struct SweepMemory {
  std::int64_t hidden = 0;     // of the residual stream of one row
  std::int64_t kept = 0;       // of one row while what a block made of it is kept: views keep more
  std::int64_t key_value = 0;  // the same of keys and values
  std::int64_t block_fixed = 0, block_row = 0;
  std::int64_t finish_fixed = 0, finish_row = 0;
  // Of blocks run by their parts: what a row needs however few of its positions are computed, and
  // the same three of the last block, which returns what the metric reads alone.
  std::int64_t block_dense_row = 0;
  std::int64_t last_fixed = 0, last_row = 0, last_dense_row = 0;
};

/// Hold what the base run has in one block: [positions, width], and its projections.
struct SplitBase {
  at::Tensor hidden;
  vla::Projected projected;
};

/// Run a block by its parts on tokens of rows that begin at different positions. See Note [Packed
/// tokens].
struct SplitCall {
  at::Tensor fresh;      // [fresh tokens, width]: what enters and is not the base run's
  at::Tensor positions;  // int64 [fresh tokens]
  at::Tensor place;      // int64 [rows, positions]: a token's place among base and fresh ones
  at::Tensor leaving;    // int64: row x positions + position of the tokens that leave the block
  std::int64_t begin;    // no token before it leaves
  bool last;             // all from `begin` on leave, few: queries of these alone are projected
  /// Return the residual stream of the leaving tokens.
  at::Tensor leave(vla::SplitBlockModel& model, std::int64_t index, const SplitBase& base) const;
};

/// Measure what blocks allocate that are run by their parts.
void measure_parts(SweepMemory& memory, const SweepTask& task);

/// Return the bytes that a strategy holds while its units run: base and sources of one row.
std::int64_t held_bytes(const SweepTask& task, const SweepMemory& memory,
                        patch::SweepStrategy strategy);

/// Check the request against the model and fill in what it leaves open.
/// @throws InvalidArgument
SweepTask make_task(vla::BlockModel& model, const patch::SweepRequest& request);
/// @throws InvalidArgument unless the metric gives one finite number a row.
at::Tensor metric_values(const patch::Metric& metric, const at::Tensor& outputs);
/// Return the metric's part of the outputs of `hidden` [rows, tokens, width].
at::Tensor finish_for(vla::BlockModel& model, const patch::Metric& metric,
                      const at::Tensor& hidden);

SweepMemory measure_memory(vla::BlockModel& model, const SweepTask& task);
/// @throws InvalidArgument if the limit is below what one row needs.
patch::SweepPlan make_plan(const SweepTask& task, const SweepMemory& memory,
                           const patch::SweepOptions& options);
/// Return how many rows of `tokens` positions fit at once beside what is held.
std::int64_t rows_that_fit(const SweepTask& task, const SweepMemory& memory,
                           patch::SweepStrategy strategy, std::int64_t tokens, std::int64_t limit);
/// Split the cells of one row into units that fit. `options.strategy` is the one that was planned.
std::vector<SweepUnit> make_units(const SweepTask& task, const SweepMemory& memory,
                                  const patch::SweepOptions& options);

/// Keep what is done in a file: of another question it refuses.
class SweepFile {
 public:
  /// @param question  text that differs wherever the cells would
  SweepFile(std::string path, const std::string& question, at::Tensor values);
  /// Fill `values` with what the file holds; return the number of cells.
  std::int64_t load();
  void save();
  /// Save if the last time was some seconds ago.
  void save_sometimes();

 private:
  std::string path_, digest_;
  at::Tensor values_;
  double saved_at_s_ = 0;
};

}  // namespace tierod::internal
