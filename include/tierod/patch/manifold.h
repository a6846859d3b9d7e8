#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "tierod/export.h"
#include "tierod/stats/interval.h"
#include "tierod/vla/rollout.h"

namespace tierod::patch {

/// Set what counts as natural.
struct TIEROD_API ManifoldOptions {
  double low = 0.01;      ///< percentile of the norm below which a row is off
  double high = 0.99;     ///< percentile of each measure above which a row is off
  double shrinkage = -1;  ///< of the covariance, in [0, 1]; below 0: estimated as for erasers
  std::int64_t neighbours = 10;  ///< the distance is that to the k-th
  std::int64_t rows_per_dimension = 16;
  std::uint64_t seed = 0;  ///< of the split into halves
};

/// Hold the natural limits of the three measures, by interpolation between natural rows.
struct TIEROD_API NaturalLimits {
  double norm_low = 0;
  double norm_high = 0;
  double mahalanobis_high = 0;
  double neighbour_high = 0;
};

/// Hold where rows lie among natural ones. Percentiles are shares of natural rows with a smaller
/// value, in [0, 1].
struct TIEROD_API ManifoldCheck {
  at::Tensor norm;         ///< f64 [m]
  at::Tensor mahalanobis;  ///< f64 [m]
  at::Tensor neighbour;    ///< f64 [m]
  at::Tensor off;          ///< bool [m], any of the three outside its limits
  double norm_share = 0;   ///< of the rows, outside by the norm
  double mahalanobis_share = 0;
  double neighbour_share = 0;
  double off_share = 0;
};

/// Tell activations that a model could have had from those that only an edit makes: by length, by
/// Mahalanobis distance (Lee et al. 2018, 1807.03888), and by the distance to the k-th nearest
/// natural row in whitened space (Sun et al. 2022, 2204.06507), which also sees holes.
///
/// Mean and covariance come from one half of the groups and natural distances from the other: rows
/// lie closer to the mean and covariance that they were fitted to than new rows do, so that
/// percentiles within the fitted half would call natural rows off (docs/patch.md). For the same
/// reason, check rows of groups that were not given to `fit`.
class TIEROD_API Manifold {
 public:
  /// @param rows    natural activations, floating [n, d]
  /// @param groups  [n], the independent unit; a group stays whole in one half. Where its rows are
  ///        alike, percentiles are only as fine as there are groups
  /// @throws InvalidArgument on other shapes or options, fewer than 2 groups, groups that cannot be
  ///         halved, or fewer rows than rows_per_dimension * d and than the percentiles resolve; it
  ///         says how many are needed.
  /// @throws NumericalError if a row is not finite, or the covariance is singular.
  static Manifold fit(const at::Tensor& rows, std::span<const std::int64_t> groups,
                      const ManifoldOptions& options = {});

  /// Return where rows [m, d] lie. Time is m n d / 2, 512 rows at once.
  /// @throws InvalidArgument on another width; NumericalError if a row is not finite.
  ManifoldCheck check(const at::Tensor& rows) const;

  std::int64_t width() const;
  std::int64_t fitted_rows() const;
  std::int64_t natural_rows() const;
  double shrinkage() const;  ///< weight of the scaled identity in the covariance
  const NaturalLimits& limits() const;
  /// Return the share of natural rows that are off: what `off_share` is without an edit, since each
  /// of the measures has its own tail.
  double natural_off_share() const;

 private:
  struct State;
  explicit Manifold(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

/// Set what a car can do. The defaults are physical limits, of a passenger car on a dry road, and
/// not comfort: an emergency stop is plausible. For the comfort of nuPlan's human drivers use
/// 4.05 m/s^2, 4.13 m/s^3, and 4.89 m/s^2 sideways (Karnchanachari et al. 2024, 2403.04133).
struct TIEROD_API Plausible {
  double max_acceleration = 8;  ///< m/s^2 in size: friction .8 g of dry asphalt
  /// m/s^3 in size: full braking after .2 s, the build-up time that accident reconstruction takes
  /// for hydraulic brakes (.1 to .3 s).
  double max_jerk = 40;
  /// 1/m in size: a radius of 5 m at the middle of the rear axle, tighter than passenger cars turn.
  double max_curvature = 0.2;
  double max_lateral_acceleration = 8;  ///< m/s^2, speed^2 * curvature: the same friction
};

/// Tell rows whose trajectory no car could drive: bool [rows]. Jerk is the difference of the
/// accelerations of successive waypoints by dt; before the first nothing is known. Sideways the
/// faster end of each step counts. Numbers that are not finite are implausible.
/// @throws InvalidArgument on shapes, dt_s <= 0, or limits that are not > 0.
TIEROD_API at::Tensor implausible(const vla::Rollout& rollout, const Plausible& limits = {});

/// Hold an effect on all scenes and on those where the edit stayed on the manifold.
struct TIEROD_API OffManifold {
  stats::Interval all;
  /// Absent with fewer than 2 groups left.
  std::optional<stats::Interval> on_manifold{};
  double off_share = 0;  ///< of the scenes
  /// `all` excludes 0, and `on_manifold` is absent or does not exclude it on the same side: the
  /// effect is not shown to exist within what the model meets. It may be for want of scenes.
  bool flagged = false;
};

/// Measure whether an effect needs edits that leave the manifold.
/// @param values  f64 [n], signed effect of each scene, on minus off
/// @param off     [n], 1 where the scene's edited row is off
/// @param groups  [n]
/// @throws InvalidArgument on differing lengths, flags other than 0 and 1, < 2 groups; as
///         `t_interval`.
/// @throws NumericalError if a value is not finite.
TIEROD_API OffManifold off_manifold_effect(std::span<const double> values,
                                           std::span<const std::uint8_t> off,
                                           std::span<const std::int64_t> groups,
                                           double confidence = 0.95);

}  // namespace tierod::patch
