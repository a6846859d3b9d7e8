#include "tierod/vla/scene_source.h"

#include <algorithm>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::vla {

using internal::cat;

std::vector<SceneNuisance> SceneSource::nuisances() const { return {}; }

std::optional<Batch> SceneSource::twin(const std::vector<std::int64_t>& /*ids*/,
                                       const std::string& /*name*/) const {
  return std::nullopt;
}

std::vector<std::string> SceneSource::framings() const { return {}; }

at::Tensor SceneSource::image(std::int64_t /*id*/, const std::string& /*twin_by*/) const {
  throw StateError("[vla.SceneSource.image] this source has no pictures; override image(id)");
}

std::vector<std::vector<Agent>> SceneSource::agents(const std::vector<std::int64_t>& /*ids*/,
                                                    const std::string& /*twin_by*/) const {
  throw StateError(
      "[vla.SceneSource.agents] this source does not know other road users; override agents(ids), "
      "or choose a functional that needs none");
}

std::vector<Lane> SceneSource::lane(const std::vector<std::int64_t>& /*ids*/) const {
  throw StateError(
      "[vla.SceneSource.lane] this source does not know the lane; override lane(ids), or choose a "
      "functional that needs none");
}

std::vector<Stratification> SceneSource::strata() const { return {}; }

std::vector<ConceptClaim> SceneSource::claims() const {
  std::vector<ConceptClaim> out;
  for (const std::string& id : concepts()) out.push_back({.id = id});
  return out;
}

std::vector<ControlClaim> SceneSource::control_claims() const { return {}; }

CotVocabulary SceneSource::vocabulary() const {
  const auto as_words = [](std::string id) {
    std::replace(id.begin(), id.end(), '_', ' ');
    return id;
  };
  CotVocabulary out;
  for (const std::string& id : concepts()) out.concepts.push_back({id, {as_words(id)}});
  for (const char* id :
       {"brake", "stop", "slow", "keep", "accelerate", "steer_left", "steer_right"}) {
    out.decisions.push_back({id, {as_words(id)}});
  }
  return out;
}

void check_scene_ids(const std::vector<std::int64_t>& ids, std::int64_t size,
                     const std::string& where) {
  if (ids.empty()) {
    throw InvalidArgument(cat("[", where, "] expected at least one scene, got no ids"));
  }
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= size) {
      throw OutOfRange(cat("[", where, "] expected scenes in [0, ", size, "), got ", id));
    }
  }
}

}  // namespace tierod::vla
