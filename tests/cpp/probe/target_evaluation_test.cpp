#include "tierod/probe/target_evaluation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "probe/sample.h"
#include "tierod/core/error.h"
#include "tierod/probe/control_task.h"

namespace tierod::probe {
namespace {

constexpr std::int64_t kScenes = 24, kRows = 3, kAll = kScenes * kRows;

/// A regression from outside: twice the first column, whatever the targets.
class TwiceFirstColumn final : public LinearFitter {
 public:
  std::string name() const override { return "twice"; }
  LinearFits fit(const TrainingStatistics& training) const override {
    LinearFits out;
    out.weights = training.mean.mul(0).expand({1, training.concepts(), training.width()}).clone();
    out.weights.select(2, 0).fill_(2);
    out.intercepts = training.target_mean.mul(0).unsqueeze(0);
    out.reports.assign(static_cast<std::size_t>(training.concepts()), {.rows = training.rows});
    return out;
  }
};

/// Column 0 is a third of the target, up to noise.
ProbeDataset dataset(std::vector<double>* target = nullptr) {
  std::vector<std::int64_t> scenes;
  std::vector<double> values;
  const at::Tensor x = normals(kAll, 3, 7), noise = normals(kAll, 1, 8);
  for (std::int64_t i = 0; i < kAll; ++i) {
    scenes.push_back(i / kRows);
    values.push_back(3 * x[i][0].item<double>() + noise[i][0].item<double>());
  }
  ProbeDataset data(scenes);
  data.add_site("a", x);
  data.add_target("speed", values);
  if (target != nullptr) *target = values;
  return data;
}

const EvaluationOptions kQuick{.folds = 4,
                               .interval = stats::RankingMethod::influence,
                               .memorisation = false,
                               .permutations = 99,
                               .keep_scores = true};

TEST(TargetEvaluation, SeesNoAbsenceInAPerfectCorrelation) {
  const std::vector<double> values = [] {
    std::vector<double> out;
    for (std::int64_t i = 0; i < kAll; ++i) out.push_back(i % 2 == 0 ? 2 : -2);
    return out;
  }();
  std::vector<std::int64_t> scenes;
  for (std::int64_t i = 0; i < kAll; ++i) scenes.push_back(i / 6);
  ProbeDataset data(scenes);
  data.add_site("a", at::tensor(values, at::kDouble).unsqueeze(1) / 2);
  data.add_target("speed", values);
  EvaluationOptions options = kQuick;
  options.least_units = 4;
  const TargetEvaluation found = evaluate_targets(data, TwiceFirstColumn(), options);
  const TargetRow& row = found.at("a", "speed");
  ASSERT_EQ(row.pearson.estimate, 1);  // exactly, where Fisher's scale is infinite
  EXPECT_EQ(row.upper, 1);
  EXPECT_EQ(row.equivalence_p, 1);
  EXPECT_FALSE(found.summary[0].not_linearly_encoded);
}

TEST(TargetEvaluation, TakesRegressionsFromOutside) {
  std::vector<double> y;
  const ProbeDataset data = dataset(&y);
  const TargetEvaluation found = evaluate_targets(data, TwiceFirstColumn(), kQuick);
  EXPECT_EQ(found.probe, "twice");
  const std::vector<std::uint32_t> folds = data.folds(4);
  const at::Tensor x = data.site("a");
  double errors = 0, total = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    double sum = 0, count = 0;
    for (std::size_t j = 0; j < y.size(); ++j) {
      sum += folds[j] == folds[i] ? 0 : y[j];
      count += folds[j] == folds[i] ? 0 : 1;
    }
    const double prediction = 2 * x[static_cast<std::int64_t>(i)][0].item<double>();
    EXPECT_NEAR(found.predictions[0][0][static_cast<std::int64_t>(i)].item<double>(), prediction,
                1e-12);
    errors += (y[i] - prediction) * (y[i] - prediction);
    total += (y[i] - sum / count) * (y[i] - sum / count);
  }
  const TargetRow& row = found.at("a", "speed");
  EXPECT_NEAR(row.r2.estimate, 1 - errors / total, 1e-12);
  EXPECT_NEAR(row.rmse, std::sqrt(errors / kAll), 1e-12);
  EXPECT_EQ(row.p_method, "sign flip");
  EXPECT_EQ(row.p_max_t, 0.01);
  EXPECT_TRUE(row.encoded);
}

TEST(TargetEvaluation, StopsWhenTold) {
  ProbeDataset data = dataset();
  data.add_site("b", normals(kAll, 3, 9));
  EvaluationOptions options = kQuick;
  options.progress = [](std::int64_t done, std::int64_t, std::string_view) { return done < 1; };
  const TargetEvaluation found = evaluate_targets(data, RidgeFitter({1}), options);
  EXPECT_FALSE(found.complete);
  EXPECT_EQ(found.sites, std::vector<std::string>{"a"});
  EXPECT_EQ(found.predictions.size(0), 1);
  EXPECT_FALSE(found.summary[0].not_linearly_encoded);
}

TEST(TargetEvaluation, NamesTheSiteWhereAFitFails) {
  EXPECT_NE(message_of<InvalidArgument>([] {
              evaluate_targets(dataset(), LdaFitter({0.1}), kQuick);
            }).find("at site a"),
            std::string::npos);
}

TEST(ControlTargets, KeepOneKnownTargetAKey) {
  const std::vector<std::int64_t> keys{5, 5, 2, 2, 9, 9, 9, 1};
  const std::vector<double> targets{1, 2, 3, std::nan(""), 5, 6, 7, 8};
  std::set<double> of_draws;
  for (std::size_t draw = 0; draw < 40; ++draw) {
    const std::vector<double> control = control_targets(keys, targets, 3, draw);
    EXPECT_TRUE(std::isnan(control[3]));
    EXPECT_EQ(control[0], control[1]);
    EXPECT_EQ(control[4], control[5]);
    EXPECT_EQ(control[4], control[6]);
    for (const std::size_t i : {0, 2, 4, 7}) of_draws.insert(control[i]);
  }
  EXPECT_EQ(of_draws, (std::set<double>{1, 2, 3, 5, 6, 7, 8}));
}

}  // namespace
}  // namespace tierod::probe
