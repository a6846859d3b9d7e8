#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/text_internal.h"
#include "stats/shuffle_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/probe/dataset.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::list_text;

namespace {

/// Join sets (Tarjan 1975, with path halving).
class Forest {
 public:
  explicit Forest(std::size_t n) : parent_(n) {
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }
  std::size_t root(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) {
    a = root(a);
    b = root(b);
    if (a != b) parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<std::size_t> parent_;
};

std::size_t count_of(const std::vector<std::int64_t>& units) {
  return static_cast<std::size_t>(*std::max_element(units.begin(), units.end()) + 1);
}

}  // namespace

std::vector<std::int64_t> ProbeDataset::units(std::string_view level) const {
  const auto found =
      std::find_if(levels_.begin(), levels_.end(), [&](const Level& l) { return l.name == level; });
  if (found == levels_.end()) {
    throw InvalidArgument(cat("[probe.ProbeDataset.units] expected one of the levels ",
                              list_text(levels()), ", got ", level));
  }
  Forest forest(rows());
  std::map<std::int64_t, std::size_t> first_of_member, first_of_twin;
  for (std::size_t i = 0; i < rows(); ++i) {
    forest.join(first_of_member.emplace(found->ids[i], i).first->second, i);
    if (!twins_.empty() && twins_[i] >= 0) {
      forest.join(first_of_twin.emplace(twins_[i], i).first->second, i);
    }
  }
  // Numbered by their smallest group, not by their first row: whatever is dealt or drawn at random
  // by unit is then the same in any order of the rows.
  std::map<std::size_t, std::int64_t> smallest;
  for (std::size_t i = 0; i < rows(); ++i) {
    std::int64_t& group = smallest.emplace(forest.root(i), groups_[i]).first->second;
    group = std::min(group, groups_[i]);
  }
  std::vector<std::int64_t> order;
  order.reserve(smallest.size());
  for (const auto& [root, group] : smallest) order.push_back(group);
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < rows(); ++i) {
    const std::int64_t group = smallest[forest.root(i)];
    out.push_back(std::lower_bound(order.begin(), order.end(), group) - order.begin());
  }
  return out;
}

std::string ProbeDataset::level(std::size_t least) const {
  for (std::size_t l = levels_.size(); l-- > 1;) {
    if (count_of(units(levels_[l].name)) >= least) return levels_[l].name;
  }
  return levels_.front().name;
}

std::vector<std::uint32_t> ProbeDataset::folds(std::size_t folds, std::uint64_t seed,
                                               std::string_view level) const {
  constexpr auto* where = "probe.ProbeDataset.folds";
  if (folds < 2) throw InvalidArgument(cat("[", where, "] expected folds >= 2, got ", folds));
  const std::vector<std::int64_t> units = this->units(level);
  const std::size_t count = count_of(units);
  if (count < folds) {
    throw InvalidArgument(cat("[", where, "] expected at least as many groups as folds (", folds,
                              "), got ", count, " of the level ", level,
                              twins_.empty() ? "" : " once twins are joined",
                              "; use fewer folds or more groups"));
  }
  // What is to be spread, as shares of its total: rows, and both classes of each concept.
  const std::size_t loads = 1 + 2 * concepts_.size();
  std::vector<double> share(count * loads), total(loads);
  for (std::size_t i = 0; i < rows(); ++i) {
    double* of_unit = share.data() + static_cast<std::size_t>(units[i]) * loads;
    of_unit[0] += 1;
    for (std::size_t c = 0; c < concepts_.size(); ++c) {
      if (concepts_[c].labels[i] <= 1) of_unit[1 + 2 * c + concepts_[c].labels[i]] += 1;
    }
  }
  for (std::size_t u = 0; u < count; ++u) {
    for (std::size_t l = 0; l < loads; ++l) total[l] += share[u * loads + l];
  }
  std::vector<double> largest(count);
  for (std::size_t u = 0; u < count; ++u) {
    for (std::size_t l = 0; l < loads; ++l) {
      if (total[l] > 0) share[u * loads + l] /= total[l];
      largest[u] = std::max(largest[u], share[u * loads + l]);
    }
  }
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  internal::shuffle(std::span(order), CounterRandom(seed, "probe.folds"), 0, 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return largest[a] > largest[b]; });
  std::vector<double> filled(folds * loads);
  std::vector<std::size_t> members(folds);
  std::vector<std::uint32_t> of_unit(count);
  for (std::size_t at = 0; at < count; ++at) {
    const std::size_t u = order[at];
    // no fold may stay empty
    const auto empty =
        static_cast<std::size_t>(std::count(members.begin(), members.end(), std::size_t{0}));
    const bool must_fill = count - at <= empty;
    std::size_t best = folds;
    double least = 0;
    for (std::size_t f = 0; f < folds; ++f) {
      if (must_fill && members[f] > 0) continue;
      double cost = 0;  // growth of the sum of squared loads
      for (std::size_t l = 0; l < loads; ++l) {
        const double more = share[u * loads + l];
        cost += more * (2 * filled[f * loads + l] + more);
      }
      if (best == folds || cost < least - 1e-15) {
        best = f;
        least = cost;
      }
    }
    for (std::size_t l = 0; l < loads; ++l) filled[best * loads + l] += share[u * loads + l];
    ++members[best];
    of_unit[u] = static_cast<std::uint32_t>(best);
  }
  std::vector<std::uint32_t> out;
  out.reserve(units.size());
  for (const std::int64_t u : units) out.push_back(of_unit[static_cast<std::size_t>(u)]);
  return out;
}

Splits ProbeDataset::split(const SplitOptions& options) const {
  constexpr auto* where = "probe.ProbeDataset.split";
  if (!(options.a > 0 && options.b > 0 && options.c > 0) ||
      std::abs(options.a + options.b + options.c - 1) > 1e-9) {
    throw InvalidArgument(cat("[", where, "] expected positive shares that sum to 1, got ",
                              options.a, ", ", options.b, ", ", options.c));
  }
  Splits out;
  out.level = level(options.least_units);
  for (std::size_t l = levels_.size(); l-- > 1 && levels_[l].name != out.level;) {
    out.note += cat(out.note.empty() ? "" : "; ", "the level ", levels_[l].name, " has only ",
                    count_of(units(levels_[l].name)), " units (", options.least_units,
                    " are needed to split by it): what differs between them is not held out");
  }
  const std::vector<std::int64_t> units = this->units(out.level);
  const std::size_t count = count_of(units);
  const auto part = [&](double share) {
    return static_cast<std::size_t>(std::llround(share * static_cast<double>(count)));
  };
  out.units[2] = part(options.c);
  out.units[1] = std::max<std::size_t>(part(options.b), 1);
  if (out.units[2] < options.least_test_units || out.units[1] + out.units[2] >= count) {
    throw InvalidArgument(cat("[", where, "] expected at least ", options.least_test_units,
                              " units in C, got ", out.units[2], " of ", count, " of the level ",
                              out.level, "; bring more groups"));
  }
  out.units[0] = count - out.units[1] - out.units[2];
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  internal::shuffle(std::span(order), CounterRandom(options.seed, "probe.split"), 0, 0);
  std::vector<Split> of_unit(count);
  for (std::size_t i = 0; i < count; ++i) {
    of_unit[order[i]] =
        i < out.units[0] ? Split::a : (i < out.units[0] + out.units[1] ? Split::b : Split::c);
  }
  for (const std::int64_t u : units) out.of_row.push_back(of_unit[static_cast<std::size_t>(u)]);
  return out;
}

void ProbeDataset::check_split(std::span<const Split> of_row) const {
  constexpr auto* where = "probe.ProbeDataset.check_split";
  check_length(of_row.size(), "the split");
  const auto check = [&](const std::vector<std::int64_t>& ids, std::string_view what) {
    std::map<std::int64_t, std::size_t> first;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 && what == "twin") continue;
      const std::size_t other = first.emplace(ids[i], i).first->second;
      if (of_row[other] != of_row[i]) {
        throw InvalidArgument(cat("[", where, "] ", what, " ", ids[i], " stands in ",
                                  split_name(of_row[other]), " (row ", other, ") and in ",
                                  split_name(of_row[i]), " (row ", i,
                                  "); what is fitted on one would be tested on the other: split "
                                  "whole groups, twins together"));
      }
    }
  };
  check(groups_, "group");
  check(twins_, "twin");
}

}  // namespace tierod::probe
