#include "tierod/probe/evaluation.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/mv.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "probe/sample.h"
#include "tierod/core/error.h"
#include "tierod/probe/control_task.h"
#include "tierod/probe/mlp_fitter.h"
#include "tierod/probe/probe_direction.h"
#include "tierod/probe/residual_direction.h"
#include "tierod/probe/sample_plan.h"
#include "tierod/probe/standardised_fitter.h"
#include "tierod/stats/ranking.h"
#include "tierod/store/moments_sink.h"

namespace tierod::probe {
namespace {

constexpr std::int64_t kScenes = 48, kRows = 3;

std::vector<std::int64_t> scenes() {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < kScenes * kRows; ++i) out.push_back(i / kRows);
  return out;
}

/// Every third scene has the concept, which shows in column 0.
ProbeDataset dataset(double effect = 2) {
  ProbeDataset data(scenes());
  std::vector<std::uint8_t> labels;
  std::vector<double> speed;
  at::Tensor x = normals(kScenes * kRows, 5, 7);
  for (std::int64_t i = 0; i < kScenes * kRows; ++i) {
    labels.push_back(i / kRows % 3 == 0 ? 1 : 0);
    speed.push_back(static_cast<double>(i * 37 % 101));
    x[i][0].add_(effect * labels.back());
  }
  data.add_site("a", x);
  data.add_concept("c", labels);
  data.add_nuisance("speed", speed, NuisanceKind::binned);
  return data;
}

/// A probe from outside: it reads the first column and nothing else.
class FirstColumn final : public LinearFitter {
 public:
  std::string name() const override { return "first"; }
  LinearFits fit(const TrainingStatistics& training) const override {
    LinearFits out;
    out.weights = training.mean.mul(0).expand({1, training.concepts(), training.width()}).clone();
    out.weights.select(2, 0).fill_(1);
    out.intercepts = training.ones.mul(0).unsqueeze(0);
    out.reports.assign(static_cast<std::size_t>(training.concepts()), {.rows = training.rows});
    return out;
  }
};

/// The same by rows, and a record of what it was shown.
class FirstColumnByRows final : public RowFitter {
 public:
  std::string name() const override { return "first by rows"; }
  Scorer fit(const FitTask& task, std::size_t) const override {
    fits.push_back(task.groups.size());
    return [](const at::Tensor& rows) { return rows.select(1, 0); };
  }
  mutable std::vector<std::size_t> fits;
};

const EvaluationOptions kQuick{.interval = stats::RankingMethod::influence,
                               .control_draws = 0,
                               .memorisation = false,
                               .permutations = 99,
                               .keep_scores = true};

TEST(Evaluation, TakesProbesFromOutside) {
  const ProbeDataset data = dataset();
  const Evaluation linear = evaluate(data, FirstColumn(), kQuick);
  const FirstColumnByRows fitter;
  const Evaluation rows = evaluate(data, fitter, kQuick);
  EXPECT_EQ(linear.probe, "first");
  EXPECT_TRUE(at::allclose(linear.scores, rows.scores, 1e-9, 1e-12));
  EXPECT_GT(linear.at("a", "c").auroc.low, 0.75);
  EXPECT_TRUE(linear.at("a", "c").encoded);
  EXPECT_EQ(linear.at("a", "c").p_method, "permutation");
  EXPECT_EQ(rows.at("a", "c").p_method, "held-out scores");
  // ten inner fits for the probabilities, five outer ones; never on all rows
  EXPECT_EQ(fitter.fits.size(), 15U);
  for (const std::size_t n : fitter.fits) EXPECT_LT(n, data.rows());
}

TEST(Evaluation, ScoresAreOnTheScaleOfTheTrainingRows) {
  const ProbeDataset data = dataset();
  const Evaluation found = evaluate(data, FirstColumn(), kQuick);
  const std::vector<std::uint32_t> folds = data.folds(5);
  const at::Tensor x = data.site("a");
  const auto labels = data.labels("c");
  for (std::uint32_t k = 0; k < 5; ++k) {
    double count[2] = {}, sum[2] = {}, squares = 0;
    for (std::size_t i = 0; i < folds.size(); ++i) {
      if (folds[i] == k) continue;
      const auto v = x[static_cast<std::int64_t>(i)][0].item<double>();
      count[labels[i]] += 1;
      sum[labels[i]] += v;
      squares += v * v;
    }
    const double n = count[0] + count[1], mean = (sum[0] + sum[1]) / n;
    const double middle = (sum[0] / count[0] + sum[1] / count[1]) / 2;
    const double sd = std::sqrt(squares / n - mean * mean);
    for (std::size_t i = 0; i < folds.size(); ++i) {
      if (folds[i] != k) continue;
      const auto row = static_cast<std::int64_t>(i);
      EXPECT_NEAR(found.scores[0][0][row].item<double>(), (x[row][0].item<double>() - middle) / sd,
                  1e-10);
    }
  }
}

TEST(Evaluation, RefusesAConceptWithTooFewGroupsAndGoesOn) {
  ProbeDataset data = dataset();
  std::vector<std::uint8_t> rare(data.rows());
  rare[0] = 1;
  data.add_concept("rare", rare);
  const Evaluation found = evaluate(data, RidgeFitter({1}), kQuick);
  EXPECT_TRUE(std::isnan(found.at("a", "rare").auroc.estimate));
  EXPECT_NE(found.at("a", "rare").note.find("label 1 occurs in 1 of 5 folds"), std::string::npos);
  EXPECT_GT(found.at("a", "c").auroc.low, 0.5);
  EXPECT_NE(message_of<InvalidArgument>([&] { found.at("a", "snow"); }).find("no cell of site a"),
            std::string::npos);
}

TEST(Evaluation, RefitsALogisticProbeThatWasToldNotTo) {
  const ProbeDataset data = dataset();
  const Evaluation want = evaluate(data, LogisticFitter({1}, {.refit = true}), kQuick);
  const Evaluation got = evaluate(data, LogisticFitter({1}, {.refit = false}), kQuick);
  EXPECT_TRUE(at::allclose(got.scores, want.scores, 0, 0));
}

TEST(Evaluation, GivesAClassInThreeUnitsAnInterval) {
  ProbeDataset data = dataset();
  EvaluationOptions options = kQuick;
  options.interval = stats::RankingMethod::percentile;
  options.replicates = 100;
  std::vector<std::uint8_t> rare(data.rows());
  for (const std::size_t scene : {4, 20, 40}) {
    for (std::int64_t r = 0; r < kRows; ++r) rare[scene * kRows + static_cast<std::size_t>(r)] = 1;
  }
  data.add_concept("rare", rare);
  const Evaluation found = evaluate(data, RidgeFitter({1}), options);
  EXPECT_TRUE(std::isfinite(found.at("a", "rare").auroc.low));
  EXPECT_EQ(found.at("a", "rare").auroc.df, 2);
  EXPECT_GT(found.at("a", "c").auroc.low, 0.5);
}

TEST(Evaluation, NamesTheSiteWhereALateRowIsNotFinite) {
  ProbeDataset data = dataset();
  data.add_site("late", [] {
    at::Tensor x = normals(kScenes * kRows, 2, 1);
    x[17][1].fill_(std::nan(""));
    return x;
  });
  EXPECT_NE(message_of<NumericalError>([&] {
              evaluate(data, RidgeFitter({1}), kQuick);
            }).find("site late, row 17"),
            std::string::npos);
}

/// The product of the first two columns: what no linear probe reads of them.
class Product final : public RowFitter {
 public:
  std::string name() const override { return "product"; }
  Scorer fit(const FitTask&, std::size_t) const override {
    return [](const at::Tensor& rows) { return rows.select(1, 0).mul(rows.select(1, 1)); };
  }
};

/// One row a scene; "same" says that the first two columns have one sign, "coin" nothing.
ProbeDataset products() {
  constexpr std::int64_t kAll = 600;
  std::vector<std::int64_t> alone;
  std::vector<std::uint8_t> same, coin;
  const at::Tensor x = normals(kAll, 4, 3), toss = normals(kAll, 1, 4);
  for (std::int64_t i = 0; i < kAll; ++i) {
    alone.push_back(i);
    same.push_back(x[i][0].item<double>() * x[i][1].item<double>() > 0 ? 1 : 0);
    coin.push_back(toss[i][0].item<double>() > 0 ? 1 : 0);
  }
  ProbeDataset data(alone);
  data.add_site("a", x);
  data.add_concept("same", same);
  data.add_concept("coin", coin);
  return data;
}

// From the rows to the words. It fails if absence is claimed of a linear probe alone, if a bound is
// taken from the wrong end of its interval (then "same" or "coin" is judged the other way round),
// and if what only the other probe reads is called absent or encoded.
TEST(Evaluation, ConcludesAbsenceOnlyWithANonLinearProbe) {
  const ProbeDataset data = products();
  EvaluationOptions options = kQuick;
  options.margin = 0.15;
  const Evaluation linear = evaluate(data, RidgeFitter({100}), options);
  const Evaluation product = evaluate(data, Product(), options);
  EXPECT_TRUE(linear.summary[0].not_encoded);
  EXPECT_FALSE(product.summary[0].not_encoded);
  EXPECT_EQ(conclude(linear)[0].encoding, Encoding::open);
  EXPECT_EQ(conclude(linear)[1].encoding, Encoding::open);
  const std::vector<Conclusion> both = conclude(linear, &product);
  EXPECT_EQ(both[0].encoding, Encoding::nonlinear);
  EXPECT_EQ(both[1].encoding, Encoding::not_encoded);
  options.margin = 0.01;  // too narrow for 600 scenes
  const Evaluation narrow = evaluate(data, RidgeFitter({100}), options);
  const Evaluation other = evaluate(data, Product(), options);
  EXPECT_EQ(conclude(narrow, &other)[1].encoding, Encoding::open);
}

TEST(ProbeDataset, KeepsTwinsTogether) {
  ProbeDataset data = dataset();
  std::vector<std::int64_t> twins(data.rows(), -1);
  twins[0] = twins.back() = 5;  // the first and the last scene
  data.set_twins(twins);
  const std::vector<std::int64_t> units = data.units("group");
  EXPECT_EQ(units.front(), units.back());
  const std::vector<std::uint32_t> folds = data.folds(4);
  EXPECT_EQ(folds.front(), folds.back());
  std::vector<Split> split(data.rows(), Split::a);
  split.back() = Split::c;
  EXPECT_NE(message_of<InvalidArgument>([&] { data.check_split(split); }).find("group 47"),
            std::string::npos);
}

TEST(TrainingStatistics, ComeFromStreamedMoments) {
  const at::Tensor x = normals(30, 4, 3).add(2);
  at::Tensor z = at::empty({30, 1}, at::kDouble), folds = at::empty({30}, at::kLong);
  std::vector<std::uint8_t> labels;
  std::vector<std::uint32_t> of_row;
  for (std::int64_t i = 0; i < 30; ++i) {
    labels.push_back(i % 3 == 0 ? 1 : 0);
    of_row.push_back(static_cast<std::uint32_t>(i % 2));
    z[i][0].fill_(static_cast<double>(labels.back()));
    folds[i].fill_(i % 2);
  }
  FoldMoments moments({.folds = 2});
  moments.update("a", x, folds, z);
  FoldStatistics statistics(1, 2);
  statistics.update(x, labels, of_row);
  const TrainingStatistics got = training_statistics(moments, "a", 1),
                           want = statistics.training(1);
  EXPECT_TRUE(at::allclose(got.scatter, want.scatter, 1e-10));
  EXPECT_TRUE(at::allclose(got.means, want.means, 1e-10));
  const Direction d = ridge_direction(got, 0, 1.0);
  EXPECT_NEAR(at::dot(d.read(), d.write()).item<double>(), 1, 1e-12);
}

TEST(ResidualDirection, MovesWhatItReadsByOne) {
  const ProbeDataset data = dataset();
  const ResidualFits fits = residual_direction(data, "a", "c", {.least_cell = 0, .folds = 4});
  EXPECT_EQ(fits.held_out.size(), 4U);
  EXPECT_NEAR(at::dot(fits.full.direction.read(), fits.full.direction.write()).item<double>(), 1,
              1e-12);
  EXPECT_NEAR(fits.full.direction.high() - fits.full.direction.low(), 1, 1e-12);
  // the planted effect, 2 in column 0 and 0 elsewhere; its standard error is .18
  for (std::int64_t j = 0; j < 5; ++j) {
    EXPECT_NEAR(fits.full.effect[j].item<double>(), j == 0 ? 2 : 0, 0.7) << j;
  }
}

// Against loops over the numbers of the state: it fails without the scale, a bias, the rectifier,
// or with weights laid out the other way round.
TEST(MlpFitter, ScoresAreTheNetworkOfItsState) {
  const ProbeDataset data = dataset();
  const MlpModel model =
      MlpFitter({.hidden = 4, .epochs = 5})
          .fit_model({.rows = data.site("a"), .labels = data.labels("c"), .groups = data.groups()},
                     0);
  auto state = model.state();
  const at::Tensor x = data.site("a"), scores = model.scores(x);
  const auto value = [&](const char* name, std::int64_t i) {
    return state.at(name)[i].item<double>();
  };
  for (std::int64_t row = 0; row < x.size(0); ++row) {
    double z = state.at("b2").item<double>();
    for (std::int64_t h = 0; h < 4; ++h) {
      double before = value("b1", h);
      for (std::int64_t j = 0; j < 5; ++j) {
        const double scaled = (x[row][j].item<double>() - value("mean", j)) * value("scale", j);
        before += state.at("w1")[h][j].item<double>() * scaled;
      }
      z += value("w2", h) * std::max(before, 0.0);
    }
    EXPECT_NEAR(scores[row].item<double>(), z, 1e-9) << row;
  }
  EXPECT_TRUE(at::allclose(MlpModel(state).scores(x), scores, 0, 0));
}

// It fails if training does not reach both layers: with hidden weights left as they were drawn the
// held-out AUROC is .50.
TEST(MlpFitter, LearnsWhatNoLinearProbeReads) {
  const ProbeDataset data = products();
  const at::Tensor x = data.site("a");
  const auto labels = data.labels("same");
  const MlpModel model = MlpFitter({.hidden = 8, .epochs = 150, .learning_rate = 1e-2})
                             .fit_model({.rows = x.narrow(0, 0, 400),
                                         .labels = labels.first(400),
                                         .groups = data.groups().first(400)},
                                        0);
  const at::Tensor held_out = model.scores(x.narrow(0, 400, 200));
  EXPECT_GT(stats::auroc({held_out.const_data_ptr<double>(), 200}, labels.subspan(400)), 0.9);
  double right = 0;  // the threshold is 0
  for (std::int64_t i = 0; i < 200; ++i) {
    right += (held_out[i].item<double>() > 0) == (labels[static_cast<std::size_t>(400 + i)] == 1);
  }
  EXPECT_GT(right / 200, 0.8);
}

TEST(MlpFitter, NamesTheValueThatItRefuses) {
  const ProbeDataset data = dataset();
  auto state =
      MlpFitter({.hidden = 4, .epochs = 1})
          .fit_model({.rows = data.site("a"), .labels = data.labels("c"), .groups = data.groups()},
                     0)
          .state();
  const auto refusal = [](std::map<std::string, at::Tensor> of) {
    return message_of<InvalidArgument>([&] { MlpModel{std::move(of)}; });
  };
  auto other = state;
  other["w2"] = state["w1"];
  EXPECT_NE(refusal(other).find("w2 of 1 dimensions in the state, got shape [4, 5]"),
            std::string::npos);
  other = state;
  other["b1"] = state["mean"];
  EXPECT_NE(refusal(other).find("got [5], [5], [4, 5], [5] and [4]"), std::string::npos);
  state.erase("w2");
  EXPECT_NE(refusal(state).find("w2 of 1 dimensions in the state, got none"), std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([] { MlpFitter({.hidden = 0}); }).find("got hidden 0"),
            std::string::npos);
}

TEST(SamplePlan, AcceptsSixteenUnitsAColumn) {
  EXPECT_TRUE(plan_sample({.concept_name = "c", .width = 10, .units = 160, .positive_units = 150})
                  .accepted);
  EXPECT_FALSE(plan_sample({.concept_name = "c", .width = 10, .units = 159, .positive_units = 150})
                   .accepted);
}

}  // namespace
}  // namespace tierod::probe
