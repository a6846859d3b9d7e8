#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/core/span.h"
#include "tierod/export.h"
#include "tierod/patch/metric.h"
#include "tierod/vla/batch.h"
#include "tierod/vla/block_model.h"

namespace tierod::patch {

/// Name a way to compute the cells of a sweep. All ways give the same numbers, up to rounding.
enum class SweepStrategy : std::uint8_t {
  automatic,  ///< the cheapest that fits the memory
  naive,      ///< one whole forward a cell: the reference
  batched,    ///< whole forwards, the cells of a layer as rows
  restart,    ///< as batched, from the residual stream of the base run on
  suffix,     ///< as restart, only the positions from the patched one on
};

/// Return the name of the enumerator.
TIEROD_API const char* strategy_name(SweepStrategy strategy) noexcept;

/// Name a run from which the residual stream is taken.
struct TIEROD_API PatchSource {
  std::string name = "source";
  /// Inputs of as many rows and positions as the base's; row r is put into row r.
  vla::Batch batch{};
  /// In place of inputs: what enters each block, [blocks, rows or 1, positions, width], for means,
  /// zeros, noise or runs of another model.
  at::Tensor residuals{};
  /// In place of inputs: an own intervention. It is given what enters a block in the base run,
  /// [rows, positions, width], and the block, and returns what is put in its place, of that shape.
  std::function<at::Tensor(const at::Tensor& hidden, std::int64_t block)> edit{};
};

/// Say what is patched where, and what is read.
struct TIEROD_API SweepRequest {
  vla::Batch base{};
  std::vector<PatchSource> sources{};
  Metric metric{};
  /// Blocks whose input is patched, ascending; empty: all.
  std::vector<std::int64_t> layers{};
  /// Positions that are patched together; empty: each alone.
  std::vector<Span> spans{};
  /// Spans in which base and sources may differ; anywhere else their embeddings must be equal.
  /// Absent: not checked.
  std::optional<std::vector<Span>> differing{};
};

/// Say how a sweep is to be done.
struct TIEROD_API SweepOptions {
  SweepStrategy strategy = SweepStrategy::automatic;
  /// Bound of what the sweep and the model's blocks allocate at once, beyond weights and inputs.
  std::int64_t memory_limit = std::int64_t{1} << 30;
  /// Cells, drawn by `seed`, that are computed again by `naive`.
  std::int64_t recheck = 4;
  /// Largest difference of a checked cell to `naive`, as a share of the metric's range; NaN: 1e-8
  /// for f64, 1e-4 for f32, .05 for shorter types.
  double tolerance = std::numeric_limits<double>::quiet_NaN();
  std::uint64_t seed = 0;
  /// What one call of a block costs beside its arithmetic, in positions: neighbouring positions
  /// share calls, and some compute a few positions more than they need, where that is cheaper. NaN:
  /// 10, for reading the weights once more, and 100 000 / width^2 for the call itself.
  double call_cost = std::numeric_limits<double>::quiet_NaN();
  /// Cells are kept here while the sweep runs, and a sweep of the same question goes on from them;
  /// empty: nowhere.
  std::string file{};
  Progress progress{};
};

/// Say what a sweep will do.
struct TIEROD_API SweepPlan {
  SweepStrategy strategy = SweepStrategy::automatic;
  std::string why{};
  std::int64_t cells = 0;
  std::int64_t rows_at_once = 0;    ///< of the largest call
  std::int64_t block_calls = 0;     ///< base and source runs not counted
  std::int64_t block_tokens = 0;    ///< rows x positions through a block, summed over the calls
  std::int64_t predicted_peak = 0;  ///< bytes
};

/// Hold the metric of every cell, with what it stands between.
struct TIEROD_API SweepResult {
  at::Tensor values;  ///< f64 [rows, sources, layers, spans]; NaN: not done
  at::Tensor base;    ///< f64 [rows], unpatched
  at::Tensor source;  ///< f64 [rows, sources]; NaN where residuals were given
  std::vector<std::string> sources;
  std::vector<std::int64_t> layers;
  std::vector<Span> spans;
  std::string metric;
  SweepPlan plan;
  std::int64_t peak_bytes = 0;  ///< measured as `predicted_peak` is meant
  std::int64_t rechecked = 0;
  double recheck_difference = 0;  ///< largest, as a share of the metric's range
  std::int64_t resumed = 0;       ///< cells taken from the file
  bool complete = true;
  std::vector<std::string> notes;
};

/// Say what `sweep` would do, without doing it. Runs the base, and one block twice to measure what
/// it allocates.
/// @throws InvalidArgument as `sweep` does.
TIEROD_API SweepPlan plan_sweep(vla::BlockModel& model, const SweepRequest& request,
                                const SweepOptions& options = {});

/// Patch the input of each block at each span from each source, and read the metric: activation
/// patching (Vig et al. 2020, arXiv 2004.12265; Heimersheim & Nanda 2024, arXiv 2404.15255) over a
/// grid. With the sources clean and the base corrupted this is denoising, the other way noising.
///
/// @throws InvalidArgument if base and sources differ in rows or positions, or where they may not;
///   if a layer or span does not exist; if the metric gives no number a row, or the same number
///   whatever the outputs; if the memory limit is below what one row needs; if `file` holds another
///   sweep.
/// @throws NumericalError if the metric gives NaN, naming the cell, or if a checked cell differs
///   from `naive`. What is done is kept in `file`.
/// @throws IoError if `file` cannot be read or written.
TIEROD_API SweepResult sweep(vla::BlockModel& model, const SweepRequest& request,
                             const SweepOptions& options = {});

}  // namespace tierod::patch
