#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"

namespace tierod {

/// Accumulate, in one pass and in f64, how rows x [d] go together with labels z of several
/// concepts: for each concept, over the rows whose label is known, count, means and the
/// cross-covariance.
///
/// Batches are combined by the pairwise update of Chan, Golub & LeVeque (1979), equation 2.1, as in
/// `Moments`; accumulators of disjoint data merge to that of all of it.
class TIEROD_API CrossMoments {
 public:
  /// Add rows [n, d] and labels [n, k]; NaN in a label means that it is not known.
  /// @throws InvalidArgument on other shapes or widths than before; NumericalError if a row is not
  ///         finite or a label infinite; nothing is added then.
  void update(const at::Tensor& rows, const at::Tensor& labels);
  /// Add everything that `other` has seen.
  void merge(const CrossMoments& other);

  bool empty() const noexcept { return !count_.defined(); }
  std::int64_t width() const;
  std::int64_t concepts() const;
  /// Return the number of rows with a known label, int64 [k].
  at::Tensor count() const;
  /// Return the mean of the rows with a known label, f64 [k, d]; NaN where there is none.
  at::Tensor mean_rows() const;
  /// Return the mean label, f64 [k]; NaN where there is none.
  at::Tensor mean_labels() const;
  /// Return the variance of the labels with n - `ddof`, f64 [k]; NaN with no more than `ddof` rows.
  at::Tensor label_variance(std::int64_t ddof = 1) const;
  /// Return the cross-covariance with n - `ddof`, f64 [k, d]; NaN with no more than `ddof` rows.
  at::Tensor cross_covariance(std::int64_t ddof = 1) const;

 private:
  void combine(const CrossMoments& other);
  void need_rows(const char* function) const;
  at::Tensor count_;          // [k], f64
  at::Tensor mean_x_;         // [k, d]
  at::Tensor mean_z_;         // [k]
  at::Tensor cross_;          // [k, d], sum of products of deviations
  at::Tensor label_scatter_;  // [k]
};

}  // namespace tierod
