// A null of one direction at one site is no proof of disuse. Erased from everything that control
// reads, a concept has no other way.

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "tierod/patch/erasure.h"
#include "tierod/patch/site_sweep.h"
#include "tierod/vla/functional.h"

namespace tierod::internal {

using patch::Words;
using probe::Split;

namespace {

constexpr double kShrinkage = 0.01;  // keys of the first layer know little but the word
constexpr std::int64_t kMapScenes = 24;

}  // namespace

Json joint_erasure(Setting& setting, const audit::ConceptPlan& plan) {
  if (setting.about.head_inputs.empty()) {
    return {{"note", "the model does not say through which sites control reads"},
            {"checks", Json::array()},
            {"effect", Json()}};
  }
  const FittedHead& head = setting.head();
  setting.say(cat(plan.id, ": erasure at all head inputs"));
  patch::ConceptDirections directions;
  std::vector<std::string> notes = head.notes;
  for (std::size_t i = 0; i < head.places.size(); ++i) {
    probe::ResidualOptions options =
        setting.residual(head.data, plan.id, setting.protocol.total_refits);
    options.shrinkage = kShrinkage;
    const patch::EditSite& place = head.places[i];
    directions.add(place.site,
                   probe::residual_direction(head.data, head.names[i], plan.id, options),
                   place.selection, place.over);
  }
  const auto functional = vla::ControlFunctional::from_name(plan.functional);
  const std::vector<std::int64_t> scenes =
      setting.world.balanced(Split::c, plan.id, setting.protocol.test_scenes, "audit.test");
  const auto run = setting.runs(scenes);
  const patch::JointErasure erased =
      patch::joint_erasure(*run, setting.world.labels(plan.id, scenes), setting.world.units(scenes),
                           directions, functional);
  Json out = {{"effect", axis_json("erasure", erased.theta.interval, length(scenes.size()))},
              {"places", head.places.size()},
              {"fit_scenes", head.data.rows()},
              {"wanted_scenes", head.wanted},
              {"checks", Json::array()},
              {"notes", notes}};
  setting.passes += length(scenes.size());

  setting.say(cat(plan.id, ": can it still be read?"));
  const std::vector<std::int64_t> fresh =
      setting.world.balanced(Split::c, plan.id, setting.protocol.verify_scenes, "audit.verify");
  std::vector<at::Tensor> beside;
  at::Tensor others;
  const std::vector<std::string> names = setting.adjusted_for(head.data, plan.id);
  others = at::zeros({length(fresh.size()), length(names.size())}, at::kDouble);
  for (std::size_t j = 0; j < names.size(); ++j) {
    if (!setting.world.has(names[j])) continue;
    others.select(1, length(j)).copy_(doubles_of(setting.world.labels(names[j], fresh)));
  }
  const auto held_out = setting.runs(fresh);
  probe::VerifyErasureOptions options;
  options.replicates = 500;
  options.seed = setting.protocol.seed;
  for (const patch::AblationCheck& check : patch::verify_ablation(
           *held_out, setting.world.labels(plan.id, fresh), setting.world.units(fresh),
           directions.places, others, Words::held, options)) {
    const std::size_t i = out["checks"].size();
    out["checks"].push_back({{"place", head.names[i]},
                             {"width", check.width},
                             {"scenes", check.scenes},
                             {"before", check.check.before.estimate},
                             {"auroc", check.check.after.estimate},
                             {"upper", check.check.upper},
                             {"positive_units", check.check.positives},
                             {"units_needed", options.positive_units},
                             {"reason", check.check.reason}});
  }
  setting.passes += length(fresh.size());
  return out;
}

Json localise(Setting& setting, const audit::ConceptPlan& plan) {
  if (setting.about.head_inputs.empty() || !setting.has_twins(plan.id)) return Json();
  setting.say(cat(plan.id, ": where it reaches control"));
  const std::vector<std::int64_t> scenes =
      setting.world.balanced(Split::c, plan.id, kMapScenes, "audit.map");
  const auto run = setting.runs(scenes);
  patch::SiteSweepRequest request{.sites = setting.about.head_inputs,
                                  .donors = {{.name = "twin", .donor = {.twin_by = plan.id}}}};
  // spans that every scene has
  const SpanTable& spans = run->base().spans;
  if (!spans.empty()) {
    request.parts.clear();
    for (const Span& span : spans.front()) {
      const bool everywhere = std::all_of(spans.begin(), spans.end(), [&](const auto& row) {
        return std::any_of(row.begin(), row.end(),
                           [&](const Span& other) { return other.name == span.name; });
      });
      if (!everywhere || span.name == "action" || span.name == "decision") continue;
      request.parts.push_back(
          {.name = span.name, .selection = {.tokens = Tokens::spans({span.name})}});
    }
  }
  try {
    const patch::SiteSweepResult found = patch::site_sweep(
        *run, request, vla::ControlFunctional::from_name(plan.functional), {.recheck = 2});
    setting.passes += 4 * length(scenes.size());
    const at::Tensor base = found.base.view({-1, 1, 1, 1});
    const at::Tensor source = found.source.view({-1, 1, 1, 1});
    const auto moved = (source - base).abs().mean().item<double>();
    // the share of the way to the twin, as a ratio of sums, each scene towards its own twin
    const at::Tensor sign = (source - base).sign();
    const at::Tensor share =
        ((found.values - base) * sign).sum(0) / ((source - base) * sign).sum(0);
    return {{"sites", found.sites},
            {"parts", found.parts},
            {"recovered", numbers_json(share[0])},
            {"scenes", scenes.size()},
            {"twin_moves", moved},
            {"recheck_difference", found.recheck_difference}};
  } catch (const InvalidArgument& error) {
    return {{"note", error.what()}};
  } catch (const NumericalError& error) {
    return {{"note", error.what()}};
  }
}

}  // namespace tierod::internal
