#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "tierod/export.h"

namespace tierod::probe {

/// Score rows [m, d] -> f64 [m]; larger means more likely 1.
using Scorer = std::function<at::Tensor(const at::Tensor& rows)>;

/// Hold what a probe is fitted on.
struct TIEROD_API FitTask {
  at::Tensor rows;                         ///< [n, d], as the dataset has them
  std::span<const std::uint8_t> labels{};  ///< [n], both classes
  std::span<const std::int64_t> groups{};  ///< [n], for early stopping and the like
  std::uint64_t seed = 0;
};

/// Fit a probe that needs the rows themselves (logistic, multi-layer, anything): derive from it to
/// add a kind of probe. Evaluation calls it with training rows only, one concept at a time.
class TIEROD_API RowFitter {
 public:
  RowFitter() = default;
  RowFitter(const RowFitter&) = default;
  RowFitter& operator=(const RowFitter&) = default;
  virtual ~RowFitter();

  virtual std::string name() const = 0;
  /// Return the number of settings (penalties) among which evaluation chooses inside the training
  /// folds; ties go to the earlier.
  virtual std::size_t settings() const { return 1; }
  /// Fit under one setting.
  virtual Scorer fit(const FitTask& task, std::size_t setting) const = 0;
};

}  // namespace tierod::probe
