// Add a kind of probe of your own and let the evaluation judge it beside ridge.
//
// A linear probe derives from LinearFitter: it gets sufficient statistics of the training rows and
// returns weights for all concepts at once. This one is "naive Bayes": every column is weighted by
// its difference of class means over its variance, and correlations are left aside.
#include <ATen/ops/empty.h>
#include <tierod/core/random.h>
#include <tierod/probe/dataset.h>
#include <tierod/probe/evaluation.h>
#include <tierod/probe/linear_probe.h>

#include <cstdio>
#include <vector>

namespace probe = tierod::probe;

class NaiveBayes final : public probe::LinearFitter {
 public:
  std::string name() const override { return "naive_bayes"; }

  probe::LinearFits fit(const probe::TrainingStatistics& training) const override {
    const at::Tensor variance = training.scatter.diagonal().div(static_cast<double>(training.rows));
    const at::Tensor weights = training.means[1].sub(training.means[0]).div(variance);  // [C, d]
    probe::LinearFits out;
    out.weights = weights.unsqueeze(0);  // one setting
    out.intercepts = weights.mul(training.means.mean(0)).sum(1).neg().unsqueeze(0);
    out.reports.assign(static_cast<std::size_t>(training.concepts()),
                       {.rows = training.rows, .rank = training.width()});
    return out;
  }
};

int main() {
  // 60 scenes of 4 rows; the concept shows in column 0, which shares its noise with column 1
  constexpr int kScenes = 60, kRows = 4, kWidth = 8;
  const tierod::CounterRandom random(1, "example");
  std::vector<std::int64_t> groups;
  std::vector<std::uint8_t> labels;
  std::vector<double> speed;
  at::Tensor x = at::empty({std::int64_t{kScenes} * kRows, kWidth}, at::kDouble);
  auto* value = x.mutable_data_ptr<double>();
  for (int scene = 0; scene < kScenes; ++scene) {
    for (int row = 0; row < kRows; ++row) {
      groups.push_back(scene);
      labels.push_back(random.uniform(scene, 0, 0) < 0.4);
      speed.push_back(random.normal(scene, 1, 0));
      const double shared = 2 * random.normal(scene, 2, row);
      for (int j = 0; j < kWidth; ++j) {
        value[j] = 0.5 * random.normal(scene, 3 + j, row) + (j < 2 ? shared : 0);
      }
      value[0] += labels.back();
      value += kWidth;
    }
  }
  probe::ProbeDataset data(groups);
  data.add_site("layers.0.resid_post", x);
  data.add_concept("pedestrian", labels);
  data.add_nuisance("speed", speed, probe::NuisanceKind::binned);

  const probe::EvaluationOptions options{.interval = tierod::stats::RankingMethod::influence,
                                         .permutations = 199};
  const probe::Evaluation own = probe::evaluate(data, NaiveBayes(), options);
  const probe::Evaluation ridge = probe::evaluate(data, probe::RidgeFitter({1, 10}), options);
  for (const probe::Evaluation* found : {&own, &ridge}) {
    const probe::EvaluationRow& row = found->rows[0];
    std::printf("%-12s AUROC %.3f [%.3f, %.3f], above the nuisance-only probe by %.3f\n",
                found->probe.c_str(), row.auroc.estimate, row.auroc.low, row.auroc.high,
                row.above_nuisance.estimate);
  }
  // what columns 0 and 1 share only hides the concept from a probe that cannot subtract
  return own.rows[0].auroc.estimate + 0.05 < ridge.rows[0].auroc.estimate ? 0 : 1;
}
