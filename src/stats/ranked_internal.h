#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "stats/check_internal.h"

namespace tierod::internal {

/// Hold rows sorted by score once, so that any weighting of them is ranked in one pass.
class Ranked {
 public:
  Ranked(std::span<const double> scores, std::span<const std::uint8_t> labels);

  /// Return the weighted AUROC, NaN where a class has no weight. `weight(i)` is that of row i.
  template <typename Weight>
  double auroc(const Weight& weight) const {
    double ones = 0, zeros = 0, pairs = 0;
    for (std::size_t at = 0; at < order_.size();) {
      double tied_ones = 0, tied_zeros = 0;
      for (const std::size_t end = run_end_[at]; at < end; ++at) {
        const std::size_t row = order_[at];
        (labels_[row] != 0 ? tied_ones : tied_zeros) += weight(row);
      }
      pairs += tied_ones * (zeros + tied_zeros / 2);
      ones += tied_ones;
      zeros += tied_zeros;
    }
    return pairs / (ones * zeros);  // 0 / 0 where a class is absent
  }

  /// Return the weighted average precision, NaN where a class has no weight.
  template <typename Weight>
  double auprc(const Weight& weight) const {
    double ones = 0, seen = 0, area = 0;
    for (std::size_t left = order_.size(); left > 0;) {
      double tied_ones = 0, tied = 0;
      for (const std::size_t begin = run_begin_[left - 1]; left > begin; --left) {
        const std::size_t row = order_[left - 1];
        const double w = weight(row);
        tied += w;
        if (labels_[row] != 0) tied_ones += w;
      }
      ones += tied_ones;
      seen += tied;
      if (tied_ones > 0) area += tied_ones * (ones / seen);
    }
    return ones > 0 && seen > ones ? area / ones : kNaN;
  }

  /// Return the placement values [n]: of a one, the share of zeros below it; of a zero, the share
  /// of ones above it; ties count half.
  std::vector<double> placements() const;

 private:
  std::vector<std::size_t> order_;                // rows by ascending score
  std::vector<std::size_t> run_begin_, run_end_;  // of the run of equal scores at each place
  std::vector<std::uint8_t> labels_;
};

}  // namespace tierod::internal
