#include "tierod/core/selection.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tierod/core/error.h"

namespace tierod {
namespace {

TEST(Selection, EmptySelectsEverything) {
  const Selection all;
  EXPECT_TRUE(all.all_events());
  EXPECT_TRUE(all.whole_tensor());
  EXPECT_TRUE(all.selects_event(Phase::decode, 7, "guided", 3));
  EXPECT_EQ(all.to_json(), "{}");
}

TEST(Selection, EachListRestrictsEvents) {
  Selection s;
  s.phases = {{Phase::decode, Phase::head}};
  s.steps = {{0, 2}};
  s.branches = {{"guided"}};
  s.calls = {{1}};
  EXPECT_FALSE(s.all_events());
  EXPECT_TRUE(s.whole_tensor());
  EXPECT_TRUE(s.selects_event(Phase::decode, 2, "guided", 1));
  EXPECT_FALSE(s.selects_event(Phase::prefill, 2, "guided", 1));
  EXPECT_FALSE(s.selects_event(Phase::decode, 1, "guided", 1));
  EXPECT_FALSE(s.selects_event(Phase::decode, 2, "", 1));
  EXPECT_FALSE(s.selects_event(Phase::decode, 2, "guided", 0));
}

TEST(Selection, RoundTripsThroughJson) {
  std::vector<Selection> selections(6);
  selections[0].rows = {{0, -1}};
  selections[0].heads = {{2}};
  selections[1].tokens = Tokens::index({-1, 0});
  selections[2].tokens = Tokens::range(std::nullopt, -2);
  selections[3].tokens = Tokens::positions({5, 3});
  selections[4].tokens = Tokens::spans({"image 0", "cot \"q\"\n"});
  selections[5].phases = {
      {Phase::none, Phase::vision, Phase::prefill, Phase::decode, Phase::denoise, Phase::head}};
  selections[5].steps = {{-1, 4}};
  selections[5].branches = {{"", "guided"}};
  selections[5].calls = {{0}};
  selections[5].tokens = Tokens::range(1, std::nullopt);
  for (const Selection& s : selections) {
    const Selection back = Selection::from_json(s.to_json());
    EXPECT_EQ(back, s) << s.to_json();
    EXPECT_NE(back, Selection()) << s.to_json();
  }
}

TEST(Selection, ReadsTheDocumentedKeys) {
  const Selection s = Selection::from_json(
      R"({"rows": [1], "token_range": [null, 4], "phases": ["decode"], "steps": [0]})");
  EXPECT_EQ(s.rows, std::vector<std::int64_t>{1});
  EXPECT_EQ(s.tokens, Tokens::range(std::nullopt, 4));
  EXPECT_EQ(s.phases, std::vector<Phase>{Phase::decode});
}

TEST(Selection, RefusesMalformedJson) {
  for (const char* json :
       {"", "{", "[]", "3", "{\"row\": [1]}", "{\"rows\": 1}", "{\"rows\": [\"a\"]}",
        "{\"rows\": []}", "{\"rows\": [1, 1]}", "{\"tokens\": [1], \"positions\": [2]}",
        "{\"positions\": [-1]}", "{\"token_range\": [1]}", "{\"token_range\": 3}",
        "{\"token_range\": [\"a\", 1]}", "{\"phases\": [\"later\"]}", "{\"spans\": []}",
        "{\"branches\": [1]}"}) {
    EXPECT_THROW(Selection::from_json(json), InvalidArgument) << json;
  }
}

// 1.5 is no row: truncating it to 1 would silently edit another one.
TEST(Selection, RefusesNumbersThatAreNoIndices) {
  for (const char* json : {"{\"rows\": [1.5]}", "{\"tokens\": [0.9]}", "{\"steps\": [true]}",
                           "{\"token_range\": [0.5, 2]}", "{\"rows\": [1e300]}",
                           "{\"rows\": [18446744073709551615]}"}) {
    EXPECT_THROW(Selection::from_json(json), InvalidArgument) << json;
  }
}

TEST(Selection, UnknownKeyIsNamed) {
  try {
    Selection::from_json(R"({"head": [1]})");
    FAIL() << "expected InvalidArgument";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("'head'"), std::string::npos) << error.what();
  }
}

TEST(Selection, CheckNamesTheCaller) {
  Selection s;
  s.heads.emplace();
  try {
    s.check("[here]");
    FAIL() << "expected InvalidArgument";
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(std::string(error.what()).rfind("[here]", 0), 0U) << error.what();
    EXPECT_NE(std::string(error.what()).find("heads"), std::string::npos) << error.what();
  }
}

TEST(ResolveIndex, CountsFromBothEnds) {
  EXPECT_EQ(resolve_index(0, 3, "[w]", "row"), 0);
  EXPECT_EQ(resolve_index(2, 3, "[w]", "row"), 2);
  EXPECT_EQ(resolve_index(-1, 3, "[w]", "row"), 2);
  EXPECT_EQ(resolve_index(-3, 3, "[w]", "row"), 0);
  EXPECT_THROW(resolve_index(3, 3, "[w]", "row"), OutOfRange);
  EXPECT_THROW(resolve_index(-4, 3, "[w]", "row"), OutOfRange);
  EXPECT_THROW(resolve_index(0, 0, "[w]", "row"), OutOfRange);
}

TEST(Event, TextAndPhaseNamesRoundTrip) {
  for (const Phase phase :
       {Phase::none, Phase::vision, Phase::prefill, Phase::decode, Phase::denoise, Phase::head}) {
    EXPECT_EQ(phase_from_name(phase_name(phase)), phase);
  }
  EXPECT_EQ(phase_from_name(""), Phase::none);
  EXPECT_THROW(phase_from_name("Decode"), InvalidArgument);
  EXPECT_EQ((Event{Site("layers.3.resid_post"), Phase::decode, 2, "", 0}.text()),
            "layers.3.resid_post[decode step 2 call 0]");
  EXPECT_EQ((Event{Site("embed")}.text()), "embed");
  EXPECT_EQ((Event{Site("embed"), Phase::denoise, 1, "guided", 4}.text()),
            "embed[denoise step 1 branch guided call 4]");
}

}  // namespace
}  // namespace tierod
