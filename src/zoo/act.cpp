#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "tierod/core/random.h"
#include "tierod/hook/scope.h"
#include "tierod/vla/kinematics.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "zoo/drive_internal.h"
#include "zoo/lesson_internal.h"

namespace tierod::internal {

namespace {

at::Tensor drawn_noise(const Keys& keys, std::uint64_t seed) {
  const CounterRandom random(seed, "zoo action noise");
  at::Tensor out =
      at::empty({static_cast<std::int64_t>(keys.scene.size()), kWaypointTokens, 2}, at::kDouble);
  auto* value = out.mutable_data_ptr<double>();
  for (std::size_t row = 0; row < keys.scene.size(); ++row) {
    for (std::uint32_t i = 0; i < 2 * kWaypointTokens; ++i) {
      *value++ = random.normal(keys.scene[row], keys.sample[row], i);
    }
  }
  return out;
}

}  // namespace

void Drive::pass_cache(const DrivingSites& sites) {
  const PhaseScope phase(Phase::head, -1, 0);
  for (std::size_t layer = 0; layer < memory.size(); ++layer) {
    const at::Tensor key = point(memory[layer].key(), sites.cache_key[layer]);
    const at::Tensor value = point(memory[layer].value(), sites.cache_value[layer]);
    memory[layer].replace(key, value);
  }
}

at::Tensor Drive::denoise(const DrivingSites& sites) {
  const at::TensorOptions options_of = network->options();
  std::vector<std::int64_t> act;
  act.reserve(rows.size());
  for (const RowSpans& row : rows) act.push_back(row[kPostCotSpan].begin);
  const at::Tensor last = at::tensor(act, at::kLong).to(options_of.device());
  const at::Tensor base =
      expert_mask(visible_columns(mask, last, columns()), options_of.dtype().toScalarType());
  const auto masks = action_masks(cuts, rows, base, network->config().layers);
  const at::Tensor begin =
      options.pin_action_positions ? at::full_like(last, kPinnedAction) : last.add(1);
  const at::Tensor turn =
      network->turn_at(begin.unsqueeze(1).add(at::arange(kWaypointTokens, begin.options())));
  at::Tensor noisy = (options.noise ? *options.noise : drawn_noise(keys, options.seed))
                         .to(options_of.device(), options_of.dtype().toScalarType());
  if (noisy.size(1) != kWaypointTokens) {
    refuse_rollout("expected noise [", count(), ", ", kWaypointTokens, ", 2], got ", noisy.sizes());
  }
  const std::int64_t steps = network->config().denoise_steps;
  for (std::int64_t step = 0; step < steps; ++step) {
    const double time = static_cast<double>(step) / static_cast<double>(steps);
    const PhaseScope phase(Phase::denoise, step, columns());
    const at::Tensor target =
        network->expert(noisy, at::full({1}, time, options_of), memory, masks, turn);
    const at::Tensor velocity = point(target.sub(noisy).div(1 - time), sites.velocity);
    noisy = noisy.add(velocity, 1. / static_cast<double>(steps));
  }
  const at::Tensor scale = at::tensor({kAccelerationScale, kCurvatureScale}, options_of);
  const at::Tensor mean = at::tensor({kAccelerationMean, 0.}, options_of);
  const PhaseScope phase(Phase::head, -1, columns());
  return point(noisy.mul(scale).add(mean), sites.controls);
}

vla::Rollout Drive::finish(at::Tensor actions) const {
  const std::int64_t samples = options.num_samples;
  const auto length = static_cast<std::int64_t>(words.size());
  vla::Rollout out;
  out.num_samples = samples;
  out.dt_s = zoo::kStepSeconds;
  out.actions = std::move(actions);
  out.sample_index = at::arange(count(), at::kLong).remainder(samples);
  out.cot_tokens = at::full({count(), length}, -1, at::kLong);
  out.cot_lengths = at::empty({count()}, at::kLong);
  auto* token = out.cot_tokens.mutable_data_ptr<std::int64_t>();
  for (std::size_t row = 0; row < rows.size(); ++row, token += length) {
    const std::int64_t own = rows[row][kPostCotSpan].end - kPrefix;
    for (std::int64_t i = 0; i < own; ++i) token[i] = words[static_cast<std::size_t>(i)][row];
    out.cot_lengths.mutable_data_ptr<std::int64_t>()[row] = own;
    out.cot_text.push_back(zoo::decode_cot({token, static_cast<std::size_t>(own)}));
    out.spans.push_back(rows[row].table(columns()));
  }
  out.initial_speed = initial_speed.to(out.actions.options().requires_grad(false));
  out.trajectory = vla::unicycle(out.actions, out.initial_speed, out.dt_s);
  return out;
}

std::int64_t DrivingThought::bytes() const {
  std::int64_t out = 0;
  for (const LayerMemory& layer : drive_.memory) {
    // both are views of their whole room
    out += static_cast<std::int64_t>(layer.key().storage().nbytes() +
                                     layer.value().storage().nbytes());
  }
  return out;
}

}  // namespace tierod::internal

namespace tierod::zoo {

vla::Rollout DrivingModel::act(const vla::Thought& thought,
                               const std::vector<vla::Knockout>& knockouts) {
  const auto* own = dynamic_cast<const internal::DrivingThought*>(&thought);
  if (own == nullptr || own->drive().network != state_->network) {
    throw InvalidArgument(
        "[zoo.DrivingModel.act] expected a thought of this very model, got another's; think with "
        "the model that acts");
  }
  internal::Drive drive = own->drive();
  const internal::NetworkConfig& config = state_->network->config();
  for (const internal::Cut& cut :
       internal::resolve_knockouts(knockouts, config.layers, config.heads)) {
    if (cut.readers != internal::kActionSpan) {
      throw InvalidArgument(
          "[zoo.DrivingModel.act] expected knockouts of what 'action' reads, got other readers; "
          "they have read already, so give those to think");
    }
    drive.cuts.push_back(cut);
  }
  const at::AutoGradMode grad(drive.options.differentiable);
  const internal::GraphInputs graph(*state_->network, drive.options.differentiable);
  drive.pass_cache(state_->sites);
  return drive.finish(drive.denoise(state_->sites));
}

}  // namespace tierod::zoo
