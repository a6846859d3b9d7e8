#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "audit/stages_internal.h"
#include "tierod/core/random.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/jackknife.h"

namespace tierod::internal {

namespace {

std::span<const double> numbers_in(const at::Tensor& x) {
  return {x.const_data_ptr<double>(), static_cast<std::size_t>(x.numel())};
}

/// 60 scenes of 12 units, a third of them with the concept; 5 refits.
struct Sample {
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> units;
  at::Tensor values = at::empty({60}, at::kDouble), refits = at::empty({5, 60}, at::kDouble);

  Sample() {
    const CounterRandom random(1, "scene_interval_test");
    for (std::int64_t i = 0; i < 60; ++i) {
      labels.push_back(i % 3 == 0 ? 1 : 0);
      units.push_back(i / 5);
      const auto at = static_cast<std::uint64_t>(i);
      values[i] = random.normal(at, 0, 0) + 0.3 * static_cast<double>(i / 5 % 3);
      for (std::uint32_t k = 0; k < 5; ++k) {
        refits[static_cast<std::int64_t>(k)][i] =
            values[i].item<double>() + random.normal(at, 1, k);
      }
    }
  }
};

}  // namespace

TEST(SceneInterval, IsTheRefitIntervalOfAllScenes) {
  const Sample s;
  std::vector<double> thetas;
  for (std::int64_t k = 0; k < 5; ++k) {
    const at::Tensor row = s.refits[k].contiguous();
    thetas.push_back(stats::balanced_influence(numbers_in(row), s.labels, s.units).estimate);
  }
  const stats::Interval expected =
      stats::refit_interval(stats::balanced_influence(numbers_in(s.values), s.labels, s.units),
                            thetas)
          .interval;
  const stats::Interval found = scene_interval(s.values, s.refits, s.labels, s.units);
  EXPECT_NEAR(found.estimate, expected.estimate, 1e-12);
  EXPECT_NEAR(found.standard_error, expected.standard_error, 1e-12);
  EXPECT_EQ(found.df, expected.df);
}

TEST(SceneInterval, OfAStratumIsThatOfItsScenesAlone) {
  const Sample s;
  // whole units, so that the stratum can be cut out: the others then add nothing but zeros
  std::vector<std::uint8_t> in;
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> units;
  std::vector<double> values;
  for (std::size_t i = 0; i < 60; ++i) {
    in.push_back(s.units[i] < 7 ? 1 : 0);
    if (in.back() == 0) continue;
    labels.push_back(s.labels[i]);
    units.push_back(s.units[i]);
    values.push_back(s.values[static_cast<std::int64_t>(i)].item<double>());
  }
  const stats::Interval found = scene_interval(s.values, {}, s.labels, s.units, in);
  const stats::Influence alone = stats::balanced_influence(values, labels, units);
  EXPECT_NEAR(found.estimate, alone.estimate, 1e-12);
  EXPECT_EQ(found.df, 6);
  // sum over clusters of (share moved by each)^2, times G / (G - 1) of all 12 clusters
  double squares = 0;
  for (const double u : alone.contributions) squares += u * u / 49;
  EXPECT_NEAR(found.standard_error, std::sqrt(squares * 12 / 11), 1e-12);
}

TEST(SceneInterval, OfOneClassIsItsMean) {
  const Sample s;
  double sum = 0;
  for (std::int64_t i = 0; i < 60; i += 3) sum += s.values[i].item<double>();
  std::vector<std::uint8_t> on = s.labels;  // strata of the concept itself hold no scene without it
  EXPECT_NEAR(scene_interval(s.values, {}, s.labels, s.units, on).estimate, sum / 20, 1e-12);
}

TEST(SceneInterval, StrataOfTheSameUnitsDifferByWhatTheyDo) {
  const Sample s;
  std::vector<std::uint8_t> first, second;
  for (std::size_t i = 0; i < 60; ++i) {
    first.push_back(i % 2 == 0 ? 1 : 0);
    second.push_back(i % 2 == 0 ? 0 : 1);
  }
  const auto difference = stratum_difference(s.values, s.refits, s.labels, s.units, first, second);
  const double a = scene_interval(s.values, s.refits, s.labels, s.units, first).estimate;
  const double b = scene_interval(s.values, s.refits, s.labels, s.units, second).estimate;
  EXPECT_NEAR(difference.estimate, a - b, 1e-12);
  EXPECT_EQ(difference.df, 4);
  const auto other = stratum_difference(s.values, s.refits, s.labels, s.units, second, first);
  EXPECT_NEAR(other.standard_error, difference.standard_error, 1e-12);
}

TEST(SceneInterval, AnEmptyStratumIsAnError) {
  const Sample s;
  const std::vector<std::uint8_t> none(60, 0);
  EXPECT_THROW(scene_interval(s.values, {}, s.labels, s.units, none), InvalidArgument);
}

}  // namespace tierod::internal
