#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/export.h"
#include "tierod/stats/interval.h"
#include "tierod/zoo/driving_model.h"

namespace tierod::zoo {

/// Set how thoroughly a model is held against its specification.
struct TIEROD_API TruthOptions {
  /// Scenes of each concept, half of them with it.
  std::int64_t scenes = 700;
  /// Scenes as they occur, for the error of the trajectory.
  std::int64_t natural_scenes = 1000;
  /// Of the scenes and of the words. Scenes of training are others, whatever it is.
  std::uint64_t seed = 1;
  std::int64_t batch_size = 128;

  /// @throws InvalidArgument that names the field, what was expected and what was seen.
  void check() const;
};

/// Hold what toggling a concept does to a functional, on minus off, in the functional's unit, and
/// what the law does in the same scenes where all words are true.
struct TIEROD_API TruthEffect {
  /// The concept, or the stratum of it that the effect is of ("near", "far", "common", "rare").
  std::string stratum{};
  /// "mean_acceleration" (m/s^2, 0-2 s) or "mean_curvature" (1/m, 0-2 s).
  std::string functional{};
  /// Twins, the words written anew.
  stats::Interval total{};
  /// Twins, the words held.
  stats::Interval direct{};
  /// The same picture, its words stating the concept or not.
  stats::Interval text{};
  double law_total = 0, law_direct = 0, law_text = 0;
};

/// Hold what was found of one concept, or of the stop line, which is never stated.
struct TIEROD_API TruthRow {
  std::string feature{};
  std::string role{};  ///< "correlate" for the stop line
  /// How often it is stated where it is there, and where it is not.
  stats::Interval stated_with{}, stated_without{};
  /// Of all scenes first, then of strata where the role has some.
  std::vector<TruthEffect> effects{};
};

/// Hold one demand of the specification.
struct TIEROD_API TruthDemand {
  std::string feature{};  ///< empty: of the model
  std::string what{};
  double value = 0;
  double low = 0, high = 0;  ///< where the value must lie, ends included
  bool met() const noexcept { return value >= low && value <= high; }
};

/// Hold a model beside its specification.
struct TIEROD_API Truth {
  std::string model{};
  std::string weights_sha256{};
  std::vector<TruthRow> rows{};
  /// Distance in m between the positions after 3 s of the model and of its law, given its words.
  double error_median_m = 0, error_p95_m = 0;
  std::int64_t natural_scenes = 0;
  std::vector<TruthDemand> demands{};

  /// False where it was asked to stop: rows of the concepts that were done.
  bool complete = false;

  /// Tell whether all was looked at, and every demand is met: only then the model's truth is known.
  bool met() const;
  std::string to_json() const;
};

/// Hold a model against its specification, on scenes that it has never seen, by its inputs alone:
/// twins of the scenes and other words, never by what is inside of it. It is not told by the
/// methods that it is to judge.
///
/// For each concept the picture is toggled (total: words written anew; direct: words held), and its
/// statement is toggled in the model's own words (text). Tokens, noise and positions of the
/// waypoints are shared. Intervals are over routes. Demanded are
///
/// - of concepts that are stated truthfully: recall >= .95, false alarms <= .02;
/// - effects within 10 % of the law's where it has one, within .1 m/s^2 of none elsewhere;
/// - of a role of the picture no more than 5 % of the effect by the words, of a role of the words
/// no
///   more than 5 % by the picture;
/// - the trajectory within .25 m of the law's after 3 s in the median, within 1.5 m in 95 %;
/// - words that are cut from control move nothing, to the last bit.
///
/// @throws InvalidArgument as `TruthOptions::check` does.
TIEROD_API Truth check_truth(DrivingModel& model, const TruthOptions& options = {},
                             const Progress& progress = {});

}  // namespace tierod::zoo
