#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tierod/export.h"
#include "tierod/patch/edit.h"
#include "tierod/patch/paired_run.h"
#include "tierod/stats/bootstrap.h"
#include "tierod/vla/functional.h"

namespace tierod::patch {

/// Hold how much of an input effect an edit takes away.
struct TIEROD_API Mediation {
  stats::BootstrapResult share;  ///< 1 - sum D|edited / sum D, D = on - off by exact twins
  double twin_effect = 0;        ///< mean D, in the functional's unit
  double edited_effect = 0;      ///< mean D|edited
};

/// Measure the share of a concept's effect that passes what `ablation` removes: base and twin are
/// both driven with it, and what is left of their difference did not pass. At all of the head's
/// inputs, a share near 1 says that the ablated directions carry the concept.
///
/// A ratio of sums over the scenes; where |twin_effect| is small it means nothing.
/// @param labels  [scenes of the run] 0 or 1, whether the scene itself has the concept
/// @param groups  [scenes of the run]
/// @throws InvalidArgument on other lengths or labels; StateError without twins; NumericalError if
///         the twins have no effect at all.
TIEROD_API Mediation mediated_share(PairedRun& run, const std::string& twin_by,
                                    std::span<const std::uint8_t> labels,
                                    std::span<const std::int64_t> groups, const Edit& ablation,
                                    const vla::ControlFunctional& functional,
                                    Words words = Words::held,
                                    const stats::BootstrapOptions& options = {});

}  // namespace tierod::patch
