#include "tierod/vla/kinematics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "message_of.h"
#include "tierod/core/error.h"

namespace tierod::vla {
namespace {

at::Tensor held(double acceleration, double curvature, std::int64_t waypoints) {
  return at::tensor({acceleration, curvature}, at::kDouble).expand({1, waypoints, 2});
}

at::Tensor speed(double v) { return at::full({1}, v, at::kDouble); }

// v = 10 m/s, a = -2 m/s^2, after 1 s: x = 10 - 2 / 2 = 9 m, v = 8 m/s; after 2 s: 16 m, 6 m/s.
TEST(Unicycle, BrakesOnAStraightLine) {
  const at::Tensor path = unicycle(held(-2, 0, 2), speed(10), 1);
  EXPECT_TRUE(at::allclose(path[0], at::tensor({9., 0., 0., 16., 0., 0.}, at::kDouble).view({2, 3}),
                           0, 1e-12));
  EXPECT_TRUE(at::allclose(unicycle_speed(held(-2, 0, 2), speed(10), 1)[0],
                           at::tensor({8., 6.}, at::kDouble), 0, 1e-12));
}

// A circle of radius 50 m to the left at 10 m/s: after t the angle is t / 5 rad, and the vehicle at
// (50 sin, 50 (1 - cos)), whatever the step.
TEST(Unicycle, StaysOnTheCircleAtAnyStep) {
  for (const double dt : {0.25, 2.0, 10.0}) {
    const auto steps = static_cast<std::int64_t>(20 / dt);
    const at::Tensor path = unicycle(held(0, 1.0 / 50, steps), speed(10), dt);
    for (std::int64_t k = 0; k < steps; ++k) {
      const double angle = static_cast<double>(k + 1) * dt / 5;
      EXPECT_NEAR(path[0][k][0].item<double>(), 50 * std::sin(angle), 1e-10);
      EXPECT_NEAR(path[0][k][1].item<double>(), 50 * (1 - std::cos(angle)), 1e-10);
      EXPECT_NEAR(path[0][k][2].item<double>(), angle, 1e-12);
    }
  }
}

// Against 20000 small Euler steps of the differential equation.
TEST(Unicycle, AgreesWithTheDifferentialEquation) {
  const at::Tensor actions = at::tensor({1.5, 0.03, -3.0, -0.05, 0.5, 0.02}, at::kDouble);
  const at::Tensor path = unicycle(actions.view({1, 3, 2}), speed(6), 0.5);
  double x = 0, y = 0, yaw = 0, v = 6;
  constexpr int kSteps = 20000;
  for (std::int64_t k = 0; k < 3; ++k) {
    const double a = actions[2 * k].item<double>(), kappa = actions[2 * k + 1].item<double>();
    for (int i = 0; i < kSteps; ++i) {
      const double h = 0.5 / kSteps;
      const double middle = v + a * h / 2;
      x += middle * std::cos(yaw + kappa * middle * h / 2) * h;
      y += middle * std::sin(yaw + kappa * middle * h / 2) * h;
      yaw += kappa * middle * h;
      v += a * h;
    }
    EXPECT_NEAR(path[0][k][0].item<double>(), x, 1e-7);
    EXPECT_NEAR(path[0][k][1].item<double>(), y, 1e-7);
    EXPECT_NEAR(path[0][k][2].item<double>(), yaw, 1e-9);
  }
}

TEST(Unicycle, InverseIsExactBothWays) {
  const at::Tensor actions = at::cat({at::rand({40, 16, 1}, at::kDouble).mul(6).sub(4),
                                      at::rand({40, 16, 1}, at::kDouble).mul(.2).sub(.1)},
                                     -1);
  const at::Tensor start = at::rand({40}, at::kDouble).mul(10).add(17);
  const at::Tensor path = unicycle(actions, start, 0.25);
  const UnicycleActions back = unicycle_inverse(path, start, 0.25);
  EXPECT_TRUE(at::allclose(back.actions, actions, 0, 1e-9));
  EXPECT_TRUE(at::allclose(back.speed, unicycle_speed(actions, start, 0.25), 0, 1e-10));
  EXPECT_LT(back.beside_m.max().item<double>(), 1e-12);
  EXPECT_TRUE(at::allclose(unicycle(back.actions, start, 0.25), path, 0, 1e-11));
}

TEST(Unicycle, InverseOfReversingAndOfHalfTurns) {
  const at::Tensor actions = at::cat({held(-6, 0.3, 4), held(-1, -0.2, 4)}, 1);
  const at::Tensor path = unicycle(actions, speed(4), 0.5);
  EXPECT_LT(unicycle_speed(actions, speed(4), 0.5).min().item<double>(), -8);
  EXPECT_TRUE(at::allclose(unicycle_inverse(path, speed(4), 0.5).actions, actions, 0, 1e-9));
  // a yaw that was wrapped into (-pi, pi] is the same heading
  at::Tensor wrapped = path.clone();
  wrapped.select(-1, 2).remainder_(2 * std::numbers::pi);
  EXPECT_TRUE(at::allclose(unicycle_inverse(wrapped, speed(4), 0.5).actions, actions, 0, 1e-9));
}

TEST(Unicycle, InverseOfStandingStillAndOfSliding) {
  const UnicycleActions still = unicycle_inverse(at::zeros({1, 3, 3}, at::kDouble), speed(0), 0.5);
  EXPECT_TRUE(still.actions.equal(at::zeros({1, 3, 2}, at::kDouble)));
  // one step of 1 m ahead and .2 m to the side without turning
  const at::Tensor slide = at::tensor({1.0, 0.2, 0.0}, at::kDouble).view({1, 1, 3});
  EXPECT_NEAR(unicycle_inverse(slide, speed(1), 1).beside_m.item<double>(), 0.2, 1e-12);
}

TEST(Unicycle, GradientsAgreeWithDifferences) {
  at::Tensor actions = at::cat({held(-1, 0, 4), held(1, 0.02, 4)}, 1).clone();
  actions.set_requires_grad(true);
  const auto y = [&](const at::Tensor& u) { return unicycle(u, speed(8), 0.25)[0][7][1]; };
  y(actions).backward();
  constexpr double kStep = 1e-6;
  for (const auto k : {0, 3, 7}) {
    for (const auto c : {0, 1}) {
      at::Tensor up = actions.detach().clone(), down = up.clone();
      up[0][k][c] += kStep;
      down[0][k][c] -= kStep;
      const double slope = (y(up) - y(down)).item<double>() / (2 * kStep);
      EXPECT_NEAR(actions.grad()[0][k][c].item<double>(), slope, 1e-7);
    }
  }
}

TEST(Unicycle, RefusesOtherShapes) {
  const auto message = [](auto&& call) { return message_of<InvalidArgument>(call); };
  EXPECT_NE(message([] {
              unicycle(at::zeros({2, 4, 3}), at::zeros({2}), 0.25);
            }).find("[vla.unicycle] expected floating actions [..., waypoints, 2], got [2, 4, 3]"),
            std::string::npos);
  EXPECT_NE(message([] {
              unicycle(at::zeros({2, 4, 2}), at::zeros({3}), 0.25);
            }).find("expected initial_speed [2]"),
            std::string::npos);
  EXPECT_NE(message([] { unicycle(at::zeros({2, 4, 2}), at::zeros({2}), 0); }).find("dt_s > 0"),
            std::string::npos);
  EXPECT_NE(message([] {
              unicycle_inverse(at::zeros({2, 4, 2}), at::zeros({2}), 1);
            }).find("trajectory [..., waypoints, 3]"),
            std::string::npos);
}

}  // namespace
}  // namespace tierod::vla
