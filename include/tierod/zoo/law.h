#pragma once

#include <array>
#include <cstddef>

#include "tierod/export.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/scene.h"
#include "tierod/zoo/spec.h"

namespace tierod::zoo {

inline constexpr std::size_t kWaypoints = 16;
inline constexpr double kStepSeconds = .25;

/// (acceleration in m/s^2, curvature in 1/m) of every waypoint, each held for kStepSeconds.
using LawActions = std::array<std::array<double, 2>, kWaypoints>;

/// Return what a concept adds to the mean acceleration over 0-2 s (m/s^2) and to the curvature
/// (1/m), before limits, given the scene and what is stated.
TIEROD_API std::array<double, 2> law_effect(const Spec& spec, const Scene& scene,
                                            const Statements& stated, std::size_t concept_index);

/// Return the actions of the law: structural equations from the scene's state and the stated words.
///
///     base_k = .15 (11 - v) + .3 a                     v, a: ego speed and acceleration
///     acc_k  = base + r_k sum_c effect_c x_c           r_k rises over .75 s; mean over 0-2 s is 1
///     curv_k = lane curvature + sum_c curvature_c x_c
///
/// x_c is the amplitude (1.15 near, .85 far) of the concept in the picture (vision), as its words
/// say (text), half of each (both), the proxy's presence (proxied), 1 where near and else 0
/// (gated), or 0 in rare weather (rare_shift). Accelerations stay within [-7, 4] m/s^2 and end a
/// stop at speed 0.
TIEROD_API LawActions law(const Spec& spec, const Scene& scene, const Statements& stated);

}  // namespace tierod::zoo
