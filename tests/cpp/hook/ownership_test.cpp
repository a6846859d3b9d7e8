// Contract 7 and 8: captures survive in-place writes of the model, donors are never aliased.

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class OwnershipTest : public HookTest {
 protected:
  // Adds into the residual stream's own memory, so resid_pre, resid_mid and resid_post are one.
  TinyTransformer writing_ = make_model(GetParam(), true);
};

TEST_P(OwnershipTest, CapturesSurviveInPlaceWrites) {
  const ActivationCache clean = capture_all(tokens_);
  Session session(writing_.site_table());
  session.capture("**");
  at::Tensor logits;
  session.run([&] { logits = writing_.forward(tokens_); });
  EXPECT_TRUE(same_bits(logits, clean_));
  for (const std::string& name : clean.sites()) {
    EXPECT_TRUE(same_bits(session.cache().at(name), clean.at(name))) << name;
  }
}

TEST_P(OwnershipTest, PartialCapturesSurviveInPlaceWrites) {
  const ActivationCache clean = capture_all(tokens_);
  Selection selection;
  selection.rows = {{1, 2}};
  selection.tokens = Tokens::range(1, 4);
  Session session(writing_.site_table());
  session.capture("**.resid_*", {.selection = selection});
  session.capture("layers.0.resid_pre", {.reduce = Reduce::last_token, .when = When::before});
  session.run([&] { writing_.forward(tokens_); });
  for (const char* name : {"layers.0.resid_pre", "layers.1.resid_mid", "layers.0.resid_post"}) {
    EXPECT_TRUE(same_bits(session.cache().at(name, {.when = When::after}),
                          clean.at(name).narrow(0, 1, 2).narrow(1, 1, 3)))
        << name;
  }
  EXPECT_TRUE(same_bits(session.cache().at("layers.0.resid_pre", {.when = When::before}),
                        clean.at("layers.0.resid_pre").select(1, kTokens - 1)));
}

TEST_P(OwnershipTest, WithoutCopyTheModelsMemoryIsReferred) {
  const Site site("own.refer", "rw");
  at::Tensor x = normal({3, 4}, 0, dtype());
  Session session;
  session.capture("own.refer", {.copy = false});
  session.run([&] { hook_point(x, site); });
  const at::Tensor kept = session.cache().at("own.refer");
  EXPECT_TRUE(kept.is_alias_of(x));
  x.zero_();
  EXPECT_TRUE(kept.eq(0).all().item<bool>());
}

TEST_P(OwnershipTest, DonorsAreNotAliased) {
  const ActivationCache donors = capture_all(make_tokens(1));
  const at::Tensor source = normal({kRows, kTokens, kWidth}, 3, dtype());
  const at::Tensor kept = source.clone();
  const at::Tensor donor_kept = donors.at("layers.0.resid_pre").clone();
  for (const bool by_event : {true, false}) {
    Session session(writing_.site_table());
    session.intervene("layers.0.resid_pre",
                      by_event ? Intervention::replace(donors) : Intervention::replace(source));
    std::vector<at::Tensor> logits;
    // the model writes into what the edit gave it; a second run must meet the same donor
    for (int i = 0; i < 2; ++i) session.run([&] { logits.push_back(writing_.forward(tokens_)); });
    EXPECT_TRUE(same_bits(logits[0], logits[1]));
    EXPECT_FALSE(same_bits(logits[0], clean_));
  }
  EXPECT_TRUE(same_bits(source, kept));
  EXPECT_TRUE(same_bits(donors.at("layers.0.resid_pre"), donor_kept));
}

TEST_P(OwnershipTest, CallersTensorsAreCopiedAtConstruction) {
  const Site site("own.source", "rw");
  const at::Tensor x = normal({3, 4}, 0, dtype());
  const at::Tensor source = normal({3, 4}, 1, dtype());
  const at::Tensor was = source.clone();
  const Intervention edit = Intervention::replace(source);
  source.fill_(9);
  Session session;
  session.intervene("own.source", edit);
  at::Tensor y;
  session.run([&] { y = hook_point(x, site); });
  EXPECT_TRUE(same_bits(y, was));
}

TEST_P(OwnershipTest, EveryEditWritesFreshMemory) {
  const Site site("own.fresh", "rtw");
  const at::Tensor x = normal({3, 2, 4}, 0, dtype());
  const at::Tensor was = x.clone();
  const at::Tensor w = normal({4}, 2);
  Session donor;
  donor.capture("own.fresh");
  donor.run([&] { hook_point(x, site); });
  at::Tensor held = normal({3, 2, 4}, 7, dtype());
  const auto hold = [&](const at::Tensor&, const Event&) {
    return std::optional<at::Tensor>(held);
  };
  const std::vector<Intervention> edits = {Intervention::zero(),
                                           Intervention::mean_ablate(w),
                                           Intervention::add(w, 0.0),
                                           Intervention::add(w, 1.0),
                                           Intervention::gather_rows({0, 1, 2}),
                                           Intervention::replace(donor.cache()),
                                           Intervention::replace(x)};
  for (std::size_t i = 0; i <= edits.size(); ++i) {
    for (const bool part : {false, true}) {
      InterveneOptions options;
      if (part) options.selection.tokens = Tokens::range(0, 2);
      Session session;
      i < edits.size() ? session.intervene("own.fresh", edits[i], options)
                       : session.intervene("own.fresh", hold, options);
      at::Tensor y;
      session.run([&] { y = hook_point(x, site); });
      EXPECT_FALSE(y.is_alias_of(x)) << i;
      EXPECT_FALSE(y.is_alias_of(held)) << i;
      EXPECT_FALSE(y.is_alias_of(donor.cache().at("own.fresh"))) << i;
      y.fill_(5);
      EXPECT_TRUE(same_bits(x, was)) << i;
    }
  }
  EXPECT_TRUE(same_bits(donor.cache().at("own.fresh"), was));
}

TEST_P(OwnershipTest, ExpandedAndTransposedInputsAreEditedInTheirOwnShape) {
  const Site site("own.strides", "rtw");
  const at::Tensor expanded = normal({1, 2, 4}, 0, dtype()).expand({3, 2, 4});
  const at::Tensor transposed = normal({2, 3, 4}, 0, dtype()).transpose(0, 1);
  for (const at::Tensor& x : {expanded, transposed}) {
    Session session;
    session.intervene("own.strides", Intervention::zero(), {.selection = {.rows = {{1}}}});
    session.capture("own.strides", {.when = When::before});
    at::Tensor y;
    session.run([&] { y = hook_point(x, site); });
    EXPECT_TRUE(y.select(0, 1).eq(0).all().item<bool>());
    EXPECT_TRUE(same_bits(y.select(0, 0), x.select(0, 0)));
    EXPECT_TRUE(same_bits(y.select(0, 2), x.select(0, 2)));
    EXPECT_TRUE(same_bits(session.cache().at("own.strides"), x));
  }
}

INSTANTIATE_DTYPES(OwnershipTest);

}  // namespace
}  // namespace tierod::testing
