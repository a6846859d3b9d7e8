#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/fold_statistics.h"
#include "tierod/probe/linear_probe.h"

namespace tierod::probe {

struct TIEROD_API LogisticOptions {
  /// Stop where the mean log loss plus penalty is estimated to lie no more than this above its
  /// minimum, in nats a row.
  double tolerance = 1e-7;
  /// Passes over the rows after which a fit that is not there yet is given up, and says so.
  std::int64_t max_iterations = 100;
  Precision precision = Precision::automatic;
  /// Whether `fit_folds` also fits on all rows; if not, `all` stays undefined.
  bool refit = true;
};

/// Hold fits of all concepts under all penalties, on all rows and without each fold.
struct TIEROD_API LogisticFits {
  LinearFits all;                   ///< undefined without `refit`
  std::vector<LinearFits> without;  ///< [K]
};

/// Logistic regression: minimise sum log(1 + exp(-z (w'x + b))) + penalty / 2 |w|^2 over the rows
/// with z = 1 for label 1 and -1 for 0, intercept free. Equals scikit-learn's
/// `LogisticRegression(C=1 / penalty)`.
///
/// All concepts, folds and penalties take their steps together, so that a step is two matrix
/// products. The Hessian is modelled as that of normally distributed rows (Brillinger 1982), known
/// from the covariance and a few sums, and corrected by limited-memory BFGS (Nocedal 1980). Fits
/// without a fold start from the fit on all rows; the problem is convex, so that only the stopping
/// tolerance remembers the start.
class TIEROD_API LogisticFitter {
 public:
  /// @throws InvalidArgument unless there are penalties, finite and > 0, a tolerance > 0 and at
  /// least
  ///         one iteration.
  explicit LogisticFitter(std::vector<double> penalties, const LogisticOptions& options = {});

  const std::vector<double>& penalties() const noexcept { return penalties_; }
  const LogisticOptions& options() const noexcept { return options_; }

  /// Fit on all rows.
  /// @param rows    [n, d] of any floating dtype
  /// @param labels  [n, C] row-major, 0, 1, or 255 where the label is missing
  /// @throws InvalidArgument on wrong shapes or labels, or if a concept has a single class (named);
  ///         NumericalError if a row is not finite. A fit that does not converge is returned, with
  ///         `converged` false and a note in its report.
  LinearFits fit(const at::Tensor& rows, std::span<const std::uint8_t> labels) const;

  /// Fit on all rows, and without each fold.
  /// @param folds  [n], each below `fold_count`
  /// @throws as `fit`, also if a concept has a single class without a fold.
  LogisticFits fit_folds(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                         std::span<const std::uint32_t> folds, std::size_t fold_count) const;

 private:
  std::vector<double> penalties_;
  LogisticOptions options_;
};

}  // namespace tierod::probe
