#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/dataset.h"
#include "tierod/probe/direction.h"
#include "tierod/probe/fit_report.h"

namespace tierod::probe {

struct TIEROD_API ResidualOptions {
  /// What to adjust for, nuisances and other concepts by name; absent: all of them. Take causes of
  /// the concept and what co-occurs with it, never its consequences.
  std::optional<std::vector<std::string>> adjust_for{};
  /// Let the concept's effect differ with what is adjusted for, and average it.
  bool interactions = true;
  /// Weight of tr(S)/d I in the residual covariance; below 0: estimated (Chen et al. 2010).
  double shrinkage = -1;
  /// Refuse where the variance of the effect is inflated by more than this.
  double most_vif = 10;
  /// Refuse where a class has fewer units in a cell of what is adjusted for.
  std::size_t least_cell = 10;
  /// Folds of units for directions that have not seen a row; 0 for none, 20 for delete-group
  /// refits.
  std::size_t folds = 0;
  std::size_t least_units = 40;
  std::uint64_t seed = 0;
};

/// Hold the direction of one fit.
struct TIEROD_API ResidualFit {
  Direction direction;
  at::Tensor effect;  ///< b [d], f64: the adjusted difference between the classes
  double vif = 1;     ///< variance inflation of the concept's column
  FitReport report;   ///< of the residual covariance
};

struct TIEROD_API ResidualFits {
  ResidualFit full;
  std::vector<ResidualFit> held_out;  ///< [K] without fold k
  std::vector<std::uint32_t> folds;   ///< [n] fold of each row, empty without folds
  /// Positions [n], f64: of each row along the direction that has not seen it; without folds, along
  /// the full one. NaN where a label is unknown.
  at::Tensor positions;
  std::string note;  ///< too few rows for the width and the like; empty otherwise
};

/// Fit the direction of a concept residualised on what goes with it: activations are regressed on
/// 1, c, Z~ and c Z~ with Z~ centred, so that c's coefficient b is the average effect. The write
/// vector is b, which moves nothing of what goes along, the read vector S^-1 b / (b' S^-1 b) with S
/// the shrunk covariance given c and Z: r'w = 1. The read position of a row may still differ with
/// Z: it is the effect that is adjusted, not the reading. The class positions low and high are
/// those at the mean of Z; they differ by 1.
///
/// Fits follow from sums of products by fold: no row is visited twice for K refits.
///
/// @throws InvalidArgument on unknown names, or where the data cannot tell the concept from what
///         goes with it: VIF above `most_vif`, or a cell with fewer than `least_cell` units of a
///         class (named).
/// @throws NumericalError if the concept has no effect at all.
TIEROD_API ResidualFits residual_direction(const ProbeDataset& dataset, const std::string& site,
                                           const std::string& concept_name,
                                           const ResidualOptions& options = {});

}  // namespace tierod::probe
