#include "tierod/patch/mediation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;
using internal::length;

Mediation mediated_share(PairedRun& run, const std::string& twin_by,
                         std::span<const std::uint8_t> labels, std::span<const std::int64_t> groups,
                         const Edit& ablation, const vla::ControlFunctional& functional,
                         Words words, const stats::BootstrapOptions& options) {
  constexpr auto* kWhere = "patch.mediated_share";
  const std::size_t scenes = run.scenes().size();
  if (labels.size() != scenes || groups.size() != scenes) {
    throw InvalidArgument(cat("[", kWhere, "] expected a label and a group for each of ", scenes,
                              " scenes, got ", labels.size(), " and ", groups.size()));
  }
  for (const std::uint8_t label : labels) {
    if (label <= 1) continue;
    throw InvalidArgument(cat("[", kWhere, "] expected labels 0 or 1, got ", int{label}));
  }
  // on - off of each scene: the scene minus its twin where it has the concept
  const at::Tensor sign = at::where(internal::doubles_of(labels).gt(0.5), -1.0, 1.0);
  const auto on_minus_off = [&](const at::Tensor& twin_minus_base) {
    return (twin_minus_base.view({length(scenes), -1}).mean(1) * sign).contiguous();
  };
  const at::Tensor whole = on_minus_off(run.effect(run.twins(twin_by, words), functional, twin_by));
  const at::Tensor left =
      on_minus_off(run.effect(run.edited(ablation, words, twin_by), functional, twin_by) -
                   run.effect(run.edited(ablation, words), functional));
  const auto numbers = [](const at::Tensor& x) {
    return std::span<const double>(x.const_data_ptr<double>(), static_cast<std::size_t>(x.numel()));
  };
  const at::Tensor taken = (whole - left).contiguous();
  if (whole.abs().sum().item<double>() == 0) {
    throw NumericalError(cat("[", kWhere, "] the twins by '", twin_by,
                             "' have no effect at all, so that no share of it is defined"));
  }
  return {.share = stats::ratio_of_sums(numbers(taken), numbers(whole), groups, options),
          .twin_effect = whole.mean().item<double>(),
          .edited_effect = left.mean().item<double>()};
}

}  // namespace tierod::patch
