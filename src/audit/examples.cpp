// Scenes that a reviewer can look at.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/vla/functional.h"

namespace tierod::internal {

using patch::Words;
using probe::Split;

namespace {

// Metres and radians to the millimetre: a record is read, not driven.
Json trajectory_json(const at::Tensor& trajectory) {
  Json out = Json::array();
  for (std::int64_t i = 0; i < trajectory.size(0); ++i) {
    Json point = Json::array();
    for (std::int64_t j = 0; j < 3; ++j) {
      point.push_back(std::round(trajectory[i][j].item<double>() * 1000) / 1000);
    }
    out.push_back(std::move(point));
  }
  return out;
}

Json words_json(const vla::ParsedCot& read, const std::string& text, const std::string& id) {
  Json out = {{"text", text}, {"concept", Json::array()}, {"decision", Json()}};
  for (const vla::CotMention& mention : read.mentions) {
    if (mention.concept_id == id) out["concept"].push_back({mention.begin, mention.end});
  }
  if (read.decision) {
    out["decision"] = {{"id", *read.decision}, {"span", {read.decision_begin, read.decision_end}}};
  }
  return out;
}

}  // namespace

Json examples(Setting& setting, const audit::ConceptPlan& plan, const Chosen& chosen) {
  Json out = Json::array();
  if (setting.protocol.examples == 0) return out;
  setting.say(cat(plan.id, ": example scenes"));
  const at::NoGradGuard no_grad;
  const FittedSites& fitted = setting.fitted(chosen.candidate);
  const auto functional = vla::ControlFunctional::from_name(plan.functional);
  // the first of the test's scenes by number: none is chosen for what it shows
  const std::vector<std::int64_t> test =
      setting.world.balanced(Split::c, plan.id, setting.protocol.test_scenes, "audit.test");
  std::vector<std::int64_t> scenes;
  for (std::int64_t k = 0; k < setting.protocol.examples; ++k) {
    const std::uint8_t wanted = k % 3 == 2 ? 0 : 1;  // two with the concept, one without
    for (const std::int64_t id : test) {
      if (setting.world.labels(plan.id)[static_cast<std::size_t>(id)] != wanted) continue;
      if (std::find(scenes.begin(), scenes.end(), id) != scenes.end()) continue;
      scenes.push_back(id);
      break;
    }
  }
  std::sort(scenes.begin(), scenes.end());
  if (scenes.empty()) return out;
  const std::vector<std::uint8_t> labels = setting.world.labels(plan.id, scenes);
  const auto run = setting.runs(scenes);
  const patch::ConceptDirections directions = patch::fit_directions(
      fitted.data, plan.id, fitted.sites, setting.residual(fitted.data, plan.id, 0));
  const auto swap = patch::DirectionEdit::swap(directions.places, opposite(labels));
  struct Kind {
    const char* name;
    vla::Rollout run;
  };
  std::vector<Kind> kinds = {{"base", run->base()}, {"held", run->edited(swap, Words::held)}};
  if (setting.talks()) kinds.push_back({"edited", run->edited(swap, Words::regenerated)});
  if (setting.has_twins(plan.id)) {
    kinds.push_back({"twin", run->twins(plan.id, Words::regenerated)});
  }
  setting.passes += 4 * length(scenes.size());
  std::vector<Json> parts;
  parts.reserve(scenes.size());
  for (std::size_t i = 0; i < scenes.size(); ++i) {
    parts.push_back({{"scene", scenes[i]}, {"label", labels[i]}, {"runs", Json::object()}});
  }
  const std::int64_t samples = run->base().num_samples;
  for (const Kind& kind : kinds) {
    const at::Tensor values = run->values(kind.run, functional);
    const std::vector<vla::ParsedCot> read = parse_words(setting, kind.run.cot_text).second;
    for (std::size_t i = 0; i < scenes.size(); ++i) {
      const std::int64_t row = length(i) * samples;
      const auto at_row = static_cast<std::size_t>(row);
      parts[i]["runs"][kind.name] = {
          {"value", values[row].item<double>()},
          {"words", words_json(read[at_row], kind.run.cot_text[at_row], plan.id)},
          {"trajectory", trajectory_json(kind.run.trajectory[row])}};
    }
  }
  for (Json& part : parts) out.push_back(std::move(part));
  return out;
}

}  // namespace tierod::internal
