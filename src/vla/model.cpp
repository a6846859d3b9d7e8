#include "tierod/vla/model.h"

#include <algorithm>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::vla {

using internal::cat;
using internal::list_text;

const char* coupling_name(Coupling coupling) noexcept {
  switch (coupling) {
    case Coupling::kv_cache:
      return "kv_cache";
    case Coupling::features:
      return "features";
    case Coupling::same_stream:
      return "same_stream";
    case Coupling::none:
      break;
  }
  return "none";
}

void check_options(const RolloutOptions& options, const ModelDescription& description) {
  const RolloutOptions plain;
  const auto need = [&](bool used, std::string_view name) {
    const auto& can = description.options;
    if (!used || std::find(can.begin(), can.end(), name) != can.end()) return;
    throw InvalidArgument(cat("[vla.check_options] expected an option that '", description.name,
                              "' can do, got ", name, "; it can do ", list_text(can)));
  };
  need(options.num_samples != plain.num_samples, "num_samples");
  need(options.cot_tokens.has_value(), "cot_tokens");
  need(options.noise.has_value(), "noise");
  need(options.temperature != plain.temperature, "temperature");
  need(!options.framing.empty(), "framing");
  need(!options.knockouts.empty(), "knockouts");
  need(options.cot_length.has_value(), "cot_length");
  need(options.pin_action_positions, "pin_action_positions");
  need(options.differentiable, "differentiable");
}

Rollout rollout_scenes(Model& model, const SceneSource& source,
                       const std::vector<std::int64_t>& ids, const RolloutOptions& options,
                       std::int64_t batch_size) {
  check_scene_ids(ids, source.size(), "vla.rollout_scenes");
  if (batch_size < 1) {
    throw InvalidArgument(cat("[vla.rollout_scenes] expected batch_size >= 1, got ", batch_size));
  }
  const auto scenes = static_cast<std::int64_t>(ids.size());
  options.check(scenes);
  const ModelDescription description = model.describe();
  check_options(options, description);
  const BatchSpec spec = model.batch_spec();
  std::vector<Rollout> parts;
  for (std::int64_t begin = 0; begin < scenes; begin += batch_size) {
    const std::int64_t count = std::min(batch_size, scenes - begin);
    const std::vector<std::int64_t> part(ids.begin() + begin, ids.begin() + begin + count);
    RolloutOptions of_part = options;
    const auto cut = [&](std::optional<at::Tensor>& rows) {
      if (rows) rows = rows->narrow(0, begin * options.num_samples, count * options.num_samples);
    };
    cut(of_part.cot_tokens);
    cut(of_part.noise);
    const Batch batch = source.batch(part);
    if (batch.ids != part) {
      throw InvalidArgument(cat("[vla.rollout_scenes] expected a batch of the scenes ",
                                list_text(part), " from the source, got ", list_text(batch.ids),
                                "; its batch(ids) must keep ids and their order"));
    }
    spec.check(batch);
    parts.push_back(model.rollout(batch, of_part));
    const Rollout& got = parts.back();
    got.check();
    if (got.rows() != count * options.num_samples || got.num_samples != options.num_samples) {
      throw InvalidArgument(cat("[vla.rollout_scenes] expected ", count * options.num_samples,
                                " rows (", count, " scenes x ", options.num_samples,
                                " samples) from the model, got ", got.rows(), " rows of ",
                                got.num_samples, " samples"));
    }
    if (got.waypoints() != description.waypoints || got.dt_s != description.dt_s) {
      throw InvalidArgument(cat("[vla.rollout_scenes] expected ", description.waypoints,
                                " waypoints every ", description.dt_s, " s as '", description.name,
                                "' describes itself, got ", got.waypoints(), " every ", got.dt_s,
                                " s"));
    }
  }
  return parts.size() == 1 ? std::move(parts.front()) : concatenate_rollouts(parts);
}

}  // namespace tierod::vla
