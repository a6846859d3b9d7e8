#include "tierod/vla/control.h"

#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/vla/functional.h"
#include "vla/fixture.h"

namespace tierod::vla {
namespace {

double number(const at::Tensor& rows) { return rows.item<double>(); }

/// One row of accelerations, without steering.
Rollout braking(const std::vector<double>& accelerations, double speed, double dt) {
  const at::Tensor a = at::tensor(accelerations, at::kDouble);
  return rollout_of(at::stack({a, at::zeros_like(a)}, -1).unsqueeze(0),
                    at::full({1}, speed, at::kDouble), dt);
}

// Four steps of 1 s with -1, -3, 2, 4 m/s^2: the first 2 s average -2, the first 2.5 s
// (-1 - 3 + 2 / 2) / 2.5 = -1.2; after 3 s the speed has changed by -2.
TEST(Control, AccelerationAndSpeed) {
  const Rollout rollout = braking({-1, -3, 2, 4}, 10, 1);
  EXPECT_DOUBLE_EQ(number(mean_acceleration(rollout)), -2);
  EXPECT_DOUBLE_EQ(number(mean_acceleration(rollout, 2.5)), -1.2);
  EXPECT_DOUBLE_EQ(number(speed_change(rollout)), -2);
}

// 10 m/s, 2 m/s^2: 100 / 4 = 25 m, after 5 s. With 2 s of horizon, 6 m/s are left after 16 m, and
// the rest is 36 / 4 = 9 m. Stopping inside of a step: 3 m/s, 4 m/s^2: 9 / 8 m.
TEST(Control, StoppingDistance) {
  EXPECT_NEAR(number(stopping_distance(steady(-2, 0, 10, 24))), 25, 1e-12);
  EXPECT_NEAR(number(stopping_distance(steady(-2, 0, 10, 8))), 25, 1e-12);
  EXPECT_NEAR(number(stopping_distance(steady(-4, 0, 3))), 9.0 / 8, 1e-12);
  // 1 s straight on, then 5 m/s^2 from 10 m/s: 10 + 10 m
  EXPECT_NEAR(number(stopping_distance(braking({0, -5, -5, 0}, 10, 1))), 20, 1e-12);
  // brakes, then would drive off again: the first stop counts
  EXPECT_NEAR(number(stopping_distance(braking({-5, -5, 3, 3}, 10, 1))), 10, 1e-12);
  EXPECT_DOUBLE_EQ(number(stopping_distance(steady(0, 0, 10))), 200);
  EXPECT_DOUBLE_EQ(number(stopping_distance(steady(1, 0, 10), 50)), 50);
  EXPECT_DOUBLE_EQ(number(stopping_distance(steady(1, 0, 0))), 0);
}

// A circle of radius 100 m to the left at 10 m/s: after 3 s y = 100 (1 - cos .3). Between waypoints
// the line is straight.
TEST(Control, LateralOffsetAndCurvature) {
  const Rollout left = steady(0, 0.01, 10);
  const auto y = [](double t) { return 100 * (1 - std::cos(t / 10)); };
  EXPECT_NEAR(number(lateral_offset(left)), y(3), 1e-10);
  EXPECT_NEAR(number(lateral_offset(left, 0.125)), y(0.25) / 2, 1e-10);
  EXPECT_NEAR(number(lateral_offset(left, 0.35)), 0.6 * y(0.25) + 0.4 * y(0.5), 1e-10);
  EXPECT_NEAR(number(lateral_offset(left, 4)), y(4), 1e-10);
  EXPECT_LT(number(lateral_offset(steady(0, -0.01, 10))), 0);
  EXPECT_NEAR(number(mean_curvature(left)), 0.01, 1e-15);
}

// Ego at 10 m/s with radius 1. A standing car of radius 1 at 32 m: the gap is 30 m, 3 s at the
// start, and shrinks as the ego drives on: after 2.75 s 2.5 m are left, .25 s; at 3 s they touch.
TEST(Control, TimeToCollisionWithWhatStands) {
  const std::vector<std::vector<Agent>> car = {{{.x_m = 32, .radius_m = 1}}};
  EXPECT_NEAR(number(least_time_to_collision(steady(0, 0, 10, 11), car)), 0.25, 1e-9);
  EXPECT_NEAR(number(least_time_to_collision(steady(0, 0, 10, 12), car)), 0, 1e-9);
  // braking with 2 m/s^2 from 10 m/s ends after 25 m: 5 m short of it. At speed v the gap is
  // 5 + v^2 / 4, so the time 5 / v + v / 4 is least at v = sqrt(20) = 4.47, of the waypoints at 4.5
  EXPECT_NEAR(number(least_time_to_collision(steady(-2, 0, 10, 20), car)), 5 / 4.5 + 4.5 / 4, 1e-9);
}

TEST(Control, TimeToCollisionWithWhatMoves) {
  const auto least = [](const Agent& agent, double ego_speed = 10) {
    return number(least_time_to_collision(steady(0, 0, ego_speed, 1), {{agent}}));
  };
  // a car ahead that drives away, and one behind
  EXPECT_DOUBLE_EQ(least({.x_m = 20, .vx_m_s = 12, .radius_m = 1}), 10);
  EXPECT_DOUBLE_EQ(least({.x_m = -20, .radius_m = 1}), 10);
  // one that is 5 m/s slower, 12 m ahead: a gap of 10 m, less 1.25 m in the first .25 s
  EXPECT_NEAR(least({.x_m = 12, .vx_m_s = 5, .radius_m = 1}), 1.75, 1e-9);
  // from the left at 3 m/s onto a standing ego: 6 m apart, radii 1 + 1, 4 m at 3 m/s; after .25 s
  EXPECT_NEAR(least({.y_m = 6, .vy_m_s = -3, .radius_m = 1}, 0), 4.0 / 3 - 0.25, 1e-9);
  // passes at 3 m beside, radii 2 together
  EXPECT_DOUBLE_EQ(least({.x_m = 20, .y_m = 3, .radius_m = 1}), 10);
}

// A lane of 3.5 m, a vehicle of 1.8 m: .85 m to each side. Straight on in a lane that turns left
// with radius 100: the distance to the circle after 40 m is sqrt(100^2 + 40^2) - 100.
TEST(Control, LaneMargin) {
  std::vector<double> arc;
  for (int i = 0; i <= 2000; ++i) {
    const double angle = i * 5e-4;
    arc.push_back(100 * std::sin(angle));
    arc.push_back(100 * (1 - std::cos(angle)));
  }
  const Lane curve = {.centre = at::tensor(arc, at::kDouble).view({-1, 2})};
  const Lane straight = {.centre = at::tensor({0., 0., 1., 0.}, at::kDouble).view({2, 2})};
  EXPECT_NEAR(number(least_lane_margin(steady(0, 0, 10), {straight})), 0.85, 1e-12);
  EXPECT_NEAR(number(least_lane_margin(steady(0, 0.01, 10), {curve})), 0.85, 1e-4);
  EXPECT_NEAR(number(least_lane_margin(steady(0, 0, 10), {curve})),
              0.85 - (std::hypot(100, 40) - 100), 1e-4);
}

TEST(Control, GradientsAgreeWithDifferences) {
  at::Tensor actions = at::randn({3, 16, 2}, at::kDouble).mul(at::tensor({1.0, 0.01}, at::kDouble));
  actions.select(-1, 0).sub_(2.5);
  const at::Tensor speed = at::full({3}, 7.0, at::kDouble);
  at::Tensor leaf = actions.clone().set_requires_grad(true);
  const auto sum = [&](const at::Tensor& u) {
    const Rollout r = rollout_of(u, speed, 0.25);
    return (mean_acceleration(r) + speed_change(r) + stopping_distance(r) + lateral_offset(r) +
            mean_curvature(r))
        .sum();
  };
  sum(leaf).backward();
  constexpr double kStep = 1e-6;
  for (const auto k : {0, 5, 11}) {
    at::Tensor up = actions.clone(), down = actions.clone();
    up[1][k][0] += kStep;
    down[1][k][0] -= kStep;
    EXPECT_NEAR(leaf.grad()[1][k][0].item<double>(),
                (sum(up) - sum(down)).item<double>() / (2 * kStep), 1e-6);
  }
}

TEST(Control, RefusesWhatItCannotTell) {
  const Rollout rollout = steady(0, 0, 10, 4);
  const auto message = [](auto&& call) { return message_of<InvalidArgument>(call); };
  EXPECT_NE(message([&] {
              mean_acceleration(rollout);
            }).find("inside (0, horizon], got 2 s with a horizon of 1 s; choose an earlier time"),
            std::string::npos);
  EXPECT_NE(message([&] { lateral_offset(rollout, 0); }).find("at_s"), std::string::npos);
  EXPECT_NE(message([&] { stopping_distance(rollout, -1); }).find("cap_m > 0, got -1"),
            std::string::npos);
  EXPECT_NE(message([&] {
              least_time_to_collision(rollout, {{}, {}});
            }).find("expected agents of each of 1 rows, or of 1 scenes, got 2"),
            std::string::npos);
  EXPECT_NE(
      message([&] { least_time_to_collision(rollout, {{{.radius_m = 0}}}); }).find("radius_m"),
      std::string::npos);
  EXPECT_NE(message([&] {
              least_lane_margin(rollout, {Lane{at::zeros({1, 2})}});
            }).find("[points >= 2, 2], got [1, 2]"),
            std::string::npos);
  Rollout broken = rollout;
  broken.actions = broken.actions.clone();
  broken.actions[0][2][0] = NAN;
  EXPECT_NE(message_of<NumericalError>([&] { mean_acceleration(broken, 1); }).find("row 0"),
            std::string::npos);
}

TEST(ControlFunctional, AreKnownByName) {
  const ToySource source(3);
  ToyModel model;
  const Rollout rollout = rollout_scenes(model, source, {0, 1, 2}, {.num_samples = 2});
  const auto acceleration = ControlFunctional::from_name("mean_acceleration");
  EXPECT_EQ(acceleration.unit(), "m/s^2");
  EXPECT_EQ(acceleration.sesoi(), 0.3);
  EXPECT_TRUE(acceleration(rollout, source, {0, 1, 2})
                  .equal(at::tensor({0., 0., -2., -2., 0., 0.}, at::kFloat)));
  // the source knows a car at 20 m
  const auto collision = ControlFunctional::from_name("least_time_to_collision");
  EXPECT_GT(collision(rollout, source, {0, 1, 2})[0].item<double>(), 1);
  EXPECT_LT(collision(rollout, source, {0, 1, 2})[0].item<double>(), 4);
  const auto lane = ControlFunctional::from_name("least_lane_margin");
  EXPECT_NE(message_of<StateError>([&] { lane(rollout, source, {0, 1, 2}); }).find("override lane"),
            std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              acceleration(rollout, source, {0});
            }).find("ids of the rollout's 3 scenes, got 1"),
            std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([] {
              ControlFunctional::from_name("mean_aceleration");
            }).find("nearest [mean_acceleration"),
            std::string::npos);
  EXPECT_EQ(ControlFunctional::names().size(), 7U);
}

}  // namespace
}  // namespace tierod::vla
