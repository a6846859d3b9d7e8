#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/export.h"
#include "tierod/probe/dataset.h"
#include "tierod/probe/linear_probe.h"
#include "tierod/probe/logistic.h"
#include "tierod/probe/row_fitter.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/ranking.h"

namespace tierod::probe {

/// Set up an evaluation.
struct TIEROD_API EvaluationOptions {
  std::size_t folds = 5;
  /// Folds and intervals work on the highest level with so many units, else on groups.
  std::size_t least_units = 40;
  double confidence = 0.95;
  /// Of the intervals: automatic is a BCa bootstrap from 30 units on and a jackknife t interval
  /// below; `influence` costs next to nothing. With fewer than 10 units of a class bootstraps give
  /// way to the jackknife, and t intervals have one degree of freedom less than that class has
  /// units.
  stats::RankingMethod interval = stats::RankingMethod::automatic;
  std::size_t replicates = 2000;
  /// Draws of the type-keyed control task, over which its AUROC is averaged.
  std::size_t control_draws = 5;
  /// Also fit the group-keyed control task under row-wise folds.
  bool memorisation = true;
  /// Let the nuisance-only probe see the labels of the other concepts.
  bool concepts_as_nuisances = true;
  /// "Not encoded" means less than so much above the better baseline.
  double margin = 0.05;
  double alpha = 0.05;
  std::size_t permutations = 999;
  std::uint64_t seed = 0;
  std::size_t threads = 1;  ///< of bootstraps
  /// Keep the held-out scores in `Evaluation::scores`.
  bool keep_scores = false;
  Progress progress{};
};

/// Hold what was found of one concept at one site. What could not be had is NaN, and `note` says
/// why.
struct TIEROD_API EvaluationRow {
  std::string site;
  std::string concept_name;
  std::int64_t rows = 0;       ///< with a known label
  std::int64_t positives = 0;  ///< rows with label 1
  std::size_t units = 0;       ///< independent units among them
  std::size_t positive_units = 0;

  stats::Interval auroc;  ///< held out, against chance .5
  stats::Interval auprc;  ///< average precision; chance is the prevalence
  double balanced_accuracy = 0;
  double log_loss = 0;  ///< in nats
  double brier = 0;
  double ece = 0;  ///< bins of equal mass

  double control_auroc = 0;  ///< of the type-keyed control task, mean over draws
  /// Share of rows whose type occurs in another fold. Below a half the control task would be chance
  /// by construction, and there is none.
  double control_recurrence = 0;
  stats::Interval above_control;        ///< paired difference to it ("selectivity")
  double nuisance_auroc = 0;            ///< of the nuisance-only probe
  stats::Interval above_nuisance;       ///< paired difference to it
  double group_control_auroc = 0;       ///< of the group-keyed control task, .5 by construction
  stats::Interval above_group_control;  ///< paired difference to it
  double memorisation_auroc = 0;        ///< the same under row-wise folds: capacity to memorise
  stats::Interval learned;              ///< paired difference to random initialisation
  stats::Interval above_best;           ///< to the better of the baselines there are, else to .5
  /// One-sided upper bound at level alpha of the AUROC less the better of all baselines and .5: the
  /// smallest of the bounds of its differences to the k of them, each at level alpha / k, since
  /// which is better is not known beforehand. With twice the variance: without signal, held-out
  /// scores of different folds repeat each other's error.
  double upper = 0;
  double equivalence_p = 1;  ///< of "less than `margin` above the better baseline", likewise

  double p = 1;          ///< of "labels and activations are independent", this cell alone
  double p_max_t = 1;    ///< adjusted over the sites of the concept
  std::string p_method;  ///< "permutation" of whole groups, "sign flip", "held-out scores"
  std::string setting;   ///< index of the setting chosen in each fold, as text
  double condition =
      1;  ///< worst of the fits under the chosen settings; NaN where none was computed
  /// Lower bounds of `above_control` and `above_nuisance` (those there are) are above 0, that of
  /// the AUROC above .5, and p_max_t <= alpha. Without a p nothing is encoded.
  bool encoded = false;
  std::string note;
};

/// Hold what all sites say of one concept.
struct TIEROD_API ConceptSummary {
  std::string concept_name;
  std::string best_site;  ///< of the largest AUROC; choose it on B, not here, to test it
  double best_auroc = 0;
  double p_max_t = 1;  ///< smallest over the sites
  double q = 1;        ///< the same, by Benjamini-Hochberg over the concepts
  std::size_t encoded_sites = 0;
  /// Bound of (AUROC - better baseline) at all sites together: the largest of their one-sided
  /// bounds. Each site's bound holds at level alpha, and so the bound of the true largest does; an
  /// intersection-union test needs no correction (Berger 1982).
  double upper = 0;
  bool not_encoded = false;  ///< upper <= margin
};

struct TIEROD_API Evaluation {
  std::string probe;
  std::string level;  ///< whose units were the independent ones
  std::size_t units = 0;
  EvaluationOptions options;
  std::vector<std::string> sites, concepts;
  std::vector<EvaluationRow> rows;      ///< [sites x concepts], site by site
  std::vector<ConceptSummary> summary;  ///< [concepts]
  std::vector<std::string> notes;       ///< on all of it
  at::Tensor scores;  ///< [sites, concepts, n], held out, NaN where the label is unknown, if kept
  bool complete = true;  ///< false if `progress` asked to stop

  /// @throws InvalidArgument if there is no such cell.
  const EvaluationRow& at(std::string_view site, std::string_view concept_name) const;
};

/// Evaluate a probe at every site for every concept so that it cannot fool: settings are chosen
/// inside the training folds, folds hold whole units with twins together, scaling is learned on
/// training rows, and each AUROC comes with an interval over units, with its paired differences to
/// the type-keyed control task and to the nuisance-only probe, and with a p that counts the search
/// over sites.
///
/// A concept with too few units of a class for the folds, or none left in a training part, is
/// refused: its rows are NaN with a note. What only one cell lacks (an interval, a p) is NaN in
/// that cell with a note.
///
/// The nuisance-only probe is fitted like any other; only the cuts of binned nuisances are those of
/// all rows. Nothing depends on the order of the rows but `memorisation_auroc`, whose folds deal a
/// unit's rows in turn.
///
/// The p of a linear probe tests mean differences of rows that were whitened without labels. For a
/// concept that is constant within groups whole groups are permuted within strata
/// (`stats::site_max_t`, on group means); for one that varies within groups the signs of whole
/// groups' cross-covariances of labels and activations are flipped, the same flips at all sites.
/// The p of another probe comes from its held-out scores, with twice the variance. With strata both
/// centre and compare within strata.
///
/// @param random_init  the same rows and site names under a randomly initialised network, for
///                     `learned`; groups and the labels of concepts it has are compared
/// @throws InvalidArgument without site or concept, with fewer units than folds, if a unit lies in
///         two strata (named), if random_init has other rows, groups or labels, or on options
///         outside their range; NumericalError naming the site where a fit fails or a row is not
///         finite.
TIEROD_API Evaluation evaluate(const ProbeDataset& dataset, const LinearFitter& fitter,
                               const EvaluationOptions& options = {},
                               const ProbeDataset* random_init = nullptr);
TIEROD_API Evaluation evaluate(const ProbeDataset& dataset, const RowFitter& fitter,
                               const EvaluationOptions& options = {},
                               const ProbeDataset* random_init = nullptr);
/// Columns are scaled to variance 1 by training rows: a penalty means the same at every site.
TIEROD_API Evaluation evaluate(const ProbeDataset& dataset, const LogisticFitter& fitter,
                               const EvaluationOptions& options = {},
                               const ProbeDataset* random_init = nullptr);

enum class Encoding : std::uint8_t {
  encoded,      ///< above both baselines at some site, q <= alpha
  not_encoded,  ///< within the margin at all sites, for the linear and the non-linear probe
  nonlinear,    ///< not encoded linearly, but the non-linear probe finds it
  open,         ///< neither was shown: bring more groups
};
/// Return "encoded", "not_encoded", "nonlinear" or "open".
TIEROD_API const char* encoding_name(Encoding encoding) noexcept;

struct TIEROD_API Conclusion {
  std::string concept_name;
  Encoding encoding = Encoding::open;
  std::string sentence;  ///< the same in words, with the numbers that decide
};

/// Say of each concept whether it is encoded. Without the non-linear probe's evaluation "not
/// encoded" cannot be concluded, and is `open`.
/// @throws InvalidArgument if an evaluation was stopped before its end, or if the two differ in
///         concepts, sites, level, units, margin or alpha.
TIEROD_API std::vector<Conclusion> conclude(const Evaluation& linear,
                                            const Evaluation* nonlinear = nullptr);

}  // namespace tierod::probe
