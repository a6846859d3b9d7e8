#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"

namespace tierod {

/// Accumulate count, mean and (co)variance of rows in one pass, in f64 whatever the input's dtype.
///
/// Batches are combined by the pairwise update of Chan, Golub & LeVeque (1979), "Updating formulae
/// and a pairwise algorithm for computing sample variances", equations 2.1: numerically stable, and
/// accumulators of disjoint data merge to the accumulator of all of it.
class TIEROD_API Moments {
 public:
  /// Keep the full covariance [d, d] instead of the variances [d].
  explicit Moments(bool covariance = false) : covariance_(covariance) {}

  /// Add rows [n, d] of any floating dtype on any device; n may be 0.
  /// @throws InvalidArgument unless 2-D, floating, and as wide as the rows before.
  /// @throws NumericalError if a value is NaN or infinite; nothing is added then.
  void update(const at::Tensor& rows);

  /// Add everything that `other` has seen.
  /// @throws InvalidArgument if widths or kinds differ.
  void merge(const Moments& other);

  std::int64_t count() const noexcept { return count_; }
  /// Return the number of columns d, 0 before the first rows.
  std::int64_t width() const;
  bool has_covariance() const noexcept { return covariance_; }

  /// Return the mean [d], f64. @throws StateError before the first row.
  at::Tensor mean() const;
  /// Return the variances [d] with n - `ddof` in the denominator, f64.
  /// @throws StateError with no more than `ddof` rows.
  at::Tensor variance(std::int64_t ddof = 1) const;
  /// Return the covariance [d, d] with n - `ddof` in the denominator, f64.
  /// @throws StateError if it was not asked for, or with no more than `ddof` rows.
  at::Tensor covariance(std::int64_t ddof = 1) const;

 private:
  void combine(std::int64_t count, const at::Tensor& mean, const at::Tensor& scatter);

  bool covariance_;
  std::int64_t count_ = 0;
  at::Tensor mean_;     // [d]
  at::Tensor scatter_;  // sum of squared (or cross) deviations: [d] or [d, d]
};

}  // namespace tierod
