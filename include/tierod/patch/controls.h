#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/core/selection.h"
#include "tierod/export.h"
#include "tierod/patch/concept_effect.h"
#include "tierod/patch/edit.h"
#include "tierod/patch/paired_run.h"
#include "tierod/probe/dataset.h"
#include "tierod/probe/residual_direction.h"
#include "tierod/stats/interval.h"
#include "tierod/vla/functional.h"

namespace tierod::patch {

/// Say where a concept is edited, without its direction.
struct TIEROD_API EditSite {
  std::string site;  ///< of the model, and the name of the same rows in the data
  Selection selection{};
  Over over = Over::each;
};

/// Name a concept that surely drives control, through the same selection: where it is silent, so is
/// everything else, and a null means nothing.
struct TIEROD_API PositiveControl {
  std::string name;
  ConceptDirections directions;
  std::vector<std::uint8_t> labels;  ///< [scenes of the run]
  vla::ControlFunctional functional = vla::ControlFunctional::from_name("mean_acceleration");
};

/// Fix what all controls of a concept share: site, selection, operation (swap) and dose.
struct TIEROD_API ControlsRequest {
  /// Fitted on these rows, of scenes that the run does not hold.
  const probe::ProbeDataset* data = nullptr;
  std::string concept_name;
  std::vector<EditSite> sites;
  /// `folds` is the number of refits of direct effects, `total_folds` of total ones.
  probe::ResidualOptions residual{.folds = 20};
  std::size_t total_folds = 10;
  vla::ControlFunctional functional = vla::ControlFunctional::from_name("mean_acceleration");
  /// One that the concept has no business with.
  std::optional<vla::ControlFunctional> wrong_functional{};
  std::optional<PositiveControl> positive{};
  double sesoi = 0.3;  ///< smallest effect of interest, in the functional's unit
  std::size_t permuted = 20, matched = 20, shams = 40;
  /// Multiples of the SESOI that virtual readers are worth.
  std::vector<double> readers = {1.5, 3};
  bool total = true;       ///< the concept's total effect too
  bool sham_total = true;  ///< and those of shams; off where time is short
  bool text = false;       ///< the text effect of the words that the total run came to, with refits
  /// Other concepts that are run for comparison, those of the nearest prevalence first.
  std::size_t unrelated = 1000;
  std::uint64_t seed = 0;
  /// Called with (controls done, controls, name); false stops with a StateError.
  Progress progress{};
};

struct TIEROD_API UnrelatedControl {
  std::string name;
  double prevalence = 0;  ///< in the data
  double auroc = 0;       ///< of the held-out position
  bool alike = false;     ///< in prevalence (half to twice) and AUROC (within .1)
  stats::Interval effect;
};

/// Hold a control that must be exactly 0.
struct TIEROD_API NullSiteControl {
  bool available = false;
  std::vector<std::string> sites;
  double largest = 0;  ///< change of any action
  bool passed = false;
};

/// Hold how the procedure does on labels that mean nothing, and on readers that surely read.
struct TIEROD_API ShamControl {
  std::vector<stats::Interval> direct, total;
  std::size_t refused = 0;  ///< that could not be fitted, as the planner would refuse a concept
  /// Share of shams called used (interval excludes 0, and at least the SESOI), and share whose
  /// interval excludes 0 alone; with exact binomial intervals. By the direct effect, and by either.
  stats::Interval false_used, excludes_zero, false_used_total;
};

/// Hold what the procedure finds of a reader that is surely there.
struct TIEROD_API ReaderControl {
  std::string concept_name;  ///< whose position it reads
  double multiple = 0;       ///< of the smallest effect of interest
  double worth = 0;          ///< of a swap between the classes, in the functional's unit
  stats::Interval effect;
  bool detected = false;  ///< called used: the interval excludes 0, and at least the SESOI
};

/// Hold all controls of one concept. They calibrate, and none of them decides but `null_site` and
/// `positive`.
struct TIEROD_API ConceptControls {
  ConceptEffect direct;                ///< the concept itself
  std::optional<ConceptEffect> total;  ///< the same, words regenerated
  std::vector<double> permuted;        ///< effects along directions of permuted labels
  std::vector<double> matched;     ///< effects of matched directions, in place of what is written
  double participation_ratio = 0;  ///< smallest of the sites
  /// Mean length of the matched directions in units of the direction's own. Below a participation
  /// ratio of 20 they are matched in Mahalanobis distance alone.
  double matched_length = 0;
  std::vector<UnrelatedControl> unrelated;
  stats::Interval plain;  ///< along the direction that is not residualised
  std::optional<stats::Interval> wrong_functional;
  NullSiteControl null_site;
  std::optional<ConceptEffect> positive;
  bool positive_silent = false;  ///< its interval does not exclude 0
  ShamControl sham;
  /// Of the concept first, then of others that are encoded.
  std::vector<ReaderControl> readers;
  std::vector<std::string> notes;
};

/// Run every control of a concept at the same site, selection, operation and dose.
///
/// *Sham concepts* are labels drawn for each scene from others that are alike in everything else
/// the data know (hot deck: as many positives, together with the same others), so that they go
/// through the very procedure and mean nothing. *Virtual readers* add b u'(h - mean) to the
/// functional, with u the read vector of the concept, or of another that is encoded, and b so that
/// a swap between the classes is worth 1.5 and 3 SESOI; what the model itself does with the concept
/// is taken off, its scatter is left. Together they say how often the procedure errs, on this
/// model, site and number of scenes. Direct effects of shams are refitted by derivative; total ones
/// are run once, with the concept's own ratio of refit to test variance.
///
/// @param labels  [scenes of the run] 0 or 1
/// @param groups  [scenes of the run]
/// @throws InvalidArgument as fits and runs do; StateError if `progress` stops it.
TIEROD_API ConceptControls concept_controls(PairedRun& run, std::span<const std::uint8_t> labels,
                                            std::span<const std::int64_t> groups,
                                            const ControlsRequest& request);

/// Draw labels that mean nothing: each row takes the label of one of another unit, drawn from the
/// `nearest` in what goes along with it (Hamming distance over the columns; ties in random order).
/// Where every unit has a single label, units draw in place of rows, by their first row.
/// @param labels   [n] 0 or 1
/// @param others   [n, q] row-major, small integers; empty: any
/// @param units    [n] the independent unit
/// @throws InvalidArgument on other lengths, or fewer than 2 units.
TIEROD_API std::vector<std::uint8_t> sham_labels(std::span<const std::uint8_t> labels,
                                                 std::span<const std::uint8_t> others,
                                                 std::span<const std::int64_t> units,
                                                 std::uint64_t seed, std::size_t nearest = 20);

/// Fit the directions of a concept at all sites of an edit, with their refits.
/// @throws as `probe::residual_direction`.
TIEROD_API ConceptDirections fit_directions(const probe::ProbeDataset& data,
                                            const std::string& concept_name,
                                            const std::vector<EditSite>& sites,
                                            const probe::ResidualOptions& options);

}  // namespace tierod::patch
