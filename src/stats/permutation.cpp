#include "tierod/stats/permutation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <utility>

#include "stats/check_internal.h"
#include "stats/parallel_internal.h"
#include "stats/permutation_internal.h"
#include "stats/shuffle_internal.h"
#include "tierod/core/random.h"

namespace tierod::stats {

using tierod::internal::cannot_reach;
using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_finite;
using tierod::internal::check_fraction;
using tierod::internal::check_same_length;
using tierod::internal::count_reaching;
using tierod::internal::for_ranges;
using tierod::internal::permutation_p;
using tierod::internal::real;
using tierod::internal::shuffle;

namespace {

constexpr auto* kWhere = "stats.GroupPermutation";

double log10_factorial(std::size_t n) { return std::lgamma(real(n) + 1) / std::numbers::ln10; }

}  // namespace

GroupPermutation::GroupPermutation(std::span<const double> labels,
                                   std::span<const std::int64_t> groups,
                                   std::span<const std::int64_t> strata, PermutationUnit unit)
    : clusters_(groups, 2, kWhere), labels_(labels.begin(), labels.end()) {
  check_same_length(groups.size(), labels.size(), kWhere, "groups", "labels");
  if (!strata.empty()) {
    check_same_length(strata.size(), labels.size(), kWhere, "strata", "labels");
  }
  check_finite(labels, kWhere, "labels");
  rows_of_.resize(clusters_.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    rows_of_[clusters_.of_row()[i]].push_back(static_cast<std::uint32_t>(i));
  }

  std::map<std::pair<std::int64_t, std::size_t>, std::vector<std::uint32_t>> classes;
  for (std::uint32_t g = 0; g < rows_of_.size(); ++g) {
    const std::vector<std::uint32_t>& rows = rows_of_[g];
    for (const std::uint32_t row : rows) {
      if (!strata.empty() && strata[row] != strata[rows[0]]) {
        throw InvalidArgument(cat("[", kWhere, "] expected one stratum a group, got ",
                                  strata[rows[0]], " and ", strata[row], " in group ",
                                  groups[row]));
      }
      if (unit == PermutationUnit::group && labels[row] != labels[rows[0]]) {
        throw InvalidArgument(cat("[", kWhere, "] expected one label a group, got ",
                                  labels[rows[0]], " and ", labels[row], " in group ", groups[row],
                                  "; move whole tracks instead"));
      }
    }
    classes[{strata.empty() ? 0 : strata[rows[0]],
             unit == PermutationUnit::track ? rows.size() : 0}]
        .push_back(g);
  }
  for (auto& [key, members] : classes) {
    // different tracks (or labels) of the class, and how often each occurs
    std::map<std::vector<double>, std::size_t> tracks;
    for (const std::uint32_t g : members) {
      std::vector<double> track;
      for (const std::uint32_t row : rows_of_[g]) {
        track.push_back(labels[row]);
        if (unit == PermutationUnit::group) break;
      }
      ++tracks[track];
    }
    log10_arrangements_ += log10_factorial(members.size());
    for (const auto& [track, times] : tracks) log10_arrangements_ -= log10_factorial(times);
    if (members.size() > 1) movable_ += members.size();
    classes_.push_back(std::move(members));
  }
  if (log10_arrangements_ < 1e-9) {
    throw InvalidArgument(
        cat("[", kWhere, "] no permutation changes the labels: every stratum",
            unit == PermutationUnit::track ? " and track length" : "",
            " holds one group or one label; merge strata",
            unit == PermutationUnit::track ? " or cut tracks to equal length" : ""));
  }
}

void GroupPermutation::permute(std::uint64_t seed, std::size_t replicate,
                               std::span<double> out) const {
  check_same_length(out.size(), rows(), "stats.GroupPermutation.permute", "places", "labels");
  const CounterRandom random(seed, "stats.permutation");
  std::vector<std::uint32_t> source;
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    const std::vector<std::uint32_t>& members = classes_[c];
    source = members;
    shuffle(std::span(source), random, replicate, static_cast<std::uint32_t>(c));
    for (std::size_t k = 0; k < members.size(); ++k) {
      const std::vector<std::uint32_t>& to = rows_of_[members[k]];
      const std::vector<std::uint32_t>& from = rows_of_[source[k]];
      // under unit `group` sizes may differ, but then all labels of `from` are the same
      for (std::size_t i = 0; i < to.size(); ++i) {
        out[to[i]] = labels_[from[std::min(i, from.size() - 1)]];
      }
    }
  }
}

double GroupPermutation::smallest_p(std::size_t permutations) const {
  return std::max(1 / real(permutations + 1), std::pow(10.0, -log10_arrangements_));
}

PermutationResult permutation_test(const LabelStatistic& statistic, std::span<const double> labels,
                                   std::span<const std::int64_t> groups,
                                   std::span<const std::int64_t> strata,
                                   const PermutationOptions& options) {
  constexpr auto* where = "stats.permutation_test";
  check_at_least(options.permutations, 1, where, "permutations", "p would be 1");
  check_fraction(options.alpha, where, "alpha");
  const GroupPermutation permutation(labels, groups, strata, options.unit);
  PermutationResult out{.permutations = options.permutations,
                        .smallest_p = permutation.smallest_p(options.permutations),
                        .log10_arrangements = permutation.log10_arrangements()};
  out.statistic = statistic(labels);
  out.null.resize(options.permutations);
  // ranges of a fixed size: the work buffer is shared within one
  for_ranges(options.permutations, 32, options.threads, [&](std::size_t begin, std::size_t end) {
    std::vector<double> permuted(labels.size());
    for (std::size_t b = begin; b < end; ++b) {
      permutation.permute(options.seed, b, permuted);
      out.null[b] = statistic(permuted);
    }
  });
  check_finite(std::span(&out.statistic, 1), where, "statistic");
  check_finite(out.null, where, "permuted statistics");

  const auto oriented = [&](double t) {
    if (options.alternative == Alternative::two_sided) return std::abs(t);
    return options.alternative == Alternative::less ? -t : t;
  };
  std::vector<double> null(out.null.size());
  std::transform(out.null.begin(), out.null.end(), null.begin(), oriented);
  out.exceeding = count_reaching(null, oriented(out.statistic));
  out.p = permutation_p(out.exceeding, options.permutations);
  out.note = cannot_reach(out.smallest_p, options.alpha, options.permutations);
  return out;
}

std::size_t permutations_needed(double alpha, std::size_t tests) {
  constexpr auto* where = "stats.permutations_needed";
  check_fraction(alpha, where, "alpha");
  check_at_least(tests, 1, where, "tests", "there is nothing to adjust for");
  return static_cast<std::size_t>(std::ceil(real(tests) / alpha - 1 - 1e-9));
}

}  // namespace tierod::stats
