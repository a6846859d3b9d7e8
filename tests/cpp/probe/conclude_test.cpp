#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/probe/evaluation.h"

namespace tierod::probe {
namespace {

/// A concept that a probe does not find at two sites.
Evaluation absent(std::string probe) {
  Evaluation e;
  e.probe = std::move(probe);
  e.level = "group";
  e.units = 60;
  e.sites = {"a", "b"};
  e.concepts = {"c"};
  e.rows.resize(2);
  e.summary = {{.concept_name = "c", .best_site = "a", .upper = 0.01, .not_encoded = true}};
  return e;
}

TEST(Conclude, AbsenceNeedsBothProbesAtTheSameSites) {
  const Evaluation linear = absent("ridge");
  const Evaluation same = absent("mlp");
  EXPECT_EQ(conclude(linear, &same)[0].encoding, Encoding::not_encoded);
  Evaluation elsewhere = absent("mlp");
  elsewhere.sites = {"a", "embedding"};
  const std::string message = message_of<InvalidArgument>([&] { conclude(linear, &elsewhere); });
  EXPECT_NE(message.find("same sites, got [a, b] of ridge and [a, embedding] of mlp"),
            std::string::npos)
      << message;
}

TEST(Conclude, RefusesProbesHeldToUnlikeRules) {
  const std::vector<std::pair<std::string, std::function<void(Evaluation&)>>> changes{
      {"concepts", [](Evaluation& e) { e.concepts = {"d"}; }},
      {"sites", [](Evaluation& e) { e.sites = {"b", "a"}; }},
      {"level", [](Evaluation& e) { e.level = "route"; }},
      {"units", [](Evaluation& e) { e.units = 59; }},
      {"margin", [](Evaluation& e) { e.options.margin = 0.2; }},
      {"alpha", [](Evaluation& e) { e.options.alpha = 0.2; }}};
  const Evaluation linear = absent("ridge");
  for (const auto& [what, change] : changes) {
    Evaluation other = absent("mlp");
    change(other);
    const std::string message = message_of<InvalidArgument>([&] { conclude(linear, &other); });
    EXPECT_NE(message.find("same " + what + ", got"), std::string::npos) << what << message;
  }
}

TEST(Conclude, RefusesWhatWasStopped) {
  const Evaluation linear = absent("ridge");
  Evaluation stopped = absent("mlp");
  stopped.complete = false;
  stopped.sites.clear();
  stopped.rows.clear();
  stopped.summary.clear();
  const std::string message = message_of<InvalidArgument>([&] { conclude(linear, &stopped); });
  EXPECT_NE(message.find("mlp that was stopped after 0 sites, with 0 of 1 concepts"),
            std::string::npos)
      << message;
  EXPECT_NE(message_of<InvalidArgument>([&] { conclude(stopped); }), "");
}

}  // namespace
}  // namespace tierod::probe
