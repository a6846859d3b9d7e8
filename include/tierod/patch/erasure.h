#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/patch/concept_effect.h"
#include "tierod/patch/paired_run.h"
#include "tierod/probe/verify_erasure.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/jackknife.h"
#include "tierod/vla/functional.h"

namespace tierod::patch {

/// Hold what is lost when a concept is erased at all places in the same run.
struct TIEROD_API JointErasure {
  Words words = Words::held;
  std::string functional;
  /// mean over scenes with the concept of (m - m_erased), less the same of those without: what the
  /// concept did to control along what was erased.
  stats::RefitInterval theta;
  stats::Interval ci90;        ///< the same with confidence .90, for a claim of equivalence
  std::vector<double> refits;  ///< theta_k [K]
  at::Tensor scenes;           ///< f64 [scenes], m - m_erased
};

/// Erase a concept at all places at once, h - w r'(h - mean), and measure what control loses. At
/// every site through which control reads, with directions residualised on what goes along with the
/// concept (which is least-squares erasure given the other concepts: docs/patch.md), it answers
/// what no edit at one site can: nothing else carries the concept.
///
/// "Nothing was lost" is evidence only where `verify_ablation` passes at every place.
/// @param run     over test scenes
/// @param labels  [scenes of the run] 0 or 1
/// @param groups  [scenes of the run]
/// @throws InvalidArgument on other lengths, a single class, fewer than 2 refits or groups.
TIEROD_API JointErasure joint_erasure(PairedRun& run, std::span<const std::uint8_t> labels,
                                      std::span<const std::int64_t> groups,
                                      const ConceptDirections& directions,
                                      const vla::ControlFunctional& functional,
                                      Words words = Words::held, double confidence = 0.95);

/// Say what can still be read at one place after erasure.
struct TIEROD_API AblationCheck {
  std::string site;
  std::int64_t width = 0;   ///< numbers a scene that the fresh probe was given
  std::int64_t scenes = 0;  ///< that are alike in what goes along, as many with as without
  probe::ErasureCheck check;
};

/// Refit probes on what ablation leaves, on scenes that took no part in fitting it: on all numbers
/// of the selected part, not on what was erased alone; where rows have different numbers of tokens,
/// on their mean. Erasure leaves what goes along with the concept, and with it whatever that tells
/// of the concept: scenes are balanced within strata of what the others say (propensity), and the
/// bounds hold for what can be read beyond it. A place passes if a fresh probe reads at most .60
/// (upper bound .65).
/// @param run     over held-out scenes
/// @param others  [scenes of the run, q] labels of what goes along with the concept; undefined:
/// none
/// @throws as `probe::verify_erasure`; InvalidArgument if no scenes are alike in the others.
TIEROD_API std::vector<AblationCheck> verify_ablation(
    PairedRun& run, std::span<const std::uint8_t> labels, std::span<const std::int64_t> groups,
    const std::vector<DirectionPlace>& places, const at::Tensor& others = {},
    Words words = Words::held, const probe::VerifyErasureOptions& options = {});

}  // namespace tierod::patch
