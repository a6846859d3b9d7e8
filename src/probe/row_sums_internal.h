#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace tierod::internal {

// Note [Sums of products]
// Rows are taken about a fixed point near their mean, so that a large mean costs no digits: h - c
// is exact to the last digit of h. Products of up to kBlockRows rows are summed in the rows' own
// arithmetic (f32 for f32, f16 and bf16), their sums in f64: an element (i, j) of the result is off
// by about 2e-7 sqrt(g_ii g_jj), whatever the number of rows. The matrix is symmetric, and only the
// lower triangle is computed: f32 by `add_syrk`, else by strips from the diagonal down (7/12 of the
// work at six strips).

/// Rows whose products are summed before they go to f64.
inline constexpr std::int64_t kBlockRows = 1024;
/// Error of an element (i, j) of an f32 Gram matrix over sqrt(g_ii g_jj). Measured: 2e-7, and 4e-6
/// for coarse values (bf16 far from 0), whose roundings repeat instead of cancelling.
inline constexpr double kSingleRounding = 5e-6;
inline constexpr double kDoubleRounding = 1e-13;

/// Hold sums over rows about a fixed point, f64. Numbers of rows are signed: what was taken away
/// counts as negative.
struct RowSums {
  RowSums() = default;
  explicit RowSums(std::int64_t width);

  bool empty() const { return first.empty(); }
  std::int64_t width() const { return static_cast<std::int64_t>(first.size()); }

  /// Add `sign` times the products of shifted rows [n, d], f32 or f64, contiguous.
  void add_products(const at::Tensor& rows);
  void subtract_products(const at::Tensor& rows);
  /// Add `first` and the number of rows alone.
  void add(const RowSums& other, double sign = 1);
  /// Move the fixed point: rows h - c become h - c + delta.
  void move(std::span<const double> delta);

  double rows = 0;
  std::vector<double> first;  ///< [d] sum of h - c
  std::vector<double> gram;   ///< [d, d], the lower triangle holds the sum of (h - c)(h - c)'

 private:
  void products(const at::Tensor& rows, double sign);
};

/// Return the lower triangle, less n mean mean', as a full symmetric matrix [d, d].
at::Tensor scatter_of(const RowSums& sums);

/// Yield blocks of selected rows about a fixed point, converted once each.
class ShiftedRows {
 public:
  /// `rows` [n, d] floating on the CPU; `centre` [d] f64; `type` kFloat or kDouble.
  ShiftedRows(const at::Tensor& rows, const at::Tensor& centre, at::ScalarType type);
  /// Return a view of rows [begin, end) less the centre; it lives until the next call.
  at::Tensor range(std::int64_t begin, std::int64_t end);
  /// Return the rows of an index, at most kBlockRows of them.
  at::Tensor pick(std::span<const std::int64_t> index);

 private:
  at::Tensor shifted(const at::Tensor& rows);
  at::Tensor rows_, centre_, scratch_;
};

}  // namespace tierod::internal
