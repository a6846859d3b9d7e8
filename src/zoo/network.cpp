#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/json_internal.h"
#include "tierod/core/random.h"
#include "zoo/network_internal.h"

namespace tierod::internal {

namespace {

constexpr std::int64_t kTimeWaves = 8;
constexpr double kRopeBase = 1000;

std::int64_t vocabulary() { return static_cast<std::int64_t>(zoo::language_tokens().size()); }

at::Tensor normed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {}) {
  return at::layer_norm(x, {weight.size(0)}, weight, bias);
}

/// Turn pairs of channels of x [rows, tokens, heads, head width] by its position.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& turn) {
  const at::Tensor pairs = x.contiguous().view({x.size(0), x.size(1), x.size(2), x.size(3) / 2, 2});
  return at::view_as_real(at::view_as_complex(pairs).mul(turn)).flatten(3);
}

std::string layer_prefix(const char* tower, std::int64_t i) {
  return cat(tower, ".layers.", i, ".");
}

}  // namespace

std::string NetworkConfig::to_json() const {
  return Json{{"width", width},
              {"layers", layers},
              {"heads", heads},
              {"kv_heads", kv_heads},
              {"channels", channels},
              {"feed_forward", feed_forward},
              {"vision_layers", vision_layers},
              {"denoise_steps", denoise_steps}}
      .dump();
}

NetworkConfig NetworkConfig::from_json(const std::string& text, std::string_view where) {
  const Json json = parse_json(text, where);
  check_keys(json,
             {"width", "layers", "heads", "kv_heads", "channels", "feed_forward", "vision_layers",
              "denoise_steps"},
             where);
  NetworkConfig out;
  const auto read = [&](const char* key, std::int64_t& into) {
    if (json.contains(key)) into = get_json<std::int64_t>(json, key, where);
    if (into < 1) {
      throw InvalidArgument(cat(where, " expected '", key, "' >= 1, got ", into));
    }
  };
  read("width", out.width);
  read("layers", out.layers);
  read("heads", out.heads);
  read("kv_heads", out.kv_heads);
  read("channels", out.channels);
  read("feed_forward", out.feed_forward);
  read("vision_layers", out.vision_layers);
  read("denoise_steps", out.denoise_steps);
  if (out.width % (2 * out.heads) != 0 || out.heads % out.kv_heads != 0) {
    throw InvalidArgument(cat(where,
                              " expected a width that twice the heads divide, and heads "
                              "that kv_heads divides, got width ",
                              out.width, ", heads ", out.heads, ", kv_heads ", out.kv_heads));
  }
  return out;
}

LayerMemory::LayerMemory(std::int64_t rows, std::int64_t heads, std::int64_t capacity,
                         std::int64_t head_width, const at::TensorOptions& options)
    : key_(at::empty({rows, heads, capacity, head_width}, options)),
      value_(at::empty({rows, heads, capacity, head_width}, options)),
      in_place_(true) {}

at::Tensor LayerMemory::key() const { return in_place_ ? key_.narrow(2, 0, length_) : key_; }
at::Tensor LayerMemory::value() const { return in_place_ ? value_.narrow(2, 0, length_) : value_; }

void LayerMemory::append(const at::Tensor& key, const at::Tensor& value) {
  const auto [all_keys, all_values] = with(key, value);
  length_ += key.size(2);
  if (in_place_) return;
  key_ = all_keys;
  value_ = all_values;
}

void LayerMemory::replace(const at::Tensor& key, const at::Tensor& value) {
  if (!in_place_) {
    key_ = key;
    value_ = value;
    return;
  }
  // What is unchanged is this memory itself. An edit gets a room of its own: others may share this
  // one (Drive).
  const auto put = [&](at::Tensor& mine, const at::Tensor& other) {
    if (other.data_ptr() == mine.data_ptr()) return;
    mine = at::empty_like(mine);
    mine.narrow(2, 0, length_).copy_(other);
  };
  put(key_, key);
  put(value_, value);
}

std::pair<at::Tensor, at::Tensor> LayerMemory::with(const at::Tensor& key,
                                                    const at::Tensor& value) {
  const std::int64_t more = key.size(2);
  if (!in_place_) {
    if (length_ == 0) return {key, value};
    return {at::cat({key_, key}, 2), at::cat({value_, value}, 2)};
  }
  key_.narrow(2, length_, more).copy_(key);
  value_.narrow(2, length_, more).copy_(value);
  return {key_.narrow(2, 0, length_ + more), value_.narrow(2, 0, length_ + more)};
}

Block::Sites::Sites(const std::string& prefix)
    : resid_pre(prefix + "resid_pre", "rtw"),
      q(prefix + "q", "rthd"),
      k(prefix + "k", "rthd"),
      v(prefix + "v", "rthd"),
      pattern(prefix + "pattern", "rhts"),
      attn_out(prefix + "attn_out", "rtw"),
      resid_mid(prefix + "resid_mid", "rtw"),
      mlp_out(prefix + "mlp_out", "rtw"),
      resid_post(prefix + "resid_post", "rtw") {}

Block::Block(const NetworkConfig& config, std::int64_t kv_heads, bool rotated,
             const std::string& prefix)
    : heads_(config.heads),
      kv_heads_(kv_heads),
      head_width_(config.head_width()),
      rotated_(rotated),
      sites_(prefix) {
  const std::int64_t d = config.width;
  const auto add = [&](const char* name, at::IntArrayRef shape) {
    return register_parameter(name, at::empty(shape), false);
  };
  attention_norm_w_ = add("attention_norm_w", {d});
  attention_norm_b_ = add("attention_norm_b", {d});
  qkv_ = add("qkv_w", {(heads_ + 2 * kv_heads_) * head_width_, d});
  if (rotated_) {
    query_norm_ = add("query_norm_w", {head_width_});
    key_norm_ = add("key_norm_w", {head_width_});
  }
  out_ = add("out_w", {d, heads_ * head_width_});
  mlp_norm_w_ = add("mlp_norm_w", {d});
  mlp_norm_b_ = add("mlp_norm_b", {d});
  up_w_ = add("up_w", {config.feed_forward, d});
  up_b_ = add("up_b", {config.feed_forward});
  down_w_ = add("down_w", {d, config.feed_forward});
  down_b_ = add("down_b", {d});
}

Projected Block::project(const at::Tensor& x, const at::Tensor& turn) const {
  const at::Tensor qkv = at::linear(normed(x, attention_norm_w_, attention_norm_b_), qkv_)
                             .view({x.size(0), x.size(1), heads_ + 2 * kv_heads_, head_width_});
  at::Tensor q = qkv.narrow(2, 0, heads_);
  at::Tensor k = qkv.narrow(2, heads_, kv_heads_);
  if (rotated_) {
    q = normed(q, query_norm_);
    k = normed(k, key_norm_);
  }
  q = point(std::move(q), sites_.q);
  k = point(std::move(k), sites_.k);
  const at::Tensor v = point(qkv.narrow(2, heads_ + kv_heads_, kv_heads_), sites_.v);
  if (rotated_) {
    q = rotate(q, turn);
    k = rotate(k, turn);
  }
  return {q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)};
}

at::Tensor Block::finish(const at::Tensor& x, const at::Tensor& mixed) const {
  const at::Tensor out = point(at::linear(mixed.transpose(1, 2).flatten(2), out_), sites_.attn_out);
  const at::Tensor mid = point(x.add(out), sites_.resid_mid);
  const at::Tensor hidden =
      at::silu(at::linear(normed(mid, mlp_norm_w_, mlp_norm_b_), up_w_, up_b_));
  const at::Tensor mlp = point(at::linear(hidden, down_w_, down_b_), sites_.mlp_out);
  return point(mid.add(mlp), sites_.resid_post);
}

namespace {

/// Do the same in steps, with the weights [rows, heads, queries, keys] at their site.
at::Tensor attend_openly(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const at::Tensor& mask, bool causal, const Site& pattern) {
  const std::int64_t group = query.size(1) / key.size(1);
  const at::Tensor keys = key.repeat_interleave(group, 1);
  at::Tensor scores =
      query.matmul(keys.transpose(2, 3)).div(std::sqrt(static_cast<double>(query.size(3))));
  if (mask.defined()) scores = scores.add(mask);
  if (causal) {
    const at::Tensor later = at::ones({query.size(2), key.size(2)},
                                      query.options().dtype(at::kBool).requires_grad(false))
                                 .triu(1);
    scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  return point(scores.softmax(-1), pattern).matmul(value.repeat_interleave(group, 1));
}

}  // namespace

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const at::Tensor& mask, bool causal, const Site* pattern) {
  if (pattern != nullptr && wanted(*pattern)) {
    return attend_openly(query, key, value, mask, causal, *pattern);
  }
  std::optional<at::Tensor> added;
  if (mask.defined()) added = mask;
  return at::scaled_dot_product_attention(query, key, value, added, 0, causal, std::nullopt,
                                          query.size(1) != key.size(1));
}

Network::Network(const NetworkConfig& config, std::uint64_t seed)
    : config_(config),
      image_embeds_("vlm.image_embeds", "rtw"),
      norm_site_("vlm.norm", "rtw"),
      logits_site_("vlm.logits", "rtw") {
  const std::int64_t d = config.width;
  const auto add = [&](const std::string& name, at::IntArrayRef shape) {
    return register_parameter(name, at::empty(shape), false);
  };
  const std::array<std::int64_t, 4> channels = {3, config.channels, 2 * config.channels, d};
  for (std::size_t i = 0; i + 1 < channels.size(); ++i) {
    stem_w_.push_back(add(cat("stem", i, "_w"), {channels[i + 1], channels[i], 3, 3}));
    stem_b_.push_back(add(cat("stem", i, "_b"), {channels[i + 1]}));
  }
  patch_position_ = add("patch_position", {kPatches, d});
  merge_norm_w_ = add("merge_norm_w", {4 * d});
  merge_norm_b_ = add("merge_norm_b", {4 * d});
  merge_w_ = add("merge_w", {d, 4 * d});
  merge_b_ = add("merge_b", {d});
  token_weight_ = add("token_embedding", {vocabulary(), d});
  ego_w_ = add("ego_w", {d, 2});
  ego_b_ = add("ego_b", {d});
  final_norm_w_ = add("final_norm_w", {d});
  final_norm_b_ = add("final_norm_b", {d});
  head_w_ = add("head_w", {vocabulary(), d});
  action_w_ = add("action_w", {d, 2});
  action_b_ = add("action_b", {d});
  action_position_ = add("action_position", {kWaypointTokens, d});
  time_w1_ = add("time1_w", {d, 2 * kTimeWaves});
  time_b1_ = add("time1_b", {d});
  time_w2_ = add("time2_w", {d, d});
  time_b2_ = add("time2_b", {d});
  action_norm_w_ = add("action_norm_w", {d});
  action_norm_b_ = add("action_norm_b", {d});
  action_out_w_ = add("action_out_w", {2, d});
  action_out_b_ = add("action_out_b", {2});
  auxiliary_w_ = add("auxiliary_w", {kAuxiliary, d});
  auxiliary_b_ = add("auxiliary_b", {kAuxiliary});
  const auto tower = [&](const char* name, std::int64_t layers, std::int64_t kv_heads,
                         bool rotated) {
    std::vector<std::shared_ptr<Block>> out;
    out.reserve(static_cast<std::size_t>(layers));
    for (std::int64_t i = 0; i < layers; ++i) {
      out.push_back(register_module(
          cat(name, i), std::make_shared<Block>(config, kv_heads, rotated, layer_prefix(name, i))));
    }
    return out;
  };
  vision_ = tower("vision", config.vision_layers, config.heads, false);
  vlm_ = tower("vlm", config.layers, config.kv_heads, true);
  expert_ = tower("expert", config.layers, config.kv_heads, true);

  const CounterRandom random(seed, "zoo weights");
  std::uint64_t index = 0;
  for (const auto& item : named_parameters()) {
    const std::string& name = item.key();
    at::Tensor weight = item.value();
    const bool is_bias = name.ends_with("_b");
    const bool is_gain = name.find("norm_w") != std::string::npos;
    auto* value = weight.mutable_data_ptr<float>();
    // the spread that torch's own layers start with, sqrt(1 / (3 inputs))
    const std::int64_t inputs = weight.dim() < 2 ? 0 : weight.numel() / weight.size(0);
    double spread = inputs == 0 ? 0 : 1 / std::sqrt(3.0 * static_cast<double>(inputs));
    if (name == "token_embedding") spread = .5;
    if (name == "patch_position") spread = .02;
    if (name == "action_position") spread = .3;
    for (std::int64_t i = 0; i < weight.numel(); ++i) {
      const double drawn =
          is_bias || is_gain ? 0 : spread * random.normal(index, 0, static_cast<std::uint32_t>(i));
      value[i] = static_cast<float>(is_gain ? 1 : drawn);
    }
    ++index;
  }

  const std::int64_t half = config.head_width() / 2;
  at::Tensor real = at::empty({kPositions, half}, at::kDouble);
  at::Tensor imaginary = at::empty({kPositions, half}, at::kDouble);
  for (std::int64_t p = 0; p < kPositions; ++p) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) *
                           std::pow(kRopeBase, -static_cast<double>(i) / static_cast<double>(half));
      real.mutable_data_ptr<double>()[p * half + i] = std::cos(angle);
      imaginary.mutable_data_ptr<double>()[p * half + i] = std::sin(angle);
    }
  }
  turns_ = register_buffer("turns", at::complex(real, imaginary).to(at::kComplexFloat));
}

at::Tensor Network::graph_input(at::Tensor x) const {
  if (graph_inputs_ && !x.requires_grad()) x.requires_grad_(true);
  return x;
}

at::Tensor Network::image_tokens(const at::Tensor& image) const {
  // Brightness is scaled by 1/64 in the first layer's weights, which costs less than in the
  // picture.
  at::Tensor x = at::empty(image.sizes(), options().memory_format(at::MemoryFormat::ChannelsLast))
                     .copy_(image);
  x = graph_input(x);
  x = at::relu(at::conv2d(x, stem_w_[0].mul(1. / 64), stem_b_[0], 2, 1));
  x = at::relu(at::conv2d(x, stem_w_[1], stem_b_[1], 2, 1));
  x = at::conv2d(x, stem_w_[2], stem_b_[2], 2, 1);
  x = x.flatten(2).transpose(1, 2).add(patch_position_);
  for (const auto& block : vision_) {
    x = point(std::move(x), block->resid_pre());
    const Projected p = block->project(x, {});
    x = block->finish(x, attend(p.query, p.key, p.value, {}, false, &block->pattern()));
  }
  // 6 x 12 patches are merged two by two
  const std::int64_t d = config_.width;
  x = x.view({-1, 3, 2, 6, 2, d}).permute({0, 1, 3, 2, 4, 5}).reshape({-1, kImageTokens, 4 * d});
  return at::linear(normed(x, merge_norm_w_, merge_norm_b_), merge_w_, merge_b_);
}

at::Tensor Network::image_embeds(const at::Tensor& image_tokens) const {
  return point(image_tokens, image_embeds_);
}

at::Tensor Network::embed(const at::Tensor& tokens) const {
  return graph_input(at::embedding(token_weight_, tokens));
}

at::Tensor Network::prefix(const at::Tensor& image_tokens, const at::Tensor& ego,
                           const at::Tensor& navigation, const at::Tensor& framing) const {
  const std::int64_t rows = image_tokens.size(0);
  const at::TensorOptions integers = navigation.options();
  const std::int64_t first = zoo::framing_tokens(0)[0];
  const at::Tensor prompt =
      at::cat({framing.mul(zoo::kFramingTokens)
                   .add(first)
                   .unsqueeze(1)
                   .add(at::arange(zoo::kFramingTokens, integers)),
               navigation.add(zoo::navigation_token(static_cast<zoo::Navigation>(0))).unsqueeze(1)},
              1);
  // speeds lie in 8 to 15 m/s, accelerations in -1 to 1 m/s^2
  const at::Tensor speed = ego.select(2, 0).sub(11.5).mul(.5);
  const at::Tensor acceleration = ego.select(2, 1).mul(1.7);
  const at::Tensor state =
      at::cat({speed.unsqueeze(2), acceleration.unsqueeze(2)}, 2).to(token_weight_.dtype());
  return at::cat({embed(prompt), image_tokens, graph_input(at::linear(state, ego_w_, ego_b_)),
                  embed(at::full({rows, 1}, zoo::kCot, integers))},
                 1);
}

at::Tensor Network::language(at::Tensor hidden, Memory& memory,
                             const std::vector<at::Tensor>& masks) const {
  const std::int64_t begin = memory.front().length();
  const std::int64_t tokens = hidden.size(1);
  const at::Tensor positions = turn(begin, tokens);
  for (std::size_t i = 0; i < vlm_.size(); ++i) {
    const Block& block = *vlm_[i];
    hidden = point(std::move(hidden), block.resid_pre());
    const Projected p = block.project(hidden, positions);
    memory[i].append(p.key, p.value);
    // a single token sees all that came before; several are never asked for behind others
    const bool causal = masks.empty() && tokens > 1;
    hidden = block.finish(
        hidden, attend(p.query, memory[i].key(), memory[i].value(),
                       masks.empty() ? at::Tensor() : masks[i], causal, &block.pattern()));
  }
  return hidden;
}

at::Tensor Network::logits(const at::Tensor& hidden) const {
  return point(at::linear(point(normed(hidden, final_norm_w_, final_norm_b_), norm_site_), head_w_),
               logits_site_);
}

at::Tensor Network::expert(const at::Tensor& noisy, const at::Tensor& time, Memory& memory,
                           const std::vector<at::Tensor>& masks, const at::Tensor& turn) const {
  const at::Tensor waves = at::arange(kTimeWaves, time.options()).sub(1).exp2();
  const at::Tensor angle = time.unsqueeze(1).mul(waves).mul(std::numbers::pi);
  const at::Tensor moment =
      at::linear(at::silu(at::linear(at::cat({angle.sin(), angle.cos()}, 1), time_w1_, time_b1_)),
                 time_w2_, time_b2_);
  at::Tensor hidden = graph_input(
      at::linear(noisy, action_w_, action_b_).add(action_position_).add(moment.unsqueeze(1)));
  for (std::size_t i = 0; i < expert_.size(); ++i) {
    const Block& block = *expert_[i];
    hidden = point(std::move(hidden), block.resid_pre());
    const Projected p = block.project(hidden, turn);
    const auto [key, value] = memory[i].with(p.key, p.value);
    hidden = block.finish(hidden, attend(p.query, key, value, masks[i], false, &block.pattern()));
  }
  return at::linear(normed(hidden, action_norm_w_, action_norm_b_), action_out_w_, action_out_b_);
}

at::Tensor Network::auxiliary(const at::Tensor& image_tokens) const {
  return at::linear(image_tokens.mean(1), auxiliary_w_, auxiliary_b_);
}

at::Tensor Network::turn(std::int64_t begin, std::int64_t count) const {
  return turns_.narrow(0, begin, count).unsqueeze(1);
}

at::Tensor Network::turn_at(const at::Tensor& positions) const {
  return turns_.index_select(0, positions.flatten())
      .view({positions.size(0), positions.size(1), 1, turns_.size(1)});
}

}  // namespace tierod::internal
