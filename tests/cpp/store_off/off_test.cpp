// A build with -DTIEROD_STORE=OFF: every way into the store says that it is not there, and what
// needs no files still works.

#include <gtest/gtest.h>

#include "hook/fixture.h"
#include "tierod/store/labels.h"
#include "tierod/store/maintain.h"
#include "tierod/store/moments_sink.h"
#include "tierod/store/reader.h"
#include "tierod/store/writer.h"

namespace tierod::testing {
namespace {

TEST(StoreOff, EveryWayInSaysSo) {
  EXPECT_FALSE(has_store());
  const std::vector<std::function<void()>> ways = {
      [] { ActivationWriter::open("nowhere", {}); },
      [] { ActivationReader::open("nowhere"); },
      [] { stat_store("nowhere"); },
      [] { verify_store("nowhere"); },
      [] { recover_store("nowhere"); },
      [] { merge_stores({"nowhere"}, "elsewhere"); },
      [] { build_index("nowhere"); },
      [] { set_labels("nowhere", "c", {1}, {0}); },
      [] { get_labels("nowhere", "c"); },
  };
  for (const auto& way : ways) EXPECT_HAS(message_of<StateError>(way), "-DTIEROD_STORE=OFF");
}

TEST(StoreOff, MomentsNeedNoFiles) {
  const auto sink = std::make_shared<MomentsSink>();
  sink->begin_batch({.samples = {0, 1}});
  Session session;
  session.capture("a", {.sink = sink});
  session.run([] { hook_point(normal({2, 3, 4}, 1), Site("a", "rtw")); });
  EXPECT_EQ(sink->result().moments_without("a", -1).count(), 6);
}

}  // namespace
}  // namespace tierod::testing
