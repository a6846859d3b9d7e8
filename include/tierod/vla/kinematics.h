#pragma once

#include <ATen/core/Tensor.h>

#include "tierod/export.h"

namespace tierod::vla {

/// Return the trajectory [..., waypoints, 3] (x forward, y left in m, yaw counter-clockwise in rad)
/// of a unicycle that starts in the origin, heading along x, and holds each action for `dt_s`.
///
/// Within a step the motion is exact, not an Euler step: the speed is linear in time, the path an
/// arc of length s = v dt + a dt^2 / 2 that turns by curvature * s. Waypoint k is reached at
/// (k + 1) dt. A negative speed drives backwards; whoever plans a stop ends it at speed 0.
/// Differentiable.
///
/// @param actions        [..., waypoints, 2], acceleration in m/s^2 and curvature in 1/m, left > 0
/// @param initial_speed  [...], m/s
/// @throws InvalidArgument on other shapes and unless dt_s > 0.
TIEROD_API at::Tensor unicycle(const at::Tensor& actions, const at::Tensor& initial_speed,
                               double dt_s);

/// Return the speeds [..., waypoints] in m/s at the waypoints.
TIEROD_API at::Tensor unicycle_speed(const at::Tensor& actions, const at::Tensor& initial_speed,
                                     double dt_s);

/// Hold what `unicycle_inverse` returns.
struct TIEROD_API UnicycleActions {
  at::Tensor actions;  ///< [..., waypoints, 2], as `unicycle` takes them
  at::Tensor speed;    ///< [..., waypoints], m/s at the waypoints
  /// [..., waypoints], m: how far each waypoint lies beside the arc that leads there from the one
  /// before; 0 for the path of a unicycle, large where the trajectory slides sideways.
  at::Tensor beside_m;
};

/// Return the actions whose `unicycle` is `trajectory` [..., waypoints, 3], in its dtype (computed
/// in f64). Exact for every unicycle that turns by less than half a turn a step; the curvature of a
/// step without motion is 0.
///
/// Exact also means that nothing is smoothed: positions alone do not tell the speed, and an
/// `initial_speed` that is off by e puts 2 e / dt on every acceleration, with alternating sign. Use
/// it for paths of a unicycle; fit logs of a real drive by a smoother first.
/// @throws InvalidArgument on other shapes and unless dt_s > 0.
TIEROD_API UnicycleActions unicycle_inverse(const at::Tensor& trajectory,
                                            const at::Tensor& initial_speed, double dt_s);

}  // namespace tierod::vla
