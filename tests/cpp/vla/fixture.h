#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tierod/vla/kinematics.h"
#include "tierod/vla/model.h"

namespace tierod::vla {

/// Return a rollout without words that holds the given actions.
inline Rollout rollout_of(const at::Tensor& actions, const at::Tensor& initial_speed, double dt_s,
                          std::int64_t num_samples = 1) {
  const std::int64_t rows = actions.size(0);
  return {.cot_tokens = at::zeros({rows, 0}, at::kLong),
          .cot_lengths = at::zeros({rows}, at::kLong),
          .cot_text = std::vector<std::string>(static_cast<std::size_t>(rows)),
          .sample_index = at::arange(rows).remainder(num_samples),
          .num_samples = num_samples,
          .dt_s = dt_s,
          .initial_speed = initial_speed,
          .actions = actions,
          .trajectory = unicycle(actions, initial_speed, dt_s)};
}

/// Hold one row that keeps (acceleration, curvature) for all waypoints.
inline Rollout steady(double acceleration, double curvature, double initial_speed,
                      std::int64_t waypoints = 16, double dt_s = 0.25) {
  return rollout_of(
      at::tensor({acceleration, curvature}, at::kDouble).expand({1, waypoints, 2}).contiguous(),
      at::full({1}, initial_speed, at::kDouble), dt_s);
}

/// Give scenes of which number k starts at 5 + k m/s; concept "obstacle" in the odd ones.
class ToySource : public SceneSource {
 public:
  explicit ToySource(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  Batch batch(const std::vector<std::int64_t>& ids) const override {
    const at::Tensor id = at::tensor(ids, at::kLong);
    return {.tensors = {{"speed", id.add(5).to(at::kFloat)}, {"obstacle", id.remainder(2)}},
            .ids = ids};
  }
  std::vector<std::string> group_levels() const override { return {"scene"}; }
  std::vector<std::int64_t> group(const std::string& /*level*/,
                                  const std::vector<std::int64_t>& ids) const override {
    return ids;
  }
  std::vector<std::string> concepts() const override { return {"obstacle"}; }
  at::Tensor labels(const std::string& /*name*/) const override {
    return at::arange(size_).remainder(2).to(at::kByte);
  }
  std::vector<std::vector<Agent>> agents(const std::vector<std::int64_t>& ids,
                                         const std::string& /*twin_by*/) const override {
    return std::vector<std::vector<Agent>>(ids.size(), {{.kind = "car", .x_m = 20}});
  }

 private:
  std::int64_t size_;
};

/// Brake by 2 m/s^2 for an obstacle, and by the noise.
class ToyModel : public Model {
 public:
  ModelDescription describe() const override {
    return {.name = "toy", .waypoints = 4, .dt_s = 0.5, .options = {"num_samples", "noise"}};
  }
  BatchSpec batch_spec() const override {
    return {{{.name = "speed", .description = "m/s"},
             {.name = "obstacle", .dtype = at::kLong, .description = "0 or 1"}}};
  }
  Rollout rollout(const Batch& batch, const RolloutOptions& options) override {
    ++calls;
    const std::int64_t samples = options.num_samples;
    const at::Tensor brake = batch.at("obstacle").mul(-2).to(at::kFloat).repeat_interleave(samples);
    at::Tensor actions =
        at::stack({brake, at::zeros_like(brake)}, -1).unsqueeze(1).repeat({1, 4, 1});
    if (options.noise) actions = actions.add(*options.noise);
    return rollout_of(actions, batch.at("speed").repeat_interleave(samples), 0.5, samples);
  }
  std::int64_t calls = 0;
};

}  // namespace tierod::vla
