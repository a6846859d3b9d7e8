#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/linear_probe.h"

namespace tierod {
class FoldMoments;
}  // namespace tierod

namespace tierod::probe {

/// Hold what the moments of held-out folds say of linear probes fitted without them. NaN where a
/// fold lacks a class of a concept.
struct TIEROD_API MomentsValidation {
  std::vector<LinearFits> fits;  ///< [K], the fit without fold k
  /// f64 [K, P, C] correlation of score and label among the rows of fold k.
  at::Tensor correlation;
  /// f64 [K, P, C] difference of the class means of the score, in standard deviations within
  /// classes (d').
  at::Tensor separation;
  /// f64 [K, P, C] Phi(d' / sqrt 2): the AUROC if scores are normal with the same variance in both
  /// classes. Sums know no ranks: for the AUROC itself keep the rows.
  at::Tensor normal_auroc;
};

/// Fit every fold's complement and tell from moments that were streamed by fold, without a row, how
/// well the fold is read: all concepts x folds x settings of one site.
///
/// What needs rows is not to be had from moments: AUROC, intervals over units, control tasks,
/// permutations, calibration. Folds of unlike difficulty are the only spread there is.
/// @throws as `training_statistics` and the fitter; InvalidArgument with fewer than 2 folds.
TIEROD_API MomentsValidation cross_validate_moments(const LinearFitter& fitter,
                                                    const FoldMoments& moments,
                                                    std::string_view site);

}  // namespace tierod::probe
