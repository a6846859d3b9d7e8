// Contract 1: a site fires as often as the model declares, and nothing is silently not done.

#include <map>
#include <set>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class CountsTest : public HookTest {};

TEST_P(CountsTest, EverySiteFiresOnceInAForward) {
  Session session(model_.site_table());
  session.capture("**");
  session.run([&] { model_.forward(tokens_); });
  EXPECT_EQ(session.cache().size(), static_cast<std::size_t>(8 * kLayers));
  EXPECT_EQ(session.cache().sites(), model_.site_table().names());
  const auto fired = session.fired();
  ASSERT_EQ(fired.size(), static_cast<std::size_t>(8 * kLayers));
  for (const FireRecord& record : fired) EXPECT_EQ(record.event.call, 1);
}

TEST_P(CountsTest, SeveralRunsCountTheirCalls) {
  Session session(model_.site_table());
  session.capture("layers.1.q");
  session.run([&] {
    for (int i = 0; i < 3; ++i) model_.forward(tokens_);
  });
  const auto entries = session.cache().find("layers.1.q");
  ASSERT_EQ(entries.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(entries[i].event.call, static_cast<std::int64_t>(i));
  }
  EXPECT_THROW(session.cache().get("layers.1.q"), SiteError);
  EXPECT_EQ(session.cache().get("layers.1.q", {.call = 2}).event.call, 2);
}

TEST_P(CountsTest, TooManyFiringsAreRefused) {
  // Declared: once a run. The second firing inside of one run is what a bypassed cache would do.
  const Site site("count.twice", "rw");
  Session session(SiteTable({{site, {FireCount{}}, {}}}));
  session.capture("count.twice");
  const auto text = message_of<SiteError>([&] {
    session.run([&] {
      const RunScope scope;
      hook_point(normal({2, 3}, 0, dtype()), site);
      hook_point(normal({2, 3}, 1, dtype()), site);
    });
  });
  EXPECT_HAS(text, "count.twice");
  EXPECT_HAS(text, "fired 2 times");
  EXPECT_HAS(text, "declares 1");
  EXPECT_FALSE(session.is_open());
  EXPECT_EQ(session.cache().size(), 2U);  // kept in any case
}

TEST_P(CountsTest, TooFewFiringsAreRefused) {
  const Site site("count.few", "rw");
  Session session(SiteTable({{site, {{std::nullopt, 2, 3}}, {}}}));
  session.capture("count.few");
  const auto run = [&](int times) {
    session.run([&] {
      const RunScope scope;
      for (int i = 0; i < times; ++i) hook_point(normal({2, 3}, 0, dtype()), site);
    });
  };
  EXPECT_HAS(message_of<SiteError>([&] { run(1); }), "count.few");
  EXPECT_NO_THROW(run(2));
  EXPECT_NO_THROW(run(3));
  EXPECT_THROW(run(4), SiteError);
  EXPECT_HAS(message_of<SiteError>([&] { run(0); }), "never fired");
}

TEST_P(CountsTest, CountsHoldPhaseByPhase) {
  const Site site("count.phase", "rw");
  Session session(SiteTable({{site, {{Phase::prefill, 1, 1}, {Phase::decode, 0, 2}}, {}}}));
  session.capture("count.phase");
  const auto run = [&](int prefills, int decodes) {
    session.run([&] {
      const RunScope scope;
      for (int i = 0; i < prefills; ++i) {
        const PhaseScope phase(Phase::prefill);
        hook_point(normal({2, 3}, 0, dtype()), site);
      }
      for (int i = 0; i < decodes; ++i) {
        const PhaseScope phase(Phase::decode, i);
        hook_point(normal({2, 3}, 0, dtype()), site);
      }
    });
  };
  EXPECT_NO_THROW(run(1, 0));
  EXPECT_NO_THROW(run(1, 2));
  EXPECT_HAS(message_of<SiteError>([&] { run(2, 1); }), "prefill");
  EXPECT_HAS(message_of<SiteError>([&] { run(1, 3); }), "decode");
  EXPECT_THROW(run(0, 1), SiteError);
}

TEST_P(CountsTest, UnknownSitesAreRefusedAtOnceWhereTheModelDeclaresItsSites) {
  Session session(model_.site_table());
  const auto text = message_of<SiteError>([&] { session.capture("layers.1.resid_pots"); });
  EXPECT_HAS(text, "layers.1.resid_pots");
  EXPECT_HAS(text, "layers.1.resid_post");
  EXPECT_THROW(session.capture("layers.{7..9}.q"), SiteError);
  EXPECT_THROW(session.intervene("layers.7.q", Intervention::zero()), SiteError);
}

TEST_P(CountsTest, UnknownSitesAreRefusedAtCloseWithoutATable) {
  Session session;
  session.capture("layers.1.resid_pots");
  session.capture("layers.0.q");
  const auto text = message_of<SiteError>([&] { session.run([&] { model_.forward(tokens_); }); });
  EXPECT_HAS(text, "layers.1.resid_pots");
  EXPECT_HAS(text, "layers.1.resid_post");
  EXPECT_TRUE(session.cache().contains("layers.0.q"));
}

TEST_P(CountsTest, AModelThatDoesNotRunIsRefused) {
  Session bare;
  bare.capture("**");
  EXPECT_HAS(message_of<SiteError>([&] { bare.run([] {}); }), "no site fired");
  Session declared(model_.site_table());
  declared.intervene("layers.2.q", Intervention::zero());
  EXPECT_HAS(message_of<SiteError>([&] { declared.run([] {}); }), "layers.2.q");
}

TEST_P(CountsTest, ASelectionThatMeetsNoEventIsRefused) {
  std::vector<Selection> silent(4);
  silent[0].phases = {{Phase::decode}};
  silent[1].steps = {{3}};
  silent[2].calls = {{1}};
  silent[3].tokens = Tokens::positions({kTokens + 5});
  for (const Selection& selection : silent) {
    Session capture(model_.site_table());
    capture.capture("layers.1.q", {.selection = selection});
    EXPECT_HAS(message_of<SiteError>([&] { capture.run([&] { model_.forward(tokens_); }); }),
               "layers.1.q");
    Session edit(model_.site_table());
    edit.intervene("layers.1.mlp_out", Intervention::zero(), {.selection = selection});
    EXPECT_HAS(message_of<SiteError>([&] { edit.run([&] { model_.forward(tokens_); }); }),
               "layers.1.mlp_out");
  }
}

TEST_P(CountsTest, ReadOnlySitesCannotBeEdited) {
  const Site site("count.readonly");
  Session session(SiteTable({{site, {}, "it is computed after the fact"}}));
  EXPECT_NO_THROW(session.capture("count.readonly"));
  EXPECT_HAS(
      message_of<SiteError>([&] { session.intervene("count.readonly", Intervention::zero()); }),
      "computed after the fact");
}

TEST_P(CountsTest, TablesAreChecked) {
  const Site site("count.table");
  EXPECT_THROW(SiteTable({{site, {}, {}}, {site, {}, {}}}), InvalidArgument);
  EXPECT_THROW(SiteTable({{site, {{std::nullopt, 2, 1}}, {}}}), InvalidArgument);
  EXPECT_THROW(SiteTable({{site, {{std::nullopt, -1, 1}}, {}}}), InvalidArgument);
}

INSTANTIATE_DTYPES(CountsTest);

}  // namespace
}  // namespace tierod::testing
