#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/zoo/scene.h"
#include "tierod/zoo/spec.h"

namespace tierod::internal {

/// Hold one batch to learn from.
struct Lesson {
  at::Tensor image;         ///< uint8 [rows, 3, 48, 96]
  at::Tensor ego;           ///< f32 [rows, 4, 2]
  at::Tensor navigation;    ///< int64 [rows]
  at::Tensor framing;       ///< int64 [rows]
  at::Tensor cot;           ///< int64 [rows, longest], padded with kPad
  at::Tensor cot_target;    ///< int64 [rows, longest]; -100 where nothing is to be learned
  at::Tensor act;           ///< int64 [rows], place of <act> in the row
  at::Tensor action_begin;  ///< int64 [rows], position of the first waypoint
  at::Tensor actions;       ///< f32 [rows, 16, 2], the law's, in units of their spread
  at::Tensor noise;         ///< f32 [rows, 16, 2]
  at::Tensor time;          ///< f32 [rows]
  /// f32 [rows, kAuxiliary], and which of it counts.
  at::Tensor auxiliary;
  at::Tensor auxiliary_counts;
};

/// Draw lesson `step`: a function of (spec, seed, step, rows, flipped_rows) alone. Scenes are never
/// seen twice.
///
/// What steers is planted by counterfactual statements: in a share of the rows statements are
/// flipped, so that words and picture disagree, and the law says which of the two acts. Such words
/// are not to be imitated.
Lesson draw_lesson(const zoo::Spec& spec, const zoo::SceneGenerator& scenes, std::uint64_t seed,
                   std::int64_t step, std::int64_t rows, double flipped_rows);

/// Return which columns of the cache the expert may read: bool [rows, columns], from the place of
/// <act> in each row, int64 [rows].
at::Tensor visible_columns(zoo::Mask mask, const at::Tensor& act, std::int64_t columns);

/// Return what attention adds to its scores, [rows, 1, 1, columns + 16], so that waypoints see the
/// columns that `visible` allows, and each other.
at::Tensor expert_mask(const at::Tensor& visible, at::ScalarType dtype);

}  // namespace tierod::internal
