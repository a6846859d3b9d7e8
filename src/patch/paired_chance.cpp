// What chance does to a run: other seeds, and other words that the model itself draws.

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kWhere = kPairedRun;

}  // namespace

vla::Rollout PairedRun::reseeded(std::uint64_t seed) {
  if (seed == impl_->options.rollout.seed) {
    throw InvalidArgument(cat("[", kWhere,
                              ".reseeded] expected another seed than the run's own, got ", seed,
                              "; `again` repeats the run"));
  }
  if (impl_->options.rollout.noise) {
    throw InvalidArgument(cat("[", kWhere,
                              ".reseeded] expected noise that is drawn, got one that was given: "
                              "another seed would not change it"));
  }
  return Impl::join(impl_->each("reseeded", [&](std::int64_t b) {
    vla::RolloutOptions how = impl_->as_given(b);
    how.seed = seed;
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), how);
  }));
}

ResampledWords PairedRun::resampled_words(std::uint64_t seed, std::int64_t attempts) {
  if (attempts < 1) {
    throw InvalidArgument(
        cat("[", kWhere, ".resampled_words] expected attempts >= 1, got ", attempts));
  }
  const vla::Rollout& mine = base();
  ResampledWords out{.words = mine, .changed = at::zeros({rows()}, at::kBool)};
  at::Tensor tokens = mine.cot_tokens.clone();
  if (impl_->options.rollout.cot_tokens) {
    throw InvalidArgument(cat("[", kWhere,
                              ".resampled_words] expected a run whose words the model ",
                              "writes, got one with given words"));
  }
  for (std::int64_t i = 0; i < attempts; ++i) {
    const std::uint64_t other_seed = seed + static_cast<std::uint64_t>(i);
    if (other_seed == impl_->options.rollout.seed) continue;
    const vla::Rollout other = reseeded(other_seed);
    for (std::int64_t row = 0; row < rows(); ++row) {
      const auto length = mine.cot_lengths[row].item<std::int64_t>();
      if (out.changed[row].item<bool>() || other.cot_lengths[row].item<std::int64_t>() != length) {
        continue;
      }
      const at::Tensor said = other.cot_tokens[row].narrow(0, 0, length);
      if (said.equal(mine.cot_tokens[row].narrow(0, 0, length))) continue;
      tokens[row].narrow(0, 0, length).copy_(said);
      out.words.cot_text[static_cast<std::size_t>(row)] =
          other.cot_text[static_cast<std::size_t>(row)];
      out.changed[row] = true;
    }
    if (out.changed.all().item<bool>()) break;
  }
  out.words.cot_tokens = tokens;
  return out;
}

NoiseFloor PairedRun::noise_floor(const vla::ControlFunctional& functional,
                                  std::vector<std::uint64_t> seeds) {
  if (seeds.empty()) {
    for (std::uint64_t next = 1; next <= 3; ++next) {
      seeds.push_back(impl_->options.rollout.seed + next);
    }
  }
  NoiseFloor out;
  const vla::Rollout same = again();
  out.same_seed = effect(same, functional).abs().max().item<double>();
  out.deterministic = same.actions.equal(base().actions) && same.cot_text == base().cot_text;
  for (const std::uint64_t seed : seeds) {
    out.other_seeds.push_back(effect(reseeded(seed), functional).abs().mean().item<double>());
  }
  return out;
}

}  // namespace tierod::patch
