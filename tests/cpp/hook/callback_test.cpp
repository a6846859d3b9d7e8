// Contract 3: an exception in a callback leaves the model as it was; callbacks and re-entrance.

#include <ATen/ops/zeros_like.h>

#include <stdexcept>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class CallbackTest : public HookTest {};

std::int64_t open_sessions() { return detail::open_session_count.load(); }

TEST_P(CallbackTest, AnExceptionPassesThroughAndTheModelIsUsable) {
  const std::int64_t before = open_sessions();
  Session session(model_.site_table());
  session.capture("layers.0.q");
  session.intervene("layers.1.q", [](const at::Tensor&, const Event&) -> std::optional<at::Tensor> {
    throw std::domain_error("from the callback");
  });
  EXPECT_HAS(message_of<std::domain_error>([&] { session.run([&] { model_.forward(tokens_); }); }),
             "from the callback");
  EXPECT_FALSE(session.is_open());
  EXPECT_EQ(open_sessions(), before);
  EXPECT_TRUE(session.cache().contains("layers.0.q"));
  EXPECT_TRUE(same_bits(model_.forward(tokens_), clean_));
  EXPECT_EQ(session.cache().size(), 1U);  // a closed session sees nothing
  EXPECT_EQ(capture_all(tokens_).size(), static_cast<std::size_t>(8 * kLayers));
}

TEST_P(CallbackTest, AnExceptionThatTheModelSwallowsIsThrownAtClose) {
  Session session(model_.site_table());
  session.intervene("layers.1.q", [](const at::Tensor&, const Event&) -> std::optional<at::Tensor> {
    throw std::domain_error("swallowed");
  });
  session.open();
  EXPECT_THROW(model_.forward(tokens_), std::domain_error);  // "the model" swallows it here
  EXPECT_HAS(message_of<std::domain_error>([&] { session.close(); }), "swallowed");
  EXPECT_FALSE(session.is_open());
  EXPECT_THROW(session.close(), StateError);
}

TEST_P(CallbackTest, SeesACopyAndTheEvent) {
  const ActivationCache clean = capture_all(tokens_);
  Selection selection;
  selection.rows = {{2}};
  Session session(model_.site_table());
  int calls = 0;
  session.intervene("layers.1.resid_post",
                    [&](const at::Tensor& x, const Event& event) -> std::optional<at::Tensor> {
                      ++calls;
                      EXPECT_EQ(event.site.name(), "layers.1.resid_post");
                      EXPECT_TRUE(same_bits(x, clean.at("layers.1.resid_post").narrow(0, 2, 1)));
                      return at::zeros_like(x);
                    },
                    {.selection = selection});
  session.capture("layers.1.resid_post");
  session.run([&] { model_.forward(tokens_); });
  EXPECT_EQ(calls, 1);
  const at::Tensor got = session.cache().at("layers.1.resid_post");
  EXPECT_TRUE(got.select(0, 2).eq(0).all().item<bool>());
  EXPECT_TRUE(same_bits(got.narrow(0, 0, 2), clean.at("layers.1.resid_post").narrow(0, 0, 2)));
}

TEST_P(CallbackTest, MayWriteIntoItsArgumentAndReturnIt) {
  const ActivationCache clean = capture_all(tokens_);
  Session session(model_.site_table());
  session.intervene("layers.1.mlp_out", [](const at::Tensor& x, const Event&) {
    return std::optional<at::Tensor>(at::Tensor(x).zero_());
  });
  session.capture("layers.1.mlp_out", {.when = When::before});
  session.capture("layers.1.mlp_out");
  session.run([&] { model_.forward(tokens_); });
  EXPECT_TRUE(same_bits(session.cache().at("layers.1.mlp_out", {.when = When::before}),
                        clean.at("layers.1.mlp_out")));
  EXPECT_TRUE(
      session.cache().at("layers.1.mlp_out", {.when = When::after}).eq(0).all().item<bool>());
}

TEST_P(CallbackTest, WritingAndReturningNothingIsRefused) {
  Session session(model_.site_table());
  session.intervene("layers.1.q", [](const at::Tensor& x, const Event&) {
    at::Tensor(x).zero_();
    return std::optional<at::Tensor>();
  });
  EXPECT_HAS(message_of<StateError>([&] { session.run([&] { model_.forward(tokens_); }); }),
             "layers.1.q");
}

TEST_P(CallbackTest, WrongAnswersAreRefusedAndNamed) {
  const auto refused = [&](const std::function<at::Tensor(const at::Tensor&)>& answer) {
    Session session(model_.site_table());
    session.intervene("layers.2.attn_out", [&](const at::Tensor& x, const Event&) {
      return std::optional<at::Tensor>(answer(x));
    });
    const auto act = [&] { session.run([&] { model_.forward(tokens_); }); };
    try {
      act();
    } catch (const Error& error) {
      EXPECT_HAS(error.message(), "layers.2.attn_out");
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refused([](const at::Tensor& x) { return x.narrow(1, 0, 3); }));
  EXPECT_TRUE(refused([](const at::Tensor& x) { return x.to(at::kDouble); }));
  EXPECT_TRUE(refused([](const at::Tensor& x) {
    return x.clone().fill_(std::numeric_limits<double>::quiet_NaN());
  }));
  EXPECT_FALSE(refused([](const at::Tensor& x) { return x.mul(2); }));
}

TEST_P(CallbackTest, NonFiniteAnswersPassWhereAllowed) {
  Session session(model_.site_table());
  session.intervene(
      "layers.2.resid_post",
      [](const at::Tensor& x, const Event&) {
        return std::optional<at::Tensor>(x.clone().fill_(std::numeric_limits<double>::infinity()));
      },
      {.allow_nonfinite = true});
  at::Tensor logits;
  session.run([&] { logits = model_.forward(tokens_); });
  EXPECT_TRUE(logits.isnan().all().item<bool>());
}

TEST_P(CallbackTest, ReEnteringTheModelIsRefused) {
  Session session(model_.site_table());
  session.intervene("layers.1.q", [&](const at::Tensor&, const Event&) {
    model_.forward(tokens_);
    return std::optional<at::Tensor>();
  });
  EXPECT_THROW(session.run([&] { model_.forward(tokens_); }), StateError);
  EXPECT_TRUE(same_bits(model_.forward(tokens_), clean_));
}

TEST_P(CallbackTest, ReEnteringUnderSuspendSeesTheCleanModel) {
  Session session(model_.site_table());
  session.capture("layers.0.q");
  session.intervene("layers.0.resid_post", Intervention::zero());
  at::Tensor inner;
  session.intervene("layers.1.q", [&](const at::Tensor&, const Event&) {
    const Suspend suspend;
    inner = model_.forward(tokens_);
    return std::optional<at::Tensor>();
  });
  at::Tensor outer;
  session.run([&] { outer = model_.forward(tokens_); });
  EXPECT_TRUE(same_bits(inner, clean_));
  EXPECT_FALSE(same_bits(outer, clean_));
  EXPECT_EQ(session.cache().size(), 1U);  // the suspended forward was not captured
}

TEST_P(CallbackTest, ASessionCannotBeChangedOrOpenedFromACallback) {
  for (const bool open : {false, true}) {
    Session session(model_.site_table());
    Session other;
    session.intervene("layers.1.q", [&](const at::Tensor&, const Event&) {
      open ? other.open() : session.capture("layers.1.k");
      return std::optional<at::Tensor>();
    });
    EXPECT_THROW(session.run([&] { model_.forward(tokens_); }), StateError);
    EXPECT_FALSE(other.is_open());
  }
  Session session;
  EXPECT_THROW(session.intervene("a", Callback()), InvalidArgument);
}

INSTANTIATE_DTYPES(CallbackTest);

}  // namespace
}  // namespace tierod::testing
