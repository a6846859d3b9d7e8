#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "tierod/export.h"
#include "tierod/vla/rollout.h"
#include "tierod/vla/scene_source.h"

namespace tierod::vla {

// What "brakes" and "steers" mean in numbers. Every functional returns one signed number a row
// [rows], in physical units and in the dtype of the rollout, and all but the last two are
// differentiable. Times count from the moment of the picture; an action is held for dt_s.

/// Return the mean acceleration over [0, until_s] in m/s^2. Braking is negative.
/// @throws InvalidArgument unless 0 < until_s <= the rollout's horizon.
TIEROD_API at::Tensor mean_acceleration(const Rollout& rollout, double until_s = 2);

/// Return the speed at `at_s` minus the initial speed in m/s. Slowing down is negative.
/// @throws InvalidArgument unless 0 < at_s <= the rollout's horizon.
TIEROD_API at::Tensor speed_change(const Rollout& rollout, double at_s = 3);

/// Return the distance in m along the path until the vehicle first stands still: less is harder
/// braking. Where it still moves at the end of the horizon, it is taken to go on slowing down as it
/// did on average over the horizon; `cap_m` where it does not slow down, and at most.
/// @throws InvalidArgument unless cap_m > 0.
TIEROD_API at::Tensor stopping_distance(const Rollout& rollout, double cap_m = 200);

/// Return the lateral position y in m at `at_s`, between waypoints by straight lines. Left is
/// positive.
/// @throws InvalidArgument unless 0 < at_s <= the rollout's horizon.
TIEROD_API at::Tensor lateral_offset(const Rollout& rollout, double at_s = 3);

/// Return the curvature in 1/m averaged over the time [0, until_s]. Left is positive.
/// @throws InvalidArgument unless 0 < until_s <= the rollout's horizon.
TIEROD_API at::Tensor mean_curvature(const Rollout& rollout, double until_s = 2);

/// Return the least time to collision in s over the start and all waypoints: at each of them the
/// time after which the ego vehicle and another road user, both going on at their velocity of that
/// moment, would touch. Road users move at constant velocity from the start; all are discs. Less is
/// more dangerous; 0 is a contact, `cap_s` (also where nobody is on a collision course) the most.
///
/// @param agents  of each row, or of each scene (row / num_samples)
/// @throws InvalidArgument on another number of lists, a radius <= 0 or a cap <= 0.
TIEROD_API at::Tensor least_time_to_collision(const Rollout& rollout,
                                              const std::vector<std::vector<Agent>>& agents,
                                              double ego_radius_m = 1, double cap_s = 10);

/// Return the least distance in m, over all waypoints, between the side of the ego vehicle and the
/// edge of its lane. Negative is off the lane. Waypoints beyond the ends of the centre line are
/// measured from its straight continuation.
///
/// @param lanes  of each row, or of each scene (row / num_samples)
/// @throws InvalidArgument on another number of lanes, a centre line that is not [points >= 2, 2],
///         or widths <= 0.
TIEROD_API at::Tensor least_lane_margin(const Rollout& rollout, const std::vector<Lane>& lanes,
                                        double ego_width_m = 1.8);

}  // namespace tierod::vla
