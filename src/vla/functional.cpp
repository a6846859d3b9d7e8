#include "tierod/vla/functional.h"

#include <algorithm>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"
#include "tierod/vla/control.h"

namespace tierod::vla {

using internal::cat;
using internal::list_text;

ControlFunctional::ControlFunctional(std::string name, std::string unit, std::string positive_means,
                                     std::optional<double> sesoi, Evaluate evaluate)
    : name_(std::move(name)),
      unit_(std::move(unit)),
      positive_means_(std::move(positive_means)),
      sesoi_(sesoi),
      evaluate_(std::move(evaluate)) {}

const std::vector<ControlFunctional>& ControlFunctional::all() {
  using Ids = std::vector<std::int64_t>;
  const auto of_rollout = [](at::Tensor (*function)(const Rollout&, double), double argument) {
    return [function, argument](const Rollout& rollout, const SceneSource&, const Ids&,
                                const std::string&) { return function(rollout, argument); };
  };
  // defaults of the smallest effect of interest: methods.md, section 5, gate 0
  static const std::vector<ControlFunctional> functionals = {
      {"mean_acceleration", "m/s^2", "faster", 0.3, of_rollout(mean_acceleration, 2)},
      {"speed_change", "m/s", "faster", std::nullopt, of_rollout(speed_change, 3)},
      {"stopping_distance", "m", "stops later", std::nullopt, of_rollout(stopping_distance, 200)},
      {"lateral_offset", "m", "further left", 0.25, of_rollout(lateral_offset, 3)},
      {"mean_curvature", "1/m", "turns left", std::nullopt, of_rollout(mean_curvature, 2)},
      {"least_time_to_collision", "s", "safer", 0.3,
       [](const Rollout& rollout, const SceneSource& source, const Ids& ids,
          const std::string& twin_by) {
         return least_time_to_collision(rollout, source.agents(ids, twin_by));
       }},
      {"least_lane_margin", "m", "further inside of the lane", std::nullopt,
       [](const Rollout& rollout, const SceneSource& source, const Ids& ids, const std::string&) {
         return least_lane_margin(rollout, source.lane(ids));
       }},
  };
  return functionals;
}

std::vector<std::string> ControlFunctional::names() {
  std::vector<std::string> names;
  for (const ControlFunctional& functional : all()) names.push_back(functional.name());
  return names;
}

ControlFunctional ControlFunctional::from_name(std::string_view name) {
  for (const ControlFunctional& functional : all()) {
    if (functional.name() == name) return functional;
  }
  throw InvalidArgument(cat("[vla.ControlFunctional.from_name] expected one of ",
                            list_text(names()), ", got '", name, "'; nearest ",
                            list_text(nearest_names(name, names()))));
}

at::Tensor ControlFunctional::operator()(const Rollout& rollout, const SceneSource& source,
                                         const std::vector<std::int64_t>& ids,
                                         const std::string& twin_by) const {
  const auto scenes = rollout.rows() / std::max<std::int64_t>(rollout.num_samples, 1);
  if (std::cmp_not_equal(ids.size(), scenes)) {
    throw InvalidArgument(cat("[vla.ControlFunctional] expected the ids of the rollout's ", scenes,
                              " scenes, got ", ids.size()));
  }
  return evaluate_(rollout, source, ids, twin_by);
}

}  // namespace tierod::vla
