#include "tierod/stats/equivalence.h"

#include <algorithm>
#include <cmath>

#include "stats/check_internal.h"
#include "tierod/stats/distributions.h"

namespace tierod::stats {

using tierod::internal::cat;

Equivalence tost_between(const Interval& estimate, double lower, double upper, double alpha) {
  if (!std::isfinite(lower) || !std::isfinite(upper) || !(lower < upper)) {
    throw InvalidArgument(cat("[stats.tost] expected finite margins lower < upper, got ", lower,
                              " and ", upper, "; fix them before the data are seen"));
  }
  if (!(alpha > 0 && alpha < 0.5)) {
    throw InvalidArgument(cat("[stats.tost] expected alpha inside (0, 0.5), got ", alpha));
  }
  if (!(estimate.standard_error > 0)) {
    throw InvalidArgument(cat("[stats.tost] expected a standard error > 0, got ",
                              estimate.standard_error,
                              "; without spread between clusters there is nothing to test with"));
  }
  Equivalence out{.lower = lower, .upper = upper, .alpha = alpha};
  const double se = estimate.standard_error;
  out.p_lower = student_t_sf((estimate.estimate - lower) / se, estimate.df);
  out.p_upper = student_t_cdf((estimate.estimate - upper) / se, estimate.df);
  out.p = std::max(out.p_lower, out.p_upper);
  out.interval = t_interval(estimate.estimate, se, estimate.df, 1 - 2 * alpha);
  out.interval.clusters = estimate.clusters;
  out.interval.method = estimate.method;
  out.equivalent = out.p < alpha;
  return out;
}

Equivalence tost(const Interval& estimate, double margin, double alpha) {
  if (!(margin > 0)) {
    throw InvalidArgument(cat("[stats.tost] expected a margin > 0, got ", margin));
  }
  return tost_between(estimate, -margin, margin, alpha);
}

Equivalence cluster_tost(std::span<const double> values, std::span<const std::int64_t> groups,
                         double margin, double alpha) {
  return tost(cluster_t_interval(values, groups), margin, alpha);
}

}  // namespace tierod::stats
