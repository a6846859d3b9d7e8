// Contract 2: what is not selected keeps every bit, and an edit that changes nothing leaves all.

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class BitsTest : public HookTest {};

TEST_P(BitsTest, CapturingChangesNothing) {
  Session session(model_.site_table());
  session.capture("**");
  session.capture("**", {.reduce = Reduce::moments});
  session.capture("**", {.when = When::before});
  at::Tensor logits;
  session.run([&] { logits = model_.forward(tokens_); });
  EXPECT_TRUE(same_bits(logits, clean_));
}

TEST_P(BitsTest, WithoutAnEditTheTensorItselfGoesOn) {
  const Site site("bits.same", "rw");
  const at::Tensor x = normal({3, 4}, 1, dtype());
  EXPECT_TRUE(hook_point(x, site).is_same(x));
  Session session;
  session.capture("bits.same");
  at::Tensor y;
  session.run([&] { y = hook_point(x, site); });
  EXPECT_TRUE(y.is_same(x));
}

TEST_P(BitsTest, UnselectedRowsAndTokensKeepEveryBitAtTheSite) {
  const ActivationCache clean = capture_all(tokens_);
  const std::vector<std::vector<std::int64_t>> row_lists = {{1}, {1, 2}, {3, 0}};
  const std::vector<std::vector<std::int64_t>> token_lists = {{2}, {2, 3}, {4, 0}, {-1}};
  for (const auto& rows : row_lists) {
    for (const auto& tokens : token_lists) {
      Selection selection;
      selection.rows = rows;
      selection.tokens = Tokens::index(tokens);
      Session session(model_.site_table());
      session.intervene("layers.1.resid_mid", Intervention::zero(), {.selection = selection});
      session.capture("**");
      at::Tensor logits;
      session.run([&] { logits = model_.forward(tokens_); });
      const at::Tensor got = session.cache().at("layers.1.resid_mid");
      const at::Tensor was = clean.at("layers.1.resid_mid");
      for (std::int64_t r = 0; r < kRows; ++r) {
        for (std::int64_t t = 0; t < kTokens; ++t) {
          bool selected_row = false, selected_token = false;
          for (const auto i : rows) selected_row = selected_row || i == r;
          for (const auto i : tokens)
            selected_token = selected_token || (i + kTokens) % kTokens == t;
          const at::Tensor part = got.select(0, r).select(0, t);
          if (selected_row && selected_token) {
            EXPECT_TRUE(part.eq(0).all().item<bool>());
          } else {
            EXPECT_TRUE(same_bits(part, was.select(0, r).select(0, t))) << r << " " << t;
          }
        }
        // downstream, other rows of the same batch stay too
        bool selected_row = false;
        for (const auto i : rows) selected_row = selected_row || i == r;
        EXPECT_EQ(same_bits(logits.select(0, r), clean_.select(0, r)), !selected_row) << r;
      }
      for (const char* earlier : {"layers.0.resid_post", "layers.1.q", "layers.1.attn_out"}) {
        EXPECT_TRUE(same_bits(session.cache().at(earlier), clean.at(earlier))) << earlier;
      }
    }
  }
}

TEST_P(BitsTest, UnselectedHeadsKeepEveryBit) {
  const ActivationCache clean = capture_all(tokens_);
  Selection selection;
  selection.heads = {{2, 0}};
  selection.rows = {{1}};
  Session session(model_.site_table());
  session.intervene("layers.0.v", Intervention::zero(), {.selection = selection});
  session.capture("layers.0.v");
  session.run([&] { model_.forward(tokens_); });
  const at::Tensor got = session.cache().at("layers.0.v");
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const at::Tensor part = got.select(0, r).select(1, h);
      if (r == 1 && (h == 0 || h == 2)) {
        EXPECT_TRUE(part.eq(0).all().item<bool>());
      } else {
        EXPECT_TRUE(same_bits(part, clean.at("layers.0.v").select(0, r).select(1, h)));
      }
    }
  }
}

/// Every value that == cannot tell from another, or that arithmetic would change.
at::Tensor odd_values(at::ScalarType dtype) {
  const float inf = std::numeric_limits<float>::infinity();
  return at::tensor({-0.0F, 0.0F, 1.5F, inf, -inf, std::numeric_limits<float>::quiet_NaN(), 1e-40F,
                     -3.25F},
                    at::TensorOptions().dtype(at::kFloat))
      .to(dtype)
      .view({2, 4});
}

TEST_P(BitsTest, NoOpsLeaveEveryBit) {
  const Site site("bits.noop", "rw");
  const at::Tensor x = odd_values(dtype());
  const at::Tensor w = at::tensor({1.0, 0.0, 0.0, 0.0}, at::TensorOptions().dtype(at::kDouble));
  const std::vector<std::pair<const char*, Intervention>> edits = {
      {"add 0", Intervention::add(w, 0.0)},
      {"affine without scale or target",
       Intervention::affine({.read = {}, .write = w, .target = {}, .mean = {}, .scale = 0.0})},
      {"identity gather", Intervention::gather_rows({0, 1})},
      {"itself", Intervention::replace(x, true)},
  };
  for (const auto& [name, edit] : edits) {
    for (const bool part : {false, true}) {
      InterveneOptions options;
      if (part) options.selection.rows = {{1}};
      if (part && std::string(name) == "itself") options.selection.rows = {{0, 1}};
      Session session;
      session.intervene("bits.noop", edit, options);
      at::Tensor y;
      session.run([&] { y = hook_point(x, site); });
      EXPECT_TRUE(same_bits(y, x)) << name << "\n" << y;
    }
  }
  Session session;
  session.intervene("bits.noop", [](const at::Tensor&, const Event&) { return std::nullopt; });
  at::Tensor y;
  session.run([&] { y = hook_point(x, site); });
  EXPECT_TRUE(y.is_same(x));
}

TEST_P(BitsTest, AColumnThatTheWriteVectorLeavesOutKeepsItsBits) {
  const Site site("bits.column", "rw");
  const at::Tensor x = at::tensor({-0.0F, 2.0F, -0.0F, 3.0F}, at::TensorOptions().dtype(at::kFloat))
                           .to(dtype())
                           .view({2, 2});
  const at::Tensor w = at::tensor({0.0, 1.0}, at::TensorOptions().dtype(at::kDouble));
  Session session;
  session.intervene("bits.column", Intervention::add(w, 0.5));
  at::Tensor y;
  session.run([&] { y = hook_point(x, site); });
  EXPECT_TRUE(same_bits(y.select(1, 0), x.select(1, 0)));
  EXPECT_EQ(value_at(y, {0, 1}), 2.5);
  EXPECT_EQ(value_at(y, {1, 1}), 3.5);
}

TEST_P(BitsTest, ReplacingByTheOwnCleanRunChangesNothing) {
  const ActivationCache clean = capture_all(tokens_);
  Session session(model_.site_table());
  session.intervene("**", Intervention::restore(clean));
  at::Tensor logits;
  session.run([&] { logits = model_.forward(tokens_); });
  EXPECT_TRUE(same_bits(logits, clean_));
}

INSTANTIATE_DTYPES(BitsTest);

}  // namespace
}  // namespace tierod::testing
