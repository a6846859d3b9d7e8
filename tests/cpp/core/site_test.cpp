#include "tierod/core/site.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "tierod/core/error.h"

namespace tierod {
namespace {

TEST(Site, KeepsNameAndLayout) {
  const Site site("expert.layers.3.q", "rthd");
  EXPECT_EQ(site.name(), "expert.layers.3.q");
  EXPECT_EQ(site.layout(), "rthd");
  EXPECT_EQ(Site("embed").layout(), "");
}

TEST(Site, IsInternedByNameAndLayout) {
  const Site a("intern.a", "rtw");
  EXPECT_EQ(a, Site("intern.a", "rtw"));
  EXPECT_EQ(a.id(), Site("intern.a", "rtw").id());
  EXPECT_NE(a, Site("intern.a", "rw"));
  EXPECT_NE(a.id(), Site("intern.a", "rw").id());
  EXPECT_NE(a, Site("intern.b", "rtw"));
  EXPECT_EQ(Site::from_id(a.id()), a);
  EXPECT_THROW(Site::from_id(0xFFFFFFFFU), OutOfRange);
}

TEST(Site, IdsAreUniqueAndServeAsHash) {
  std::set<std::uint32_t> ids;
  std::unordered_set<Site> sites;
  for (int i = 0; i < 1000; ++i) {
    const Site site("dense." + std::to_string(i));
    ids.insert(site.id());
    sites.insert(site);
  }
  EXPECT_EQ(ids.size(), 1000U);
  EXPECT_EQ(sites.size(), 1000U);
  // an early site is still what it was after the registry grew
  EXPECT_EQ(Site::from_id(Site("dense.0").id()).name(), "dense.0");
}

TEST(Site, AcceptsWellFormedNames) {
  for (const char* name : {"a", "layers.0.resid_post", "vlm.cache.11.k", "action.velocity", "A-b_9",
                           "@model.layers.3:in", "@model:out", "@:out"}) {
    EXPECT_NO_THROW(check_site_name(name)) << name;
  }
}

TEST(Site, RefusesMalformedNames) {
  for (const char* name : {"", ".", "a.", ".a", "a..b", "a b", "layers.*.q", "a/b", "{q,k}", "@a",
                           "@a:mid", "@a..b:in", "a:out", "\xC3\xA4"}) {
    EXPECT_THROW(check_site_name(name), InvalidArgument) << name;
    EXPECT_THROW(Site{name}, InvalidArgument) << name;
  }
}

TEST(Site, RefusesMalformedLayouts) {
  EXPECT_THROW(Site("layout.a", "rtx"), InvalidArgument);
  EXPECT_THROW(Site("layout.a", "rtt"), InvalidArgument);
  EXPECT_NO_THROW(Site("layout.a", "r..w"));
}

TEST(Site, DefaultLayoutFollowsPortAndDimensions) {
  EXPECT_EQ(default_layout("a", 0), "");
  EXPECT_EQ(default_layout("a", 1), "w");
  EXPECT_EQ(default_layout("a", 2), "rw");
  EXPECT_EQ(default_layout("a", 3), "rtw");
  EXPECT_EQ(default_layout("layers.0.q", 4), "rthd");
  EXPECT_EQ(default_layout("k", 4), "rthd");
  EXPECT_EQ(default_layout("layers.0.pattern", 4), "rhts");
  EXPECT_EQ(default_layout("vlm.cache.0.k", 4), "rhtd");
  EXPECT_EQ(default_layout("layers.0.resid_post", 4), "r...");
  EXPECT_EQ(default_layout("a", 5), "r....");
}

TEST(Site, AliasNamesPortAndLayer) {
  EXPECT_EQ(site_alias("resid_post", 3), "layers.3.resid_post");
  EXPECT_EQ(site_alias("q", 12, "expert"), "expert.layers.12.q");
  EXPECT_THROW(site_alias("q", -1), InvalidArgument);
  EXPECT_THROW(site_alias("", 1), InvalidArgument);
}

TEST(NearestNames, OrdersByEditDistance) {
  const std::vector<std::string> names = {"layers.1.resid_mid", "layers.0.resid_post",
                                          "layers.1.resid_post", "action.velocity"};
  EXPECT_EQ(nearest_names("layers.1.resid_pots", names),
            (std::vector<std::string>{"layers.1.resid_post", "layers.0.resid_post",
                                      "layers.1.resid_mid"}));
  EXPECT_EQ(nearest_names("layers.1.resid_pots", names, 1),
            std::vector<std::string>{"layers.1.resid_post"});
  EXPECT_TRUE(nearest_names("zzzzzzzzzzzzzzzzzzzzzz", names).empty());
  EXPECT_TRUE(nearest_names("layers", {}).empty());
}

}  // namespace
}  // namespace tierod
