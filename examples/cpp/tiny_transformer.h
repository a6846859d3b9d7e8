#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tierod/core/site.h"
#include "tierod/hook/site_table.h"

namespace tierod::example {

struct TinyTransformerConfig {
  std::int64_t layers = 4;
  std::int64_t width = 32;
  std::int64_t heads = 4;
  std::int64_t vocab = 64;
  std::int64_t max_tokens = 64;
  std::uint64_t seed = 0;
  at::ScalarType dtype = at::kFloat;
  /// Add attention and MLP outputs into the residual stream's own memory, as fast inference code
  /// does. Not for training.
  bool in_place = false;
};

/// A small decoder-only transformer (pre-norm, learned positions) with a hook point at every place
/// that tierod names. Weights follow from the seed alone, on every machine.
///
/// Sites of layer i: layers.<i>.{resid_pre, q, k, v, attn_out, resid_mid, mlp_out, resid_post};
/// q, k, v are [rows, tokens, heads, head_dim], the others [rows, tokens, width].
class TinyTransformer {
 public:
  explicit TinyTransformer(const TinyTransformerConfig& config = {});

  /// Return logits [rows, tokens, vocab] for tokens [rows, tokens] (long).
  at::Tensor forward(const at::Tensor& tokens) const;

  /// Append `steps` greedily chosen tokens and return them: [rows, steps]. The prompt runs in phase
  /// prefill, which gives the first token; decode step t reads generated token t, at position
  /// prompt + t, from the cache of keys and values. There are steps - 1 decode steps.
  at::Tensor generate(const at::Tensor& tokens, std::int64_t steps) const;

  /// Declare the sites of one forward: each fires exactly once.
  SiteTable site_table() const;
  /// Declare the sites of one generate: each fires once in prefill and steps - 1 times in decode.
  SiteTable generate_site_table(std::int64_t steps) const;

  const TinyTransformerConfig& config() const { return config_; }

  /// Keys and values of earlier tokens, [rows, tokens, heads, head_dim].
  struct KeyValue {
    at::Tensor key, value;
  };
  /// Return what enters the first block: [rows, tokens, width] of tokens at offset, offset + 1, ...
  at::Tensor embed(const at::Tensor& tokens, std::int64_t offset = 0) const;
  /// Run block `index` on x [rows, tokens, width], whose tokens follow those of `cache`, which then
  /// holds theirs as well.
  at::Tensor block(std::size_t index, at::Tensor x, KeyValue& cache) const;
  /// Return logits of what leaves the last block.
  at::Tensor unembed(const at::Tensor& x) const;
  /// Return every weight, for example to ask for gradients.
  std::vector<at::Tensor> weights() const;

 private:
  struct Layer {
    Site resid_pre, q, k, v, attn_out, resid_mid, mlp_out, resid_post;
    at::Tensor qkv_weight, out_weight, up_weight, down_weight;
    at::Tensor attn_gain, attn_bias, mlp_gain, mlp_bias;
  };
  /// Keys and values of one layer: [rows, tokens, heads, head_dim].
  using KvCache = std::vector<KeyValue>;

  at::Tensor run(const at::Tensor& tokens, std::int64_t offset, KvCache& cache) const;
  at::Tensor norm(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& bias) const;
  at::Tensor attention(const Layer& layer, const at::Tensor& x, KeyValue& cache) const;
  SiteTable declare(const std::vector<FireCount>& fires) const;

  TinyTransformerConfig config_;
  std::vector<Layer> layers_;
  at::Tensor token_weight_, position_weight_, head_weight_, final_gain_, final_bias_;
};

}  // namespace tierod::example
