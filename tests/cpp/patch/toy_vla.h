#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <string>
#include <vector>

#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/scope.h"
#include "tierod/vla/kinematics.h"
#include "tierod/vla/model.h"
#include "tierod/vla/scene_source.h"

namespace tierod::patch {

inline constexpr std::int64_t kWidth = 4, kImageTokens = 3, kSteps = 16;
inline constexpr double kDirect = -1.5, kByWord = -0.5, kBias = 0.25;

/// Scene k has the concept if k is odd; its other features come from its id.
class ToyScenes final : public vla::SceneSource {
 public:
  std::int64_t size() const override { return 60; }
  vla::Batch batch(const std::vector<std::int64_t>& ids) const override { return make(ids, false); }
  std::vector<std::string> group_levels() const override { return {"scene"}; }
  std::vector<std::int64_t> group(const std::string& /*level*/,
                                  const std::vector<std::int64_t>& ids) const override {
    return ids;
  }
  std::vector<std::string> concepts() const override { return {"pedestrian"}; }
  at::Tensor labels(const std::string& /*name*/) const override {
    at::Tensor out = at::empty({size()}, at::kByte);
    for (std::int64_t i = 0; i < size(); ++i) out[i] = i % 2;
    return out;
  }
  std::optional<vla::Batch> twin(const std::vector<std::int64_t>& ids,
                                 const std::string& name) const override {
    if (name != "pedestrian") return std::nullopt;
    return make(ids, true);
  }

 private:
  static vla::Batch make(const std::vector<std::int64_t>& ids, bool twin) {
    const auto rows = static_cast<std::int64_t>(ids.size());
    at::Tensor z = at::empty({rows}, at::kDouble);
    at::Tensor other = at::empty({rows, kWidth}, at::kDouble);
    const CounterRandom random(5, "toy scene");
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t id = ids[static_cast<std::size_t>(i)];
      z[i] = static_cast<double>((id % 2 == 1) != twin);
      for (std::uint32_t j = 0; j < kWidth; ++j) {
        other[i][j] = random.normal(static_cast<std::uint64_t>(id), 0, j);
      }
    }
    return {.tensors = {{"z", z}, {"other", other}}, .ids = ids};
  }
};

/// Image tokens hold z along the first axis. The head adds kDirect times what it reads there, mean
/// over the tokens, and kByWord if the word was said; the word is said if the reading is above one
/// half, and in a tenth of the rows by chance. Action noise is one number a row.
class ToyModel final : public vla::Model {
 public:
  vla::ModelDescription describe() const override {
    vla::ModelDescription out;
    out.name = "toy";
    out.sites = SiteTable(
        {{image_, {{.phase = Phase::prefill}}, {}}, {late_, {{.phase = Phase::head}}, {}}});
    out.head_inputs = {"vlm.image_embeds"};
    out.waypoints = kSteps;
    out.dt_s = 0.25;
    out.options = {"cot_tokens", "num_samples", "knockouts",
                   "noise",      "temperature", "differentiable"};
    return out;
  }
  vla::BatchSpec batch_spec() const override {
    return {.fields = {{.name = "z", .dtype = at::kDouble},
                       {.name = "other", .dtype = at::kDouble, .shape = {kWidth}}}};
  }
  vla::Rollout rollout(const vla::Batch& batch, const vla::RolloutOptions& options) override {
    ++calls;
    const RunScope run;
    const std::int64_t samples = options.num_samples, rows = batch.rows() * samples;
    const auto repeat = [&](const at::Tensor& x) { return x.repeat_interleave(samples, 0); };
    at::Tensor tokens =
        repeat(batch.at("other")).mul(0.1).unsqueeze(1).repeat({1, kImageTokens, 1});
    tokens.select(2, 0).add_(repeat(batch.at("z")).unsqueeze(1));
    {
      const PhaseScope prefill(Phase::prefill);
      tokens = hook_point(std::move(tokens), image_);
    }
    const bool blind = !options.knockouts.empty();
    const at::Tensor read = blind ? at::zeros({rows}, at::kDouble) : tokens.select(2, 0).mean(1);
    at::Tensor said = at::empty({rows}, at::kLong), noise = at::empty({rows}, at::kDouble);
    const CounterRandom word(options.seed, "toy word"), action(options.seed, "toy action");
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto id = static_cast<std::uint64_t>(batch.ids[static_cast<std::size_t>(r / samples)]);
      const auto sample = static_cast<std::uint32_t>(r % samples);
      const bool chance = word.uniform(id, sample, 0) < 0.1;
      said[r] = chance ? 1 : static_cast<std::int64_t>(read[r].item<double>() > 0.5);
      noise[r] = 0.01 * action.normal(id, sample, 0);
    }
    if (options.cot_tokens) said = options.cot_tokens->select(1, 0);
    at::Tensor acceleration = read * kDirect + said.to(at::kDouble) * kByWord + noise + kBias;
    {
      const PhaseScope head(Phase::head);
      hook_point(acceleration.unsqueeze(1), late_);  // after the head's last read
    }
    vla::Rollout out;
    out.cot_tokens = said.unsqueeze(1);
    out.cot_lengths = at::full({rows}, 1, at::kLong);
    for (std::int64_t r = 0; r < rows; ++r) {
      out.cot_text.emplace_back(said[r].item<std::int64_t>() == 1 ? "pedestrian so brake"
                                                                  : "clear so keep");
      out.spans.push_back({{"image 0", 0, kImageTokens}, {"cot", kImageTokens, kImageTokens + 1}});
    }
    out.sample_index = at::empty({rows}, at::kLong);
    for (std::int64_t r = 0; r < rows; ++r) out.sample_index[r] = r % samples;
    out.num_samples = samples;
    out.dt_s = 0.25;
    out.initial_speed = at::full({rows}, 10.0, at::kDouble);
    out.actions = at::stack({acceleration, at::zeros({rows}, at::kDouble)}, 1)
                      .unsqueeze(1)
                      .repeat({1, kSteps, 1});
    out.trajectory = vla::unicycle(out.actions, out.initial_speed, out.dt_s);
    return out;
  }

  int calls = 0;

 private:
  Site image_{"vlm.image_embeds", "rtw"}, late_{"action.late", "rw"};
};

}  // namespace tierod::patch
