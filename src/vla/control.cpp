#include "tierod/vla/control.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/vla/kinematics.h"

namespace tierod::vla {

using internal::cat;

namespace {

// dt is seldom exact in binary: 16 steps of .1 s do last 1.6 s
constexpr double kSlack = 1e-9;

void check_time(const Rollout& rollout, double time_s, std::string_view function,
                std::string_view name) {
  rollout.check();
  if (time_s > 0 && time_s <= rollout.horizon_s() + kSlack) return;
  throw InvalidArgument(cat("[vla.", function, "] expected ", name, " inside (0, horizon], got ",
                            time_s, " s with a horizon of ", rollout.horizon_s(),
                            " s; choose an earlier time"));
}

/// Integrate one column of the actions over [0, until_s], each held for dt.
at::Tensor integral(const Rollout& rollout, std::int64_t column, double until_s) {
  std::vector<double> held;
  for (std::int64_t k = 0; k < rollout.waypoints(); ++k) {
    const double left = until_s - static_cast<double>(k) * rollout.dt_s;
    held.push_back(std::clamp(left, 0.0, rollout.dt_s));
  }
  const at::Tensor seconds = at::tensor(held, rollout.actions.options());
  return rollout.actions.select(-1, column).mul(seconds).sum(-1);
}

/// Return which entry of a list of rows or of scenes belongs to each row.
std::int64_t rows_an_entry(std::size_t entries, const Rollout& rollout, std::string_view function,
                           std::string_view name) {
  const auto n = static_cast<std::int64_t>(entries);
  if (n == rollout.rows()) return 1;
  if (n * rollout.num_samples == rollout.rows()) return rollout.num_samples;
  throw InvalidArgument(cat("[vla.", function, "] expected ", name, " of each of ", rollout.rows(),
                            " rows, or of ", rollout.rows() / rollout.num_samples, " scenes, got ",
                            n));
}

void check_positive(double value, std::string_view function, std::string_view name) {
  if (value > 0) return;
  throw InvalidArgument(cat("[vla.", function, "] expected ", name, " > 0, got ", value));
}

struct Vector {
  double x, y;
  Vector operator-(const Vector& o) const { return {x - o.x, y - o.y}; }
  Vector operator+(const Vector& o) const { return {x + o.x, y + o.y}; }
  Vector operator*(double s) const { return {s * x, s * y}; }
  double dot(const Vector& o) const { return x * o.x + y * o.y; }
};

/// Return when two discs `apart` from each other, whose centres move by `relative` a second, touch.
double touch(const Vector& apart, const Vector& relative, double radii) {
  const double c = apart.dot(apart) - radii * radii;
  if (c <= 0) return 0;
  const double a = relative.dot(relative);
  const double b = apart.dot(relative);  // half of the usual
  const double discriminant = b * b - a * c;
  if (b >= 0 || discriminant < 0) return std::numeric_limits<double>::infinity();
  // the smaller root, in the form that does not cancel
  return c / (-b + std::sqrt(discriminant));
}

/// Return the distance from `p` to the line through `points`, whose ends go on straight.
double distance_to_line(const Vector& p, const std::vector<Vector>& points) {
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i + 1 < points.size(); ++i) {
    const Vector edge = points[i + 1] - points[i];
    const double length2 = edge.dot(edge);
    double t = length2 > 0 ? (p - points[i]).dot(edge) / length2 : 0;
    if (i > 0) t = std::max(t, 0.0);
    if (i + 2 < points.size()) t = std::min(t, 1.0);
    const Vector off = p - (points[i] + edge * t);
    least = std::min(least, std::sqrt(off.dot(off)));
  }
  return least;
}

}  // namespace

at::Tensor mean_acceleration(const Rollout& rollout, double until_s) {
  check_time(rollout, until_s, "mean_acceleration", "until_s");
  return integral(rollout, 0, until_s).div(until_s);
}

at::Tensor speed_change(const Rollout& rollout, double at_s) {
  check_time(rollout, at_s, "speed_change", "at_s");
  return integral(rollout, 0, at_s);
}

at::Tensor mean_curvature(const Rollout& rollout, double until_s) {
  check_time(rollout, until_s, "mean_curvature", "until_s");
  return integral(rollout, 1, until_s).div(until_s);
}

at::Tensor lateral_offset(const Rollout& rollout, double at_s) {
  check_time(rollout, at_s, "lateral_offset", "at_s");
  const at::Tensor y = rollout.trajectory.select(-1, 1);
  // waypoint k is reached at (k + 1) dt, and the origin at 0
  const double place = at_s / rollout.dt_s;
  const auto step = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(place - kSlack)),
                                             1, rollout.waypoints());
  const double part = std::min(place - static_cast<double>(step - 1), 1.0);
  const at::Tensor after = y.select(-1, step - 1);
  const at::Tensor before = step > 1 ? y.select(-1, step - 2) : at::zeros_like(after);
  return before.add(after.sub(before), part);
}

at::Tensor stopping_distance(const Rollout& rollout, double cap_m) {
  rollout.check();
  check_positive(cap_m, "stopping_distance", "cap_m");
  const at::Tensor acceleration = rollout.actions.select(-1, 0);
  const at::Tensor after = unicycle_speed(rollout.actions, rollout.initial_speed, rollout.dt_s);
  const at::Tensor zero = at::zeros_like(rollout.initial_speed);
  const at::Tensor one = at::ones_like(zero);
  at::Tensor total = zero;
  at::Tensor speed = rollout.initial_speed;
  at::Tensor moves = speed.gt(0);
  for (std::int64_t k = 0; k < rollout.waypoints(); ++k) {
    const at::Tensor a = acceleration.select(-1, k);
    const at::Tensor next = after.select(-1, k);
    const at::Tensor stops = moves.logical_and(next.le(0));
    // v^2 / (2 |a|) within the step in which it comes to stand
    const at::Tensor rest = speed.square().div(at::where(stops, a.mul(-2), one));
    const at::Tensor whole = speed.add(next).mul(rollout.dt_s / 2);
    total = total.add(at::where(moves, at::where(stops, rest, whole), zero));
    moves = moves.logical_and(stops.logical_not());
    speed = next;
  }
  const at::Tensor slowing = rollout.initial_speed.sub(speed).div(rollout.horizon_s());
  const at::Tensor slows = moves.logical_and(slowing.gt(0));
  const at::Tensor rest = speed.square().div(at::where(slows, slowing.mul(2), one));
  const at::Tensor beyond = at::where(slows, rest, one.mul(cap_m));
  return total.add(at::where(moves, beyond, zero)).clamp_max(cap_m);
}

at::Tensor least_time_to_collision(const Rollout& rollout,
                                   const std::vector<std::vector<Agent>>& agents,
                                   double ego_radius_m, double cap_s) {
  constexpr std::string_view function = "least_time_to_collision";
  rollout.check();
  check_positive(ego_radius_m, function, "ego_radius_m");
  check_positive(cap_s, function, "cap_s");
  const std::int64_t share = rows_an_entry(agents.size(), rollout, function, "agents");
  for (const auto& scene : agents) {
    for (const Agent& agent : scene) check_positive(agent.radius_m, function, "radius_m of agents");
  }
  const auto cpu = [](const at::Tensor& t) {
    return t.detach().to(at::kCPU, at::kDouble).contiguous();
  };
  const at::Tensor path = cpu(rollout.trajectory);
  const at::Tensor speeds =
      cpu(unicycle_speed(rollout.actions, rollout.initial_speed, rollout.dt_s));
  const at::Tensor start = cpu(rollout.initial_speed);
  const std::int64_t waypoints = rollout.waypoints();
  std::vector<double> least(static_cast<std::size_t>(rollout.rows()), cap_s);
  for (std::int64_t row = 0; row < rollout.rows(); ++row) {
    const double* xyyaw = path.const_data_ptr<double>() + row * waypoints * 3;
    const double* speed = speeds.const_data_ptr<double>() + row * waypoints;
    double& out = least[static_cast<std::size_t>(row)];
    for (const Agent& agent : agents[static_cast<std::size_t>(row / share)]) {
      const Vector place{agent.x_m, agent.y_m};
      const Vector velocity{agent.vx_m_s, agent.vy_m_s};
      for (std::int64_t k = -1; k < waypoints; ++k) {
        const Vector ego = k < 0 ? Vector{0, 0} : Vector{xyyaw[3 * k], xyyaw[3 * k + 1]};
        const double yaw = k < 0 ? 0 : xyyaw[3 * k + 2];
        const double v = k < 0 ? start.const_data_ptr<double>()[row] : speed[k];
        const Vector there = place + velocity * (static_cast<double>(k + 1) * rollout.dt_s);
        const Vector relative = velocity - Vector{v * std::cos(yaw), v * std::sin(yaw)};
        out = std::min(out, touch(there - ego, relative, ego_radius_m + agent.radius_m));
      }
    }
  }
  return at::tensor(least, at::kDouble).to(rollout.actions.options());
}

at::Tensor least_lane_margin(const Rollout& rollout, const std::vector<Lane>& lanes,
                             double ego_width_m) {
  constexpr std::string_view function = "least_lane_margin";
  rollout.check();
  check_positive(ego_width_m, function, "ego_width_m");
  const std::int64_t share = rows_an_entry(lanes.size(), rollout, function, "lanes");
  std::vector<std::vector<Vector>> lines;
  for (const Lane& lane : lanes) {
    check_positive(lane.width_m, function, "width_m of lanes");
    if (!lane.centre.defined() || lane.centre.dim() != 2 || lane.centre.size(0) < 2 ||
        lane.centre.size(1) != 2) {
      throw InvalidArgument(cat("[vla.", function, "] expected centre lines [points >= 2, 2], got ",
                                lane.centre.defined() ? cat(lane.centre.sizes()) : "none"));
    }
    const at::Tensor points = lane.centre.detach().to(at::kCPU, at::kDouble).contiguous();
    const auto* p = points.const_data_ptr<double>();
    std::vector<Vector>& line = lines.emplace_back();
    for (std::int64_t i = 0; i < points.size(0); ++i) line.push_back({p[2 * i], p[2 * i + 1]});
  }
  const at::Tensor path = rollout.trajectory.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto* xyyaw = path.const_data_ptr<double>();
  std::vector<double> least;
  for (std::int64_t row = 0; row < rollout.rows(); ++row) {
    const auto scene = static_cast<std::size_t>(row / share);
    double furthest = 0;
    for (std::int64_t k = 0; k < rollout.waypoints(); ++k, xyyaw += 3) {
      furthest = std::max(furthest, distance_to_line({xyyaw[0], xyyaw[1]}, lines[scene]));
    }
    least.push_back((lanes[scene].width_m - ego_width_m) / 2 - furthest);
  }
  return at::tensor(least, at::kDouble).to(rollout.actions.options());
}

}  // namespace tierod::vla
