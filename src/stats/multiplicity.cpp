#include "tierod/stats/multiplicity.h"

#include <algorithm>
#include <cstddef>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"

namespace tierod::stats {

using tierod::internal::ascending_order;
using tierod::internal::cat;
using tierod::internal::check_not_empty;
using tierod::internal::real;

namespace {

void check_p(std::span<const double> p, const char* where) {
  check_not_empty(p.size(), where, "p values");
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (!(p[i] >= 0 && p[i] <= 1)) {
      throw InvalidArgument(
          cat("[", where, "] expected p values inside [0, 1], got ", p[i], " at index ", i));
    }
  }
}

// Step up from the largest p: min over j >= i of factor m p_(j) / j.
std::vector<double> step_up(std::span<const double> p, double factor) {
  const std::vector<std::size_t> order = ascending_order(p);
  std::vector<double> out(p.size());
  double least = 1;
  for (std::size_t rank = p.size(); rank > 0; --rank) {
    const std::size_t i = order[rank - 1];
    least = std::min(least, factor * p[i] * real(p.size()) / real(rank));
    out[i] = least;
  }
  return out;
}

}  // namespace

std::vector<double> holm(std::span<const double> p) {
  check_p(p, "stats.holm");
  const std::vector<std::size_t> order = ascending_order(p);
  std::vector<double> out(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < p.size(); ++rank) {
    const std::size_t i = order[rank];
    largest = std::max(largest, std::min(1.0, p[i] * real(p.size() - rank)));
    out[i] = largest;
  }
  return out;
}

std::vector<double> benjamini_hochberg(std::span<const double> p) {
  check_p(p, "stats.benjamini_hochberg");
  return step_up(p, 1);
}

std::vector<double> benjamini_yekutieli(std::span<const double> p) {
  check_p(p, "stats.benjamini_yekutieli");
  double harmonic = 0;
  for (std::size_t i = 1; i <= p.size(); ++i) harmonic += 1 / real(i);
  return step_up(p, harmonic);
}

}  // namespace tierod::stats
