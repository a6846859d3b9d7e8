#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/text_internal.h"
#include "probe/independence_internal.h"
#include "probe/p_table_internal.h"
#include "probe/shared_rows_internal.h"
#include "probe/target_internal.h"
#include "stats/permutation_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

// The value [G] of each unit, if no unit's rows differ; else empty.
std::vector<double> unit_values(std::span<const double> values, const SharedRows& rows) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();  // known values are none
  std::vector<double> out(rows.clusters().size(), kNone);
  for (std::size_t r = 0; r < values.size(); ++r) {
    double& unit = out[rows.clusters().of_row()[r]];
    if (std::isnan(unit)) unit = values[r];
    if (unit != values[r]) return {};
  }
  return out;
}

struct Test {
  std::size_t target = 0;
  std::variant<SignFlips, UnitPermutations> of;
  std::vector<std::vector<double>> statistics;  // [sites][B + 1]
};

std::vector<Test> tests_of(std::span<const TargetPlan> plans,
                           const std::vector<std::size_t>& members, const SharedRows& rows,
                           const probe::EvaluationOptions& options, const PTable& table) {
  const at::Tensor signs = draw_signs(options.permutations, rows.clusters().size(), options.seed);
  std::vector<Test> out;
  out.reserve(members.size());
  for (const std::size_t t : members) {
    const std::vector<double> of_unit = unit_values(plans[t].values, rows);
    if (of_unit.empty()) {
      out.push_back({.target = t, .of = SignFlips(rows, plans[t].values, signs)});
      continue;
    }
    try {
      UnitPermutations units(rows, of_unit, options.permutations, options.seed);
      table.add(cannot_reach(units.smallest_p(), options.alpha, options.permutations));
      out.push_back({.target = t, .of = std::move(units)});
    } catch (const Error& error) {
      table.add(t, cat("no p for ", plans[t].name, ": ", error.message()));
    }
  }
  return out;
}

}  // namespace

void add_target_p_values(const probe::ProbeDataset& dataset,
                         const probe::EvaluationOptions& options, std::span<const TargetPlan> plans,
                         std::vector<probe::TargetRow>& rows, std::vector<std::string>& notes) {
  if (options.permutations == 0) return;
  const PTable table(p_cells(rows), plans.size(), notes);
  std::map<std::vector<std::size_t>, std::vector<std::size_t>> sharing;  // by known rows
  for (std::size_t t = 0; t < plans.size(); ++t) {
    if (plans[t].refusal.empty()) sharing[plans[t].rows].push_back(t);
  }
  for (const auto& [known, members] : sharing) {
    const SharedRows shared(known, plans[members[0]].units, dataset.strata());
    std::vector<Test> tests = tests_of(plans, members, shared, options, table);
    for (std::size_t s = 0; !tests.empty() && s < table.sites(); ++s) {
      const at::Tensor x = shared.whitened(dataset.site(rows[s * plans.size()].site));
      const at::Tensor sums = shared.unit_sums(x);
      const at::Tensor means = shared.unit_means(sums);
      for (Test& test : tests) {
        const auto* flips = std::get_if<SignFlips>(&test.of);
        test.statistics.push_back(flips != nullptr
                                      ? flips->statistics(shared, x, sums)
                                      : std::get<UnitPermutations>(test.of).statistics(means));
      }
    }
    for (const Test& test : tests) {
      table.fill(test.target, test.statistics, options.alpha,
                 std::holds_alternative<SignFlips>(test.of) ? "sign flip" : "permutation");
    }
  }
}

}  // namespace tierod::internal
