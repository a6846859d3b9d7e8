#include "tierod/stats/icc.h"

#include <algorithm>
#include <vector>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"
#include "tierod/stats/clusters.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_finite;
using tierod::internal::check_same_length;
using tierod::internal::mean_of;
using tierod::internal::real;

ClusterDesign cluster_design(std::span<const double> values, std::span<const std::int64_t> groups) {
  constexpr auto* where = "stats.cluster_design";
  check_same_length(groups.size(), values.size(), where, "groups", "values");
  check_finite(values, where, "values");
  const Clusters clusters(groups, 2, where);
  const double n = real(values.size());
  const double count = real(clusters.size());
  if (values.size() == clusters.size()) {
    throw InvalidArgument(cat("[", where, "] expected clusters of several rows, got ",
                              clusters.size(), " clusters of one row each"));
  }
  const double grand = mean_of(values);
  const std::vector<double> means = clusters.means(values);
  double between = 0, within = 0, squares = 0;
  for (std::size_t g = 0; g < clusters.size(); ++g) {
    const double m = real(clusters.counts()[g]);
    between += m * (means[g] - grand) * (means[g] - grand);
    squares += m * m;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double d = values[i] - means[clusters.of_row()[i]];
    within += d * d;
  }
  ClusterDesign out{.rows = values.size(), .clusters = clusters.size()};
  const double ms_between = between / (count - 1);
  out.within_variance = within / (n - count);
  const double n0 = (n - squares / n) / (count - 1);
  out.between_variance = (ms_between - out.within_variance) / n0;
  const double total = out.between_variance + out.within_variance;
  if (!(total > 0)) {
    throw NumericalError(
        cat("[", where, "] all values are equal; there is no variance to attribute"));
  }
  out.icc = out.between_variance / total;
  out.mean_cluster_rows = squares / n;
  out.design_effect = 1 + (out.mean_cluster_rows - 1) * std::max(out.icc, 0.0);
  out.effective_rows = n / out.design_effect;
  return out;
}

}  // namespace tierod::stats
