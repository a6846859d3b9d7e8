#include "tierod/stats/site_max_t.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "stats/folds_internal.h"
#include "stats/sample.h"
#include "tierod/core/error.h"
#include "tierod/stats/permutation.h"

namespace tierod::stats {
namespace {

constexpr std::size_t kGroups = 30, kWidth = 4, kConcepts = 2, kSites = 3;

struct Data {
  std::vector<at::Tensor> means;
  std::vector<std::uint8_t> labels;  // [G, C]
};

// Concept 0 shows at site 1 along one axis; concept 1 nowhere.
Data sample(double effect) {
  Data d;
  for (std::size_t g = 0; g < kGroups; ++g) {
    d.labels.push_back(static_cast<std::uint8_t>(g % 2));
    d.labels.push_back(static_cast<std::uint8_t>(g * 7 % 30 < 12));
  }
  for (std::size_t s = 0; s < kSites; ++s) {
    const std::vector<double> z = normals(kGroups * kWidth, 40 + s);
    at::Tensor x = at::empty({kGroups, kWidth}, at::kDouble);
    std::copy(z.begin(), z.end(), x.mutable_data_ptr<double>());
    if (s == 1) {
      for (std::int64_t g = 0; g < static_cast<std::int64_t>(kGroups); ++g) {
        x[g][2].add_(effect * static_cast<double>(g % 2));
      }
    }
    d.means.push_back(x);
  }
  return d;
}

/// The statistic as its definition reads: refit in every fold, score, centre, two-sample t.
double naive_t(const at::Tensor& x, const std::vector<double>& y,
               const std::vector<std::size_t>& fold, std::size_t folds) {
  std::vector<double> scores(y.size());
  for (std::size_t f = 0; f < folds; ++f) {
    std::vector<double> w(kWidth, 0.0);
    double ones = 0, zeros = 0;
    for (std::size_t g = 0; g < y.size(); ++g) {
      if (fold[g] != f) (y[g] != 0 ? ones : zeros) += 1;
    }
    for (std::size_t g = 0; g < y.size(); ++g) {
      if (fold[g] == f) continue;
      for (std::size_t j = 0; j < kWidth; ++j) {
        const double v =
            x[static_cast<std::int64_t>(g)][static_cast<std::int64_t>(j)].item<double>();
        w[j] += y[g] != 0 ? v / ones : -v / zeros;
      }
    }
    double mean = 0, count = 0;
    for (std::size_t g = 0; g < y.size(); ++g) {
      if (fold[g] != f) continue;
      for (std::size_t j = 0; j < kWidth; ++j) {
        scores[g] +=
            w[j] * x[static_cast<std::int64_t>(g)][static_cast<std::int64_t>(j)].item<double>();
      }
      mean += scores[g];
      count += 1;
    }
    for (std::size_t g = 0; g < y.size(); ++g) {
      if (fold[g] == f) scores[g] -= mean / count;
    }
  }
  double mean[2] = {0, 0}, n[2] = {0, 0}, scatter = 0;
  for (std::size_t g = 0; g < y.size(); ++g) {
    mean[y[g] != 0 ? 1 : 0] += scores[g];
    n[y[g] != 0 ? 1 : 0] += 1;
  }
  mean[0] /= n[0];
  mean[1] /= n[1];
  for (std::size_t g = 0; g < y.size(); ++g) {
    scatter += std::pow(scores[g] - mean[y[g] != 0 ? 1 : 0], 2);
  }
  return (mean[1] - mean[0]) / std::sqrt(scatter / (n[0] + n[1] - 2) * (1 / n[0] + 1 / n[1]));
}

TEST(SiteMaxT, StatisticAndPermutationsFollowTheDefinition) {
  const Data d = sample(1.5);
  SiteMaxTOptions options{.permutations = 99, .folds = 2, .seed = 4};
  const std::vector<std::size_t> fold = tierod::internal::deal_folds({}, kGroups, 2, options.seed);
  const SiteMaxT r = site_max_t(d.means, d.labels, {}, options);
  for (std::size_t c = 0; c < kConcepts; ++c) {
    std::vector<double> y(kGroups), permuted(kGroups);
    for (std::size_t g = 0; g < kGroups; ++g) y[g] = d.labels[g * kConcepts + c];
    const GroupPermutation permutation(y, groups_of(kGroups, 1));
    for (std::size_t s = 0; s < kSites; ++s) {
      const std::size_t cell = s * kConcepts + c;
      const double t = naive_t(d.means[s], y, fold, 2);
      EXPECT_NEAR(r.statistic[cell], t, 1e-9) << s << ' ' << c;
      int reaching = 0;
      for (std::size_t b = 0; b < options.permutations; ++b) {
        permutation.permute(options.seed, b, permuted);
        if (naive_t(d.means[s], permuted, fold, 2) >= t - 1e-9) ++reaching;
      }
      EXPECT_DOUBLE_EQ(r.p[cell], (1.0 + reaching) / 100) << s << ' ' << c;
    }
  }
}

TEST(SiteMaxT, FindsTheSiteAndOnlyIt) {
  const SiteMaxT r = site_max_t(sample(4).means, sample(4).labels, {}, {.permutations = 499});
  EXPECT_LE(r.single_step[1 * kConcepts + 0], 0.01);
  EXPECT_GT(r.statistic[1 * kConcepts + 0], r.threshold[0]);
  for (const std::size_t cell : {0U, 1U, 3U, 4U, 5U}) EXPECT_GT(r.single_step[cell], 0.05) << cell;
}

TEST(SiteMaxT, DoesNotDependOnBatchThreadsScaleOrDtype) {
  const Data d = sample(1);
  SiteMaxTOptions options{.permutations = 199};
  const SiteMaxT a = site_max_t(d.means, d.labels, {}, options);
  options.batch = 7;
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  std::vector<at::Tensor> scaled;
  for (const at::Tensor& x : d.means) scaled.push_back(x.mul(1024).add(64));
  const SiteMaxT b = site_max_t(scaled, d.labels, {}, options);
  at::set_num_threads(threads);
  EXPECT_EQ(a.p, b.p);
  EXPECT_EQ(a.single_step, b.single_step);
  for (std::size_t i = 0; i < a.statistic.size(); ++i) {
    EXPECT_NEAR(a.statistic[i], b.statistic[i], 1e-9);
  }
}

TEST(SiteMaxT, SaysWhenTooFewPermutationsAreAskedFor) {
  const Data d = sample(0);
  const SiteMaxT r = site_max_t(d.means, d.labels, {}, {.permutations = 99, .alpha = 0.001});
  EXPECT_NE(r.note.find("at least 999 permutations"), std::string::npos) << r.note;
  EXPECT_EQ(r.threshold[0], std::numeric_limits<double>::infinity());
}

TEST(SiteMaxT, ASiteWhereAllGroupsAreAlikeTellsNothing) {
  const Data d = sample(0);
  const SiteMaxT alone = site_max_t({d.means[0]}, d.labels, {}, {.permutations = 99});
  // .1 is no binary fraction: its mean rounds
  const SiteMaxT r =
      site_max_t({d.means[0], at::full({kGroups, 3}, 0.1)}, d.labels, {}, {.permutations = 99});
  for (std::size_t c = 0; c < r.concepts; ++c) {
    EXPECT_EQ(r.statistic[r.concepts + c], 0);
    EXPECT_EQ(r.p[r.concepts + c], 1);
    EXPECT_EQ(r.statistic[c], alone.statistic[c]);
    EXPECT_EQ(r.p[c], alone.p[c]);
  }
}

TEST(SiteMaxT, RefusesBadInput) {
  const Data d = sample(0);
  const auto with = [&](const std::vector<at::Tensor>& means) {
    return [&d, means] { site_max_t(means, d.labels); };
  };
  at::Tensor bad = d.means[1].clone();
  bad[4][1].fill_(std::nan(""));
  EXPECT_NE(message_of<NumericalError>(with({d.means[0], bad})).find("site 1"), std::string::npos);
  EXPECT_NE(message_of<NumericalError>(with({d.means[0], bad})).find("row 4"), std::string::npos);
  EXPECT_THROW(with({d.means[0], d.means[1].narrow(0, 0, 20)})(), InvalidArgument);
  EXPECT_THROW(with({})(), InvalidArgument);
  EXPECT_THROW(site_max_t(d.means, std::vector<std::uint8_t>(kGroups, 1)), InvalidArgument);
  EXPECT_THROW(site_max_t(d.means, std::span(d.labels).first(31)), InvalidArgument);
  EXPECT_THROW(site_max_t(d.means, d.labels, std::vector<std::int64_t>{1, 2}), InvalidArgument);
  EXPECT_THROW(site_max_t(d.means, d.labels, {}, {.folds = 1}), InvalidArgument);
  std::vector<std::uint8_t> missing = d.labels;
  missing[5] = 255;
  EXPECT_NE(
      message_of<InvalidArgument>([&] { site_max_t(d.means, missing); }).find("group 2, concept 1"),
      std::string::npos);
}

}  // namespace
}  // namespace tierod::stats
