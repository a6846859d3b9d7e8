// Split B chooses where a concept is edited, and nothing else.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/vla/functional.h"

namespace tierod::internal {

using patch::Words;
using probe::Split;

namespace {

double mean_effect(patch::PairedRun& run, const patch::DirectionEdit& swap, Words words,
                   std::span<const std::uint8_t> labels, const vla::ControlFunctional& functional) {
  return on_minus_off(run.effect(run.edited(swap, words), functional), labels)
      .mean()
      .item<double>();
}

}  // namespace

Json choose(Setting& setting, const audit::ConceptPlan& plan) {
  setting.say(cat("choosing on split B: ", plan.id));
  const at::NoGradGuard no_grad;
  const auto functional = vla::ControlFunctional::from_name(plan.functional);
  const std::vector<std::int64_t> scenes =
      setting.world.balanced(Split::b, plan.id, setting.protocol.choose_scenes, "audit.choose");
  const std::vector<std::uint8_t> labels = setting.world.labels(plan.id, scenes);
  Json out = {{"concept", plan.id}, {"scenes", scenes.size()}, {"candidates", Json::array()}};
  double best = -1;
  const auto run = setting.runs(scenes);
  for (std::size_t i = 0; i < setting.protocol.candidates.size(); ++i) {
    const FittedSites& fitted = setting.fitted(i);
    Json one = {{"name", fitted.candidate.name}};
    try {
      const patch::ConceptDirections directions = patch::fit_directions(
          fitted.data, plan.id, fitted.sites, setting.residual(fitted.data, plan.id, 0));
      const auto swap = patch::DirectionEdit::swap(directions.places, opposite(labels));
      const double direct = mean_effect(*run, swap, Words::held, labels, functional);
      double larger = direct;
      one["direct"] = direct;
      if (setting.talks()) {
        const double total = mean_effect(*run, swap, Words::regenerated, labels, functional);
        one["total"] = total;
        if (std::abs(total) > std::abs(direct)) larger = total;
      }
      if (std::abs(larger) > best) {
        best = std::abs(larger);
        out["chosen"] = i;
        out["name"] = fitted.candidate.name;
        out["sign"] = larger < 0 ? -1 : 1;
      }
    } catch (const InvalidArgument& error) {
      one["refused"] = error.what();
    } catch (const NumericalError& error) {
      one["refused"] = error.what();
    }
    out["candidates"].push_back(std::move(one));
  }
  setting.passes += length(scenes.size()) * 3;
  return out;
}

Chosen chosen_from(const Json& json) {
  if (!json.contains("chosen")) {
    throw InvalidArgument(cat("[audit.choose] expected a direction of '",
                              json["concept"].get<std::string>(),
                              "' at some candidate, got none: ", json["candidates"].dump()));
  }
  return {.candidate = json["chosen"].get<std::size_t>(), .sign = json["sign"].get<int>()};
}

}  // namespace tierod::internal
