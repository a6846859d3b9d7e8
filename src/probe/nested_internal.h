#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/probe/linear_probe.h"
#include "tierod/probe/logistic.h"
#include "tierod/probe/row_fitter.h"

namespace tierod::internal {

// Note [Nested evaluation]
// For outer fold k the setting is chosen by the AUROC of inner held-out scores: fold j != k scored
// by a fit that has seen neither j nor k. That fit serves (k, j) and (j, k) alike. Then a fit
// without k scores fold k under the chosen setting. Probabilities come from a Platt curve through
// the inner scores of the chosen setting. Fold k's labels take part in nothing of this.
//
// Fits of different folds and settings differ in offset and scale; pooled, they would rank rows by
// fold. In particular an intercept follows the prevalence of the training folds, which is low where
// that of the held-out fold is high, and pulls a pooled AUROC below .5 under the null. So scores
// are put on a common scale by training rows: the middle between the class means is 0, the standard
// deviation 1.

/// Hold label tracks (concepts and their control tasks) that share rows and folds.
struct NestedTask {
  at::Tensor rows;                                ///< [n, d]
  std::vector<std::vector<std::uint8_t>> tracks;  ///< [T][n], 0 or 1
  std::size_t calibrated = 0;                     ///< the first so many tracks get probabilities
  std::vector<std::uint32_t> folds;               ///< [n]
  std::size_t fold_count = 0;
  std::vector<std::int64_t> groups;  ///< [n]
  std::uint64_t seed = 0;
};

struct NestedScores {
  at::Tensor scores;                               ///< f64 [T, n], held out, on a common scale
  at::Tensor probabilities;                        ///< f64 [calibrated, n]
  std::vector<std::vector<std::size_t>> settings;  ///< [T][K] chosen
  std::vector<double> condition;                   ///< [T] worst of the chosen outer fits, or NaN
  std::vector<std::vector<std::string>> notes;     ///< [T] different ones of the chosen outer fits
};

/// Tell whether each class of `labels` is left when any two folds are taken away (one, if there are
/// two); if not, say what is missing.
std::string missing_class(std::span<const std::uint8_t> labels,
                          std::span<const std::uint32_t> folds, std::size_t fold_count);

NestedScores nested_scores(const probe::LinearFitter& fitter, const NestedTask& task);
NestedScores nested_scores(const probe::RowFitter& fitter, const NestedTask& task);
/// Columns are scaled to variance 1 by the training rows of the outer fold.
NestedScores nested_scores(const probe::LogisticFitter& fitter, const NestedTask& task);

}  // namespace tierod::internal
