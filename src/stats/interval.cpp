#include "tierod/stats/interval.h"

#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/distributions.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_finite;
using tierod::internal::check_fraction;
using tierod::internal::check_same_length;
using tierod::internal::mean_of;
using tierod::internal::real;
using tierod::internal::variance_of;

Interval t_interval(double estimate, double standard_error, double df, double confidence) {
  check_fraction(confidence, "stats.t_interval", "confidence");
  if (!std::isfinite(estimate) || !(standard_error >= 0) || !std::isfinite(standard_error)) {
    throw InvalidArgument(
        cat("[stats.t_interval] expected a finite estimate and a standard error >= 0, got ",
            estimate, " and ", standard_error));
  }
  const double half = student_t_quantile(0.5 + confidence / 2, df) * standard_error;
  return {.estimate = estimate,
          .low = estimate - half,
          .high = estimate + half,
          .standard_error = standard_error,
          .df = df,
          .confidence = confidence,
          .method = "t"};
}

Interval proportion_interval(std::int64_t successes, std::int64_t trials, double confidence) {
  check_fraction(confidence, "stats.proportion_interval", "confidence");
  if (trials < 1 || successes < 0 || successes > trials) {
    throw InvalidArgument(
        cat("[stats.proportion_interval] expected 0 <= successes <= trials, trials >= 1, got ",
            successes, " of ", trials));
  }
  using Binomial = boost::math::binomial_distribution<double>;
  const auto n = static_cast<double>(trials);
  const auto k = static_cast<double>(successes);
  const double tail = (1 - confidence) / 2;
  const double p = k / n;
  return {.estimate = p,
          .low = successes == 0 ? 0 : Binomial::find_lower_bound_on_p(n, k, tail),
          .high = successes == trials ? 1 : Binomial::find_upper_bound_on_p(n, k, tail),
          .standard_error = std::sqrt(p * (1 - p) / n),
          .df = std::numeric_limits<double>::infinity(),
          .confidence = confidence,
          .clusters = static_cast<std::size_t>(trials),
          .method = "exact binomial"};
}

Interval cluster_t_interval(std::span<const double> values, std::span<const std::int64_t> groups,
                            double confidence) {
  constexpr auto* where = "stats.cluster_t_interval";
  check_same_length(groups.size(), values.size(), where, "groups", "values");
  check_finite(values, where, "values");
  const Clusters clusters(groups, 2, where);
  const std::vector<double> means = clusters.means(values);
  const double error = std::sqrt(variance_of(means) / real(means.size()));
  Interval out = t_interval(mean_of(means), error, real(means.size() - 1), confidence);
  out.clusters = means.size();
  return out;
}

double t_test(const Interval& interval, double null) {
  if (!std::isfinite(null)) {
    throw InvalidArgument(cat("[stats.t_test] expected a finite null value, got ", null));
  }
  if (!(interval.standard_error > 0)) {
    throw InvalidArgument(
        cat("[stats.t_test] expected a standard error > 0, got ", interval.standard_error,
            "; all clusters gave the same number, so that there is no error to test against"));
  }
  const double t = (interval.estimate - null) / interval.standard_error;
  return 2 * student_t_sf(std::abs(t), interval.df);
}

}  // namespace tierod::stats
