#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/session.h"
#include "tiny_transformer.h"

namespace tierod::testing {

using example::TinyTransformer;
using example::TinyTransformerConfig;

inline constexpr std::int64_t kLayers = 3;
inline constexpr std::int64_t kWidth = 16;
inline constexpr std::int64_t kHeads = 4;
inline constexpr std::int64_t kRows = 4;
inline constexpr std::int64_t kTokens = 6;

inline TinyTransformer make_model(at::ScalarType dtype, bool in_place = false) {
  return TinyTransformer({.layers = kLayers,
                          .width = kWidth,
                          .heads = kHeads,
                          .vocab = 32,
                          .max_tokens = 32,
                          .seed = 5,
                          .dtype = dtype,
                          .in_place = in_place});
}

inline at::Tensor make_tokens(std::uint64_t seed = 0, std::int64_t rows = kRows,
                              std::int64_t length = kTokens) {
  const CounterRandom random(seed, "tokens");
  at::Tensor tokens = at::empty({rows, length}, at::TensorOptions().dtype(at::kLong));
  auto* value = tokens.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < rows * length; ++i) {
    *value++ = random.below(32, 0, 0, static_cast<std::uint32_t>(i));
  }
  return tokens;
}

inline at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t seed,
                         at::ScalarType dtype = at::kFloat) {
  const CounterRandom random(seed, "values");
  at::Tensor x = at::empty(shape, at::TensorOptions().dtype(at::kDouble));
  auto* value = x.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    *value++ = random.normal(0, 0, static_cast<std::uint32_t>(i));
  }
  return x.to(dtype);
}

/// Tell whether shape, dtype and every bit agree: unlike ==, this tells -0 from 0.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (!a.sizes().equals(b.sizes()) || a.scalar_type() != b.scalar_type()) return false;
  const at::Tensor x = a.detach().contiguous();
  const at::Tensor y = b.detach().contiguous();
  return x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

/// Return the element at `index` as a double.
inline double value_at(const at::Tensor& x, std::initializer_list<std::int64_t> index) {
  at::Tensor y = x.detach();
  for (const std::int64_t i : index) y = y.select(0, i);
  return y.item<double>();
}

/// Return the message of the E that `act` throws; a test failure if it throws nothing else.
template <typename E>
std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception: " << error.what();
    return {};
  }
  ADD_FAILURE() << "no exception";
  return {};
}

#define EXPECT_HAS(text, part) \
  EXPECT_NE(std::string(text).find(part), std::string::npos) << "in: " << (text)

/// Runs every test in f32 and bf16.
class HookTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  at::ScalarType dtype() const { return GetParam(); }
  TinyTransformer model_ = make_model(GetParam());
  at::Tensor tokens_ = make_tokens();
  /// Logits without any session.
  at::Tensor clean_ = model_.forward(tokens_);

  /// Capture every site of one forward.
  ActivationCache capture_all(const at::Tensor& tokens) {
    Session session(model_.site_table());
    session.capture("**");
    session.run([&] { model_.forward(tokens); });
    return session.cache();
  }
};

#define INSTANTIATE_DTYPES(Suite)                                  \
  INSTANTIATE_TEST_SUITE_P(                                        \
      Dtypes, Suite, ::testing::Values(at::kFloat, at::kBFloat16), \
      [](const auto& info) { return info.param == at::kFloat ? std::string("f32") : "bf16"; })

}  // namespace tierod::testing
