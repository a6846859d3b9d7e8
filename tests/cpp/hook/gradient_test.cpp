// Gradients are captured and edited at the same sites as activations.

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class GradientTest : public HookTest {
 protected:
  void SetUp() override {
    for (at::Tensor weight : model_.weights()) weight.set_requires_grad(true);
  }
  void forward_backward() { model_.forward(tokens_).square().sum().backward(); }
};

TEST_P(GradientTest, CapturesWhatRetainGradSees) {
  // Oracle: keep the site's own tensor in the graph and read its .grad().
  at::Tensor kept;
  Session oracle(model_.site_table());
  oracle.capture("layers.1.resid_post", {.copy = false, .keep_graph = true});
  oracle.run([&] {
    const at::Tensor loss = model_.forward(tokens_).square().sum();
    kept = oracle.cache().at("layers.1.resid_post");
    kept.retain_grad();
    loss.backward();
  });
  Session session(model_.site_table());
  session.capture("layers.1.resid_post", {.gradient = true});
  session.run([&] { forward_backward(); });
  const Activation gradient = session.cache().get("layers.1.resid_post", {.gradient = true});
  EXPECT_TRUE(gradient.gradient);
  EXPECT_FALSE(gradient.tensor.requires_grad());
  EXPECT_TRUE(same_bits(gradient.tensor, kept.grad()));
  EXPECT_GT(gradient.tensor.abs().max().item<double>(), 0.0);
}

TEST_P(GradientTest, EditsTheGradientOfSelectedRows) {
  Session session(model_.site_table());
  session.intervene("layers.1.resid_post", Intervention::zero(),
                    {.selection = {.rows = {{1, 3}}}, .gradient = true});
  session.capture("layers.0.resid_post", {.gradient = true});
  at::Tensor logits;
  session.run([&] {
    logits = model_.forward(tokens_);
    logits.square().sum().backward();
  });
  EXPECT_TRUE(same_bits(logits, clean_));  // the forward is as it was
  const at::Tensor gradient = session.cache().at("layers.0.resid_post", {.gradient = true});
  for (std::int64_t r = 0; r < kRows; ++r) {
    EXPECT_EQ(gradient.select(0, r).eq(0).all().item<bool>(), r == 1 || r == 3) << r;
  }
}

TEST_P(GradientTest, FlowsThroughAnEdit) {
  // y = scatter(x, zero at row 0): the gradient is 0 at row 0 and 1 elsewhere.
  const Site site("gradient.edit", "rw");
  const at::Tensor x = normal({3, 4}, 0, dtype()).set_requires_grad(true);
  Session session;
  session.intervene("gradient.edit", Intervention::zero(), {.selection = {.rows = {{0}}}});
  session.run([&] { hook_point(x, site).sum().backward(); });
  EXPECT_TRUE(x.grad().select(0, 0).eq(0).all().item<bool>());
  EXPECT_TRUE(x.grad().narrow(0, 1, 2).eq(1).all().item<bool>());
}

TEST_P(GradientTest, CapturesAreDetachedUnlessTheGraphIsAskedFor) {
  Session session(model_.site_table());
  session.capture("layers.1.q");
  session.capture("layers.1.k", {.keep_graph = true});
  session.run([&] { model_.forward(tokens_); });
  EXPECT_FALSE(session.cache().at("layers.1.q").requires_grad());
  EXPECT_TRUE(session.cache().at("layers.1.k").requires_grad());
}

TEST_P(GradientTest, AGradientThatNeverArrivesIsRefused) {
  Session session(model_.site_table());
  session.capture("layers.1.resid_post", {.gradient = true});
  EXPECT_HAS(message_of<SiteError>([&] { session.run([&] { model_.forward(tokens_); }); }),
             "no gradient arrived");
}

INSTANTIATE_DTYPES(GradientTest);

}  // namespace
}  // namespace tierod::testing
