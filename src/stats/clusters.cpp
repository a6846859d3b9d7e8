#include "tierod/stats/clusters.h"

#include <algorithm>

#include "stats/check_internal.h"

namespace tierod::stats {

using tierod::internal::check_at_least;
using tierod::internal::check_not_empty;
using tierod::internal::check_same_length;
using tierod::internal::real;

Clusters::Clusters(std::span<const std::int64_t> groups, std::size_t least, std::string_view where)
    : labels_(groups.begin(), groups.end()) {
  check_not_empty(groups.size(), where, "groups");
  std::sort(labels_.begin(), labels_.end());
  labels_.erase(std::unique(labels_.begin(), labels_.end()), labels_.end());
  check_at_least(labels_.size(), least, where, "clusters",
                 "rows of one group are not independent evidence");
  counts_.assign(labels_.size(), 0);
  of_row_.reserve(groups.size());
  for (const std::int64_t group : groups) {
    const auto at = std::lower_bound(labels_.begin(), labels_.end(), group) - labels_.begin();
    of_row_.push_back(static_cast<std::uint32_t>(at));
    ++counts_[static_cast<std::size_t>(at)];
  }
}

std::vector<double> Clusters::sums(std::span<const double> values) const {
  check_same_length(values.size(), rows(), "stats.Clusters.sums", "values", "groups");
  std::vector<double> out(size(), 0.0);
  for (std::size_t i = 0; i < values.size(); ++i) out[of_row_[i]] += values[i];
  return out;
}

std::vector<double> Clusters::means(std::span<const double> values) const {
  std::vector<double> out = sums(values);
  for (std::size_t g = 0; g < out.size(); ++g) out[g] /= real(counts_[g]);
  return out;
}

}  // namespace tierod::stats
