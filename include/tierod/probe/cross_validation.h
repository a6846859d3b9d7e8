#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/fold_statistics.h"
#include "tierod/probe/linear_probe.h"

namespace tierod::probe {

/// Fit all concepts under all settings, each on the rows whose label is known, without the fold
/// `held_out` (or on all rows).
/// @throws as `FoldStatistics::training_sets` and the fitter.
TIEROD_API LinearFits fit(const LinearFitter& fitter, const FoldStatistics& statistics,
                          std::optional<std::size_t> held_out = std::nullopt);

/// Put the scores of fits on the common scale of their own training rows: the middle between the
/// class means is 0, the standard deviation 1. Scores of different folds or penalties differ in
/// offset and scale, and may be pooled only so; an intercept alone follows the prevalence of the
/// training rows and would pull a meaningless pooled AUROC below .5.
/// @throws InvalidArgument unless `training` is of labels, and of the concepts and width of `fits`.
TIEROD_API LinearFits common_scale(LinearFits fits, const TrainingStatistics& training);

/// Return the scores [P, C, n] of rows by the fits that have not seen their fold, f64 for f64 rows,
/// else f32.
///
/// @param rows   [n, d], floating
/// @param folds  [n], each below the number of fits
/// @param fits   [K], the fit without fold k
/// @throws InvalidArgument on wrong shapes, lengths or folds.
TIEROD_API at::Tensor held_out_scores(const at::Tensor& rows, std::span<const std::uint32_t> folds,
                                      std::span<const LinearFits> fits);

/// Return the AUROC of scores within each fold, f64 [K, P, C]; NaN where a fold lacks a class of a
/// concept. Ties count half; scores are ranked as f32. Rows whose label is missing do not count.
///
/// Scores of different folds come from different fits: pooled without a common scale they would
/// rank rows by fold.
/// @param scores  [P, C, n]
/// @param labels  [n, C] row-major, 0, 1 or 255
TIEROD_API at::Tensor fold_auroc(const at::Tensor& scores, std::span<const std::uint8_t> labels,
                                 std::span<const std::uint32_t> folds, std::size_t fold_count);

struct TIEROD_API CrossValidation {
  std::vector<LinearFits> fits;  ///< [K], the fit without fold k
  at::Tensor scores;             ///< [P, C, n], held out
  at::Tensor auroc;              ///< f64 [K, P, C]
};

/// Fit every fold's complement and score the fold: all concepts x folds x settings of one site,
/// from one pass of products over its rows.
/// @throws as `FoldStatistics::update`, `fit` and `held_out_scores`.
TIEROD_API CrossValidation cross_validate(const LinearFitter& fitter, const at::Tensor& rows,
                                          std::span<const std::uint8_t> labels,
                                          std::span<const std::uint32_t> folds,
                                          std::size_t fold_count,
                                          Precision precision = Precision::automatic);

}  // namespace tierod::probe
