#include "tiny_transformer.h"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "tierod/core/random.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/scope.h"

namespace tierod::example {

namespace {

at::Tensor draw(const TinyTransformerConfig& config, const std::string& name, std::int64_t rows,
                std::int64_t columns, double scale) {
  const CounterRandom random(config.seed, name);
  at::Tensor weight = at::empty({rows, columns}, at::TensorOptions().dtype(at::kDouble));
  auto* value = weight.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      *value++ =
          scale * random.normal(0, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j));
    }
  }
  return weight.to(config.dtype);
}

}  // namespace

TinyTransformer::TinyTransformer(const TinyTransformerConfig& config) : config_(config) {
  if (config.layers < 1 || config.heads < 1 || config.vocab < 1 || config.max_tokens < 1 ||
      config.width < 1 || config.width % config.heads != 0) {
    throw std::invalid_argument(
        "TinyTransformer: expected positive sizes and a width that the heads divide");
  }
  const std::int64_t width = config.width;
  const double scale = 1.0 / std::sqrt(static_cast<double>(width));
  const at::TensorOptions options = at::TensorOptions().dtype(config.dtype);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    const auto site = [&](const char* port, const char* layout) {
      return Site(prefix + port, layout);
    };
    layers_.push_back({.resid_pre = site("resid_pre", "rtw"),
                       .q = site("q", "rthd"),
                       .k = site("k", "rthd"),
                       .v = site("v", "rthd"),
                       .attn_out = site("attn_out", "rtw"),
                       .resid_mid = site("resid_mid", "rtw"),
                       .mlp_out = site("mlp_out", "rtw"),
                       .resid_post = site("resid_post", "rtw"),
                       .qkv_weight = draw(config, prefix + "qkv", width, 3 * width, scale),
                       .out_weight = draw(config, prefix + "out", width, width, scale),
                       .up_weight = draw(config, prefix + "up", width, 4 * width, scale),
                       .down_weight = draw(config, prefix + "down", 4 * width, width, scale / 2),
                       .attn_gain = at::ones({width}, options),
                       .attn_bias = at::zeros({width}, options),
                       .mlp_gain = at::ones({width}, options),
                       .mlp_bias = at::zeros({width}, options)});
  }
  token_weight_ = draw(config, "token", config.vocab, width, 1.0);
  position_weight_ = draw(config, "position", config.max_tokens, width, 0.5);
  head_weight_ = draw(config, "head", width, config.vocab, scale);
  final_gain_ = at::ones({width}, options);
  final_bias_ = at::zeros({width}, options);
}

at::Tensor TinyTransformer::attention(const Layer& layer, const at::Tensor& x,
                                      KeyValue& cache) const {
  const std::int64_t rows = x.size(0);
  const std::int64_t tokens = x.size(1);
  const std::int64_t head_dim = config_.width / config_.heads;
  const at::Tensor qkv =
      at::matmul(x, layer.qkv_weight).view({rows, tokens, 3, config_.heads, head_dim});
  const at::Tensor q = hook_point(qkv.select(2, 0), layer.q);
  at::Tensor k = hook_point(qkv.select(2, 1), layer.k);
  at::Tensor v = hook_point(qkv.select(2, 2), layer.v);
  if (cache.key.defined()) {
    k = at::cat({cache.key, k}, 1);
    v = at::cat({cache.value, v}, 1);
  }
  cache = {k, v};
  // scores [rows, heads, tokens, source tokens]
  at::Tensor scores = at::matmul(q.transpose(1, 2), k.permute({0, 2, 3, 1}))
                          .mul(1.0 / std::sqrt(static_cast<double>(head_dim)));
  const at::Tensor query = at::arange(k.size(1) - tokens, k.size(1)).unsqueeze(1);
  const at::Tensor source = at::arange(k.size(1)).unsqueeze(0);
  scores = scores.masked_fill(source.gt(query), -std::numeric_limits<double>::infinity());
  const at::Tensor mixed = at::matmul(at::softmax(scores, -1), v.transpose(1, 2));
  return at::matmul(mixed.transpose(1, 2).reshape({rows, tokens, config_.width}), layer.out_weight);
}

at::Tensor TinyTransformer::norm(const at::Tensor& x, const at::Tensor& gain,
                                 const at::Tensor& bias) const {
  return at::layer_norm(x, {config_.width}, gain, bias);
}

at::Tensor TinyTransformer::embed(const at::Tensor& tokens, std::int64_t offset) const {
  if (tokens.dim() != 2 || tokens.scalar_type() != at::kLong || tokens.numel() == 0) {
    throw std::invalid_argument("TinyTransformer: expected long tokens [rows, tokens]");
  }
  if (offset + tokens.size(1) > config_.max_tokens) {
    throw std::invalid_argument("TinyTransformer: expected at most " +
                                std::to_string(config_.max_tokens) + " tokens");
  }
  return at::add(at::embedding(token_weight_, tokens),
                 position_weight_.narrow(0, offset, tokens.size(1)));
}

at::Tensor TinyTransformer::block(std::size_t index, at::Tensor x, KeyValue& cache) const {
  const Layer& layer = layers_[index];
  const auto add = [&](at::Tensor& to, const at::Tensor& y) {
    to = config_.in_place ? to.add_(y) : at::add(to, y);
  };
  x = hook_point(std::move(x), layer.resid_pre);
  add(x, hook_point(attention(layer, norm(x, layer.attn_gain, layer.attn_bias), cache),
                    layer.attn_out));
  x = hook_point(std::move(x), layer.resid_mid);
  const at::Tensor hidden =
      at::gelu(at::matmul(norm(x, layer.mlp_gain, layer.mlp_bias), layer.up_weight));
  add(x, hook_point(at::matmul(hidden, layer.down_weight), layer.mlp_out));
  return hook_point(std::move(x), layer.resid_post);
}

at::Tensor TinyTransformer::unembed(const at::Tensor& x) const {
  return at::matmul(norm(x, final_gain_, final_bias_), head_weight_);
}

at::Tensor TinyTransformer::run(const at::Tensor& tokens, std::int64_t offset,
                                KvCache& cache) const {
  at::Tensor x = embed(tokens, offset);
  cache.resize(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) x = block(i, std::move(x), cache[i]);
  return unembed(x);
}

at::Tensor TinyTransformer::forward(const at::Tensor& tokens) const {
  const RunScope scope;
  KvCache cache;
  return run(tokens, 0, cache);
}

at::Tensor TinyTransformer::generate(const at::Tensor& tokens, std::int64_t steps) const {
  if (steps < 1) throw std::invalid_argument("TinyTransformer: expected steps >= 1");
  const RunScope scope;
  KvCache cache;
  std::vector<at::Tensor> generated;
  const auto choose = [&](const at::Tensor& logits) {
    generated.push_back(at::argmax(logits.select(1, logits.size(1) - 1), -1));
  };
  {
    const PhaseScope prefill(Phase::prefill);
    choose(run(tokens, 0, cache));
  }
  for (std::int64_t step = 0; step + 1 < steps; ++step) {
    const std::int64_t position = tokens.size(1) + step;
    const PhaseScope decode(Phase::decode, step, position);
    choose(run(generated.back().unsqueeze(1), position, cache));
  }
  return at::stack(generated, 1);
}

SiteTable TinyTransformer::declare(const std::vector<FireCount>& fires) const {
  std::vector<SiteSpec> specs;
  for (const Layer& layer : layers_) {
    for (const Site& site : {layer.resid_pre, layer.q, layer.k, layer.v, layer.attn_out,
                             layer.resid_mid, layer.mlp_out, layer.resid_post}) {
      specs.push_back({site, fires, {}});
    }
  }
  return SiteTable(std::move(specs));
}

SiteTable TinyTransformer::site_table() const { return declare({FireCount{}}); }

SiteTable TinyTransformer::generate_site_table(std::int64_t steps) const {
  return declare({{.phase = Phase::prefill, .min = 1, .max = 1},
                  {.phase = Phase::decode, .min = steps - 1, .max = steps - 1}});
}

std::vector<at::Tensor> TinyTransformer::weights() const {
  std::vector<at::Tensor> all = {token_weight_, position_weight_, head_weight_, final_gain_,
                                 final_bias_};
  for (const Layer& layer : layers_) {
    for (const at::Tensor& weight :
         {layer.qkv_weight, layer.out_weight, layer.up_weight, layer.down_weight, layer.attn_gain,
          layer.attn_bias, layer.mlp_gain, layer.mlp_bias}) {
      all.push_back(weight);
    }
  }
  return all;
}

}  // namespace tierod::example
