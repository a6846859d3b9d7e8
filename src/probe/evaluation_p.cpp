#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "probe/evaluation_internal.h"
#include "probe/independence_internal.h"
#include "probe/p_table_internal.h"
#include "probe/shared_rows_internal.h"
#include "stats/check_internal.h"
#include "tierod/core/error.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/site_max_t.h"

namespace tierod::internal {

using probe::EvaluationOptions;
using probe::EvaluationRow;
using probe::ProbeDataset;

namespace {

using Scores = std::vector<std::vector<std::vector<double>>>;  // [sites][concepts][known rows]

// Contributions [G] to (AUROC - .5), with mean the estimate itself. Only pairs of one stratum
// count, since a pair of two strata tells what strata differ in: the AUROCs of the strata with
// weights n1 n0 / (n1 + n0) (van Elteren 1960). Empty if no stratum has both classes.
std::vector<double> above_half(std::span<const double> scores, const ConceptPlan& plan,
                               const SharedRows& rows) {
  std::vector<double> out(rows.clusters().size());
  double total = 0;
  for (std::size_t s = 0; s < rows.strata(); ++s) {
    std::vector<double> own;
    std::vector<std::uint8_t> labels;
    std::vector<std::int64_t> units;
    std::set<std::uint32_t> places;
    double ones = 0;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (rows.stratum()[r] != static_cast<std::int64_t>(s)) continue;
      own.push_back(scores[r]);
      labels.push_back(plan.labels[r]);
      units.push_back(plan.units[r]);
      places.insert(rows.clusters().of_row()[r]);
      ones += plan.labels[r];
    }
    const double weight = ones * (real(own.size()) - ones) / real(own.size());
    if (!(weight > 0)) continue;
    total += weight;
    stats::Influence u;
    if (places.size() > 1) {
      u = stats::auroc_influence(own, labels, units);
    } else {
      u = {.estimate = stats::auroc(own, labels), .contributions = {0}};
    }
    const double share = weight * real(out.size()) / real(places.size());
    auto contribution = u.contributions.begin();
    for (const std::uint32_t g : places) out[g] = share * (*contribution++ + u.estimate - 0.5);
  }
  if (!(total > 0)) return {};
  for (double& v : out) v /= total;
  return out;
}

// A probe that is not linear has no fits to spare for permutations. Its held-out scores give a p
// all the same: the t of (AUROC - .5) with twice the variance (Note [The error of a cross-validated
// AUROC]) against sign flips of whole units' contributions, the same flips at all sites.
void held_out(const EvaluationOptions& options, std::size_t c, const ConceptPlan& plan,
              const Scores& scores, const SharedRows& rows, const at::Tensor& signs,
              const PTable& table) {
  const std::size_t units = rows.clusters().size(), draws = options.permutations + 1;
  std::vector<std::vector<double>> statistics(scores.size(), std::vector<double>(draws));
  for (std::size_t s = 0; s < scores.size(); ++s) {
    const std::vector<double> moved = above_half(scores[s][c], plan, rows);
    if (moved.empty()) {
      table.add(c, cat("no p for ", plan.name,
                       ": no stratum has both classes, so that it cannot be told from the strata"));
      return;
    }
    double squares = 0;
    for (const double v : moved) squares += v * v;
    const auto* sign = signs.const_data_ptr<double>();
    for (std::size_t b = 0; b < draws; ++b) {
      double sum = 0;
      for (const double v : moved) sum += *sign++ * v;
      const double variance = (squares - sum * sum / real(units)) / (real(units) - 1);
      statistics[s][b] = variance > 0 ? sum / std::sqrt(variance * real(units)) : 0;
    }
    statistics[s][0] /= kRepeatedError;
  }
  table.fill(c, statistics, options.alpha, "held-out scores");
}

/// Concepts of constant labels in units, whose permutations share folds, and their labels.
struct Whole {
  std::vector<std::size_t> members;
  std::vector<std::vector<std::uint8_t>> labels;  // [members][G]
};

// Permute whole units. Concepts of one call share one Gram matrix a site; one that cannot be
// permuted must not take the p of the others away, and is then tried alone.
void permute(const EvaluationOptions& options, std::size_t folds, const Whole& whole,
             std::span<const ConceptPlan> plans, const std::vector<at::Tensor>& means,
             std::span<const std::int64_t> strata, const PTable& table) {
  const std::size_t units = strata.size();
  const auto test = [&](std::size_t first, std::size_t count) {
    std::vector<std::uint8_t> labels(units * count);
    for (std::size_t m = 0; m < count; ++m) {
      for (std::size_t g = 0; g < units; ++g) labels[g * count + m] = whole.labels[first + m][g];
    }
    const stats::SiteMaxT map = stats::site_max_t(means, labels, strata,
                                                  {.permutations = options.permutations,
                                                   .folds = folds,
                                                   .seed = options.seed,
                                                   .alpha = options.alpha});
    for (std::size_t s = 0; s < table.sites(); ++s) {
      for (std::size_t m = 0; m < count; ++m) {
        table.set(s, whole.members[first + m], map.p[s * count + m], map.single_step[s * count + m],
                  "permutation");
      }
    }
    table.add(map.note);
  };
  // what kept a test from being made, if anything did
  const auto failure = [&](std::size_t first, std::size_t count) -> std::optional<std::string> {
    try {
      test(first, count);
      return std::nullopt;
    } catch (const Error& error) {
      return error.message();
    }
  };
  const std::size_t count = whole.members.size();
  if (count > 1 && !failure(0, count)) return;
  for (std::size_t m = 0; m < count; ++m) {
    const std::size_t c = whole.members[m];
    const std::optional<std::string> why = failure(m, 1);
    if (why) table.add(c, cat("no p for ", plans[c].name, ": ", *why));
  }
}

// Return the number of units whose rows differ in label, and fill `of_unit` [G].
std::size_t mixed_units(std::span<const std::uint8_t> labels, const SharedRows& rows,
                        std::vector<std::uint8_t>& of_unit) {
  constexpr std::uint8_t kNone = 2;
  of_unit.assign(rows.clusters().size(), kNone);
  std::set<std::uint32_t> mixed;
  for (std::size_t r = 0; r < labels.size(); ++r) {
    const std::uint32_t g = rows.clusters().of_row()[r];
    if (of_unit[g] == kNone) of_unit[g] = labels[r];
    if (of_unit[g] != labels[r]) mixed.insert(g);
  }
  return mixed.size();
}

// The tests of a linear probe, for concepts that share their known rows: these are whitened once a
// site.
void linear(const ProbeDataset& dataset, const EvaluationOptions& options,
            std::span<const ConceptPlan> plans, const std::vector<std::size_t>& members,
            std::span<const EvaluationRow> cells, const SharedRows& rows, const at::Tensor& signs,
            const PTable& table) {
  std::vector<std::pair<std::size_t, SignFlips>> flips;
  std::map<std::size_t, Whole> by_folds;
  for (const std::size_t c : members) {
    std::vector<std::uint8_t> of_unit;
    const std::size_t mixed = mixed_units(plans[c].labels, rows, of_unit);
    if (mixed > 0) {
      const std::vector<double> values(plans[c].labels.begin(), plans[c].labels.end());
      flips.emplace_back(c, SignFlips(rows, values, signs));
      table.add(c, cat("labels vary within ", mixed, " of ", rows.clusters().size(),
                       " units: p by sign flips, not by permutation of whole units"));
      continue;
    }
    // every fold of the statistic needs a unit of each class
    const std::size_t rare = rarest_units(plans[c].labels, plans[c].units);
    const std::size_t folds = std::min(options.folds, rare);
    if (folds < options.folds) {
      table.add(c, cat("its rarer class lies in ", rare, " units: p with ", folds, " folds"));
    }
    by_folds[folds].members.push_back(c);
    by_folds[folds].labels.push_back(std::move(of_unit));
  }
  std::vector<std::vector<std::vector<double>>> flipped(flips.size());
  std::vector<at::Tensor> means;
  for (std::size_t s = 0; s < table.sites(); ++s) {
    const at::Tensor x = rows.whitened(dataset.site(cells[s * plans.size()].site));
    const at::Tensor sums = rows.unit_sums(x);
    for (std::size_t f = 0; f < flips.size(); ++f) {
      flipped[f].push_back(flips[f].second.statistics(rows, x, sums));
    }
    if (!by_folds.empty()) means.push_back(rows.unit_means(sums));
  }
  for (std::size_t f = 0; f < flips.size(); ++f) {
    table.fill(flips[f].first, flipped[f], options.alpha, "sign flip");
  }
  const std::vector<std::int64_t> strata = rows.unit_strata();
  for (const auto& [folds, whole] : by_folds) {
    permute(options, folds, whole, plans, means, strata, table);
  }
}

}  // namespace

void add_p_values(const ProbeDataset& dataset, const EvaluationOptions& options,
                  std::span<const ConceptPlan> plans, const Scores& scores,
                  std::vector<EvaluationRow>& rows, std::vector<std::string>& notes) {
  if (options.permutations == 0) return;
  const PTable table(p_cells(rows), plans.size(), notes);
  std::map<std::vector<std::size_t>, std::vector<std::size_t>> sharing;  // by known rows
  for (std::size_t c = 0; c < plans.size(); ++c) {
    if (plans[c].refusal.empty()) sharing[plans[c].rows].push_back(c);
  }
  for (const auto& [known, members] : sharing) {
    const SharedRows shared(known, plans[members[0]].units, dataset.strata());
    const at::Tensor signs =
        draw_signs(options.permutations, shared.clusters().size(), options.seed);
    if (scores.empty()) {
      linear(dataset, options, plans, members, rows, shared, signs, table);
      continue;
    }
    for (const std::size_t c : members) {
      held_out(options, c, plans[c], scores, shared, signs, table);
    }
  }
}

}  // namespace tierod::internal
