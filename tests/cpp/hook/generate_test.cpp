// Phases, steps, absolute positions and spans of a cached generation.

#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

constexpr std::int64_t kSteps = 4;

class GenerateTest : public HookTest {
 protected:
  at::Tensor run(Session& session) {
    at::Tensor tokens;
    session.run([&] { tokens = model_.generate(tokens_, kSteps); });
    return tokens;
  }
};

// In f32 alone: bf16 rounds differently in another batch shape, which may turn an argmax.
TEST(Generate, AgreesWithARunWithoutCacheOfKeysAndValues) {
  const TinyTransformer model = make_model(at::kFloat);
  const at::Tensor generated = model.generate(make_tokens(), kSteps);
  at::Tensor all = make_tokens();
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const at::Tensor next = at::argmax(model.forward(all).select(1, all.size(1) - 1), -1);
    EXPECT_TRUE(at::equal(next, generated.select(1, step))) << step;
    all = at::cat({all, next.unsqueeze(1)}, 1);
  }
}

TEST_P(GenerateTest, EveryEventHasItsPhaseAndStep) {
  Session session(model_.generate_site_table(kSteps));
  session.capture("**");
  const at::Tensor tokens = run(session);
  EXPECT_TRUE(at::equal(tokens, model_.generate(tokens_, kSteps)));
  for (const std::string& name : model_.site_table().names()) {
    const auto entries = session.cache().find(name);
    ASSERT_EQ(entries.size(), static_cast<std::size_t>(kSteps)) << name;
    EXPECT_EQ(entries[0].event.phase, Phase::prefill);
    EXPECT_EQ(entries[0].event.step, -1);
    EXPECT_EQ(entries[0].tensor.size(1), kTokens);
    for (std::int64_t step = 0; step + 1 < kSteps; ++step) {
      const Activation& entry = entries[static_cast<std::size_t>(step + 1)];
      EXPECT_EQ(entry.event.phase, Phase::decode);
      EXPECT_EQ(entry.event.step, step);
      EXPECT_EQ(entry.event.call, 0);
      EXPECT_EQ(entry.tensor.size(1), 1);
      EXPECT_TRUE(same_bits(session.cache().at(name, {.phase = Phase::decode, .step = step}),
                            entry.tensor));
    }
  }
}

TEST_P(GenerateTest, JoinsPrefillAndDecode) {
  Session session(model_.generate_site_table(kSteps));
  session.capture("layers.1.resid_post");
  const at::Tensor tokens = run(session);
  const at::Tensor joined = session.cache().concat_tokens("layers.1.resid_post");
  ASSERT_EQ(joined.sizes(), at::IntArrayRef({kRows, kTokens + kSteps - 1, kWidth}));
  Session whole(model_.site_table());
  whole.capture("layers.1.resid_post");
  whole.run([&] { model_.forward(at::cat({tokens_, tokens.narrow(1, 0, kSteps - 1)}, 1)); });
  const double tolerance = dtype() == at::kFloat ? 1e-4 : 0.2;
  EXPECT_LT(joined.sub(whole.cache().at("layers.1.resid_post")).abs().max().item<double>(),
            tolerance);
  EXPECT_THROW(session.cache().at("layers.1.resid_post"), SiteError);
}

TEST_P(GenerateTest, SelectsPhasesAndSteps) {
  Session session(model_.generate_site_table(kSteps));
  session.capture("layers.0.q", {.selection = {.phases = {{Phase::prefill}}}});
  session.capture("layers.0.k", {.selection = {.phases = {{Phase::decode}}}});
  session.capture("layers.0.v", {.selection = {.steps = {{0, 2}}}});
  run(session);
  EXPECT_EQ(session.cache().get("layers.0.q").event.phase, Phase::prefill);
  EXPECT_EQ(session.cache().find("layers.0.k").size(), static_cast<std::size_t>(kSteps - 1));
  const auto steps = session.cache().find("layers.0.v");
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].event.step, 0);
  EXPECT_EQ(steps[1].event.step, 2);
}

TEST_P(GenerateTest, AnEditInOneStepReachesThatStepAlone) {
  Session clean(model_.generate_site_table(kSteps));
  clean.capture("layers.0.mlp_out");
  run(clean);
  Session session(model_.generate_site_table(kSteps));
  session.intervene("layers.0.mlp_out", Intervention::zero(),
                    {.selection = {.phases = {{Phase::decode}}, .steps = {{1}}}});
  session.capture("layers.0.mlp_out");
  run(session);
  const auto was = clean.cache().find("layers.0.mlp_out");
  const auto got = session.cache().find("layers.0.mlp_out");
  EXPECT_TRUE(same_bits(got[0].tensor, was[0].tensor));
  EXPECT_TRUE(same_bits(got[1].tensor, was[1].tensor));
  EXPECT_TRUE(got[2].tensor.eq(0).all().item<bool>());
  EXPECT_FALSE(got[3].tensor.eq(0).any().item<bool>());
}

TEST_P(GenerateTest, AbsolutePositionsFindTheirStep) {
  Session all(model_.generate_site_table(kSteps));
  all.capture("layers.1.resid_mid");
  run(all);
  const at::Tensor joined = all.cache().concat_tokens("layers.1.resid_mid");
  Session session(model_.generate_site_table(kSteps));
  Selection selection;
  selection.tokens = Tokens::positions({2, kTokens - 1, kTokens + 1});
  session.capture("layers.1.resid_mid", {.selection = selection});
  run(session);
  const auto entries = session.cache().find("layers.1.resid_mid");
  ASSERT_EQ(entries.size(), 2U);  // prefill, and the decode step that reads position prompt + 1
  EXPECT_EQ(entries[1].event.step, 1);
  const at::Tensor got = at::cat({entries[0].tensor, entries[1].tensor}, 1);
  std::int64_t at = 0;
  for (const std::int64_t p : {std::int64_t{2}, kTokens - 1, kTokens + 1}) {
    EXPECT_TRUE(same_bits(got.select(1, at++), joined.select(1, p))) << p;
  }
}

TEST_P(GenerateTest, LastTokenIsThatOfEachCall) {
  Session session(model_.generate_site_table(kSteps));
  session.capture("layers.1.resid_mid", {.selection = {.tokens = Tokens::last()}});
  session.capture("layers.1.resid_mid", {.when = When::before});
  run(session);
  const auto last = session.cache().find("layers.1.resid_mid", {.when = When::after});
  const auto whole = session.cache().find("layers.1.resid_mid", {.when = When::before});
  ASSERT_EQ(last.size(), whole.size());
  for (std::size_t i = 0; i < last.size(); ++i) {
    EXPECT_TRUE(same_bits(last[i].tensor.select(1, 0),
                          whole[i].tensor.select(1, whole[i].tensor.size(1) - 1)));
  }
}

TEST_P(GenerateTest, DecodeWithoutAnOffsetRefusesPositions) {
  const Site site("generate.offset", "rtw");
  Session session;
  session.capture("generate.offset", {.selection = {.tokens = Tokens::positions({0})}});
  const auto refused = [&](Phase phase, std::optional<std::int64_t> offset) {
    return message_of<StateError>([&] {
      session.run([&] {
        const PhaseScope scope(phase, 0, offset);
        hook_point(normal({1, 1, 2}, 0, dtype()), site);
      });
    });
  };
  EXPECT_HAS(refused(Phase::decode, std::nullopt), "position_offset");
  EXPECT_HAS(refused(Phase::prefill, -1), "position_offset");
}

TEST_P(GenerateTest, ScopesNestAndRestore) {
  const Site site("generate.scopes", "rtw");
  const at::Tensor x = normal({1, 1, 2}, 0, dtype());
  Session session;
  session.capture("generate.scopes");
  session.run([&] {
    const PhaseScope vision(Phase::vision);
    {
      const PhaseScope denoise(Phase::denoise, 3);
      const BranchScope branch("guided");
      hook_point(x, site);
      hook_point(x, site);
    }
    hook_point(x, site);
  });
  hook_point(x, site);
  std::vector<std::string> texts;
  for (const Activation& entry : session.cache().entries()) texts.push_back(entry.event.text());
  EXPECT_EQ(texts, (std::vector<std::string>{"generate.scopes[denoise step 3 branch guided call 0]",
                                             "generate.scopes[denoise step 3 branch guided call 1]",
                                             "generate.scopes[vision call 0]"}));
  EXPECT_EQ(session.cache().find("generate.scopes", {.branch = "guided"}).size(), 2U);
  EXPECT_THROW(PhaseScope(Phase::decode, -2), InvalidArgument);
  EXPECT_THROW(PhaseScope(Phase::decode, 0, -2), InvalidArgument);
}

INSTANTIATE_DTYPES(GenerateTest);

}  // namespace
}  // namespace tierod::testing
