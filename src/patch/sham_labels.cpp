#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/patch/controls.h"

namespace tierod::patch {

using internal::cat;

std::vector<std::uint8_t> sham_labels(std::span<const std::uint8_t> labels,
                                      std::span<const std::uint8_t> others,
                                      std::span<const std::int64_t> units, std::uint64_t seed,
                                      std::size_t nearest) {
  constexpr auto* kWhere = "patch.sham_labels";
  const std::size_t n = labels.size();
  if (n == 0 || units.size() != n || others.size() % n != 0 || nearest < 1) {
    throw InvalidArgument(cat("[", kWhere, "] expected labels [n], units [n], others [n, q] and ",
                              "nearest >= 1, got ", n, ", ", units.size(), ", ", others.size(),
                              " and ", nearest));
  }
  const std::size_t q = others.size() / n;
  std::map<std::int64_t, std::uint8_t> of_unit;
  bool constant = true;  // the label, within every unit
  for (std::size_t i = 0; i < n; ++i) {
    constant = of_unit.emplace(units[i], labels[i]).first->second == labels[i] && constant;
  }
  if (of_unit.size() < 2) {
    throw InvalidArgument(cat("[", kWhere, "] expected at least 2 units, got ", of_unit.size()));
  }
  // Who draws and is drawn from: rows, or, where a unit has one label, the first row of each.
  std::vector<std::size_t> rows;
  std::set<std::int64_t> seen;
  for (std::size_t i = 0; i < n; ++i) {
    if (!constant || seen.insert(units[i]).second) rows.push_back(i);
  }
  const CounterRandom random(seed, "patch.sham");
  std::vector<std::uint8_t> drawn(n);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> key(rows.size());  // distance, tie
  std::vector<std::size_t> order(rows.size());
  for (std::size_t number = 0; number < rows.size(); ++number) {
    const std::size_t row = rows[number];
    std::size_t strangers = 0;
    for (std::size_t j = 0; j < rows.size(); ++j) {
      std::uint32_t distance = 0;
      for (std::size_t k = 0; k < q; ++k) {
        distance += others[row * q + k] != others[rows[j] * q + k] ? 1U : 0U;
      }
      // never from its own unit
      const bool own = units[rows[j]] == units[row];
      strangers += own ? 0 : 1;
      key[j] = {own ? std::numeric_limits<std::uint32_t>::max() : distance,
                static_cast<std::uint32_t>(random.bits(number, 0, static_cast<std::uint32_t>(j)))};
    }
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t count = std::min(nearest, strangers);
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count - 1),
                     order.end(), [&](std::size_t a, std::size_t b) { return key[a] < key[b]; });
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
    const auto pick = std::min(count - 1, static_cast<std::size_t>(random.uniform(number, 1, 0) *
                                                                   static_cast<double>(count)));
    drawn[row] = labels[rows[order[pick]]];
  }
  if (!constant) return drawn;
  std::map<std::int64_t, std::uint8_t> for_unit;
  for (const std::size_t row : rows) for_unit[units[row]] = drawn[row];
  std::vector<std::uint8_t> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.push_back(for_unit[units[i]]);
  return out;
}

}  // namespace tierod::patch
