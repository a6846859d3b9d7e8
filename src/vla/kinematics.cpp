#include "tierod/vla/kinematics.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sinc.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <numbers>
#include <string_view>
#include <vector>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::vla {

using internal::cat;

namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

void check(const at::Tensor& steps, std::int64_t last, const at::Tensor& initial_speed, double dt_s,
           std::string_view where, std::string_view name) {
  if (!steps.defined() || steps.dim() < 2 || steps.size(-1) != last || steps.size(-2) < 1 ||
      !steps.is_floating_point()) {
    throw InvalidArgument(cat("[", where, "] expected floating ", name, " [..., waypoints, ", last,
                              "], got ", steps.defined() ? cat(steps.sizes()) : "none"));
  }
  if (!initial_speed.defined() ||
      initial_speed.sizes() != steps.sizes().slice(0, steps.dim() - 2)) {
    throw InvalidArgument(cat("[", where, "] expected initial_speed ",
                              steps.sizes().slice(0, steps.dim() - 2), ", one for each of the ",
                              name, ", got ",
                              initial_speed.defined() ? cat(initial_speed.sizes()) : "none"));
  }
  if (!(dt_s > 0) || !std::isfinite(dt_s)) {
    throw InvalidArgument(cat("[", where, "] expected dt_s > 0 in seconds, got ", dt_s));
  }
}

}  // namespace

at::Tensor unicycle(const at::Tensor& actions, const at::Tensor& initial_speed, double dt_s) {
  check(actions, 2, initial_speed, dt_s, "vla.unicycle", "actions");
  const at::Tensor acceleration = actions.select(-1, 0);
  const at::Tensor gained = acceleration.cumsum(-1).sub(acceleration).mul(dt_s);
  const at::Tensor speed = gained.add(initial_speed.unsqueeze(-1));
  const at::Tensor arc = speed.mul(dt_s).add(acceleration, dt_s * dt_s / 2);
  const at::Tensor turn = actions.select(-1, 1).mul(arc);
  const at::Tensor yaw = turn.cumsum(-1);
  // the chord of an arc that turns by t is sin(t/2) / (t/2) times as long, and heads t/2 before
  // its end
  const at::Tensor chord = arc.mul(at::sinc(turn.div(kTwoPi)));
  const at::Tensor heading = yaw.sub(turn, 0.5);
  return at::stack({chord.mul(heading.cos()).cumsum(-1), chord.mul(heading.sin()).cumsum(-1), yaw},
                   -1);
}

at::Tensor unicycle_speed(const at::Tensor& actions, const at::Tensor& initial_speed, double dt_s) {
  check(actions, 2, initial_speed, dt_s, "vla.unicycle_speed", "actions");
  return actions.select(-1, 0).cumsum(-1).mul(dt_s).add(initial_speed.unsqueeze(-1));
}

UnicycleActions unicycle_inverse(const at::Tensor& trajectory, const at::Tensor& initial_speed,
                                 double dt_s) {
  check(trajectory, 3, initial_speed, dt_s, "vla.unicycle_inverse", "trajectory");
  const at::Tensor path = trajectory.to(at::kDouble);
  const at::Tensor before =
      at::cat({at::zeros_like(path.narrow(-2, 0, 1)), path.narrow(-2, 0, path.size(-2) - 1)}, -2);
  const at::Tensor step = path.sub(before);
  const at::Tensor raw_turn = step.select(-1, 2);
  const at::Tensor turn = raw_turn.sub(raw_turn.div(kTwoPi).round(), kTwoPi);
  const at::Tensor heading = before.select(-1, 2).add(turn, 0.5);
  const at::Tensor dx = step.select(-1, 0);
  const at::Tensor dy = step.select(-1, 1);
  const at::Tensor along = dx.mul(heading.cos()).add(dy.mul(heading.sin()));
  const at::Tensor beside = dy.mul(heading.cos()).sub(dx.mul(heading.sin())).abs();
  const at::Tensor arc = along.div(at::sinc(turn.div(kTwoPi)));

  // v_{k+1} = 2 s_k / dt - v_k
  std::vector<at::Tensor> speeds;
  at::Tensor speed = initial_speed.to(at::kDouble);
  std::vector<at::Tensor> accelerations;
  for (std::int64_t k = 0; k < arc.size(-1); ++k) {
    const at::Tensor next = arc.select(-1, k).mul(2 / dt_s).sub(speed);
    accelerations.push_back(next.sub(speed).div(dt_s));
    speeds.push_back(next);
    speed = next;
  }
  constexpr double kStill = 1e-9;  // m in a step
  const at::Tensor moves = arc.abs().gt(kStill);
  const at::Tensor curvature =
      at::where(moves, turn.div(at::where(moves, arc, at::ones_like(arc))), at::zeros_like(arc));
  const auto dtype = trajectory.scalar_type();
  return {.actions = at::stack({at::stack(accelerations, -1), curvature}, -1).to(dtype),
          .speed = at::stack(speeds, -1).to(dtype),
          .beside_m = beside.to(dtype)};
}

}  // namespace tierod::vla
