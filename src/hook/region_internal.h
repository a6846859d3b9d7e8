#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/selection.h"
#include "tierod/core/site.h"

namespace tierod::internal {

/// Find the axes of a tensor at a site.
struct Axes {
  std::string layout;
  std::int64_t rows = -1;
  std::int64_t tokens = -1;
  std::int64_t heads = -1;
};

/// Resolve the layout of `x` at `site`.
/// @throws InvalidArgument if the declared layout does not fit.
Axes resolve_axes(const Site& site, const at::Tensor& x);

/// Hold the part of a tensor that a selection chooses, with every index resolved.
///
/// A part is either a rectangle (indices an axis) or, where spans lie differently in different
/// rows, a list of (row, token) pairs, row by row.
struct Region {
  Axes axes;
  std::optional<std::vector<std::int64_t>> rows;
  std::optional<std::vector<std::int64_t>> tokens;
  std::optional<std::vector<std::int64_t>> heads;
  bool ragged = false;
  std::vector<std::int64_t> pair_rows;
  std::vector<std::int64_t> pair_tokens;
  /// Number of pairs in each selected row, where ragged.
  std::vector<std::int64_t> pairs_in_row;
  /// True if positions or spans lie outside of this call: there is nothing to do.
  bool empty = false;

  bool whole() const { return !rows && !tokens && !heads && !ragged && !empty; }
  /// Tell whether every selected row has the same number of tokens.
  bool rectangular() const;
};

/// Return `indices` as a long tensor on the device of `like`.
at::Tensor index_tensor(const std::vector<std::int64_t>& indices, const at::Tensor& like);

/// Resolve `selection` against `x`. `offset` is the absolute position of the first token, absent
/// where unknown.
/// @throws OutOfRange, InvalidArgument, StateError; messages start with `where`.
Region resolve_region(const Selection& selection, const at::Tensor& x, const Site& site,
                      const SpanTable& spans, std::optional<std::int64_t> offset,
                      const std::string& where);

/// Return the chosen part. A rectangle keeps the order of axes; pairs come as [rows, n, ...] with
/// the remaining axes in order where `rectangular()`, else as [pairs, ...]. May be a view of x.
at::Tensor gather(const Region& region, const at::Tensor& x);

/// Return a fresh tensor: x with the chosen part replaced by `values` (the shape of gather()).
/// Everything else keeps its bits. Differentiable.
at::Tensor scatter(const Region& region, const at::Tensor& x, const at::Tensor& values);

}  // namespace tierod::internal
