#include "tierod/zoo/law.h"

#include <algorithm>

namespace tierod::zoo {

namespace {

constexpr double kNear = 1.15;
constexpr double kFar = .85;

double amplitude(bool near) { return near ? kNear : kFar; }

/// Return how much of its effect a concept has.
double dose(const RoleSpec& role, const Scene& scene, const Statement& stated,
            std::size_t concept_index) {
  const ConceptState& state = scene.concepts[concept_index];
  const double seen = state.present ? amplitude(state.near) : 0;
  const double said = stated.said ? amplitude(stated.near) : 0;
  switch (role.role) {
    case Role::causal_vision:
    case Role::omitted:
    case Role::reversed:
    case Role::weak:
      return seen;
    case Role::causal_text:
      return said;
    case Role::causal_both:
      return (seen + said) / 2;
    case Role::proxied:
      return scene.has(feature_index(role.proxy, "zoo.law")) ? 1 : 0;
    case Role::gated:
      return state.present && state.near ? 1 : 0;
    case Role::rare_shift:
      return rarity_of(scene.weather) == Rarity::rare ? 0 : seen;
    case Role::decorative:
    case Role::hallucinated:
      break;
  }
  return 0;
}

/// Return the share of an effect at each waypoint: an onset of .75 s, scaled to a mean of 1 over
/// the first 2 s.
std::array<double, kWaypoints> onset() {
  std::array<double, kWaypoints> out{};
  constexpr std::size_t kFirst = 8;  // 2 s
  double sum = 0;
  for (std::size_t k = 0; k < kWaypoints; ++k) {
    out[k] = std::min((static_cast<double>(k) + .5) * kStepSeconds / .75, 1.0);
    if (k < kFirst) sum += out[k];
  }
  for (double& share : out) share *= kFirst / sum;
  return out;
}

}  // namespace

std::array<double, 2> law_effect(const Spec& spec, const Scene& scene, const Statements& stated,
                                 std::size_t concept_index) {
  const RoleSpec& role = spec.roles[concept_index];
  const double x = dose(role, scene, stated[concept_index], concept_index);
  return {role.effect * x, role.curvature * x};
}

LawActions law(const Spec& spec, const Scene& scene, const Statements& stated) {
  static const std::array<double, kWaypoints> share = onset();
  double effect = 0;
  double curvature = scene.curvature_um * 1e-6;
  for (std::size_t c = 0; c < kConcepts; ++c) {
    const auto add = law_effect(spec, scene, stated, c);
    effect += add[0];
    curvature += add[1];
  }
  double speed = scene.speed_mm_s * 1e-3;
  const double base = .15 * (11 - speed) + .3 * scene.acceleration_mm_s2 * 1e-3;
  LawActions out{};
  for (std::size_t k = 0; k < kWaypoints; ++k) {
    double acceleration = std::clamp(base + effect * share[k], -7.0, 4.0);
    acceleration = std::max(acceleration, -speed / kStepSeconds);
    speed += acceleration * kStepSeconds;
    out[k] = {acceleration, curvature};
  }
  return out;
}

}  // namespace tierod::zoo
