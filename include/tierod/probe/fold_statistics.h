#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tierod/export.h"
#include "tierod/stats/moments.h"

namespace tierod::probe {

/// Hold what linear probes of C concepts need of their training rows, f64.
struct TIEROD_API TrainingStatistics {
  std::int64_t rows = 0;
  at::Tensor mean;     ///< [d]
  at::Tensor scatter;  ///< [d, d] sum of (x - mean)(x - mean)'
  at::Tensor ones;     ///< [C] rows with label 1
  at::Tensor means;    ///< [2, C, d] means of the rows with label 0 and 1

  std::int64_t width() const { return mean.size(0); }
  std::int64_t concepts() const { return ones.size(0); }
};

/// Accumulate, in one pass and without keeping rows, the statistics from which every linear probe
/// of every concept follows for every choice of a held-out fold. Folds are whole groups; to assign
/// them is the caller's matter (`tierod::stats` works on groups too).
class TIEROD_API FoldStatistics {
 public:
  /// @throws InvalidArgument unless concepts >= 1 and folds >= 1.
  FoldStatistics(std::size_t concepts, std::size_t folds);

  /// Add rows [n, d] of any floating dtype and device.
  ///
  /// @param labels  [n, C] row-major, 0 or 1; a concept with missing labels needs an accumulator of
  ///                its own, since its training rows are others
  /// @param folds   [n], each below the number of folds
  /// @throws InvalidArgument on wrong shapes, lengths, labels or folds; NumericalError if a row is
  ///         not finite. Nothing is added then.
  void update(const at::Tensor& rows, std::span<const std::uint8_t> labels,
              std::span<const std::uint32_t> folds);

  /// Add everything that `other` has seen.
  /// @throws InvalidArgument if concepts, folds or widths differ.
  void merge(const FoldStatistics& other);

  std::size_t concepts() const noexcept { return concepts_; }
  std::size_t folds() const noexcept { return parts_.size(); }
  /// Return the number of rows of one fold. @throws OutOfRange if there is no such fold.
  std::int64_t rows(std::size_t fold) const;

  /// Return the statistics of all folds but `held_out`, or of all.
  /// @throws OutOfRange if there is no such fold; StateError with fewer than 2 training rows;
  ///         InvalidArgument if a concept has a single class among them (named).
  TrainingStatistics training(std::optional<std::size_t> held_out = std::nullopt) const;

 private:
  struct Part {
    Moments moments{true};
    at::Tensor sums;  // [C, d] of the rows with label 1
    at::Tensor ones;  // [C]
  };
  std::size_t concepts_;
  std::vector<Part> parts_;
};

}  // namespace tierod::probe
