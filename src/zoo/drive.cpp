// Note [A rollout]
//
// Prefix and words fill the language model's cache: the prefix at once (prefill), then word by word
// (decode), whether words are sampled or given. The expert reads that very cache; nothing is run
// again. So a run with its own words is equal to the last bit, and captures of a written and of a
// given chain of thought have the same events.
//
// The cache passes its hook points once, as a whole, in the phase `head`: what is edited there
// reaches control and nothing else, since all words are written by then.
//
// Where the words of the rows have different lengths, the shorter are padded behind <act>. Nobody
// sees padding. Waypoints are numbered from the position after <act> of their row on, so that the
// length of a chain of thought is a third path to control beside words and picture, as in Alpamayo;
// with `pin_action_positions` they are numbered from kPinnedAction on. Both are trained.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/hook/scope.h"
#include "tierod/vla/kinematics.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "zoo/driving_model_internal.h"
#include "zoo/lesson_internal.h"
#include "zoo/row_spans_internal.h"

namespace tierod::zoo {

using internal::cat;
using internal::Cut;
using internal::kPrefix;
using internal::kWaypointTokens;
using internal::list_text;
using internal::Memory;
using internal::Network;
using internal::RowSpans;

namespace {

constexpr std::int64_t kNoOffset = -1;

template <typename... Args>
[[noreturn]] void refuse(const Args&... args) {
  throw InvalidArgument(cat("[zoo.DrivingModel.rollout] ", args...));
}

std::size_t at_row(std::int64_t row) { return static_cast<std::size_t>(row); }
std::int64_t words_end() { return framing_tokens(0)[0]; }

std::int64_t framing_index(const std::string& name) {
  if (name.empty()) return 0;
  const auto& names = framing_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return found - names.begin();
  refuse("expected framing to be one of ", list_text(names), ", got '", name, "'; nearest ",
         list_text(nearest_names(name, names)));
}

/// Return the given CoTs on the CPU, without columns of padding alone.
at::Tensor checked_cot(const at::Tensor& given) {
  const at::Tensor cot = given.to(at::kCPU).contiguous();
  const std::int64_t width = cot.size(1);
  const auto* tokens = cot.const_data_ptr<std::int64_t>();
  std::int64_t longest = 0;
  for (std::int64_t row = 0; row < cot.size(0); ++row) {
    const std::span<const std::int64_t> text(tokens + row * width, at_row(width));
    const auto end = std::find(text.begin(), text.end(), -1);
    for (auto t = text.begin(); t != text.end(); ++t) {
      const bool is_padding = *t == -1;
      if (is_padding != (t >= end)) {
        refuse(
            "expected cot_tokens padded with -1 behind their end alone, got padding before a "
            "word in row ",
            row);
      }
      if (is_padding) continue;
      const bool last = t + 1 == end;
      if (*t < kAct || *t >= words_end() || (*t == kAct) != last) {
        refuse("expected words in [", kAct + 1, ", ", words_end(), ") and <act> (", kAct,
               ") last in cot_tokens, got ", *t, " at place ", t - text.begin(), " of row ", row,
               "; encode_cot makes words of text, and <act> is to be put behind them");
      }
    }
    if (end == text.begin()) {
      refuse("expected at least <act> (", kAct, ") in every row of cot_tokens, got none in row ",
             row);
    }
    longest = std::max(longest, static_cast<std::int64_t>(end - text.begin()));
  }
  if (longest > kMaxCot) {
    refuse("expected at most ", kMaxCot, " tokens in a row of cot_tokens, got ", longest);
  }
  return cot.narrow(1, 0, longest);
}

/// Hold the address of the random numbers of each row.
struct Keys {
  std::vector<std::uint64_t> scene;
  std::vector<std::uint32_t> sample;
};

/// Return the next word of each row that is not done, from the logits [rows, 1, words].
std::vector<std::int64_t> next_words(const at::Tensor& logits, const std::vector<RowSpans>& rows,
                                     const Keys& keys, const CounterRandom& random,
                                     std::uint32_t step, double temperature) {
  const at::Tensor on_cpu = logits.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto* score = on_cpu.const_data_ptr<double>();
  const std::int64_t vocabulary = on_cpu.size(2);
  std::vector<std::int64_t> out(rows.size(), kPad);
  for (std::size_t row = 0; row < rows.size(); ++row, score += vocabulary) {
    if (rows[row].done()) continue;
    if (static_cast<std::int64_t>(step) == kMaxCot - 1) {
      out[row] = kAct;  // no room for more
      continue;
    }
    double best = -std::numeric_limits<double>::infinity();
    for (std::int64_t token = kAct; token < words_end(); ++token) {
      double value = score[token];
      if (temperature > 0) {
        value = value / temperature + random.gumbel(keys.scene[row], keys.sample[row],
                                                    step * static_cast<std::uint32_t>(vocabulary) +
                                                        static_cast<std::uint32_t>(token));
      }
      if (value > best) {
        best = value;
        out[row] = token;
      }
    }
    if (!std::isfinite(best)) {
      throw NumericalError(cat("[zoo.DrivingModel.rollout] expected finite logits, got ", best,
                               " in row ", row, " at word ", step,
                               "; look at what was edited, and at the weights"));
    }
  }
  return out;
}

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

/// Carry what a rollout has so far.
struct Drive {
  const Network& network;
  const vla::RolloutOptions& options;
  const zoo::Spec& spec;
  Keys keys;
  std::vector<Cut> cuts;
  std::vector<RowSpans> rows{};
  Memory memory{};
  std::vector<std::vector<std::int64_t>> words{};  ///< of each step

  std::int64_t count() const { return static_cast<std::int64_t>(keys.scene.size()); }
  std::int64_t columns() const { return kPrefix + static_cast<std::int64_t>(words.size()); }

  /// Return the state at <cot>.
  at::Tensor read_prefix(const vla::Batch& batch, const at::Tensor& index);
  void read_words(at::Tensor hidden);
  void pass_cache(const internal::DrivingSites& sites);
  at::Tensor denoise(const internal::DrivingSites& sites);
};

at::Tensor Drive::read_prefix(const vla::Batch& batch, const at::Tensor& index) {
  const auto of_rows = [&](const char* name) {
    const at::Tensor& x = batch.at(name);
    return (options.num_samples == 1 ? x : x.index_select(0, index.to(x.device())))
        .to(network.options().device());
  };
  at::Tensor image_tokens;
  {
    const PhaseScope phase(Phase::vision, -1, kNoOffset);
    image_tokens = network.image_tokens(of_rows("image"));
  }
  {
    const PhaseScope phase(Phase::prefill, -1, internal::kImageBegin);
    image_tokens = network.image_embeds(image_tokens);
  }
  const PhaseScope phase(Phase::prefill, -1, 0);
  const at::Tensor navigation = of_rows("navigation");
  const at::Tensor prefix =
      network.prefix(image_tokens, of_rows("ego"), navigation,
                     at::full_like(navigation, framing_index(options.framing)));
  rows.assign(at_row(count()), RowSpans());
  const auto& config = network.config();
  if (options.differentiable) {
    memory.resize(at_row(config.layers));
  } else {
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      memory.emplace_back(count(), config.kv_heads, kPrefix + kMaxCot + kWaypointTokens,
                          config.head_width(), network.options());
    }
  }
  return network.language(
      prefix, memory,
      internal::language_masks(cuts, rows, 0, kPrefix, config.layers, network.options()));
}

void Drive::read_words(at::Tensor hidden) {
  std::optional<at::Tensor> given;
  if (options.cot_tokens) given = checked_cot(*options.cot_tokens);
  if (options.cot_length && *options.cot_length > kMaxCot) {
    refuse("expected cot_length in [1, ", kMaxCot, "], got ", *options.cot_length);
  }
  const CounterRandom random(options.seed, "zoo token");
  const auto logits_at = [&](const at::Tensor& states) {
    return network.logits(states.narrow(1, states.size(1) - 1, 1));
  };
  at::Tensor logits;
  {
    const PhaseScope phase(Phase::prefill, -1, kPrefix - 1);
    logits = logits_at(hidden);
  }
  for (std::int64_t step = 0; step < kMaxCot; ++step) {
    const bool all_done =
        std::all_of(rows.begin(), rows.end(), [](const RowSpans& row) { return row.done(); });
    if (all_done && step >= options.cot_length.value_or(0)) break;
    if (options.cot_length && step >= *options.cot_length) {
      refuse("expected a cot_length that every chain of thought fits into, got ", step,
             ", and a row that goes on; ask for ", kMaxCot, ", which all fit into");
    }
    std::vector<std::int64_t> next(rows.size(), kPad);
    if (!given) {
      next = next_words(logits, rows, keys, random, static_cast<std::uint32_t>(step),
                        options.temperature);
    } else if (step < given->size(1)) {
      for (std::size_t row = 0; row < next.size(); ++row) {
        const std::int64_t token = given->const_data_ptr<
            std::int64_t>()[static_cast<std::int64_t>(row) * given->stride(0) + step];
        next[row] = token < 0 ? kPad : token;
      }
    }
    for (std::size_t row = 0; row < next.size(); ++row) rows[row].add(next[row]);
    const std::int64_t position = columns();
    words.push_back(next);
    const PhaseScope phase(Phase::decode, step, position);
    const at::Tensor tokens =
        at::tensor(next, at::kLong).unsqueeze(1).to(network.options().device());
    hidden = network.language(network.embed(tokens), memory,
                              internal::language_masks(cuts, rows, position, 1,
                                                       network.config().layers, network.options()));
    logits = logits_at(hidden);
  }
}

void Drive::pass_cache(const internal::DrivingSites& sites) {
  const PhaseScope phase(Phase::head, -1, 0);
  for (std::size_t layer = 0; layer < memory.size(); ++layer) {
    const at::Tensor key = internal::point(memory[layer].key(), sites.cache_key[layer]);
    const at::Tensor value = internal::point(memory[layer].value(), sites.cache_value[layer]);
    memory[layer].replace(key, value);
  }
}

at::Tensor Drive::denoise(const internal::DrivingSites& sites) {
  const at::TensorOptions options_of = network.options();
  std::vector<std::int64_t> act;
  act.reserve(rows.size());
  for (const RowSpans& row : rows) act.push_back(row[internal::kPostCotSpan].begin);
  const at::Tensor last = at::tensor(act, at::kLong).to(options_of.device());
  const at::Tensor base = internal::expert_mask(
      internal::visible_columns(spec.mask, last, columns()), options_of.dtype().toScalarType());
  const auto masks = internal::action_masks(cuts, rows, base, network.config().layers);
  const at::Tensor begin =
      options.pin_action_positions ? at::full_like(last, internal::kPinnedAction) : last.add(1);
  const at::Tensor turn =
      network.turn_at(begin.unsqueeze(1).add(at::arange(kWaypointTokens, begin.options())));
  at::Tensor noisy = (options.noise ? *options.noise : drawn_noise(keys, options.seed))
                         .to(options_of.device(), options_of.dtype().toScalarType());
  if (noisy.size(1) != kWaypointTokens) {
    refuse("expected noise [", count(), ", ", kWaypointTokens, ", 2], got ", noisy.sizes());
  }
  const std::int64_t steps = network.config().denoise_steps;
  for (std::int64_t step = 0; step < steps; ++step) {
    const double time = static_cast<double>(step) / static_cast<double>(steps);
    const PhaseScope phase(Phase::denoise, step, columns());
    const at::Tensor target =
        network.expert(noisy, at::full({1}, time, options_of), memory, masks, turn);
    const at::Tensor velocity = internal::point(target.sub(noisy).div(1 - time), sites.velocity);
    noisy = noisy.add(velocity, 1. / static_cast<double>(steps));
  }
  const at::Tensor scale =
      at::tensor({internal::kAccelerationScale, internal::kCurvatureScale}, options_of);
  const at::Tensor mean = at::tensor({internal::kAccelerationMean, 0.}, options_of);
  const PhaseScope phase(Phase::head, -1, columns());
  return internal::point(noisy.mul(scale).add(mean), sites.controls);
}

void check_values(const vla::Batch& batch) {
  const at::Tensor& navigation = batch.at("navigation");
  if (navigation.lt(0).logical_or(navigation.gt(2)).any().item<bool>()) {
    refuse("expected navigation in {0, 1, 2} (follow, keep left, keep right), got ",
           navigation.min().item<std::int64_t>(), " to ", navigation.max().item<std::int64_t>());
  }
  if (!batch.at("ego").isfinite().all().item<bool>()) {
    refuse("expected finite ego, got NaN or Inf");
  }
}

}  // namespace

vla::Rollout DrivingModel::rollout(const vla::Batch& batch, const vla::RolloutOptions& options) {
  batch_spec().check(batch);
  options.check(batch.rows());
  check_values(batch);
  const at::AutoGradMode grad(options.differentiable);
  const Network& network = *state_->network;
  const internal::GraphInputs graph(*state_->network, options.differentiable);
  const RunScope run;

  const std::int64_t samples = options.num_samples;
  const std::int64_t count = batch.rows() * samples;
  Drive drive = {.network = network,
                 .options = options,
                 .spec = state_->spec,
                 .keys = {},
                 .cuts = internal::resolve_knockouts(options.knockouts, network.config().layers,
                                                     network.config().heads)};
  std::vector<std::int64_t> scene_of;
  for (std::int64_t row = 0; row < count; ++row) {
    scene_of.push_back(row / samples);
    drive.keys.scene.push_back(static_cast<std::uint64_t>(batch.ids[at_row(row / samples)]));
    drive.keys.sample.push_back(static_cast<std::uint32_t>(row % samples));
  }
  const at::Tensor index = at::tensor(scene_of, at::kLong);
  drive.read_words(drive.read_prefix(batch, index));
  drive.pass_cache(state_->sites);

  vla::Rollout out;
  out.num_samples = samples;
  out.dt_s = kStepSeconds;
  out.actions = drive.denoise(state_->sites);
  out.sample_index = at::arange(count, at::kLong).remainder(samples);
  const auto length = static_cast<std::int64_t>(drive.words.size());
  out.cot_tokens = at::full({count, length}, -1, at::kLong);
  out.cot_lengths = at::empty({count}, at::kLong);
  auto* token = out.cot_tokens.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < count; ++row, token += length) {
    const RowSpans& spans = drive.rows[at_row(row)];
    const std::int64_t own = spans[internal::kPostCotSpan].end - kPrefix;
    for (std::int64_t i = 0; i < own; ++i) token[i] = drive.words[at_row(i)][at_row(row)];
    out.cot_lengths.mutable_data_ptr<std::int64_t>()[row] = own;
    out.cot_text.push_back(decode_cot({token, at_row(own)}));
    out.spans.push_back(spans.table(drive.columns()));
  }
  out.initial_speed = batch.at("ego").select(1, internal::kEgoTokens - 1).select(1, 0);
  if (samples > 1) out.initial_speed = out.initial_speed.index_select(0, index);
  out.initial_speed = out.initial_speed.to(out.actions.options().requires_grad(false));
  out.trajectory = vla::unicycle(out.actions, out.initial_speed, out.dt_s);
  return out;
}

}  // namespace tierod::zoo
