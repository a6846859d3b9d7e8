// Sessions nest, outer ones first; threads see their own sessions and every ProcessSession.

#include <atomic>
#include <memory>
#include <thread>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class NestingTest : public HookTest {};

TEST_P(NestingTest, OuterSessionsActFirstAndCapturesSeeTheFinalValue) {
  const Site site("nest.order", "rw");
  const at::Tensor x = normal({2, 3}, 0, dtype()).mul(0).add(1);
  Session outer, inner;
  const auto times = [](double a, double b) {
    return [a, b](const at::Tensor& h, const Event&) {
      return std::optional<at::Tensor>(h.mul(a).add(b));
    };
  };
  outer.capture("nest.order");
  outer.intervene("nest.order", times(2, 1));
  inner.capture("nest.order");
  inner.capture("nest.order", {.when = When::before});
  inner.intervene("nest.order", times(4, 0));
  inner.intervene("nest.order", times(1, 8));
  at::Tensor y;
  outer.run([&] { inner.run([&] { y = hook_point(x, site); }); });
  // outer first, then the inner edits in the order of the calls: (1 * 2 + 1) * 4 + 8
  EXPECT_TRUE(y.eq(20).all().item<bool>());
  EXPECT_TRUE(same_bits(outer.cache().at("nest.order"), y));
  EXPECT_TRUE(same_bits(inner.cache().at("nest.order", {.when = When::after}), y));
  EXPECT_TRUE(same_bits(inner.cache().at("nest.order", {.when = When::before}), x));
}

TEST_P(NestingTest, ClosingTheOuterOneFirstLeavesTheInnerOneOpen) {
  const Site site("nest.close", "rw");
  const at::Tensor x = normal({2, 3}, 0, dtype());
  Session outer, inner;
  outer.capture("nest.close");
  inner.capture("nest.close");
  outer.open();
  inner.open();
  hook_point(x, site);
  outer.close();
  hook_point(x, site);
  inner.close();
  EXPECT_EQ(outer.cache().size(), 1U);
  EXPECT_EQ(inner.cache().size(), 2U);
}

TEST_P(NestingTest, AHundredSessionsNest) {
  const Site site("nest.hundred", "rw");
  const at::Tensor x = normal({2, 3}, 0, dtype()).mul(0);
  const std::int64_t before = detail::open_session_count.load();
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 100; ++i) {
    sessions.push_back(std::make_unique<Session>());
    sessions.back()->intervene("nest.hundred", [](const at::Tensor& h, const Event&) {
      return std::optional<at::Tensor>(h.add(1));
    });
    sessions.back()->capture("nest.hundred");
    sessions.back()->open();
  }
  EXPECT_EQ(detail::open_session_count.load(), before + 100);
  const at::Tensor y = hook_point(x, site);
  EXPECT_TRUE(y.eq(100).all().item<bool>());
  for (auto& session : sessions) {
    session->close();
    EXPECT_TRUE(same_bits(session->cache().at("nest.hundred"), y));
  }
  EXPECT_EQ(detail::open_session_count.load(), before);
  EXPECT_TRUE(hook_point(x, site).is_same(x));
}

TEST_P(NestingTest, OpeningTwiceIsRefused) {
  Session session;
  session.open();
  EXPECT_THROW(session.open(), StateError);
  EXPECT_TRUE(session.is_open());
  session.close();
  EXPECT_THROW(session.close(), StateError);
  session.open();  // again, after it was closed
  session.close();
}

TEST_P(NestingTest, ReopeningStartsAfresh) {
  Session session(model_.site_table());
  session.capture("layers.1.q");
  session.run([&] { model_.forward(tokens_); });
  const ActivationCache first = session.cache();
  session.run([&] { model_.forward(make_tokens(1)); });
  EXPECT_EQ(first.size(), 1U);
  EXPECT_EQ(session.cache().size(), 1U);
  EXPECT_FALSE(same_bits(first.at("layers.1.q"), session.cache().at("layers.1.q")));
}

TEST_P(NestingTest, ASessionIsSeenByItsThreadAlone) {
  Session session(model_.site_table());
  session.capture("layers.1.q");
  session.intervene("layers.1.resid_mid", Intervention::zero());
  at::Tensor here, there;
  session.run([&] {
    std::thread([&] { there = model_.forward(tokens_); }).join();
    EXPECT_EQ(session.cache().size(), 0U);
    here = model_.forward(tokens_);
  });
  EXPECT_EQ(session.cache().size(), 1U);
  EXPECT_TRUE(same_bits(there, clean_));
  EXPECT_FALSE(same_bits(here, clean_));
}

TEST_P(NestingTest, ClosingOnAnotherThreadIsRefused) {
  Session session;
  session.open();
  std::thread([&] { EXPECT_THROW(session.close(), StateError); }).join();
  EXPECT_TRUE(session.is_open());
  session.close();
}

TEST_P(NestingTest, AProcessSessionIsSeenByEveryThread) {
  constexpr int kThreads = 4;
  constexpr int kRuns = 5;
  Session reference(model_.site_table());
  reference.intervene("layers.1.resid_mid", Intervention::zero());
  at::Tensor edited;
  reference.run([&] { edited = model_.forward(tokens_); });

  ProcessSession session(model_.site_table());
  session.capture("**.resid_post");
  session.capture("layers.0.q", {.reduce = Reduce::moments});
  session.intervene("layers.1.resid_mid", Intervention::zero());
  std::atomic<int> equal = 0;
  session.run([&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (int run = 0; run < kRuns; ++run) {
          equal += same_bits(model_.forward(tokens_), edited) ? 1 : 0;
        }
      });
    }
    for (auto& thread : threads) thread.join();
  });
  EXPECT_EQ(equal, kThreads * kRuns);
  EXPECT_EQ(session.cache().find("layers.2.resid_post").size(),
            static_cast<std::size_t>(kThreads * kRuns));
  EXPECT_EQ(session.moments("layers.0.q").count(), kThreads * kRuns * kRows * kTokens * kHeads);
  std::vector<bool> calls(kThreads * kRuns);
  for (const Activation& entry : session.cache().find("layers.0.resid_post")) {
    const auto call = static_cast<std::size_t>(entry.event.call);
    ASSERT_LT(call, calls.size());
    EXPECT_FALSE(calls[call]);
    calls[call] = true;
  }
}

TEST_P(NestingTest, AnOpenProcessSessionCannotBeChanged) {
  ProcessSession session;
  session.capture("layers.1.q");
  session.open();
  EXPECT_THROW(session.capture("layers.0.q"), StateError);
  EXPECT_THROW(session.intervene("layers.0.q", Intervention::zero()), StateError);
  session.abort();
}

TEST_P(NestingTest, AnOpenSessionCanBeExtended) {
  Session session(model_.site_table());
  session.capture("layers.1.q");
  session.open();
  model_.forward(tokens_);
  session.capture("layers.1.k");
  model_.forward(tokens_);
  session.abort();
  EXPECT_EQ(session.cache().find("layers.1.q").size(), 2U);
  EXPECT_EQ(session.cache().find("layers.1.k").size(), 1U);
}

TEST_P(NestingTest, SessionsOfManyThreadsDoNotMix) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const at::Tensor tokens = make_tokens(static_cast<std::uint64_t>(i));
      const at::Tensor want = model_.forward(tokens);
      for (int run = 0; run < 10; ++run) {
        Session session(model_.site_table());
        session.capture("**");
        at::Tensor logits;
        session.run([&] { logits = model_.forward(tokens); });
        good += same_bits(logits, want) && session.cache().size() == 8U * kLayers ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 40);
}

TEST_P(NestingTest, SuspendHidesWhatIsOpenAndNotWhatIsOpenedMeanwhile) {
  Session outer(model_.site_table());
  ProcessSession process(model_.site_table());
  outer.capture("layers.1.q");
  process.capture("layers.1.q");
  process.open();
  Session inner(model_.site_table());
  inner.capture("layers.1.q");
  outer.run([&] {
    model_.forward(tokens_);
    const Suspend suspended;
    EXPECT_EQ(Suspend::depth(), 1);
    inner.run([&] { model_.forward(tokens_); });
    model_.forward(tokens_);
  });
  EXPECT_EQ(Suspend::depth(), 0);
  process.close();
  EXPECT_EQ(outer.cache().size(), 1U);
  EXPECT_EQ(process.cache().size(), 1U);
  EXPECT_EQ(inner.cache().size(), 1U);
}

TEST_P(NestingTest, ASessionOfOneModelSeesNoOther) {
  const TinyTransformer other = make_model(dtype(), true);
  Session session(model_.site_table());
  session.see_only_model(7);
  session.capture("layers.1.q");
  const auto run = [&](std::uint32_t id, const TinyTransformer& model) {
    const ModelScope scope(id);
    model.forward(tokens_);
  };
  session.run([&] {
    run(7, model_);
    run(8, other);
    other.forward(tokens_);
    EXPECT_THROW(session.see_only_model(8), StateError);
  });
  EXPECT_EQ(session.cache().size(), 1U);
  EXPECT_THROW(session.run([&] { run(8, other); }), SiteError);
}

INSTANTIATE_DTYPES(NestingTest);

}  // namespace
}  // namespace tierod::testing
