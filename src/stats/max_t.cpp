#include "tierod/stats/max_t.h"

#include <algorithm>
#include <cmath>
#include <ranges>

#include "stats/check_internal.h"
#include "stats/permutation_internal.h"
#include "stats/sample_internal.h"

namespace tierod::stats {

using tierod::internal::ascending_order;
using tierod::internal::cannot_reach;
using tierod::internal::cat;
using tierod::internal::check_finite;
using tierod::internal::check_fraction;
using tierod::internal::check_not_empty;
using tierod::internal::count_reaching;
using tierod::internal::kInfinity;
using tierod::internal::permutation_p;
using tierod::internal::real;

MaxT max_t(std::span<const double> observed, std::span<const double> permuted, double alpha) {
  constexpr auto* where = "stats.max_t";
  check_not_empty(observed.size(), where, "statistics");
  check_fraction(alpha, where, "alpha");
  if (permuted.empty() || permuted.size() % observed.size() != 0) {
    throw InvalidArgument(cat("[", where, "] expected rows of ", observed.size(),
                              " permuted statistics, got ", permuted.size(), " numbers"));
  }
  check_finite(observed, where, "statistics");
  check_finite(permuted, where, "permuted statistics");
  const std::size_t sites = observed.size();
  const std::size_t count = permuted.size() / sites;
  MaxT out{.p = std::vector<double>(sites),
           .single_step = std::vector<double>(sites),
           .step_down = std::vector<double>(sites),
           .permutations = count,
           .smallest_p = 1 / real(count + 1)};

  // Sites from the least observed statistic up: `largest` is the maximum over the sites so far,
  // which the step-down compares with, and in the end the maximum over all of them.
  const std::vector<std::size_t> order = ascending_order(observed);
  std::vector<double> largest(count, -kInfinity), column(count);
  for (const std::size_t site : order) {
    for (std::size_t b = 0; b < count; ++b) {
      column[b] = permuted[b * sites + site];
      largest[b] = std::max(largest[b], column[b]);
    }
    out.p[site] = permutation_p(count_reaching(column, observed[site]), count);
    out.step_down[site] = permutation_p(count_reaching(largest, observed[site]), count);
  }
  double before = 0;
  for (const std::size_t site : std::views::reverse(order)) {
    before = out.step_down[site] = std::max(before, out.step_down[site]);
    out.single_step[site] = permutation_p(count_reaching(largest, observed[site]), count);
  }
  std::sort(largest.begin(), largest.end());
  // single_step <= alpha allows this many maxima at or above T
  const double allowed = std::floor(alpha * real(count + 1) + 1e-9) - 1;
  out.threshold =
      allowed < 0
          ? kInfinity
          : largest[count - 1 - static_cast<std::size_t>(std::min(allowed, real(count - 1)))];
  out.note = cannot_reach(out.smallest_p, alpha, count);
  return out;
}

}  // namespace tierod::stats
