#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tierod/core/site.h"
#include "tierod/hook/hook_point.h"
#include "tierod/zoo/concepts.h"
#include "tierod/zoo/language.h"

// The network of the zoo. torch::nn is seen by the few files that include this one alone.
namespace tierod::internal {

/// Fix the sizes of the network. Stored with the weights.
struct NetworkConfig {
  std::int64_t width = 64;
  std::int64_t layers = 3;  ///< of the language model and of the expert
  std::int64_t heads = 4;
  std::int64_t kv_heads = 2;
  std::int64_t feed_forward = 192;
  std::int64_t vision_layers = 1;
  std::int64_t channels = 16;      ///< after the first convolution
  std::int64_t denoise_steps = 4;  ///< Euler steps

  std::int64_t head_width() const { return width / heads; }
  std::string to_json() const;
  /// @throws InvalidArgument on unknown keys and on sizes that do not fit each other.
  static NetworkConfig from_json(const std::string& json, std::string_view where);
  bool operator==(const NetworkConfig&) const = default;
};

// Positions of a row: prompt | image | ego | <cot> | words ... <act> | padding | waypoints.
inline constexpr std::int64_t kPromptTokens = zoo::kFramingTokens + 1;
inline constexpr std::int64_t kPatches = 72;
inline constexpr std::int64_t kImageTokens = 18;
inline constexpr std::int64_t kEgoTokens = 4;
inline constexpr std::int64_t kImageBegin = kPromptTokens;
inline constexpr std::int64_t kEgoBegin = kImageBegin + kImageTokens;
inline constexpr std::int64_t kCotStart = kEgoBegin + kEgoTokens;
inline constexpr std::int64_t kPrefix = kCotStart + 1;
inline constexpr std::int64_t kWaypointTokens = 16;
/// Position of the first waypoint where it does not depend on the length of the CoT.
inline constexpr std::int64_t kPinnedAction = kPrefix + zoo::kMaxCot;
inline constexpr std::int64_t kPositions = kPinnedAction + kWaypointTokens;

// Actions are predicted in units of their spread.
inline constexpr double kAccelerationMean = -.8;
inline constexpr double kAccelerationScale = 1.7;
inline constexpr double kCurvatureScale = .005;

/// What the auxiliary head reads from the mean image token: presence of the concepts and of the
/// stop line, nearness of the concepts, and the curvature of the lane.
inline constexpr std::int64_t kAuxiliary = 2 * static_cast<std::int64_t>(zoo::kConcepts) + 2;

#ifdef TIEROD_ZOO_WITHOUT_HOOKS
// for the bench alone: what the same network costs without hook points
inline const at::Tensor& point(const at::Tensor& x, const Site& /*site*/) { return x; }
inline at::Tensor point(at::Tensor&& x, const Site& /*site*/) { return std::move(x); }
inline bool wanted(const Site& /*site*/) { return false; }
#else
inline at::Tensor point(const at::Tensor& x, const Site& site) { return hook_point(x, site); }
inline at::Tensor point(at::Tensor&& x, const Site& site) { return hook_point(std::move(x), site); }
inline bool wanted(const Site& site) { return is_wanted(site); }
#endif

/// Hold the keys and values that one layer has seen, [rows, kv heads, tokens, head width], keys
/// after their rotation. With a capacity they are written in place; without, every step makes new
/// tensors, which autograd needs.
class LayerMemory {
 public:
  LayerMemory() = default;
  LayerMemory(std::int64_t rows, std::int64_t heads, std::int64_t capacity, std::int64_t head_width,
              const at::TensorOptions& options);

  std::int64_t length() const noexcept { return length_; }
  at::Tensor key() const;
  at::Tensor value() const;
  /// Remember more tokens.
  void append(const at::Tensor& key, const at::Tensor& value);
  /// Go on with others in place of what is remembered.
  void replace(const at::Tensor& key, const at::Tensor& value);
  /// Return what is remembered with more tokens behind it, which are not remembered.
  std::pair<at::Tensor, at::Tensor> with(const at::Tensor& key, const at::Tensor& value);

 private:
  at::Tensor key_;
  at::Tensor value_;
  std::int64_t length_ = 0;
  bool in_place_ = false;
};
using Memory = std::vector<LayerMemory>;

/// Queries, keys, and values [rows, heads, tokens, head width]; queries and keys after their
/// rotation.
struct Projected {
  at::Tensor query, key, value;
};

/// A transformer block before the norms of Qwen3: grouped queries, and a norm on queries and keys
/// where positions are rotated.
class Block : public torch::nn::Module {
 public:
  Block(const NetworkConfig& config, std::int64_t kv_heads, bool rotated,
        const std::string& prefix);

  /// @param x     [rows, tokens, width], the residual stream
  /// @param turn  complex [tokens or rows x tokens, 1, head width / 2]; undefined: no positions
  Projected project(const at::Tensor& x, const at::Tensor& turn) const;
  /// Add what attention mixed, [rows, heads, tokens, head width], and the feed-forward part.
  at::Tensor finish(const at::Tensor& x, const at::Tensor& mixed) const;
  const Site& resid_pre() const { return sites_.resid_pre; }
  const Site& pattern() const { return sites_.pattern; }

 private:
  std::int64_t heads_, kv_heads_, head_width_;
  bool rotated_;
  at::Tensor attention_norm_w_, attention_norm_b_, qkv_, query_norm_, key_norm_, out_;
  at::Tensor mlp_norm_w_, mlp_norm_b_, up_w_, up_b_, down_w_, down_b_;
  struct Sites {
    explicit Sites(const std::string& prefix);
    Site resid_pre, q, k, v, pattern, attn_out, resid_mid, mlp_out, resid_post;
  } sites_;
};

/// Mix values by attention. `mask` is added to the scores [rows or 1, heads or 1, queries or 1,
/// keys]; undefined: none. Its weights are made, in a way that rounds otherwise and costs many
/// times as much, only where a session looks at the site `pattern`.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const at::Tensor& mask, bool causal = false, const Site* pattern = nullptr);

/// Picture -> image tokens; framing, navigation, image, ego history and <cot> -> causal language
/// model -> its cache; noisy actions -> expert that reads the cache layer by layer -> actions.
class Network : public torch::nn::Module {
 public:
  /// Draw the weights from counters: the same on every machine.
  Network(const NetworkConfig& config, std::uint64_t seed);

  const NetworkConfig& config() const noexcept { return config_; }
  at::TensorOptions options() const { return token_weight_.options().requires_grad(false); }
  /// Start the graph of a differentiable run at every input that has none.
  void set_graph_inputs(bool on) noexcept { graph_inputs_ = on; }
  bool graph_inputs() const noexcept { return graph_inputs_; }

  /// @param image  uint8 [rows, 3, 48, 96]
  /// @return [rows, 18, width]
  at::Tensor image_tokens(const at::Tensor& image) const;
  /// Pass image tokens through the hook point of the language model's input.
  at::Tensor image_embeds(const at::Tensor& image_tokens) const;
  /// Return the input of the language model [rows, kPrefix, width].
  /// @param image_tokens  [rows, 18, width]
  /// @param ego           [rows, 4, 2]: m/s, m/s^2
  /// @param navigation    int64 [rows]
  /// @param framing       int64 [rows]
  at::Tensor prefix(const at::Tensor& image_tokens, const at::Tensor& ego,
                    const at::Tensor& navigation, const at::Tensor& framing) const;
  /// Return the embedding of tokens int64 [rows, tokens].
  at::Tensor embed(const at::Tensor& tokens) const;
  /// Run the language model over hidden [rows, tokens, width], which follow what `memory` holds.
  /// @param masks  of each layer, or empty: each token sees itself and what came before
  at::Tensor language(at::Tensor hidden, Memory& memory,
                      const std::vector<at::Tensor>& masks = {}) const;
  /// Return the final norm's output and the logits over the next token.
  at::Tensor logits(const at::Tensor& hidden) const;
  /// Return the actions [rows, 16, 2], in units of their spread, that the noisy ones come from.
  /// @param time  [rows or 1]
  /// @param turn  positions, as `turn_at` returns them
  at::Tensor expert(const at::Tensor& noisy, const at::Tensor& time, Memory& memory,
                    const std::vector<at::Tensor>& masks, const at::Tensor& turn) const;
  /// Return what the auxiliary head reads, [rows, kAuxiliary].
  at::Tensor auxiliary(const at::Tensor& image_tokens) const;

  /// Return the rotation of `count` positions from `begin` on.
  at::Tensor turn(std::int64_t begin, std::int64_t count) const;
  /// Return the rotation of positions int64 [rows, tokens].
  at::Tensor turn_at(const at::Tensor& positions) const;
  const std::vector<std::shared_ptr<Block>>& vlm() const noexcept { return vlm_; }

 private:
  at::Tensor graph_input(at::Tensor x) const;

  NetworkConfig config_;
  bool graph_inputs_ = false;
  std::vector<at::Tensor> stem_w_, stem_b_;
  at::Tensor patch_position_, merge_norm_w_, merge_norm_b_, merge_w_, merge_b_;
  at::Tensor token_weight_, ego_w_, ego_b_;
  at::Tensor final_norm_w_, final_norm_b_, head_w_;
  at::Tensor action_w_, action_b_, action_position_, time_w1_, time_b1_, time_w2_, time_b2_;
  at::Tensor action_norm_w_, action_norm_b_, action_out_w_, action_out_b_;
  at::Tensor auxiliary_w_, auxiliary_b_;
  at::Tensor turns_;
  std::vector<std::shared_ptr<Block>> vision_, vlm_, expert_;
  Site image_embeds_, norm_site_, logits_site_;
};

}  // namespace tierod::internal
