#include "tierod/patch/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <limits>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::patch {
namespace {

at::Tensor normals(at::IntArrayRef shape, std::uint64_t seed) {
  const CounterRandom random(seed, "test");
  at::Tensor out = at::empty(shape, at::kDouble);
  auto* x = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    x[i] = random.normal(static_cast<std::uint64_t>(i), 0, 0);
  }
  return out;
}

at::Tensor positions(const std::vector<std::int64_t>& p) { return at::tensor(p, at::kLong); }

// Rotary embedding of [tokens, width] as the paper writes it, one pair at a time.
at::Tensor embedded(const at::Tensor& x, const std::vector<std::int64_t>& p, double theta,
                    std::int64_t turned, RotaryPairs pairs) {
  at::Tensor out = x.clone();
  for (std::int64_t t = 0; t < x.size(0); ++t) {
    for (std::int64_t i = 0; i < turned / 2; ++i) {
      const std::int64_t a = pairs == RotaryPairs::halves ? i : 2 * i;
      const std::int64_t b = pairs == RotaryPairs::halves ? i + turned / 2 : 2 * i + 1;
      const double frequency =
          std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(turned));
      const std::complex<double> z(x[t][a].item<double>(), x[t][b].item<double>());
      const std::complex<double> turn =
          std::polar(1.0, static_cast<double>(p[static_cast<std::size_t>(t)]) * frequency);
      out[t][a] = (z * turn).real();
      out[t][b] = (z * turn).imag();
    }
  }
  return out;
}

double largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

const std::vector<std::int64_t> kFrom = {0, 7, 8, 300, 4095};
const std::vector<std::int64_t> kTo = {11, 7, 2, 4000, 1};

TEST(RotateKeys, IsRotaryEmbeddingAtTheOtherPosition) {
  for (const RotaryPairs pairs : {RotaryPairs::halves, RotaryPairs::interleaved}) {
    for (const std::int64_t turned : {16, 6}) {
      const at::Tensor x = normals({5, 16}, 1);
      const at::Tensor moved =
          rotate_keys(embedded(x, kFrom, 10000, turned, pairs), positions(kFrom), positions(kTo),
                      rotary_frequencies(turned), pairs);
      EXPECT_LT(largest(moved - embedded(x, kTo, 10000, turned, pairs)), 1e-11);
      EXPECT_TRUE(moved.narrow(1, turned, 16 - turned).equal(x.narrow(1, turned, 16 - turned)));
    }
  }
}

TEST(RotateKeys, TakesRowsAndHeads) {
  const at::Tensor keys = normals({2, 3, 5, 8}, 2);
  const at::Tensor f = rotary_frequencies(8, 500000);
  const at::Tensor from = at::arange(10, at::kLong).view({2, 5});
  const at::Tensor to = from * 3 + 1;
  const at::Tensor moved = rotate_keys(keys, from, to, f);
  for (std::int64_t row = 0; row < 2; ++row) {
    EXPECT_TRUE(moved[row].equal(rotate_keys(keys[row], from[row], to[row], f)));
    for (std::int64_t head = 0; head < 3; ++head) {
      EXPECT_TRUE(moved[row][head].equal(rotate_keys(keys[row][head], from[row], to[row], f)));
    }
  }
}

TEST(RotateKeys, KeepsAttentionWhenTheQueryMovesAlong) {
  const at::Tensor f = rotary_frequencies(8);
  const at::Tensor p = at::arange(6, at::kLong);
  const at::Tensor q = normals({6, 8}, 3);
  const at::Tensor k = normals({6, 8}, 4);
  const at::Tensor before = at::matmul(q, k.t());
  const at::Tensor after =
      at::matmul(rotate_keys(q, p, p + 123, f), rotate_keys(k, p, p + 123, f).t());
  EXPECT_LT(largest(after - before), 1e-12);
  EXPECT_GT(largest(at::matmul(q, rotate_keys(k, p, p + 123, f).t()) - before), 0.1);
}

TEST(RotateKeys, ComesBack) {
  const at::Tensor k = normals({5, 8}, 5);
  const at::Tensor f = rotary_frequencies(8);
  const at::Tensor there = rotate_keys(k, positions(kFrom), positions(kTo), f);
  EXPECT_LT(largest(rotate_keys(there, positions(kTo), positions(kFrom), f) - k), 1e-12);
  EXPECT_LT(largest(there.norm(2, 1) - k.norm(2, 1)), 1e-12);
}

TEST(RotateKeys, KeepsTheBitsOfWhatStays) {
  at::Tensor k = normals({3, 8}, 6);
  k[0][0] = std::numeric_limits<double>::infinity();
  k[0][1] = -0.0;
  k[0][5] = std::numeric_limits<double>::quiet_NaN();
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor given = k.to(dtype);
    const at::Tensor moved =
        rotate_keys(given, positions({4, 5, 6}), positions({4, 9, 6}), rotary_frequencies(8));
    EXPECT_EQ(moved.scalar_type(), dtype);
    for (const std::int64_t row : {0, 2}) {
      const at::Tensor a = given[row].contiguous();
      const at::Tensor b = moved[row].contiguous();
      EXPECT_EQ(std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()), 0);
    }
    EXPECT_FALSE(moved[1].equal(given[1]));
  }
}

TEST(RotateKeys, TurnsHalfTypesInSingle) {
  const at::Tensor k = normals({5, 8}, 7).to(at::kBFloat16);
  const at::Tensor f = rotary_frequencies(8);
  const auto moved = [&](const at::Tensor& x) {
    return rotate_keys(x, positions(kFrom), positions(kTo), f);
  };
  EXPECT_TRUE(moved(k).equal(moved(k.to(at::kFloat)).to(at::kBFloat16)));
}

TEST(RotateKeys, HasAGradient) {
  const at::Tensor k = normals({5, 8}, 8).requires_grad_();
  rotate_keys(k, positions(kFrom), positions(kTo), rotary_frequencies(8)).square().sum().backward();
  // a rotation keeps the length, so that the gradient is 2 k
  EXPECT_LT(largest(k.grad() - 2 * k.detach()), 1e-12);
}

TEST(RotaryFrequencies, AreThoseOfThePaper) {
  const at::Tensor f = rotary_frequencies(4, 100);
  EXPECT_EQ(f.scalar_type(), at::kDouble);
  EXPECT_DOUBLE_EQ(f[0].item<double>(), 1);
  EXPECT_NEAR(f[1].item<double>(), 0.1, 1e-15);
  EXPECT_THROW(rotary_frequencies(5), InvalidArgument);
  EXPECT_THROW(rotary_frequencies(0), InvalidArgument);
  EXPECT_THROW(rotary_frequencies(4, -1), InvalidArgument);
}

TEST(RotateKeys, Refuses) {
  const at::Tensor k = normals({2, 3, 5, 8}, 9);
  const at::Tensor f = rotary_frequencies(8);
  const at::Tensor p = positions(kFrom);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              rotate_keys(k, p, p.narrow(0, 0, 4), f);
            }).find("int64 [5], or [rows, 5]"),
            std::string::npos);
  EXPECT_THROW(rotate_keys(k, p, p.view({1, 5}), f), InvalidArgument);
  EXPECT_THROW(rotate_keys(k, p.to(at::kInt), p.to(at::kInt), f), InvalidArgument);
  EXPECT_THROW(rotate_keys(k.to(at::kLong), p, p, f), InvalidArgument);
  EXPECT_THROW(rotate_keys(k[0][0][0], p, p, f), InvalidArgument);
  EXPECT_THROW(rotate_keys(k, p, p, rotary_frequencies(10)), InvalidArgument);
  EXPECT_THROW(rotate_keys(k, p, p, at::Tensor()), InvalidArgument);
  EXPECT_THROW(rotate_keys(k, p, p, f / 0.0), NumericalError);
}

}  // namespace
}  // namespace tierod::patch
