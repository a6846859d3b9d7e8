#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/fit_report.h"
#include "tierod/probe/fold_statistics.h"

namespace tierod::probe {

/// Hold linear probes of C concepts under P settings (penalties, shrinkages): score of a row h is
/// weights' h + intercept, and larger means more likely 1.
struct TIEROD_API LinearFits {
  at::Tensor weights;              ///< [P, C, d], f64
  at::Tensor intercepts;           ///< [P, C], f64
  std::vector<FitReport> reports;  ///< [P, C], row-major

  std::int64_t settings() const { return weights.size(0); }
  std::int64_t concepts() const { return weights.size(1); }
  std::int64_t width() const { return weights.size(2); }
  /// @throws OutOfRange if there is no such setting or concept.
  const FitReport& report(std::int64_t setting, std::int64_t concept_index) const;

  /// Return the scores [P, C, n], f64, of rows [n, d].
  /// @throws InvalidArgument unless floating rows of this width.
  at::Tensor scores(const at::Tensor& rows) const;
};

/// Fit linear probes from sufficient statistics. Derive from it to add a kind of probe.
class TIEROD_API LinearFitter {
 public:
  LinearFitter() = default;
  LinearFitter(const LinearFitter&) = default;
  LinearFitter& operator=(const LinearFitter&) = default;
  virtual ~LinearFitter();

  virtual std::string name() const = 0;
  /// Fit all concepts under all settings of this fitter.
  virtual LinearFits fit(const TrainingStatistics& training) const = 0;
};

/// Ridge regression of the label coded -1 and 1, or of real targets, intercept free: minimise
/// |y - X w - b|^2 + alpha |w|^2 (Hoerl & Kennard 1970). One Cholesky factorisation a penalty
/// serves all concepts. Equals scikit-learn's `RidgeClassifier(alpha)` and `Ridge(alpha)`.
class TIEROD_API RidgeFitter final : public LinearFitter {
 public:
  /// @throws InvalidArgument unless there are penalties, finite and >= 0.
  explicit RidgeFitter(std::vector<double> penalties);
  std::string name() const override { return "ridge"; }
  /// @throws NumericalError where a penalty leaves the system singular (collinear columns, d > n):
  ///         raise it.
  LinearFits fit(const TrainingStatistics& training) const override;

 private:
  std::vector<double> penalties_;
};

/// Linear discriminant analysis with the within-class covariance S shrunk to
/// (1 - gamma) S + gamma tr(S)/d I, S = (scatter within classes) / n. Equals scikit-learn's
/// `LinearDiscriminantAnalysis("lsqr", shrinkage=gamma)`; scores are log odds.
class TIEROD_API LdaFitter final : public LinearFitter {
 public:
  /// @throws InvalidArgument unless there are shrinkages inside [0, 1].
  explicit LdaFitter(std::vector<double> shrinkages);
  std::string name() const override { return "lda"; }
  /// @throws NumericalError where shrinkage 0 meets a singular covariance.
  LinearFits fit(const TrainingStatistics& training) const override;

 private:
  std::vector<double> shrinkages_;
};

/// The direction between class means, with the threshold half-way: the "mass-mean" probe of Marks &
/// Tegmark (2023). It needs no inverse.
class TIEROD_API MeanDifferenceFitter final : public LinearFitter {
 public:
  std::string name() const override { return "mean_difference"; }
  /// @throws NumericalError if the class means of a concept are equal.
  LinearFits fit(const TrainingStatistics& training) const override;
};

}  // namespace tierod::probe
