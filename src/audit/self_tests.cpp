// Is the model what it says it is, and are the known nulls null? Asked before anything else: what
// fails here makes every later number meaningless.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/hook/session.h"
#include "tierod/patch/donors.h"
#include "tierod/patch/twin_patching.h"
#include "tierod/vla/functional.h"

namespace tierod::internal {

using patch::Words;
using probe::Split;

namespace {

constexpr std::int64_t kScenes = 24;

Json result(const char* name, std::optional<double> value, double bound, const char* better,
            const char* meaning) {
  return {{"name", name},       {"value", value ? Json(*value) : Json()},
          {"bound", bound},     {"better", better},
          {"meaning", meaning}, {"stops", true}};
}

class SelfTests {
 public:
  explicit SelfTests(Setting& setting)
      : setting_(setting),
        scenes_(setting.world.any(Split::b, kScenes, "audit.self_tests")),
        run_(setting.runs(scenes_)),
        functional_(vla::ControlFunctional::from_name(setting.protocol.concepts[0].functional)),
        sesoi_(setting.protocol.concepts[0].sesoi) {}

  Json all() {
    const at::NoGradGuard no_grad;
    fires();
    equal_runs();
    noise();
    forced_words();
    self_splice();
    null_site();
    nothing_after_the_words();
    setting_.passes += 12 * kScenes;
    return out_;
  }

 private:
  void add(Json test) { out_.push_back(std::move(test)); }

  // In units of the SESOI.
  double moved(const at::Tensor& effect) const {
    return effect.abs().max().item<double>() / sesoi_;
  }

  void fires() {
    setting_.say("self-test: fire counts");
    std::optional<double> wrong;
    std::string note;
    if (!setting_.about.sites.empty()) {
      wrong = 0;
      try {
        Session session(setting_.about.sites);
        for (const SiteSpec& spec : setting_.about.sites.specs()) {
          session.capture(spec.site.name());
        }
        const vla::Batch batch = setting_.source.batch({scenes_[0], scenes_[1]});
        session.run([&] { setting_.model.rollout(batch, {.seed = setting_.protocol.seed}); });
      } catch (const SiteError& error) {
        wrong = 1;
        note = error.what();
      }
    }
    add(result("fire_counts", wrong, 0, "at_most",
               "every declared site fires as often as the model says; otherwise captures and edits "
               "miss what they are named after"));
    out_.back()["note"] = note;
  }

  void equal_runs() {
    setting_.say("self-test: equal runs are equal");
    const double same = moved(run_->effect(run_->again(), functional_));
    add(result("base_vs_base", same, 0.1, "at_most",
               "the same scenes with the same seeds give the same control, in units of the SESOI; "
               "what differs is the machine's, and would pass for an effect"));
    out_.back()["deterministic"] = run_->noise_floor(functional_).deterministic;
    add(result("noise_floor", std::nullopt, 0, "at_most",
               "mean change of control with other seeds, in units of the SESOI; for information"));
    out_.back()["stops"] = false;
    double floor = 0;
    for (const std::uint64_t seed : {1, 2}) {
      floor += run_->effect(run_->reseeded(setting_.protocol.seed + seed), functional_)
                   .abs()
                   .mean()
                   .item<double>();
    }
    out_.back()["floor"] = floor / 2 / sesoi_;
  }

  // A model that ignores what it is given makes base and edited runs differ by chance.
  void noise() {
    setting_.say("self-test: noise");
    std::optional<double> moves;
    if (setting_.can("noise")) {
      const vla::Batch batch = setting_.source.batch(scenes_);
      vla::RolloutOptions how{.seed = setting_.protocol.seed};
      how.noise = at::zeros({kScenes, setting_.about.waypoints, 2});
      const vla::Rollout still = setting_.model.rollout(batch, how);
      const vla::Rollout again = setting_.model.rollout(batch, how);
      how.noise = at::full_like(*how.noise, 1.0);
      const vla::Rollout other = setting_.model.rollout(batch, how);
      // fixed noise must fix the actions, and other noise move them
      const auto fixed = (still.actions - again.actions).abs().max().item<double>();
      const auto differs = (still.actions - other.actions).abs().max().item<double>();
      moves = fixed == 0 && differs > 0 ? 1 : 0;
    }
    add(result("noise_is_used", moves, 1, "at_least",
               "the model takes the action noise that it is given; otherwise base and edited runs "
               "do not share theirs"));
  }

  void forced_words() {
    std::optional<double> share;
    if (setting_.talks()) {
      setting_.say("self-test: forced words");
      // the words of the next scene: a model that writes its own again gives them away
      const vla::Rollout& base = run_->base();
      const at::Tensor other = base.cot_tokens.roll({1}, {0});
      const vla::Rollout run = setting_.model.rollout(
          setting_.source.batch(scenes_), {.cot_tokens = other, .seed = setting_.protocol.seed});
      std::int64_t same = 0;
      for (std::int64_t i = 0; i < kScenes; ++i) {
        const auto given = other[i].masked_select(other[i].ge(0));
        const auto said = run.cot_tokens[i].masked_select(run.cot_tokens[i].ge(0));
        same += given.equal(said) ? 1 : 0;
      }
      share = static_cast<double>(same) / kScenes;
    }
    add(result("cot_tokens_are_used", share, 1, "at_least",
               "share of scenes in which the model says the words that it is given; otherwise "
               "words that are held are not"));
  }

  void self_splice() {
    std::optional<double> change;
    if (setting_.talks()) {
      setting_.say("self-test: self-splice");
      change = moved(run_->effect(run_->with_words(run_->base()), functional_));
    }
    add(result("self_splice", change, 0.1, "at_most",
               "its own words, given back, change nothing, in units of the SESOI"));
  }

  void null_site() {
    std::optional<double> change;
    if (!setting_.about.null_sites.empty()) {
      setting_.say("self-test: null sites");
      std::vector<std::int64_t> donors;
      for (const std::int64_t place :
           patch::shuffled_donors(setting_.world.units(scenes_), setting_.protocol.seed)) {
        donors.push_back(scenes_[static_cast<std::size_t>(place)]);
      }
      const vla::Rollout patched =
          run_->transplanted({.scenes = donors}, setting_.about.null_sites, {}, Words::held);
      change = (patched.actions - run_->base().actions).abs().max().item<double>();
    }
    add(result("null_site", change, 0, "at_most",
               "what is patched after the head's last read moves no action at all"));
  }

  // With everything from the words on hidden from control, no text can matter.
  void nothing_after_the_words() {
    std::optional<double> change;
    if (setting_.talks() && setting_.can("knockouts")) {
      setting_.say("self-test: T-null");
      const auto cut = setting_.runs(scenes_, {.knockouts = patch::cot_cut()});
      const patch::ResampledWords other = run_->resampled_words(setting_.protocol.seed + 1);
      change = moved(cut->effect(cut->with_words(other.words), functional_));
    }
    add(result("t_null", change, 0.01, "at_most",
               "with everything from the chain of thought's start hidden from control, other words "
               "change nothing, in units of the SESOI"));
  }

  Setting& setting_;
  std::vector<std::int64_t> scenes_;
  std::unique_ptr<patch::PairedRun> run_;
  vla::ControlFunctional functional_;
  double sesoi_;
  Json out_ = Json::array();
};

}  // namespace

Json self_tests(Setting& setting) { return SelfTests(setting).all(); }

Json check_sites(Setting& setting, std::size_t candidate) {
  const at::NoGradGuard no_grad;
  const audit::Protocol& protocol = setting.protocol;
  const FittedSites& fitted = setting.fitted(candidate);
  Json out = {{"candidate", fitted.candidate.name}, {"sites", Json::array()}};
  std::vector<std::string> sites;
  sites.reserve(fitted.sites.size());
  for (const patch::EditSite& site : fitted.sites) sites.push_back(site.site);
  out["sites"] = sites;

  setting.say(cat("completeness of ", fitted.candidate.name));
  const std::vector<std::int64_t> scenes = setting.world.any(Split::c, 60, "audit.completeness");
  const std::vector<std::int64_t> units = setting.world.units(scenes);
  std::vector<std::int64_t> donors;
  for (const std::int64_t place : patch::shuffled_donors(units, protocol.seed)) {
    donors.push_back(scenes[static_cast<std::size_t>(place)]);
  }
  std::vector<vla::ControlFunctional> functionals = {
      vla::ControlFunctional::from_name("mean_acceleration")};
  if (!fitted.candidate.fields.empty()) {
    functionals.push_back(vla::ControlFunctional::from_name("lateral_offset"));
  }
  Json complete = {{"bound", 0.10}, {"ratio", Json()}};
  try {
    const auto run = setting.runs(scenes);
    const patch::Completeness found =
        patch::completeness(*run, donors, sites, fitted.sites.front().selection,
                            fitted.candidate.fields, functionals, 0.10);
    complete["ratio"] = found.ratio;
    complete["functional"] = found.functional;
    complete["error"] = found.error;
    complete["moved"] = found.moved;
    complete["note"] = found.note;
    complete["scenes"] = scenes.size();
  } catch (const NumericalError& error) {
    // other scenes move nothing: there is nothing that could go past
    complete["note"] = error.what();
  }
  out["completeness"] = complete;

  Json control = {{"effect", Json()}, {"readers", Json::array()}};
  if (protocol.positive) {
    setting.say(cat("positive control ", protocol.positive->nuisance));
    const std::string name = cat("high ", protocol.positive->nuisance);
    // its halves are labelled as a concept is
    const probe::ProbeDataset& data = fitted.data;
    const std::vector<std::int64_t> tested =
        setting.world.balanced(Split::c, name, 80, "audit.positive");
    const std::vector<std::uint8_t> labels = setting.world.labels(name, tested);
    probe::ResidualOptions options = setting.residual(data, name, protocol.direct_refits);
    std::vector<std::string> adjusted = setting.adjusted_for(data, name);
    adjusted.erase(std::remove(adjusted.begin(), adjusted.end(), protocol.positive->nuisance),
                   adjusted.end());
    options.adjust_for = std::move(adjusted);
    const auto run = setting.runs(tested);
    const patch::ConceptEffect effect =
        patch::concept_effect(*run, labels, setting.world.units(tested),
                              patch::fit_directions(data, name, fitted.sites, options),
                              vla::ControlFunctional::from_name(protocol.positive->functional), {});
    control["name"] = protocol.positive->nuisance;
    control["functional"] = protocol.positive->functional;
    control["effect"] = axis_json("direct", effect.theta.interval, length(tested.size()));
    setting.passes += 8 * length(tested.size());
  }
  out["positive_control"] = control;
  setting.passes += 3 * length(scenes.size());
  return out;
}

}  // namespace tierod::internal
