#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/core/selection.h"
#include "tierod/export.h"
#include "tierod/patch/edit.h"
#include "tierod/patch/manifold.h"
#include "tierod/patch/paired_run.h"
#include "tierod/stats/trend.h"
#include "tierod/vla/functional.h"

namespace tierod::patch {

/// Say where an edited run is held against natural activations: the edited site, or a later one,
/// where what an edit started has spread.
struct TIEROD_API GuardPlace {
  std::string site;
  Manifold manifold;  ///< of the same rows: mean over the tokens, or all numbers, as `over` says
  Selection selection{};
  Over over = Over::pooled;
};

/// Say how far an edited run leaves what the model meets.
struct TIEROD_API GuardReport {
  std::vector<ManifoldCheck> places;  ///< of the mean over the samples of each scene
  double implausible_share = 0;       ///< of the rows: no car could drive so
  at::Tensor off;                     ///< bool [scenes]: off at a place, or implausible
  double off_share = 0;
};

/// Drive with an edit and check where it goes: off-manifold guard. `driven` is the run.
/// @throws InvalidArgument on a place of another width.
TIEROD_API GuardReport guard_edit(PairedRun& run, const Edit& edit, Words words,
                                  const std::vector<GuardPlace>& places,
                                  const Plausible& limits = {}, vla::Rollout* driven = nullptr);

/// Hold how control answers to doses along a direction.
struct TIEROD_API DoseResponse {
  std::vector<double> doses;      ///< ascending, in natural standard deviations
  at::Tensor effects;             ///< f64 [scenes, doses]
  std::vector<double> off_share;  ///< of the scenes at each dose; without places, implausible ones
  std::vector<double> on_manifold;  ///< doses that count: at most `most_off` of the scenes are off
  stats::Trend rising, falling;     ///< Page's test over the doses that count
  std::string note;                 ///< why there is no trend; empty otherwise
};

struct TIEROD_API DoseOptions {
  std::vector<double> doses = {-2, -1, -0.5, 0.5, 1, 2};
  Words words = Words::held;
  std::vector<GuardPlace> guard{};
  Plausible limits{};
  /// [scenes of the run] the independent unit, over which effects are averaged before the test;
  /// empty: each scene.
  std::vector<std::int64_t> groups{};
  /// A dose counts if at most this share of the scenes is off; natural scenes are off in some 2 %.
  double most_off = 0.10;
};

/// Add doses along the directions of all places and test whether control answers in their order
/// (Page 1963). It is a flag: an effect without it may be one of an edit that is too large.
/// @throws InvalidArgument with fewer than 3 doses, or one twice.
TIEROD_API DoseResponse dose_response(PairedRun& run, const std::vector<DirectionPlace>& places,
                                      const vla::ControlFunctional& functional,
                                      const DoseOptions& options = {});

}  // namespace tierod::patch
