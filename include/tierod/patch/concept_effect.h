#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tierod/core/selection.h"
#include "tierod/export.h"
#include "tierod/patch/edit.h"
#include "tierod/patch/paired_run.h"
#include "tierod/probe/residual_direction.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/jackknife.h"
#include "tierod/vla/functional.h"

namespace tierod::patch {

/// Hold the directions of a concept at all places of an edit, and their refits.
struct TIEROD_API ConceptDirections {
  std::vector<DirectionPlace> places;
  /// [K] the same places, fitted without the k-th part of the groups.
  std::vector<std::vector<DirectionPlace>> refits;
  /// What the fits had to say, such as how many scenes they lack.
  std::vector<std::string> notes{};

  /// Add the fits at one site.
  /// @throws InvalidArgument if the number of refits differs from that of the places before.
  void add(const std::string& site, const probe::ResidualFits& fits,
           const Selection& selection = {}, Over over = Over::each);
};

struct TIEROD_API ConceptEffectOptions {
  /// held: the direct effect; regenerated: the total one.
  Words words = Words::held;
  double confidence = 0.95;
  /// Move by the distance between the classes in place of swapping. A swap of labels that mean
  /// nothing moves held-out scenes by half of that, and scatters by all that they naturally do.
  bool fixed_step = false;
  /// Take theta_k of a direct effect from one backward pass where the model is differentiable;
  /// `checked` of them are run as well.
  bool derivative = true;
  std::size_t checked = 4;
  /// Largest difference of a checked theta_k, in standard errors of the effect; beyond it all are
  /// run.
  double tolerance = 0.25;
  /// Measure the text effect of the words that a total run came to as well, refits included.
  bool text = false;
};

/// Hold the text effect of the words that edits led to, no activation edited.
struct TIEROD_API WordsEffect {
  stats::RefitInterval theta;
  at::Tensor scenes;        ///< f64 [scenes], on - off of each
  at::Tensor refit_scenes;  ///< f64 [K, scenes]
};

/// Hold the effect of a concept on control: what its presence adds.
struct TIEROD_API ConceptEffect {
  Words words = Words::held;
  std::string functional;
  /// theta +- t sqrt(V_A + V_C): the mean of removal and addition.
  stats::RefitInterval theta;
  /// Base - edited where the concept is present, and edited - base where it is absent; intervals of
  /// the test scenes alone, along the direction as it is.
  stats::Interval removal, addition;
  std::vector<double> refits;       ///< theta_k [K]
  std::size_t reruns = 0;           ///< of them by true runs
  double derivative_error = 0;      ///< of the checked ones, in standard errors of the effect
  at::Tensor scenes;                ///< f64 [scenes], on - off of each
  at::Tensor refit_scenes;          ///< f64 [K, scenes], the same along each refit
  std::optional<WordsEffect> text;  ///< where it was asked for
  /// What the reader must know: too few scenes and how many are needed, refits that were run.
  std::string note;
};

/// Measure the effect of swapping a concept for its absence and back, with the interval that counts
/// the direction's own estimation error (docs/patch.md). Without it an unused concept is called
/// used nearly always.
///
/// @param run     over test scenes
/// @param labels  [scenes of the run] 0 or 1
/// @param groups  [scenes of the run] the independent unit of each
/// @throws InvalidArgument on other lengths, a single class, fewer than 2 refits or groups.
TIEROD_API ConceptEffect concept_effect(PairedRun& run, std::span<const std::uint8_t> labels,
                                        std::span<const std::int64_t> groups,
                                        const ConceptDirections& directions,
                                        const vla::ControlFunctional& functional,
                                        const ConceptEffectOptions& options = {});

}  // namespace tierod::patch
