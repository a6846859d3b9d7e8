#include "tierod/patch/mediation.h"

#include <ATen/TensorOperators.h>

#include "core/text_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;
using internal::numbers_of;
using internal::SceneLabels;

Mediation mediated_share(PairedRun& run, const std::string& twin_by,
                         std::span<const std::uint8_t> labels, std::span<const std::int64_t> groups,
                         const Edit& ablation, const vla::ControlFunctional& functional,
                         Words words, const stats::BootstrapOptions& options) {
  constexpr auto* kWhere = "patch.mediated_share";
  const SceneLabels scenes(kWhere, run, labels, groups);
  const at::Tensor whole = scenes.on_minus_off(run.effect(run.twins(twin_by, words), functional));
  const at::Tensor left =
      scenes.on_minus_off(run.effect(run.edited(ablation, words, twin_by), functional) -
                          run.effect(run.edited(ablation, words), functional));
  const at::Tensor taken = (whole - left).contiguous();
  if (whole.abs().sum().item<double>() == 0) {
    throw NumericalError(cat("[", kWhere, "] the twins by '", twin_by,
                             "' have no effect at all, so that no share of it is defined"));
  }
  return {.share = stats::ratio_of_sums(numbers_of(taken), numbers_of(whole), groups, options),
          .twin_effect = whole.mean().item<double>(),
          .edited_effect = left.mean().item<double>()};
}

}  // namespace tierod::patch
