#include "tierod/stats/moments.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod {
namespace {

constexpr std::int64_t kRows = 37;
constexpr std::int64_t kWidth = 5;

at::Tensor rows(std::uint64_t seed, std::int64_t n = kRows, double offset = 100.0) {
  const CounterRandom random(seed, "moments");
  at::Tensor x = at::empty({n, kWidth}, at::TensorOptions().dtype(at::kDouble));
  double* p = x.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < n; ++i) {
    double shared = random.normal(1, static_cast<std::uint32_t>(i), 0);
    for (std::int64_t j = 0; j < kWidth; ++j) {
      *p++ = offset * static_cast<double>(j) + shared * static_cast<double>(j) +
             random.normal(0, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j));
    }
  }
  return x;
}

/// Mean [d] and covariance [d][d] by two plain loops over the data.
struct Naive {
  std::vector<double> mean;
  std::vector<std::vector<double>> covariance;
  Naive(const at::Tensor& x, std::int64_t ddof) {
    const at::Tensor y = x.to(at::kDouble).contiguous();
    const double* p = y.const_data_ptr<double>();
    const auto n = y.size(0);
    const auto d = static_cast<std::size_t>(y.size(1));
    mean.assign(d, 0.0);
    covariance.assign(d, std::vector<double>(d, 0.0));
    const auto value = [&](std::int64_t i, std::size_t j) {
      return p[static_cast<std::size_t>(i) * d + j];
    };
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < d; ++j) mean[j] += value(i, j) / static_cast<double>(n);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < d; ++j) {
        for (std::size_t k = 0; k < d; ++k) {
          covariance[j][k] +=
              (value(i, j) - mean[j]) * (value(i, k) - mean[k]) / static_cast<double>(n - ddof);
        }
      }
    }
  }
};

void expect_near(double got, double want) {
  EXPECT_NEAR(got, want, 1e-11 * std::max(1.0, std::abs(want)));
}

void expect_moments(const Moments& m, const at::Tensor& x, std::int64_t ddof = 1) {
  const Naive naive(x, ddof);
  ASSERT_EQ(m.count(), x.size(0));
  ASSERT_EQ(m.width(), x.size(1));
  const at::Tensor mean = m.mean();
  const at::Tensor variance = m.variance(ddof);
  EXPECT_EQ(mean.scalar_type(), at::kDouble);
  for (std::int64_t j = 0; j < x.size(1); ++j) {
    const auto a = static_cast<std::size_t>(j);
    expect_near(mean[j].item<double>(), naive.mean[a]);
    expect_near(variance[j].item<double>(), naive.covariance[a][a]);
    if (!m.has_covariance()) continue;
    for (std::int64_t k = 0; k < x.size(1); ++k) {
      expect_near(m.covariance(ddof)[j][k].item<double>(),
                  naive.covariance[a][static_cast<std::size_t>(k)]);
    }
  }
}

class MomentsTest : public testing::TestWithParam<bool> {};

TEST_P(MomentsTest, OneUpdateAgreesWithTwoPasses) {
  Moments m(GetParam());
  m.update(rows(1));
  expect_moments(m, rows(1));
  expect_moments(m, rows(1), 0);
}

TEST_P(MomentsTest, ManyUpdatesAgreeWithTwoPasses) {
  const at::Tensor x = rows(2);
  Moments m(GetParam());
  for (const auto& [begin, n] : {std::pair{0, 1}, {1, 10}, {11, 0}, {11, 25}, {36, 1}}) {
    m.update(x.narrow(0, begin, n));
  }
  expect_moments(m, x);
}

TEST_P(MomentsTest, MergeEqualsAllAtOnce) {
  const at::Tensor a = rows(3, 11);
  const at::Tensor b = rows(4, 26, -50.0);
  Moments left(GetParam()), right(GetParam()), empty(GetParam());
  left.update(a);
  right.update(b);
  left.merge(empty);
  empty.merge(left);
  expect_moments(empty, a);
  left.merge(right);
  expect_moments(left, at::cat({a, b}));
  expect_moments(right, b);
  expect_moments(empty, a);  // a merged copy does not change with what it was merged from
}

TEST_P(MomentsTest, SurvivesALargeOffset) {
  // E[x^2] - E[x]^2 in f64 would lose all digits here.
  const at::Tensor x = rows(5).add(1e9);
  Moments m(GetParam());
  m.update(x.narrow(0, 0, 20));
  m.update(x.narrow(0, 20, kRows - 20));
  const Naive naive(rows(5), 1);
  for (std::int64_t j = 0; j < kWidth; ++j) {
    const auto a = static_cast<std::size_t>(j);
    EXPECT_NEAR(m.variance()[j].item<double>() / naive.covariance[a][a], 1.0, 1e-5);
  }
}

TEST_P(MomentsTest, ReadsLowPrecisionRowsWithoutRoundingAgain) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor x = rows(6, kRows, 1.0).to(dtype);
    Moments m(GetParam());
    m.update(x.narrow(0, 0, 20));
    m.update(x.narrow(0, 20, kRows - 20));
    expect_moments(m, x);
  }
}

TEST_P(MomentsTest, RefusesNonFiniteRowsAndAddsNothing) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {nan, inf, -inf}) {
    Moments m(GetParam());
    at::Tensor x = rows(7).clone();
    m.update(x);
    at::Tensor y = rows(8).clone();
    y[3][2].fill_(bad);
    EXPECT_THROW(m.update(y), NumericalError);
    at::Tensor both = rows(8).clone();
    both[3][2].fill_(bad);
    both[5][2].fill_(-bad);
    EXPECT_THROW(m.update(both), NumericalError);
    expect_moments(m, x);
    Moments fresh(GetParam());
    EXPECT_THROW(fresh.update(y), NumericalError);
    EXPECT_EQ(fresh.count(), 0);
    EXPECT_EQ(fresh.width(), 0);
  }
}

TEST_P(MomentsTest, RefusesWrongShapesAndKinds) {
  Moments m(GetParam());
  m.update(rows(9));
  EXPECT_THROW(m.update(rows(9).narrow(1, 0, 3)), InvalidArgument);
  EXPECT_THROW(m.update(rows(9).view({-1})), InvalidArgument);
  EXPECT_THROW(m.update(rows(9).to(at::kLong)), InvalidArgument);
  EXPECT_THROW(m.update(at::Tensor()), InvalidArgument);
  EXPECT_THROW(m.merge(Moments(!GetParam())), InvalidArgument);
  Moments narrow(GetParam());
  narrow.update(rows(9).narrow(1, 0, 3));
  EXPECT_THROW(m.merge(narrow), InvalidArgument);
  expect_moments(m, rows(9));
}

TEST_P(MomentsTest, AnswersOnlyWhatItHasSeen) {
  Moments m(GetParam());
  EXPECT_THROW(m.mean(), StateError);
  EXPECT_THROW(m.variance(), StateError);
  m.update(rows(10, 1));
  EXPECT_NO_THROW(m.mean());
  EXPECT_THROW(m.variance(), StateError);
  EXPECT_TRUE(m.variance(0).eq(0).all().item<bool>());
  m.update(rows(11));
  if (GetParam()) {
    EXPECT_NO_THROW(m.covariance());
  } else {
    EXPECT_THROW(m.covariance(), StateError);
  }
}

TEST_P(MomentsTest, MergesWithItself) {
  const at::Tensor x = rows(12);
  Moments m(GetParam());
  m.update(x);
  m.merge(m);
  expect_moments(m, at::cat({x, x}));
}

TEST_P(MomentsTest, ReturnsCopiesAndCopiesAreIndependent) {
  Moments m(GetParam());
  m.update(rows(13));
  m.mean().zero_();
  m.variance().zero_();
  Moments copy = m;
  copy.update(rows(14));
  expect_moments(m, rows(13));
  expect_moments(copy, at::cat({rows(13), rows(14)}));
}

INSTANTIATE_TEST_SUITE_P(Kinds, MomentsTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Covariance" : "Variance"; });

}  // namespace
}  // namespace tierod
