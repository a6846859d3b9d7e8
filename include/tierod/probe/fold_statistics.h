#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::probe {

/// Hold what linear probes of C targets need of the training rows that these share, f64.
struct TIEROD_API TrainingStatistics {
  std::int64_t rows = 0;
  at::Tensor mean;     ///< [d]
  at::Tensor scatter;  ///< [d, d] sum of (x - mean)(x - mean)'
  at::Tensor ones;     ///< [C] rows with label 1; undefined for real targets
  at::Tensor means;    ///< [2, C, d] means of the rows with label 0 and 1; undefined likewise
  // of real targets y (acceleration, distance); undefined for labels
  at::Tensor target_mean;  ///< [C]
  at::Tensor cross;        ///< [C, d] sum of (y - mean y)(x - mean)
  /// Which targets of the accumulator these are, in its numbering; empty: all, in order.
  std::vector<std::int64_t> which;
  /// Rounding of an element (i, j) of `scatter`, relative to sqrt(s_ii s_jj).
  double rounding = 1e-13;

  std::int64_t width() const { return mean.size(0); }
  bool has_labels() const { return ones.defined(); }
  std::int64_t concepts() const { return (has_labels() ? ones : target_mean).size(0); }
};

/// Say in which arithmetic products of rows are taken; their sums are f64 either way.
enum class Precision : std::uint8_t {
  automatic,  ///< f64 for f64 rows, f32 for f32, f16 and bf16
  f32,
  f64,
};

/// Say what is regressed on.
enum class Targets : std::uint8_t {
  labels,  ///< 0, 1 or missing
  reals,   ///< any number, or missing
};

/// Accumulate, in one pass and without keeping rows, the statistics from which every linear probe
/// of every concept follows for every choice of a held-out fold. Folds are whole groups; to assign
/// them is the caller's matter (`tierod::stats` works on groups too).
///
/// A row whose label is missing counts for the other concepts. Concepts that miss the same rows
/// share their statistics, and what complete concepts share costs nothing more for the others'
/// gaps: only the missing (or, if fewer, the known) rows are multiplied once more.
class TIEROD_API FoldStatistics {
 public:
  /// @throws InvalidArgument unless concepts >= 1 and folds >= 1.
  FoldStatistics(std::size_t concepts, std::size_t folds, Targets targets = Targets::labels,
                 Precision precision = Precision::automatic);
  FoldStatistics(const FoldStatistics& other);
  FoldStatistics& operator=(const FoldStatistics& other);
  FoldStatistics(FoldStatistics&& other) noexcept;
  FoldStatistics& operator=(FoldStatistics&& other) noexcept;
  ~FoldStatistics();

  /// Add rows [n, d] of any floating dtype and device.
  ///
  /// @param labels  [n, C] row-major, 0, 1, or 255 where the label is missing
  /// @param folds   [n], each below the number of folds
  /// @throws InvalidArgument on wrong shapes, lengths, labels or folds, or if targets are real;
  ///         NumericalError if a row is not finite. Nothing is added then.
  void update(const at::Tensor& rows, std::span<const std::uint8_t> labels,
              std::span<const std::uint32_t> folds);

  /// The same for real targets [n, C], floating; NaN is missing.
  /// @throws as above, and NumericalError if a target is infinite.
  void update(const at::Tensor& rows, const at::Tensor& targets,
              std::span<const std::uint32_t> folds);

  /// Add everything that `other` has seen.
  /// @throws InvalidArgument if concepts, folds, kinds of target or widths differ.
  void merge(const FoldStatistics& other);

  std::size_t concepts() const noexcept;
  std::size_t folds() const noexcept;
  Targets targets() const noexcept;
  /// Return the width d of the rows, 0 before the first.
  std::int64_t width() const noexcept;
  /// Return the number of rows of one fold. @throws OutOfRange if there is no such fold.
  std::int64_t rows(std::size_t fold) const;
  /// Return the number of its rows whose label of one concept is known.
  std::int64_t known(std::size_t fold, std::size_t concept_index) const;

  /// Return the statistics of all folds but `held_out`, or of all, for concepts of which no label
  /// is missing.
  /// @throws OutOfRange if there is no such fold; StateError with fewer than 2 training rows;
  ///         InvalidArgument if a concept has a single class among them (named), or misses rows
  ///         that others have: `training_sets` is for those.
  TrainingStatistics training(std::optional<std::size_t> held_out = std::nullopt) const;

  /// Return the same by sets of concepts that have the same training rows; `which` says which.
  /// @throws as `training`.
  std::vector<TrainingStatistics> training_sets(
      std::optional<std::size_t> held_out = std::nullopt) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tierod::probe
