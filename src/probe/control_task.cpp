#include "tierod/probe/control_task.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/text_internal.h"
#include "stats/check_internal.h"
#include "tierod/core/random.h"
#include "tierod/probe/dataset.h"

namespace tierod::probe {

using tierod::internal::cat;

std::vector<std::uint8_t> control_labels(std::span<const std::int64_t> keys,
                                         std::span<const std::uint8_t> labels, std::uint64_t seed,
                                         std::size_t draw) {
  constexpr auto* where = "probe.control_labels";
  internal::check_same_length(keys.size(), labels.size(), where, "keys", "labels");
  std::map<std::int64_t, std::size_t> rows_of;
  std::size_t ones = 0, known = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (labels[i] == kMissingLabel) continue;
    if (labels[i] > 1) {
      throw InvalidArgument(
          cat("[", where, "] expected labels 0, 1 or 255, got ", int{labels[i]}, " in row ", i));
    }
    ++rows_of[keys[i]];
    ++known;
    ones += labels[i];
  }
  if (rows_of.size() < 2) {
    throw InvalidArgument(cat("[", where, "] expected at least 2 keys, got ", rows_of.size(),
                              "; a label a key would be constant"));
  }
  const CounterRandom random(seed, "probe.control_task");
  std::vector<std::pair<std::uint64_t, std::int64_t>> ranked;
  ranked.reserve(rows_of.size());
  for (const auto& [key, rows] : rows_of) {
    ranked.emplace_back(
        random.bits(static_cast<std::uint64_t>(key), static_cast<std::uint32_t>(draw), 0), key);
  }
  std::sort(ranked.begin(), ranked.end());
  std::map<std::int64_t, std::uint8_t> of_key;
  const auto want = static_cast<double>(ones);
  double have = 0;
  for (std::size_t r = 0; r < ranked.size(); ++r) {
    const std::int64_t key = ranked[r].second;
    const auto more = static_cast<double>(rows_of[key]);
    const bool closer = std::abs(have + more - want) < std::abs(have - want);
    // a key too large for what is left is passed over: a smaller one may still fit
    const bool last_chance = r + 1 == ranked.size() && have == 0;
    const bool all = have + more == static_cast<double>(known);
    const bool take = (closer || last_chance) && !all;
    of_key[key] = take ? 1 : 0;
    if (take) have += more;
  }
  std::vector<std::uint8_t> out;
  out.reserve(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    out.push_back(labels[i] == kMissingLabel ? kMissingLabel : of_key[keys[i]]);
  }
  return out;
}

std::vector<double> control_targets(std::span<const std::int64_t> keys,
                                    std::span<const double> targets, std::uint64_t seed,
                                    std::size_t draw) {
  constexpr auto* where = "probe.control_targets";
  internal::check_same_length(keys.size(), targets.size(), where, "keys", "targets");
  std::vector<double> sorted;
  std::map<std::int64_t, double> of_key;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (std::isnan(targets[i])) continue;
    sorted.push_back(targets[i]);
    of_key.emplace(keys[i], 0);
  }
  if (of_key.size() < 2) {
    throw InvalidArgument(cat("[", where, "] expected at least 2 keys, got ", of_key.size(),
                              "; a target a key would be constant"));
  }
  std::sort(sorted.begin(), sorted.end());
  const CounterRandom random(seed, "probe.control_targets");
  for (auto& [key, target] : of_key) {
    target =
        sorted[random.below(static_cast<std::uint32_t>(sorted.size()),
                            static_cast<std::uint64_t>(key), static_cast<std::uint32_t>(draw), 0)];
  }
  std::vector<double> out;
  out.reserve(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    out.push_back(std::isnan(targets[i]) ? targets[i] : of_key[keys[i]]);
  }
  return out;
}

}  // namespace tierod::probe
