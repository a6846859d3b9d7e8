#include "tierod/patch/donors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::patch {
namespace {

using Places = std::vector<std::int64_t>;
using Labels = std::vector<std::uint8_t>;

Places each(std::size_t n) {
  Places out(n);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(MatchedDonors, AreTheNearestOfTheOtherClass) {
  // within-class deviations of 0, 2, 10 | 1, 3, 5 from 4 and 3: variance (16+4+36+4+0+4) / (6-2)
  const std::vector<double> x = {0, 2, 10, 1, 3, 5};
  const MatchedDonors found = matched_donors(x, Labels{0, 0, 0, 1, 1, 1}, each(6));
  // 2 is as far from 1 as from 3: the lower place
  EXPECT_EQ(found.donors, (Places{3, 3, 5, 0, 1, 1}));
  const double sd = std::sqrt(64.0 / 4);
  EXPECT_NEAR(found.distances[0], 1 / sd, 1e-12);
  EXPECT_NEAR(found.distances[2], 5 / sd, 1e-12);
  EXPECT_NEAR(found.distances[5], 3 / sd, 1e-12);
}

TEST(MatchedDonors, DoNotShareTheGroup) {
  const std::vector<double> x = {0, 0.1, 5, 9};
  EXPECT_EQ(matched_donors(x, Labels{0, 1, 0, 1}, Places{7, 7, 8, 9}).donors, (Places{3, 2, 3, 2}));
}

TEST(MatchedDonors, AreEligible) {
  const std::vector<double> x = {0, 0.1, 5, 9};
  EXPECT_EQ(matched_donors(x, Labels{0, 1, 0, 1}, each(4), Labels{1, 0, 1, 1}).donors,
            (Places{3, 0, 3, 2}));
  EXPECT_NE(message_of<InvalidArgument>([&] {
              matched_donors(x, Labels{0, 1, 0, 1}, each(4), Labels{1, 0, 1, 0});
            }).find("label 1 in another group for each scene, got none for scene 0 of group 0"),
            std::string::npos);
}

std::vector<double> columns(std::size_t n, std::size_t q, std::uint64_t seed) {
  const CounterRandom random(seed, "test");
  std::vector<double> out;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t a = 0; a < q; ++a) {
      out.push_back(random.normal(i, 0, static_cast<std::uint32_t>(a)));
    }
  }
  return out;
}

Labels alternate(std::size_t n) {
  Labels out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = i % 2;
  return out;
}

TEST(MatchedDonors, CountNoColumnTwiceAndNoConstant) {
  constexpr std::size_t n = 60;
  const std::vector<double> x = columns(n, 2, 1);
  const Labels labels = alternate(n);
  std::vector<double> padded;
  for (std::size_t i = 0; i < n; ++i) {
    const double a = x[2 * i];
    const double b = x[2 * i + 1];
    // another unit, a constant, a mixture of columns, the label itself
    padded.insert(padded.end(), {1000 * a, 0.1, b - a, b, labels[i] * 3.0});
  }
  const MatchedDonors plain = matched_donors(x, labels, each(n));
  const MatchedDonors found = matched_donors(padded, labels, each(n));
  EXPECT_EQ(found.donors, plain.donors);
  for (std::size_t i = 0; i < n; ++i) EXPECT_NEAR(found.distances[i], plain.distances[i], 1e-9);
}

TEST(MatchedDonors, BreakTiesByPlace) {
  const std::vector<double> constant(8, 0.3);
  const MatchedDonors found = matched_donors(constant, alternate(8), each(8));
  EXPECT_EQ(found.donors, (Places{1, 0, 1, 0, 1, 0, 1, 0}));
  EXPECT_EQ(found.distances, std::vector<double>(8, 0.0));
}

TEST(MatchedDonors, Refuse) {
  const std::vector<double> x = {0, 1, 2, 3};
  EXPECT_THROW(matched_donors(x, Labels{1, 1, 1, 1}, each(4)), InvalidArgument);
  EXPECT_THROW(matched_donors(x, Labels{0, 1, 2, 1}, each(4)), InvalidArgument);
  EXPECT_THROW(matched_donors(x, Labels{0, 1, 0, 1}, each(3)), InvalidArgument);
  EXPECT_THROW(matched_donors(x, Labels{0, 1, 0}, each(3)), InvalidArgument);
  EXPECT_THROW(matched_donors({}, Labels{0, 1, 0}, each(3)), InvalidArgument);
  EXPECT_THROW(matched_donors(x, Labels{0, 1, 0, 1}, Places(4, 5)), InvalidArgument);
  const std::vector<double> bad = {0, 1, std::numeric_limits<double>::quiet_NaN(), 3};
  EXPECT_THROW(matched_donors(bad, Labels{0, 1, 0, 1}, each(4)), NumericalError);
}

void expect_fit(const Places& donors, const Places& groups) {
  Places sorted = donors;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, each(groups.size()));
  for (std::size_t i = 0; i < groups.size(); ++i) {
    EXPECT_NE(groups[static_cast<std::size_t>(donors[i])], groups[i]) << "scene " << i;
  }
}

TEST(ShuffledDonors, AreAPermutationBetweenGroups) {
  Places groups;
  for (std::int64_t i = 0; i < 300; ++i) groups.push_back(i * i % 17);
  expect_fit(shuffled_donors(groups, 3), groups);
  EXPECT_EQ(shuffled_donors(groups, 3), shuffled_donors(groups, 3));
  EXPECT_NE(shuffled_donors(groups, 3), shuffled_donors(groups, 4));
}

TEST(ShuffledDonors, ExistUpToHalfOfTheScenes) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Places half = {5, 1, 5, 2, 5, 3};
    expect_fit(shuffled_donors(half, seed), half);
    const Places two = {0, 0, 1, 1};
    expect_fit(shuffled_donors(two, seed), two);
  }
  EXPECT_NE(message_of<InvalidArgument>([] {
              shuffled_donors(Places{5, 1, 5, 2, 5});
            }).find("half of the 5 scenes, got 3 of group 5"),
            std::string::npos);
  EXPECT_THROW(shuffled_donors(Places{1}), InvalidArgument);
  EXPECT_THROW(shuffled_donors(Places{}), InvalidArgument);
}

TEST(ShuffledDonors, AreAboutUniform) {
  constexpr int kDraws = 4500;
  std::map<Places, int> seen;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) ++seen[shuffled_donors(each(4), seed)];
  ASSERT_EQ(seen.size(), 9U);  // the derangements of 4
  for (const auto& [donors, count] : seen) {
    EXPECT_GT(count, 0.85 * kDraws / 9);
    EXPECT_LT(count, 1.15 * kDraws / 9);
  }
}

}  // namespace
}  // namespace tierod::patch
