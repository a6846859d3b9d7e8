#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"
#include "tierod/probe/fit_report.h"
#include "tierod/stats/moments.h"

namespace tierod::probe {

/// Remove what a linear function can read of concepts, by the affine map
/// r(x) = x - left (right (x - mean)).
class TIEROD_API Eraser {
 public:
  /// Return erased rows [n, d], in their own dtype and on their device.
  /// @throws InvalidArgument unless floating rows of this width.
  at::Tensor apply(const at::Tensor& rows) const;

  /// Return copies, f64: left [d, k], right [k, d], mean [d]. right left is the identity [k, k].
  at::Tensor left() const { return left_.clone(); }
  at::Tensor right() const { return right_.clone(); }
  at::Tensor mean() const { return mean_.clone(); }
  /// Return the number k of dimensions removed.
  std::int64_t rank() const { return left_.size(1); }
  std::int64_t width() const { return mean_.size(0); }
  const FitReport& report() const noexcept { return report_; }

 private:
  friend class LeaceFitter;
  Eraser() = default;
  at::Tensor left_, right_, mean_;
  FitReport report_;
};

struct TIEROD_API LeaceOptions {
  /// Weight gamma of tr(S)/d I in the covariance; below 0: the estimate of Chen, Wiesel, Eldar &
  /// Hero (2010), "oracle approximating shrinkage", which needs no rows.
  double shrinkage = -1;
  /// Singular values of the whitened cross-covariance, with labels standardised, below this share
  /// of the largest are taken as 0.
  double tolerance = 1e-6;
};

/// Fit least-squares concept erasure (Belrose et al. 2023, "LEACE", theorem 4.3): of all affine
/// maps after which no linear function of x says anything of z, the one that moves x least on
/// average, r(x) = x - W+ P W (x - mean) with W the whitening of x and P the projector on the
/// columns of W Cov(x, z). Statistics are f64; labels are standardised first, so that a rare
/// concept is not lost to a tolerance.
class TIEROD_API LeaceFitter {
 public:
  /// Add rows x [n, d] and their concepts z [n, k], numbers of any kind (0/1, one-hot, real).
  /// @throws InvalidArgument unless floating and of matching shapes; NumericalError if a value is
  /// not
  ///         finite. Nothing is added then.
  void update(const at::Tensor& x, const at::Tensor& z);
  /// Add everything that `other` has seen. @throws InvalidArgument if widths differ.
  void merge(const LeaceFitter& other);

  std::int64_t rows() const noexcept { return moments_.count(); }

  /// Return the eraser. With shrinkage the training covariance of erased x and z is still 0; what
  /// changes is how far x moves.
  /// @throws StateError with fewer than 2 rows.
  /// @throws InvalidArgument if shrinkage > 1, or the tolerance is not inside (0, 1).
  /// @throws NumericalError if a column of z is constant (named), x is constant, or z does not
  ///         correlate with x at all.
  Eraser finish(const LeaceOptions& options = {}) const;

 private:
  std::int64_t width_ = 0;  // of x
  Moments moments_{true};   // of [x, z] side by side
};

}  // namespace tierod::probe
