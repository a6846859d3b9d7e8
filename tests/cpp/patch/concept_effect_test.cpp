#include "tierod/patch/concept_effect.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "message_of.h"
#include "patch/toy_vla.h"
#include "tierod/stats/distributions.h"

namespace tierod::patch {
namespace {

constexpr std::int64_t kScenes = 40, kRefits = 6;

const vla::ControlFunctional kAcceleration = vla::ControlFunctional::from_name("mean_acceleration");

std::vector<std::int64_t> ids() {
  std::vector<std::int64_t> out(kScenes);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

std::vector<std::uint8_t> labels() {
  std::vector<std::uint8_t> out;
  for (const std::int64_t id : ids()) out.push_back(static_cast<std::uint8_t>(id % 2));
  return out;
}

/// Five scenes a group.
std::vector<std::int64_t> groups() {
  std::vector<std::int64_t> out;
  for (const std::int64_t id : ids()) out.push_back(id / 5);
  return out;
}

/// Reads and writes the first axis; the classes lie at .5 -+ reach / 2.
DirectionPlace place(double reach) {
  at::Tensor unit = at::zeros({kWidth}, at::kDouble);
  unit[0] = 1;
  return {.site = "vlm.image_embeds",
          .direction = {"vlm.image_embeds", unit, unit, unit * 0.5, 0.5, -reach / 2, reach / 2}};
}

double reach_of(std::int64_t k) { return 1 + 0.02 * static_cast<double>(k * k - 8); }

ConceptDirections directions() {
  ConceptDirections out{.places = {place(1)}};
  for (std::int64_t k = 0; k < kRefits; ++k) out.refits.push_back({place(reach_of(k))});
  return out;
}

/// The direct effect on - off of each scene by hand: a swap puts the reading at .5 +- reach / 2.
std::vector<double> by_hand(double reach) {
  const ToyScenes scenes;
  const vla::Batch inputs = scenes.batch(ids());
  std::vector<double> out;
  for (std::int64_t i = 0; i < kScenes; ++i) {
    const double z = inputs.at("z")[i].item<double>();
    const double was = z + 0.1 * inputs.at("other")[i][0].item<double>();
    out.push_back(z == 1 ? kDirect * (was - (0.5 - reach / 2)) : kDirect * (0.5 + reach / 2 - was));
  }
  return out;
}

double mean_of(const std::vector<double>& x, std::int64_t label) {
  double sum = 0;
  for (std::int64_t i = label; i < kScenes; i += 2) sum += x[static_cast<std::size_t>(i)];
  return sum / (kScenes / 2);
}

double balanced(const std::vector<double>& x) { return (mean_of(x, 0) + mean_of(x, 1)) / 2; }

TEST(ConceptEffect, CountsTheErrorOfTheDirection) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, ids(), {.batch_size = 16});
  const std::vector<double> x = by_hand(1);
  // V_A and V_C by the formulas, with loops
  std::vector<double> theta;
  for (std::int64_t k = 0; k < kRefits; ++k) theta.push_back(balanced(by_hand(reach_of(k))));
  const double centre = std::accumulate(theta.begin(), theta.end(), 0.0) / kRefits;
  double v_a = 0;
  for (const double t : theta) v_a += (t - centre) * (t - centre);
  v_a *= (kRefits - 1.0) / kRefits;
  constexpr int kGroups = 8;
  std::vector<double> u(kGroups, 0);
  for (std::int64_t i = 0; i < kScenes; ++i) {
    const auto n = static_cast<std::size_t>(i);
    u[static_cast<std::size_t>(i / 5)] += kGroups * (x[n] - mean_of(x, i % 2)) / kScenes;
  }
  double v_c = 0;
  for (const double contribution : u) v_c += contribution * contribution;
  v_c /= (kGroups - 1.0) * kGroups;
  const double t = stats::student_t_quantile(0.975, kRefits - 1);
  for (const bool derivative : {true, false}) {
    const ConceptEffect found = concept_effect(run, labels(), groups(), directions(), kAcceleration,
                                               {.derivative = derivative});
    EXPECT_NEAR(found.theta.interval.estimate, balanced(x), 1e-12);
    EXPECT_NEAR(found.theta.refit_variance, v_a, 1e-12);
    EXPECT_NEAR(found.theta.test_variance, v_c, 1e-12);
    EXPECT_NEAR(found.theta.interval.high - found.theta.interval.estimate, t * std::sqrt(v_a + v_c),
                1e-12);
    EXPECT_EQ(found.reruns, derivative ? 4U : 6U);
    EXPECT_LT(found.derivative_error, 1e-9);
    EXPECT_NEAR(found.removal.estimate, mean_of(x, 1), 1e-12);
    EXPECT_NEAR(found.addition.estimate, mean_of(x, 0), 1e-12);
    EXPECT_NE(found.note.find("only 20 scenes of the rarer class: 100 of each"), std::string::npos);
  }
}

TEST(ConceptEffect, OfTheWordsComesOnTopInTheTotal) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, ids(), {.rollout = {.num_samples = 2}, .batch_size = 16});
  const ConceptEffect direct = concept_effect(run, labels(), groups(), directions(), kAcceleration);
  const ConceptEffect total = concept_effect(run, labels(), groups(), directions(), kAcceleration,
                                             {.words = Words::regenerated});
  EXPECT_EQ(total.reruns, 6U);
  // said in nine tenths of the rows where the concept is absent, if it is put there
  const double words = total.theta.interval.estimate - direct.theta.interval.estimate;
  EXPECT_NEAR(words, 0.9 * kByWord, 0.05);
  EXPECT_TRUE(direct.theta.interval.excludes(0));
}

/// A head whose slope ends: far from the edit the derivative says nothing.
class Saturated final : public vla::Model {
 public:
  vla::ModelDescription describe() const override { return inner_.describe(); }
  vla::BatchSpec batch_spec() const override { return inner_.batch_spec(); }
  vla::Rollout rollout(const vla::Batch& batch, const vla::RolloutOptions& options) override {
    vla::Rollout out = inner_.rollout(batch, options);
    out.actions = out.actions.clamp(-1.2, 0.5);
    return out;
  }

 private:
  ToyModel inner_;
};

TEST(ConceptEffect, RunsAllRefitsWhereTheDerivativeMisleads) {
  Saturated model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, ids());
  ConceptDirections wide = directions();
  for (std::int64_t k = 0; k < kRefits; ++k) {
    wide.refits[static_cast<std::size_t>(k)] = {place(0.4 + 0.2 * static_cast<double>(k))};
  }
  const ConceptEffect found = concept_effect(run, labels(), groups(), wide, kAcceleration);
  EXPECT_EQ(found.reruns, 6U);
  EXPECT_GT(found.derivative_error, 0.25);
  EXPECT_NE(found.note.find("all were run"), std::string::npos);
  const ConceptEffect runs =
      concept_effect(run, labels(), groups(), wide, kAcceleration, {.derivative = false});
  EXPECT_EQ(found.refits, runs.refits);
  EXPECT_EQ(found.theta.interval.low, runs.theta.interval.low);
}

TEST(ConceptEffect, RefusesWhatItCannotMean) {
  ToyModel model;
  const ToyScenes scenes;
  PairedRun run(model, scenes, ids());
  const auto refuses = [&](const char* why, const std::vector<std::uint8_t>& z,
                           const std::vector<std::int64_t>& of, const ConceptDirections& along) {
    const std::string message =
        message_of<InvalidArgument>([&] { concept_effect(run, z, of, along, kAcceleration); });
    EXPECT_NE(message.find(why), std::string::npos) << "expected '" << why << "' in " << message;
  };
  refuses("a label and a group for each of 40 scenes, got 39 and 40",
          std::vector<std::uint8_t>(39, 1), groups(), directions());
  refuses("labels 0 or 1, got 255", std::vector<std::uint8_t>(40, 255), groups(), directions());
  refuses("a group for each of 40", labels(), {1, 2}, directions());
  refuses("at least 2 refits", labels(), groups(), {.places = {place(1)}});
  ConceptDirections odd = directions();
  odd.refits[2].push_back(place(1));
  refuses("directions for 1 places, got 2", labels(), groups(), odd);
  EXPECT_THROW(
      concept_effect(run, std::vector<std::uint8_t>(40, 1), groups(), directions(), kAcceleration),
      InvalidArgument);
}

}  // namespace
}  // namespace tierod::patch
