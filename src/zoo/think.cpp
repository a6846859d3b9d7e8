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
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "zoo/drive_internal.h"

namespace tierod::internal {

using zoo::framing_names;
using zoo::framing_tokens;
using zoo::kAct;
using zoo::kMaxCot;
using zoo::kPad;

namespace {

constexpr std::int64_t kNoOffset = -1;

std::size_t at_row(std::int64_t row) { return static_cast<std::size_t>(row); }
std::int64_t words_end() { return framing_tokens(0)[0]; }

std::int64_t framing_index(const std::string& name) {
  if (name.empty()) return 0;
  const auto& names = framing_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return found - names.begin();
  refuse_rollout("expected framing to be one of ", list_text(names), ", got '", name, "'; nearest ",
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
        refuse_rollout(
            "expected cot_tokens padded with -1 behind their end alone, got padding before a "
            "word in row ",
            row);
      }
      if (is_padding) continue;
      const bool last = t + 1 == end;
      if (*t < kAct || *t >= words_end() || (*t == kAct) != last) {
        refuse_rollout("expected words in [", kAct + 1, ", ", words_end(), ") and <act> (", kAct,
                       ") last in cot_tokens, got ", *t, " at place ", t - text.begin(), " of row ",
                       row, "; encode_cot makes words of text, and <act> is to be put behind them");
      }
    }
    if (end == text.begin()) {
      refuse_rollout("expected at least <act> (", kAct,
                     ") in every row of cot_tokens, got none in row ", row);
    }
    longest = std::max(longest, static_cast<std::int64_t>(end - text.begin()));
  }
  if (longest > kMaxCot) {
    refuse_rollout("expected at most ", kMaxCot, " tokens in a row of cot_tokens, got ", longest);
  }
  return cot.narrow(1, 0, longest);
}

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

void check_values(const vla::Batch& batch) {
  const at::Tensor& navigation = batch.at("navigation");
  if (navigation.lt(0).logical_or(navigation.gt(2)).any().item<bool>()) {
    refuse_rollout("expected navigation in {0, 1, 2} (follow, keep left, keep right), got ",
                   navigation.min().item<std::int64_t>(), " to ",
                   navigation.max().item<std::int64_t>());
  }
  if (!batch.at("ego").isfinite().all().item<bool>()) {
    refuse_rollout("expected finite ego, got NaN or Inf");
  }
}

}  // namespace

at::Tensor Drive::read_prefix(const vla::Batch& batch, const at::Tensor& index) {
  const auto of_rows = [&](const char* name) {
    const at::Tensor& x = batch.at(name);
    return (options.num_samples == 1 ? x : x.index_select(0, index.to(x.device())))
        .to(network->options().device());
  };
  at::Tensor image_tokens;
  {
    const PhaseScope phase(Phase::vision, -1, kNoOffset);
    image_tokens = network->image_tokens(of_rows("image"));
  }
  {
    const PhaseScope phase(Phase::prefill, -1, kImageBegin);
    image_tokens = network->image_embeds(image_tokens);
  }
  const PhaseScope phase(Phase::prefill, -1, 0);
  const at::Tensor navigation = of_rows("navigation");
  const at::Tensor prefix =
      network->prefix(image_tokens, of_rows("ego"), navigation,
                      at::full_like(navigation, framing_index(options.framing)));
  rows.assign(at_row(count()), RowSpans());
  const auto& config = network->config();
  if (options.differentiable) {
    memory.resize(at_row(config.layers));
  } else {
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      memory.emplace_back(count(), config.kv_heads, kPrefix + kMaxCot + kWaypointTokens,
                          config.head_width(), network->options());
    }
  }
  return network->language(
      prefix, memory, language_masks(cuts, rows, 0, kPrefix, config.layers, network->options()));
}

void Drive::read_words(at::Tensor hidden) {
  std::optional<at::Tensor> given;
  if (options.cot_tokens) given = checked_cot(*options.cot_tokens);
  if (options.cot_length && *options.cot_length > kMaxCot) {
    refuse_rollout("expected cot_length in [1, ", kMaxCot, "], got ", *options.cot_length);
  }
  const CounterRandom random(options.seed, "zoo token");
  const auto logits_at = [&](const at::Tensor& states) {
    return network->logits(states.narrow(1, states.size(1) - 1, 1));
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
      refuse_rollout("expected a cot_length that every chain of thought fits into, got ", step,
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
        at::tensor(next, at::kLong).unsqueeze(1).to(network->options().device());
    hidden = network->language(
        network->embed(tokens), memory,
        language_masks(cuts, rows, position, 1, network->config().layers, network->options()));
    logits = logits_at(hidden);
  }
}

}  // namespace tierod::internal

namespace tierod::zoo {

using internal::Drive;

std::shared_ptr<const vla::Thought> DrivingModel::think(const vla::Batch& batch,
                                                        const vla::RolloutOptions& options) {
  batch_spec().check(batch);
  options.check(batch.rows());
  internal::check_values(batch);
  const at::AutoGradMode grad(options.differentiable);
  const internal::NetworkConfig& config = state_->network->config();
  const internal::GraphInputs graph(*state_->network, options.differentiable);
  const std::int64_t samples = options.num_samples;
  Drive drive = {
      .network = state_->network,
      .options = options,
      .mask = state_->spec.mask,
      .keys = {},
      .cuts = internal::resolve_knockouts(options.knockouts, config.layers, config.heads)};
  std::vector<std::int64_t> scene_of;
  for (std::int64_t row = 0; row < batch.rows() * samples; ++row) {
    scene_of.push_back(row / samples);
    drive.keys.scene.push_back(
        static_cast<std::uint64_t>(batch.ids[static_cast<std::size_t>(row / samples)]));
    drive.keys.sample.push_back(static_cast<std::uint32_t>(row % samples));
  }
  const at::Tensor index = at::tensor(scene_of, at::kLong);
  drive.initial_speed = batch.at("ego").select(1, internal::kEgoTokens - 1).select(1, 0);
  if (samples > 1) drive.initial_speed = drive.initial_speed.index_select(0, index);
  drive.read_words(drive.read_prefix(batch, index));
  return std::make_shared<internal::DrivingThought>(std::move(drive));
}

}  // namespace tierod::zoo
