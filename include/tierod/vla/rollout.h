#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/span.h"
#include "tierod/export.h"

namespace tierod::vla {

/// Cut what the tokens of one span read from another: the attention of `readers` to `columns` is
/// masked at equal length, in the chosen layers and heads. Nothing is deleted, no position moves.
struct TIEROD_API Knockout {
  /// Span whose keys and values are hidden: "image 0", "cot", "concept pedestrian", ...
  std::string columns;
  /// Span whose queries no longer see them: "action" for what the control head reads.
  std::string readers = "action";
  /// Layers of the reading tower; empty: all.
  std::vector<std::int64_t> layers{};
  /// Query heads; empty: all.
  std::vector<std::int64_t> heads{};
};

/// Say how a rollout is to be done. A model that cannot do a thing refuses it: nothing asked for is
/// silently left out.
struct TIEROD_API RolloutOptions {
  /// Rows j of a scene: row r = b * num_samples + j.
  std::int64_t num_samples = 1;
  /// Teacher-forced CoT, int64 [rows, length], rows padded with -1; absent: the model writes.
  std::optional<at::Tensor> cot_tokens{};
  /// Action noise [rows, waypoints, 2]; absent: drawn from (seed, scene id, sample).
  std::optional<at::Tensor> noise{};
  /// Of the sampled CoT; 0 takes the most likely token.
  double temperature = 1;
  /// Tokens and action noise have separate generators, so that a pair of runs shares both.
  std::uint64_t seed = 0;
  /// One of SceneSource::framings(); empty: the model's own prompt.
  std::string framing{};
  std::vector<Knockout> knockouts{};
  /// Pad every CoT with masked tokens to this many; absent: the longest of the batch. Where the
  /// length of the CoT moves the positions of what follows, comparisons need equal ones.
  std::optional<std::int64_t> cot_length{};
  /// Put the action tokens at positions that do not depend on the length of the CoT.
  bool pin_action_positions = false;
  /// Keep the graph from the inputs and sites to `actions`. The CoT's tokens are constants in it.
  bool differentiable = false;

  /// Throw unless the options agree with each other and with `scenes` scenes.
  /// @throws InvalidArgument that names the option.
  void check(std::int64_t scenes) const;
};

/// Hold what a model said and would do; row r = b * num_samples + j.
struct TIEROD_API Rollout {
  /// int64 [rows, length], rows padded with -1; [rows, 0] for a model that says nothing.
  at::Tensor cot_tokens{};
  /// int64 [rows], tokens of each CoT without padding.
  at::Tensor cot_lengths{};
  std::vector<std::string> cot_text{};
  /// int64 [rows], j.
  at::Tensor sample_index{};
  std::int64_t num_samples = 1;
  double dt_s = 0;
  /// [rows], m/s.
  at::Tensor initial_speed{};
  /// [rows, waypoints, 2]: acceleration in m/s^2, curvature in 1/m (left > 0). Braking is negative
  /// acceleration.
  at::Tensor actions{};
  /// [rows, waypoints, 3]: x forward, y left in m, yaw counter-clockwise in rad; waypoint k is
  /// reached at (k + 1) dt.
  at::Tensor trajectory{};
  /// By row: "prompt", "image <i>", "ego", "cot", "concept <id>" (each stated concept's words),
  /// "decision", "post_cot", "action"; half-open ranges of absolute token positions.
  SpanTable spans{};

  std::int64_t rows() const { return actions.defined() ? actions.size(0) : 0; }
  std::int64_t waypoints() const { return actions.defined() ? actions.size(1) : 0; }
  double horizon_s() const { return static_cast<double>(waypoints()) * dt_s; }
  /// Throw unless the shapes agree and the numbers are finite.
  /// @throws InvalidArgument on a shape, NumericalError naming the row on NaN or Inf.
  void check() const;
};

/// Put rollouts of several batches behind each other; shorter CoTs are padded with -1.
/// @throws InvalidArgument if there is none, or they differ in num_samples, dt or waypoints,
///         or in having spans.
TIEROD_API Rollout concatenate_rollouts(const std::vector<Rollout>& parts);

}  // namespace tierod::vla
