#include <gtest/gtest.h>

#include <string>

#include "tierod/core/error.h"
#include "tierod/core/site.h"

namespace tierod {
namespace {

bool matches(const char* pattern, const char* name) { return SitePattern(pattern).matches(name); }

TEST(SitePattern, PlainNameMatchesItselfAlone) {
  const SitePattern pattern("layers.1.resid_post");
  EXPECT_TRUE(pattern.is_exact());
  EXPECT_EQ(pattern.text(), "layers.1.resid_post");
  EXPECT_TRUE(pattern.matches("layers.1.resid_post"));
  EXPECT_FALSE(pattern.matches("layers.11.resid_post"));
  EXPECT_FALSE(pattern.matches("layers.1.resid_pos"));
  EXPECT_FALSE(pattern.matches("vlm.layers.1.resid_post"));
}

TEST(SitePattern, StarStaysWithinOneSegment) {
  EXPECT_FALSE(SitePattern("layers.*.q").is_exact());
  EXPECT_TRUE(matches("layers.*.q", "layers.10.q"));
  EXPECT_FALSE(matches("layers.*.q", "layers.1.2.q"));
  EXPECT_FALSE(matches("layers.*.q", "layers.q"));
  EXPECT_TRUE(matches("layers.3.resid_*", "layers.3.resid_post"));
  EXPECT_TRUE(matches("layers.3.*_*t", "layers.3.resid_post"));
  EXPECT_FALSE(matches("layers.3.*_*t", "layers.3.resid_mid"));
  EXPECT_TRUE(matches("*", "embed"));
  EXPECT_FALSE(matches("*", "a.b"));
}

TEST(SitePattern, DoubleStarSpansSegments) {
  EXPECT_TRUE(matches("**.resid_post", "layers.0.resid_post"));
  EXPECT_TRUE(matches("**.resid_post", "expert.layers.0.resid_post"));
  EXPECT_TRUE(matches("**.resid_post", "resid_post"));  // any number: none too
  EXPECT_FALSE(matches("**.resid_post", "layers.0.resid_post.x"));
  EXPECT_TRUE(matches("**", "a.b.c"));
  EXPECT_TRUE(matches("vlm.**.k", "vlm.cache.0.k"));
  EXPECT_FALSE(matches("vlm.**.k", "expert.cache.0.k"));
  EXPECT_TRUE(matches("**.0.**", "a.b.0"));
  EXPECT_FALSE(matches("**.0.**", "a.b.10"));
}

TEST(SitePattern, RangeIncludesBothEnds) {
  for (int i = 0; i < 15; ++i) {
    const std::string name = "layers." + std::to_string(i) + ".q";
    EXPECT_EQ(SitePattern("layers.{2..11}.q").matches(name), i >= 2 && i <= 11) << name;
  }
  EXPECT_TRUE(matches("layers.{3..3}.q", "layers.3.q"));
  EXPECT_FALSE(matches("layers.{0..9}.q", "layers.03.q"));
  EXPECT_FALSE(matches("layers.{0..9}.q", "layers.-3.q"));
  EXPECT_FALSE(matches("layers.{0..9}.q", "layers.x.q"));
  EXPECT_TRUE(matches("block{0..9}x.q", "block7x.q"));
}

TEST(SitePattern, WordsAreAlternatives) {
  EXPECT_TRUE(matches("layers.0.{q,k,v}", "layers.0.q"));
  EXPECT_TRUE(matches("layers.0.{q,k,v}", "layers.0.v"));
  EXPECT_FALSE(matches("layers.0.{q,k,v}", "layers.0.o"));
  EXPECT_FALSE(matches("layers.0.{q,k,v}", "layers.0.qk"));
  EXPECT_TRUE(matches("layers.0.resid_{pre,post}", "layers.0.resid_post"));
  // a word that is a prefix of another must not hide it
  EXPECT_TRUE(matches("{a,ab}c", "abc"));
  EXPECT_TRUE(matches("**.{0..2}.*_{in,out}", "vlm.layers.2.mlp_out"));
}

TEST(SitePattern, RefusesMalformedPatterns) {
  for (const char* pattern : {"",      ".",       "a.",        ".a",  "a..*",    "{",      "}",
                              "a}b{",  "{q,k",    "q}",        "{}",  "{q,{k}}", "{5..2}", "{a..b}",
                              "{1..}", "{-3..2}", "{1..2..3}", "**a", "a.**b",   "***",    "a b"}) {
    EXPECT_THROW(SitePattern{pattern}, InvalidArgument) << pattern;
  }
}

// Words are literal, so a wildcard among them would silently match nothing.
TEST(SitePattern, RefusesWildcardsWithinBraces) {
  EXPECT_THROW(SitePattern("layers.0.{q,*_out}"), InvalidArgument);
  EXPECT_THROW(SitePattern("{a,**}.q"), InvalidArgument);
}

TEST(SitePattern, MatchesRawModulePaths) {
  EXPECT_TRUE(matches("@model.layers.3:out", "@model.layers.3:out"));
  EXPECT_FALSE(matches("@model.layers.3:out", "@model.layers.3:in"));
  EXPECT_TRUE(matches("@model.*.mlp:out", "@model.3.mlp:out"));
}

}  // namespace
}  // namespace tierod
