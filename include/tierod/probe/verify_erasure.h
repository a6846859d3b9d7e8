#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/eraser.h"
#include "tierod/stats/interval.h"

namespace tierod::probe {

struct TIEROD_API VerifyErasureOptions {
  std::size_t folds = 5;  ///< whole groups; the fresh probes are fitted without each
  /// Ridge penalties of the fresh probes, in units of the mean variance of a column times the rows.
  /// What reads most counts.
  std::vector<double> penalties = {1e-4, 1e-2, 1};
  double most = 0.60;                ///< the AUROC may not be above this,
  double most_upper = 0.65;          ///< nor `ErasureCheck::upper` above this
  std::size_t positive_units = 150;  ///< fewer units with a row of the rarer class cannot tell
  double confidence = 0.95;
  std::size_t replicates = 2000;  ///< of the bootstrap, where it is one
  std::uint64_t seed = 0;
};

/// Tell what fresh probes still read of a concept after erasure.
struct TIEROD_API ErasureCheck {
  stats::Interval before;  ///< AUROC on the same rows, not erased
  stats::Interval after;
  /// Upper end of the interval after erasure with twice the variance: with little to read, held-out
  /// scores of different folds repeat each other's error, which the interval of given scores
  /// ignores.
  double upper = 0;
  double penalty = 0;              ///< of the probe that reads most after erasure
  std::int64_t positives = 0;      ///< rows of the rarer class
  std::size_t positive_units = 0;  ///< units with a row of the class that fewer units have
  bool passed = false;
  std::string reason;  ///< why it did not pass; empty if it did
};

/// Refit probes on erased rows of groups that the eraser has not seen: each row is scored by a
/// probe fitted on other groups, and the AUROC has an interval over groups. Erasure that is exact
/// on the rows it was fitted on is far from it elsewhere unless rows are many times the columns.
///
/// @param rows    [n, d], of groups that took no part in fitting the eraser
/// @param labels  0 or 1 a row [n]; drop rows whose label is missing
/// @param groups  the independent unit (scene, route) of each row [n]
/// @throws InvalidArgument on differing lengths, other labels, fewer groups than folds, or if the
///         groups without some fold hold a single class; NumericalError if a row is not finite.
TIEROD_API ErasureCheck verify_erasure(const Eraser& eraser, const at::Tensor& rows,
                                       std::span<const std::uint8_t> labels,
                                       std::span<const std::int64_t> groups,
                                       const VerifyErasureOptions& options = {});

/// The same of rows [n, d] that any map has erased, for instance an `OracleEraser` that was given
/// their concepts: `erased` [n, d] beside what they were before.
/// @throws as above, and InvalidArgument if the shapes differ.
TIEROD_API ErasureCheck verify_erasure(const at::Tensor& erased, const at::Tensor& rows,
                                       std::span<const std::uint8_t> labels,
                                       std::span<const std::int64_t> groups,
                                       const VerifyErasureOptions& options = {});

}  // namespace tierod::probe
