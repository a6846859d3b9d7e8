#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "probe/logistic_kernel_internal.h"

namespace tierod::internal {

/// Hold rows by fold with the labels' signs, ready for passes.
struct LogisticData {
  at::Tensor rows;                                 ///< [n, d] native, CPU
  at::Tensor centre;                               ///< [d], f64 holding numbers of `type`
  at::ScalarType type = at::kFloat;                ///< of the arithmetic
  std::vector<std::vector<std::int64_t>> of_fold;  ///< rows of each fold
  /// [C, n] in the order of of_fold: 1, -1, or 0 where missing; of `type`.
  at::Tensor signs;
};

/// Hold the fits whose slopes a pass takes.
struct LogisticPoint {
  std::size_t concept_index = 0;
  std::int64_t held_out = -1;  ///< fold that does not count; -1: none
  double intercept = 0;        ///< of rows about the centre
};

struct LogisticPass {
  /// f64 [m, d] a fold: sum over its rows of r (x - centre); rows of points that hold it out are 0.
  std::vector<at::Tensor> gradient;
  std::vector<std::vector<LogisticSums>> sums;  ///< [K][m]
};

/// Go over all rows once, at weights [m, d], f64.
LogisticPass logistic_pass(const LogisticData& data, const at::Tensor& weights,
                           std::span<const LogisticPoint> points);

}  // namespace tierod::internal
