#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/fit_report.h"
#include "tierod/probe/fold_statistics.h"

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
  /// Columns of z to erase, in any order; empty: all. One pass serves any number of concept sets.
  std::vector<std::int64_t> columns;
};

/// Remove concepts from rows whose concepts are known: r(x, z) = x - Cov(x, z) Cov(z, z)+ (z - mean
/// z), "oracle LEACE" (Belrose et al. 2023, section 4.3). It leaves x uncorrelated with z and,
/// knowing z, moves x less than any map of x alone.
class TIEROD_API OracleEraser {
 public:
  /// Return erased rows [n, d], in their own dtype and on their device.
  /// @throws InvalidArgument unless floating rows of this width and z [n, k].
  at::Tensor apply(const at::Tensor& rows, const at::Tensor& z) const;

  /// Return copies, f64: slope [d, k], mean of z [k].
  at::Tensor slope() const { return slope_.clone(); }
  at::Tensor mean() const { return mean_.clone(); }
  std::int64_t width() const { return slope_.size(0); }
  const FitReport& report() const noexcept { return report_; }

 private:
  friend class LeaceFitter;
  OracleEraser() = default;
  at::Tensor slope_, mean_;
  FitReport report_;
};

/// Fit least-squares concept erasure (Belrose et al. 2023, "LEACE", theorem 4.3): of all affine
/// maps after which no linear function of x says anything of z, the one that moves x least on
/// average, r(x) = x - W+ P W (x - mean) with W the whitening of x and P the projector on the
/// columns of W Cov(x, z). Sums are f64; labels are standardised first, so that a rare concept is
/// not lost to a tolerance.
class TIEROD_API LeaceFitter {
 public:
  explicit LeaceFitter(Precision precision = Precision::automatic);
  LeaceFitter(const LeaceFitter& other);
  LeaceFitter& operator=(const LeaceFitter& other);
  LeaceFitter(LeaceFitter&& other) noexcept;
  LeaceFitter& operator=(LeaceFitter&& other) noexcept;
  ~LeaceFitter();

  /// Add rows x [n, d] and their concepts z [n, k], numbers of any kind (0/1, one-hot, real).
  /// @throws InvalidArgument unless floating and of matching shapes; NumericalError if a value is
  /// not
  ///         finite. Nothing is added then.
  void update(const at::Tensor& x, const at::Tensor& z);
  /// Add everything that `other` has seen. @throws InvalidArgument if widths differ.
  void merge(const LeaceFitter& other);

  std::int64_t rows() const noexcept;

  /// Return the eraser. With shrinkage the training covariance of erased x and z is still 0; what
  /// changes is how far x moves.
  /// @throws StateError with fewer than 2 rows.
  /// @throws InvalidArgument if shrinkage > 1, the tolerance is not inside (0, 1), or a column of z
  ///         does not exist or is named twice.
  /// @throws NumericalError if a column of z is constant (named), x is constant, or z does not
  ///         correlate with x at all.
  Eraser finish(const LeaceOptions& options = {}) const;

  /// Return the eraser that is given z along with x. Columns of z that others explain to within
  /// `tolerance` (of a standard deviation, squared) count once.
  /// @throws as `finish`; the shrinkage is not used.
  OracleEraser finish_oracle(const LeaceOptions& options = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tierod::probe
