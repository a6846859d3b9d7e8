#include "tierod/probe/sample_plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;

namespace {

constexpr std::size_t kUnitsPerColumn = 16;
constexpr std::size_t kVerifyPositives = 150;  // for the upper bound of an erasure's AUROC
constexpr std::size_t kTestPositives = 100;
constexpr std::size_t kTestUnits = 12;
constexpr double kErased = 0.60;

struct Measured {
  double units_per_column, auroc;
};
// AUROC of a fresh probe on held-out rows after a rank-1 erasure, by units a column: simulated at
// d = 768 and d = 64.
constexpr std::array<Measured, 5> kWide{{{150.0 / 768, .99},
                                         {400.0 / 768, .95},
                                         {1500.0 / 768, .79},
                                         {4000.0 / 768, .67},
                                         {12000.0 / 768, .58}}};
constexpr std::array<Measured, 4> kNarrow{
    {{150.0 / 64, .69}, {300.0 / 64, .66}, {600.0 / 64, .62}, {1000.0 / 64, .60}}};

template <typename Table>
double interpolate(const Table& table, double ratio) {
  if (ratio <= table.front().units_per_column) return table.front().auroc;
  for (std::size_t i = 1; i < table.size(); ++i) {
    const Measured &a = table[i - 1], &b = table[i];
    if (ratio > b.units_per_column) continue;
    const double t =
        std::log(ratio / a.units_per_column) / std::log(b.units_per_column / a.units_per_column);
    return a.auroc + t * (b.auroc - a.auroc);
  }
  // beyond what was measured the excess over .5 falls like 1 / sqrt(n)
  const Measured& last = table.back();
  return 0.5 + (last.auroc - 0.5) * std::sqrt(last.units_per_column / ratio);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

}  // namespace

SamplePlan plan_sample(const SampleSize& size) {
  if (size.width < 1 || size.positive_units > size.units || size.test_positives > size.test_units) {
    throw InvalidArgument(cat("[probe.plan_sample] expected width >= 1 and positives among the ",
                              "units, got width ", size.width, ", ", size.positive_units, " of ",
                              size.units, " and ", size.test_positives, " of ", size.test_units));
  }
  SamplePlan plan;
  const auto width = static_cast<std::size_t>(size.width);
  plan.needed_units = kUnitsPerColumn * width;
  plan.most_columns = static_cast<std::int64_t>(size.units / kUnitsPerColumn);
  const double ratio = static_cast<double>(size.units) / static_cast<double>(width);
  // between the two widths that were measured, the nearer on a logarithmic scale
  plan.expected_erased_auroc =
      size.width > 222 ? interpolate(kWide, ratio) : interpolate(kNarrow, ratio);
  const std::string& name = size.concept_name;
  plan.accepted = true;
  const auto refuse = [&](const std::string& sentence) {
    plan.accepted = false;
    plan.sentences.push_back(sentence);
  };
  if (size.units < plan.needed_units) {
    refuse(cat(
        name, ": ", size.width, " columns need ", plan.needed_units, " independent units in A (",
        kUnitsPerColumn, " a column), there are ", size.units, ": ", plan.needed_units - size.units,
        " more, or ",
        plan.most_columns >= 1
            ? cat("keep at most ", plan.most_columns,
                  " columns (of scikit-learn's PCA, fitted on training rows, say), or cross-fit")
            : std::string("far more units: not even one component can be kept"),
        "."));
  } else {
    plan.sentences.push_back(cat(name, ": ", size.units, " independent units for ", size.width,
                                 " columns, ", number(ratio), " a column, are enough (",
                                 kUnitsPerColumn, ")."));
  }
  plan.sentences.push_back(
      cat("After an erasure fitted on them a fresh probe would still read about AUROC ",
          number(plan.expected_erased_auroc), " on held-out units",
          plan.expected_erased_auroc > kErased
              ? cat("; it counts as erased only up to ", number(kErased), ".")
              : std::string(", within the bar of .60.")));
  if (size.positive_units < kVerifyPositives) {
    refuse(cat("Verifying an erasure needs ", kVerifyPositives, " units with ", name,
               ", there are ", size.positive_units, ": ", kVerifyPositives - size.positive_units,
               " more."));
  }
  if (size.test_units > 0) {
    if (size.test_units < kTestUnits) {
      refuse(cat("C holds ", size.test_units, " units; intervals need ", kTestUnits, "."));
    }
    if (size.test_positives < kTestPositives) {
      refuse(cat("C holds ", size.test_positives, " units with ", name, "; an effect needs ",
                 kTestPositives, ", or it is inconclusive for want of n."));
    }
  }
  return plan;
}

SamplePlan plan_sample(const ProbeDataset& dataset, const std::string& site,
                       const std::string& concept_name, const Splits* splits) {
  const std::vector<std::int64_t> units =
      dataset.units(splits != nullptr ? splits->level : dataset.level());
  const auto labels = dataset.labels(concept_name);
  if (splits != nullptr && splits->of_row.size() != labels.size()) {
    throw InvalidArgument(cat("[probe.plan_sample] expected a split of ", labels.size(),
                              " rows, got ", splits->of_row.size()));
  }
  std::set<std::int64_t> all, with, test, test_with;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == kMissingLabel) continue;
    const Split part = splits != nullptr ? splits->of_row[i] : Split::a;
    if (part == Split::b) continue;
    (part == Split::a ? all : test).insert(units[i]);
    if (labels[i] == 1) (part == Split::a ? with : test_with).insert(units[i]);
  }
  return plan_sample({.concept_name = concept_name,
                      .width = dataset.site(site).size(1),
                      .units = all.size(),
                      .positive_units = with.size(),
                      .test_units = test.size(),
                      .test_positives = test_with.size()});
}

}  // namespace tierod::probe
