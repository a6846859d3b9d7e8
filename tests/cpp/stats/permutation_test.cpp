#include "tierod/stats/permutation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "stats/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/max_t.h"
#include "tierod/stats/multiplicity.h"

namespace tierod::stats {
namespace {

using Labels = std::vector<double>;
using Ids = std::vector<std::int64_t>;

TEST(GroupPermutation, MovesWholeGroupsWithinStrata) {
  const Labels y = {1, 1, 0, 0, 0, 2, 3, 3, 3};
  const Ids g = {4, 4, 5, 5, 5, 6, 7, 7, 7};
  const Ids strata = {0, 0, 0, 0, 0, 1, 1, 1, 1};
  const GroupPermutation permutation(y, g, strata);
  EXPECT_NEAR(permutation.log10_arrangements(), std::log10(4.0), 1e-12);
  EXPECT_EQ(permutation.movable_clusters(), 4U);
  std::map<Labels, int> seen;
  Labels out(y.size());
  for (std::size_t b = 0; b < 4000; ++b) {
    permutation.permute(1, b, out);
    ++seen[out];
  }
  // both strata swap or not, independently and evenly
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_TRUE(seen.contains(Labels{0, 0, 1, 1, 1, 3, 2, 2, 2}));
  EXPECT_TRUE(seen.contains(y));
  for (const auto& [labels, times] : seen) EXPECT_NEAR(times, 1000, 5 * std::sqrt(750.0));
}

TEST(GroupPermutation, MovesTracksBetweenGroupsOfEqualLength) {
  // rows of groups 0 and 1 are interleaved; group 2 has another length and stays
  const Labels y = {1, 5, 2, 6, 3, 7, 9, 8};
  const Ids g = {0, 1, 0, 1, 0, 1, 2, 2};
  const GroupPermutation permutation(y, g, {}, PermutationUnit::track);
  EXPECT_EQ(permutation.movable_clusters(), 2U);
  std::set<Labels> seen;
  Labels out(y.size());
  for (std::size_t b = 0; b < 50; ++b) {
    permutation.permute(2, b, out);
    seen.insert(out);
  }
  EXPECT_EQ(seen, (std::set<Labels>{y, {5, 1, 6, 2, 7, 3, 9, 8}}));
}

// All 3! orders of three groups occur equally often.
TEST(GroupPermutation, IsUniform) {
  const GroupPermutation permutation(Labels{1, 2, 3}, Ids{0, 1, 2});
  std::map<Labels, int> seen;
  Labels out(3);
  for (std::size_t b = 0; b < 6000; ++b) {
    permutation.permute(3, b, out);
    ++seen[out];
  }
  ASSERT_EQ(seen.size(), 6U);
  for (const auto& [labels, times] : seen) EXPECT_NEAR(times, 1000, 5 * std::sqrt(834.0));
}

TEST(GroupPermutation, RefusesWhatItCannotMove) {
  const Labels y = {0, 1, 0, 1};
  const Ids g = {0, 0, 1, 1};
  EXPECT_NE(message_of<InvalidArgument>([&] { GroupPermutation(y, g); }).find("in group 0"),
            std::string::npos);
  EXPECT_THROW(GroupPermutation(y, g, {}, PermutationUnit::track),
               InvalidArgument);  // equal tracks
  EXPECT_THROW(GroupPermutation(Labels{0, 0, 1, 1}, g, Ids{0, 0, 1, 1}), InvalidArgument);
  EXPECT_THROW(GroupPermutation(Labels{0, 0, 1, 1}, g, Ids{0, 1, 1, 1}), InvalidArgument);
  EXPECT_THROW(GroupPermutation(Labels{0, 0, 1, 1}, g, Ids{0}), InvalidArgument);
  EXPECT_THROW(GroupPermutation(Labels{0, 0}, Ids{1, 1}), InvalidArgument);
  EXPECT_THROW(GroupPermutation(Labels{0, std::nan("")}, Ids{0, 1}), NumericalError);
}

LabelStatistic mean_difference(const std::vector<double>& x) {
  return [&x](std::span<const double> y) {
    double sum[2] = {0, 0}, count[2] = {0, 0};
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum[y[i] != 0 ? 1 : 0] += x[i];
      count[y[i] != 0 ? 1 : 0] += 1;
    }
    return sum[1] / count[1] - sum[0] / count[0];
  };
}

TEST(PermutationTest, CountsTheObservedArrangement) {
  const std::vector<double> x = {0.1, 0.2, 0.3, 0.4, 9.1, 9.2, 9.3, 9.4};
  const Labels y = {0, 0, 0, 0, 1, 1, 1, 1};
  PermutationOptions options{.permutations = 4999};
  const PermutationResult r = permutation_test(mean_difference(x), y, groups_of(8, 1), {}, options);
  // 1 of 70 arrangements reaches it
  EXPECT_NEAR(r.p, 1.0 / 70, 5 * std::sqrt(1.0 / 70 / 5000));
  EXPECT_DOUBLE_EQ(r.p, (1.0 + static_cast<double>(r.exceeding)) / 5000);
  EXPECT_NEAR(r.smallest_p, 1.0 / 70, 1e-9);
  EXPECT_TRUE(r.note.empty());
  options.alternative = Alternative::less;
  EXPECT_DOUBLE_EQ(permutation_test(mean_difference(x), y, groups_of(8, 1), {}, options).p, 1);
  options.alternative = Alternative::two_sided;
  EXPECT_NEAR(permutation_test(mean_difference(x), y, groups_of(8, 1), {}, options).p, 2.0 / 70,
              5 * std::sqrt(2.0 / 70 / 5000));
}

TEST(PermutationTest, DoesNotDependOnThreads) {
  const std::vector<double> x = normals(60, 3);
  Labels y(60);
  for (std::size_t i = 0; i < 60; ++i) y[i] = i < 30 ? 1 : 0;
  PermutationOptions options{.permutations = 300, .seed = 5};
  const auto a = permutation_test(mean_difference(x), y, groups_of(60, 1), {}, options);
  options.threads = 3;
  const auto b = permutation_test(mean_difference(x), y, groups_of(60, 1), {}, options);
  EXPECT_EQ(a.null, b.null);
  EXPECT_EQ(a.p, b.p);
}

TEST(PermutationTest, SaysWhenNoPCanReachTheLevel) {
  const std::vector<double> x = normals(40, 4);
  Labels y(40, 0);
  for (std::size_t i = 0; i < 20; ++i) y[i] = 1;
  const auto few = permutation_test(mean_difference(x), y, groups_of(40, 1), {},
                                    {.permutations = 99, .alpha = 0.001});
  EXPECT_NE(few.note.find("at least 999 permutations"), std::string::npos) << few.note;
  const auto small =
      permutation_test(mean_difference(std::vector<double>{1, 2, 3}), Labels{0, 0, 1}, Ids{0, 1, 2},
                       {}, {.permutations = 999, .alpha = 0.05});
  EXPECT_NE(small.note.find("too few different arrangements"), std::string::npos) << small.note;
  EXPECT_EQ(permutations_needed(0.05), 19U);
  EXPECT_EQ(permutations_needed(0.05, 12), 239U);
  EXPECT_EQ(permutations_needed(0.001), 999U);
}

// By hand: B = 3, observed (3, 2, 1).
TEST(MaxT, SingleStepAndStepDownByHand) {
  const std::vector<double> observed = {3, 1, 2};
  const std::vector<double> permuted = {
      0, 0,   2.5,  //
      1, 3.5, 0,    //
      0, 0.5, 0,
  };
  const MaxT r = max_t(observed, permuted, 0.5);
  EXPECT_EQ(r.p, (std::vector<double>{1.0 / 4, 2.0 / 4, 2.0 / 4}));
  // the maxima are 2.5, 3.5 and 0.5
  EXPECT_EQ(r.single_step, (std::vector<double>{2.0 / 4, 3.0 / 4, 3.0 / 4}));
  // site 2 competes with sites 1 and 2; site 1 with itself only (2 / 4), then made monotone
  EXPECT_EQ(r.step_down, (std::vector<double>{2.0 / 4, 3.0 / 4, 3.0 / 4}));
  EXPECT_EQ(r.threshold, 2.5);  // one maximum (3.5) may lie above
  EXPECT_TRUE(r.note.empty());
  EXPECT_NE(max_t(observed, permuted, 0.05).note.find("at least 19"), std::string::npos);
  EXPECT_EQ(max_t(observed, permuted, 0.05).threshold, std::numeric_limits<double>::infinity());
}

TEST(MaxT, OneSiteIsThePlainTest) {
  const std::vector<double> null = normals(199, 6);
  const MaxT r = max_t(std::vector<double>{1.0}, null);
  EXPECT_EQ(r.p, r.single_step);
  EXPECT_EQ(r.p, r.step_down);
  const auto above = std::count_if(null.begin(), null.end(), [](double t) { return t >= 1; });
  EXPECT_DOUBLE_EQ(r.p[0], (1.0 + static_cast<double>(above)) / 200);
}

TEST(MaxT, IsOrderedAndRefusesBadInput) {
  const std::vector<double> null = normals(99UL * 6, 7);
  const std::vector<double> observed = {0.5, 2.5, 1.5, -1, 3, 2.5};
  const MaxT r = max_t(observed, null);
  for (std::size_t s = 0; s < 6; ++s) {
    EXPECT_LE(r.p[s], r.step_down[s]);
    EXPECT_LE(r.step_down[s], r.single_step[s]);
    EXPECT_EQ(r.single_step[s] <= 0.05, observed[s] > r.threshold);
  }
  EXPECT_THROW(max_t(observed, std::span(null).first(7)), InvalidArgument);
  EXPECT_THROW(max_t(observed, {}), InvalidArgument);
  EXPECT_THROW(max_t({}, null), InvalidArgument);
  EXPECT_THROW(max_t(std::vector<double>{std::nan("")}, null), NumericalError);
}

TEST(Multiplicity, ByHand) {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005};
  const auto expect = [](const std::vector<double>& got, const std::vector<double>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-14) << i;
  };
  expect(holm(p), {0.03, 0.06, 0.06, 0.02});
  expect(benjamini_hochberg(p), {0.02, 0.04, 0.04, 0.02});
  const double h = 1 + 0.5 + 1.0 / 3 + 0.25;
  expect(benjamini_yekutieli(p), {0.02 * h, 0.04 * h, 0.04 * h, 0.02 * h});
  expect(benjamini_yekutieli(std::vector<double>{0.9, 0.8}), {1, 1});
  EXPECT_THROW(holm({}), InvalidArgument);
  EXPECT_THROW(benjamini_hochberg(std::vector<double>{0.5, 1.5}), InvalidArgument);
  EXPECT_THROW(benjamini_yekutieli(std::vector<double>{std::nan("")}), InvalidArgument);
}

}  // namespace
}  // namespace tierod::stats
