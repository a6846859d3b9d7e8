#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/dataset.h"
#include "tierod/probe/evaluation.h"
#include "tierod/probe/linear_probe.h"
#include "tierod/stats/interval.h"

namespace tierod::probe {

/// Hold what was found of one real target (acceleration, distance) at one site. What could not be
/// had is NaN, and `note` says why.
struct TIEROD_API TargetRow {
  std::string site;
  std::string target_name;
  std::int64_t rows = 0;  ///< with a known target
  std::size_t units = 0;  ///< independent units among them
  double mean = 0;        ///< of the target, in its unit
  double sd = 0;          ///< of the target, in its unit

  /// 1 - sum (y - prediction)^2 / sum (y - m)^2 of held-out predictions, m the mean of the training
  /// rows of each fold: the share of squared error that the site saves over knowing the mean alone.
  /// Such an m is itself a held-out prediction, so that knowing nothing is 0, not less (Campbell &
  /// Thompson 2008, equation 1; Hawinkel, Waegeman & Maere 2024).
  stats::Interval r2;
  stats::Interval pearson;   ///< of y - m and the prediction, on the common scale of its fold
  stats::Interval spearman;  ///< the same of ranks
  double rmse = 0;           ///< in the target's unit
  double mae = 0;            ///< in the target's unit

  double control_r2 = 0;                ///< of the type-keyed control task, mean over draws
  double control_recurrence = 0;        ///< share of rows whose type occurs in another fold
  stats::Interval above_control;        ///< paired difference of R2 to it ("selectivity")
  double nuisance_r2 = 0;               ///< of the nuisance-only probe
  stats::Interval above_nuisance;       ///< paired difference to it
  double group_control_r2 = 0;          ///< of the group-keyed control task, 0 by construction
  stats::Interval above_group_control;  ///< paired difference to it
  double memorisation_r2 = 0;           ///< the same under row-wise folds: capacity to memorise
  stats::Interval learned;              ///< paired difference to random initialisation
  stats::Interval above_best;           ///< to the better of the baselines there are, else to 0
  /// One-sided upper bound at level alpha of the squared correlation, that is of the R2 that these
  /// predictions would reach on their best scale, with twice the variance. R2 itself shrinks to 0,
  /// and its error with it, wherever a strong penalty is chosen: that would be absence without
  /// power.
  double upper = 0;
  double equivalence_p = 1;  ///< of "the squared correlation is below `margin`", likewise

  double p = 1;          ///< of "target and activations are independent", this cell alone
  double p_max_t = 1;    ///< adjusted over the sites of the target
  std::string p_method;  ///< "permutation" of whole units, or "sign flip"
  std::string setting;   ///< index of the setting chosen in each fold, as text
  double condition = 1;  ///< worst of the fits under the chosen settings
  /// Lower bounds of `r2`, `above_control` and `above_nuisance` (those there are) are above 0, and
  /// p_max_t <= alpha. Without a p nothing is encoded.
  bool encoded = false;
  std::string note;
};

/// Hold what all sites say of one target.
struct TIEROD_API TargetSummary {
  std::string target_name;
  std::string best_site;  ///< of the largest R2; choose it on B, not here, to test it
  double best_r2 = 0;
  double p_max_t = 1;  ///< smallest over the sites
  double q = 1;        ///< the same, by Benjamini-Hochberg over the targets
  std::size_t encoded_sites = 0;
  double upper = 0;  ///< the largest of the sites' bounds (Berger 1982)
  /// upper <= margin. No linear probe reads it; a non-linear one may.
  bool not_linearly_encoded = false;
};

struct TIEROD_API TargetEvaluation {
  std::string probe;
  std::string level;  ///< whose units were the independent ones
  std::size_t units = 0;
  EvaluationOptions options;
  std::vector<std::string> sites, targets;
  std::vector<TargetRow> rows;         ///< [sites x targets], site by site
  std::vector<TargetSummary> summary;  ///< [targets]
  std::vector<std::string> notes;      ///< on all of it
  /// [sites, targets, n], held out, in the target's unit, NaN where it is unknown, if kept
  at::Tensor predictions;
  bool complete = true;  ///< false if `progress` asked to stop

  /// @throws InvalidArgument if there is no such cell.
  const TargetRow& at(std::string_view site, std::string_view target_name) const;
};

/// Evaluate a regression at every site for every target of the dataset as `evaluate` does for
/// concepts: settings are chosen inside the training folds by their squared error, folds hold whole
/// units with twins together, and each R2 comes with an interval over units, with its paired
/// differences to the type-keyed control task (each type keeps the target of a row drawn at random)
/// and to the nuisance-only probe, and with a p that counts the search over sites.
///
/// `options.margin` is of R2 here. An AUROC of .55 is an R2 of .008 (two normal classes of equal
/// size), so that the default of .05 is laxer than for concepts; set what matters.
///
/// A target that is constant within units has whole units permuted within strata; for one that
/// varies within units the signs of whole units' cross-covariances are flipped. The nuisance-only
/// probe sees nuisances but one of the target's own name, concepts (`concepts_as_nuisances`), and
/// no other target.
///
/// @param fitter       one that takes real targets, such as `RidgeFitter`
/// @param random_init  the same rows and site names under a randomly initialised network
/// @throws as `evaluate`; InvalidArgument without targets, or if the fitter takes labels only.
TIEROD_API TargetEvaluation evaluate_targets(const ProbeDataset& dataset,
                                             const LinearFitter& fitter,
                                             const EvaluationOptions& options = {},
                                             const ProbeDataset* random_init = nullptr);

}  // namespace tierod::probe
