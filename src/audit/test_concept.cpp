// Split C: what a concept does to control, by every estimand, with the controls that make it
// evidence.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/patch/concept_effect.h"
#include "tierod/patch/guard.h"
#include "tierod/patch/mediation.h"
#include "tierod/stats/bootstrap.h"
#include "tierod/vla/functional.h"

namespace tierod::internal {

using patch::Words;
using probe::Split;

namespace {

constexpr std::int64_t kFewScenes = 10;  // of a class, below which no effect is measured

Json effect_json(const char* estimand, const patch::ConceptEffect& effect) {
  Json out = axis_json(estimand, effect.theta.interval, effect.scenes.size(0));
  out["refit_variance"] = effect.theta.refit_variance;
  out["test_variance"] = effect.theta.test_variance;
  out["refits"] = effect.refits;
  out["reruns"] = effect.reruns;
  out["derivative_error"] = effect.derivative_error;
  out["removal"] = axis_json("removal", effect.removal, effect.scenes.size(0) / 2);
  out["addition"] = axis_json("addition", effect.addition, effect.scenes.size(0) / 2);
  out["note"] = effect.note;
  return out;
}

// Within +-SESOI: what the rules of a null ask for further evidence on.
bool null_effect(const Json& axis, double sesoi) {
  if (!axis.is_object()) return true;
  const stats::Interval ci90 =
      stats::t_interval(axis["estimate"].get<double>(), axis["standard_error"].get<double>(),
                        axis["df"].get<double>(), 0.90);
  return ci90.inside(-sesoi, sesoi);
}

class Testing {
 public:
  Testing(Setting& setting, const audit::ConceptPlan& plan, const Chosen& chosen, const Json& sites,
          std::size_t shams)
      : setting_(setting),
        plan_(plan),
        fitted_(setting.fitted(chosen.candidate)),
        shams_(shams),
        functional_(vla::ControlFunctional::from_name(plan.functional)),
        scenes_(
            setting.world.balanced(Split::c, plan.id, setting.protocol.test_scenes, "audit.test")),
        labels_(setting.world.labels(plan.id, scenes_)),
        units_(setting.world.units(scenes_)),
        run_(setting.runs(scenes_)) {
    axes_["valid"] = {{"guard", {{"direct", Json()}, {"total", Json()}}},
                      {"positive_control", sites["positive_control"]},
                      {"completeness", sites["completeness"]},
                      {"restoring", "not_applicable"}};
    for (const char* axis : {"direct", "total", "erasure"}) axes_[axis] = Json();
    axes_["naive"] = {{"direct", Json()}, {"total", Json()}};
    axes_["text"] = {{"swap", Json()}, {"resampled", Json()}};
    axes_["twin"] = {{"total", Json()}, {"direct", Json()}, {"text", Json()}};
    axes_["proxies"] = Json::array();
    axes_["stated"] = Json::object();
  }

  Json run() {
    const auto positives = std::count(labels_.begin(), labels_.end(), 1);
    const std::set<std::int64_t> clusters(units_.begin(), units_.end());
    out_["data"] = {{"positives", positives},
                    {"negatives", std::ssize(labels_) - positives},
                    {"clusters", clusters.size()},
                    {"scenes", scenes_},
                    {"candidate", fitted_.candidate.name}};
    out_["strata"] = Json::array();
    out_["interactions"] = Json::array();
    out_["controls"] = Json::object();
    if (positives >= kFewScenes) {
      setting_.say(cat(plan_.id, ": words"));
      stated();
      try {
        controls();
        setting_.say(cat(plan_.id, ": twins"));
        twins();
        setting_.say(cat(plan_.id, ": text"));
        resampled_text();
        setting_.say(cat(plan_.id, ": guard and doses"));
        guard();
        doses();
        setting_.say(cat(plan_.id, ": strata"));
        strata();
        const double sesoi = plan_.sesoi;
        if (null_effect(axes_["direct"], sesoi) && null_effect(axes_["total"], sesoi)) {
          setting_.say(cat(plan_.id, ": what goes along with it"));
          naive_total();
          proxies();
        }
      } catch (const InvalidArgument& error) {
        // the data cannot tell the concept from what goes along with it: a limit, no failure
        out_["refused"] = error.what();
      }
    }
    out_["axes"] = axes_;
    return out_;
  }

 private:
  stats::Interval interval(const at::Tensor& values, const at::Tensor& refits = {}) const {
    return scene_interval(values, refits, labels_, units_);
  }

  void count(std::int64_t runs) { setting_.passes += runs * length(scenes_.size()); }

  void stated() {
    if (!setting_.talks()) return;
    const ParsedRows read = parse_words(setting_, run_->base().cot_text);
    count(1);
    const std::int64_t samples = run_->base().num_samples;
    const auto rate = [&](const std::vector<vla::ParsedCot>& parsed, std::uint8_t which,
                          bool only_understood) -> Json {
      std::int64_t said = 0, rows = 0;
      for (std::size_t row = 0; row < parsed.size(); ++row) {
        if (labels_[row / static_cast<std::size_t>(samples)] != which) continue;
        if (only_understood && !parsed[row].understood()) continue;
        ++rows;
        said += parsed[row].states(plan_.id) ? 1 : 0;
      }
      // a strict parser that understands little says nothing
      if (rows < kFewScenes) return Json();
      return rate_json(stats::proportion_interval(said, rows), rows);
    };
    Json& out = axes_["stated"];
    out["with"] = rate(read.second, 1, false);
    out["without"] = rate(read.second, 0, false);
    out["second_with"] = rate(read.first, 1, true);
    out["second_without"] = rate(read.first, 0, true);
    out["parsers"] = {"lexicon", "grammar"};
    const vla::ParserAgreement agreement =
        vla::parser_agreement(read.first, read.second, setting_.source.vocabulary());
    out["agreement"] = agreement.concept_share();
  }

  void controls() {
    const audit::Protocol& protocol = setting_.protocol;
    patch::ControlsRequest request;
    request.data = &fitted_.data;
    request.concept_name = plan_.id;
    request.sites = fitted_.sites;
    request.functional = functional_;
    request.residual = setting_.residual(fitted_.data, plan_.id, protocol.direct_refits);
    request.total_folds = protocol.total_refits;
    request.sesoi = plan_.sesoi;
    request.permuted = protocol.permuted;
    request.matched = protocol.matched;
    request.shams = shams_;
    request.readers = protocol.readers;
    request.total = setting_.talks();
    request.sham_total = protocol.sham_totals;
    request.text = setting_.talks();
    request.unrelated = 1;
    request.seed = protocol.seed;
    if (!protocol.wrong_functional.empty() && protocol.wrong_functional != plan_.functional) {
      request.wrong_functional = vla::ControlFunctional::from_name(protocol.wrong_functional);
    }
    request.progress = [&](std::int64_t, std::int64_t, std::string_view what) {
      setting_.say(cat(plan_.id, ": ", what));
      return true;
    };
    const patch::ConceptControls found = patch::concept_controls(*run_, labels_, units_, request);
    direct_ = found.direct;
    axes_["direct"] = effect_json("direct", found.direct);
    axes_["naive"]["direct"] = axis_json("naive direct", found.plain, length(scenes_.size()));
    if (found.total) {
      total_ = found.total;
      axes_["total"] = effect_json("total", *found.total);
      if (found.total->text) {
        axes_["text"]["swap"] =
            axis_json("text", found.total->text->theta.interval, length(scenes_.size()));
      }
    }
    Json& out = out_["controls"];
    out["permuted"] = found.permuted;
    out["matched"] = found.matched;
    out["participation_ratio"] = found.participation_ratio;
    out["matched_length"] = found.matched_length;
    out["notes"] = found.notes;
    out["wrong_functional"] = Json();
    if (found.wrong_functional) {
      out["wrong_functional"] =
          axis_json(protocol.wrong_functional, *found.wrong_functional, length(scenes_.size()));
    }
    out["unrelated"] = Json::array();
    for (const patch::UnrelatedControl& other : found.unrelated) {
      out["unrelated"].push_back(
          {{"name", other.name},
           {"auroc", other.auroc},
           {"prevalence", other.prevalence},
           {"alike", other.alike},
           {"effect", axis_json("direct", other.effect, length(scenes_.size()))}});
    }
    out["readers"] = Json::array();
    for (const patch::ReaderControl& reader : found.readers) {
      Json one = {{"concept", reader.concept_name},
                  {"multiple", reader.multiple},
                  {"worth", reader.worth},
                  {"effect", axis_json("direct", reader.effect, length(scenes_.size()))}};
      out["readers"].push_back(one);
      if (reader.multiple >= 3) axes_["valid"]["positive_control"]["readers"].push_back(one);
    }
    out["shams"] = {
        {"direct", Json::array()}, {"total", Json::array()}, {"refused", found.sham.refused}};
    const auto add = [&](const char* which, const std::vector<stats::Interval>& effects) {
      for (const stats::Interval& effect : effects) {
        out["shams"][which].push_back(axis_json(which, effect, length(scenes_.size())));
      }
    };
    add("direct", found.sham.direct);
    add("total", found.sham.total);
    // base, direct with derivative and checks, plain, wrong, unrelated, permuted, matched, shams
    count(2 + 3 * 8 + length(protocol.permuted + protocol.matched) + 4 * length(shams_) +
          (setting_.talks() ? 2 * (1 + length(protocol.total_refits)) : 0));
  }

  at::Tensor twin_effect(const vla::Rollout& run, bool of_twins) {
    return on_minus_off(run_->effect(run, functional_, of_twins ? plan_.id : ""), labels_);
  }

  void twins() {
    if (!setting_.has_twins(plan_.id)) return;
    const std::int64_t n = length(scenes_.size());
    const vla::Rollout total = run_->twins(plan_.id, Words::regenerated);
    const at::Tensor by_total = twin_effect(total, false);
    axes_["twin"]["total"] = axis_json("twin", interval(by_total), n);
    twins_ = by_total;
    count(1);
    if (!setting_.talks()) return;
    axes_["twin"]["direct"] = axis_json(
        "twin, words held", interval(twin_effect(run_->twins(plan_.id, Words::held), false)), n);
    axes_["twin"]["text"] =
        axis_json("words of the twin", interval(twin_effect(run_->with_words(total), false)), n);
    count(2);
  }

  // Words that the model itself says with another seed, as long as its own: where they differ in
  // naming the concept, what does that do?
  void resampled_text() {
    if (!setting_.talks()) return;
    const patch::ResampledWords other = run_->resampled_words(setting_.protocol.seed + 17, 4);
    const std::vector<vla::ParsedCot> before = parse_words(setting_, run_->base().cot_text).second;
    const std::vector<vla::ParsedCot> after = parse_words(setting_, other.words.cot_text).second;
    const at::Tensor effect = run_->effect(run_->with_words(other.words), functional_)
                                  .to(at::kCPU, at::kDouble)
                                  .contiguous();
    count(6);
    const auto samples = static_cast<std::size_t>(run_->base().num_samples);
    std::vector<double> values;
    std::vector<std::int64_t> units;
    for (std::size_t row = 0; row < before.size(); ++row) {
      const bool was = before[row].states(plan_.id), is = after[row].states(plan_.id);
      if (was == is) continue;
      values.push_back((is ? 1 : -1) * effect.const_data_ptr<double>()[row]);
      units.push_back(units_[row / samples]);
    }
    const std::set<std::int64_t> clusters(units.begin(), units.end());
    if (values.size() < 30 || clusters.size() < 12) return;  // it says the same whatever the seed
    axes_["text"]["resampled"] = axis_json(
        "resampled words", stats::cluster_t_interval(values, units), length(values.size()));
  }

  patch::ConceptDirections directions(std::size_t folds) const {
    return patch::fit_directions(fitted_.data, plan_.id, fitted_.sites,
                                 setting_.residual(fitted_.data, plan_.id, folds));
  }

  void guard() {
    const auto swap = patch::DirectionEdit::swap(directions(0).places, opposite(labels_));
    const auto check = [&](Words words, const at::Tensor& values) {
      const patch::GuardReport report = patch::guard_edit(*run_, swap, words, fitted_.guard);
      const at::Tensor off = report.off.to(at::kCPU, at::kByte).contiguous();
      const auto* flags = off.const_data_ptr<std::uint8_t>();
      const patch::OffManifold found =
          patch::off_manifold_effect(numbers_of(values), {flags, flags + off.numel()}, units_);
      Json out = {{"off_share", report.off_share},
                  {"implausible_share", report.implausible_share},
                  {"all", axis_json("all scenes", found.all, values.numel())},
                  {"on_manifold", Json()}};
      if (found.on_manifold) {
        const auto kept = values.numel() - off.sum().item<std::int64_t>();
        out["on_manifold"] = axis_json("scenes on the manifold", *found.on_manifold, kept);
      }
      double natural = 0;
      for (const patch::GuardPlace& place : fitted_.guard) {
        natural = std::max(natural, place.manifold.natural_off_share());
      }
      out["natural_off_share"] = natural;
      return out;
    };
    Json& out = axes_["valid"]["guard"];
    out["direct"] = check(Words::held, direct_.scenes);
    if (total_) out["total"] = check(Words::regenerated, total_->scenes);
    count(4);
  }

  void doses() {
    const patch::DoseResponse found =
        patch::dose_response(*run_, directions(0).places, functional_,
                             {.doses = setting_.protocol.doses,
                              .words = total_ ? Words::regenerated : Words::held,
                              .guard = fitted_.guard,
                              .groups = units_});
    Json out = {{"doses", found.doses},
                {"off_share", found.off_share},
                {"on_manifold", found.on_manifold},
                {"effects", numbers_json(found.effects.mean(0))},
                {"rising_p", found.rising.p},
                {"falling_p", found.falling.p},
                {"note", found.note}};
    out_["doses"] = out;
    count(length(found.doses.size()));
  }

  // --- strata: the scenes of the test, and more where a stratum has too few -------------------

  void strata() {
    const patch::ConceptEffect& lead = total_ ? *total_ : direct_;
    for (const std::string& name : setting_.protocol.stratifications) {
      const auto found =
          std::find_if(setting_.world.strata().begin(), setting_.world.strata().end(),
                       [&](const auto& one) { return one.name == name; });
      // the salience of another concept divides this one's scenes by nothing
      if (found == setting_.world.strata().end() || foreign(name)) continue;
      stratify(*found, lead);
    }
  }

  bool foreign(const std::string& name) const {
    return std::any_of(setting_.world.concepts().begin(), setting_.world.concepts().end(),
                       [&](const std::string& other) {
                         return other != plan_.id && name.ends_with(cat(" ", other));
                       });
  }

  void stratify(const vla::Stratification& strata, const patch::ConceptEffect& lead) {
    const at::Tensor of = strata.of_scene.to(at::kCPU, at::kLong).contiguous();
    const auto level_of = [&](std::int64_t id) { return of.const_data_ptr<std::int64_t>()[id]; };
    std::vector<std::int64_t> scenes = scenes_;
    std::vector<std::uint8_t> labels = labels_;
    at::Tensor values = lead.scenes, refits = lead.refit_scenes;
    // more scenes for strata that the test has too few of
    const std::set<std::int64_t> there(scenes_.begin(), scenes_.end());
    std::vector<std::int64_t> more;
    for (std::size_t level = 0; level < strata.names.size(); ++level) {
      std::int64_t have = 0;
      for (std::size_t i = 0; i < scenes.size(); ++i) {
        have += labels[i] == 1 && level_of(scenes[i]) == length(level) ? 1 : 0;
      }
      const std::int64_t missing = setting_.protocol.stratum_scenes - have;
      if (missing <= 0) continue;
      std::vector<std::int64_t> among;
      for (const std::int64_t id : setting_.world.of(Split::c)) {
        if (level_of(id) == length(level) && !there.contains(id)) among.push_back(id);
      }
      if (among.empty()) continue;
      // strata of the concept itself hold no scene without it
      std::vector<std::int64_t> drawn = setting_.world.balanced(Split::c, plan_.id, 2 * missing,
                                                                cat("audit.", strata.name), among);
      more.insert(more.end(), drawn.begin(), drawn.end());
    }
    std::sort(more.begin(), more.end());
    if (more.size() >= 2 * kFewScenes) {
      const std::vector<std::uint8_t> extra = setting_.world.labels(plan_.id, more);
      const auto run = setting_.runs(more);
      const bool total = total_.has_value();
      const patch::ConceptEffect effect = patch::concept_effect(
          *run, extra, setting_.world.units(more),
          directions(total ? setting_.protocol.total_refits : setting_.protocol.direct_refits),
          functional_, {.words = total ? Words::regenerated : Words::held});
      setting_.passes += (2 + length(setting_.protocol.total_refits)) * length(more.size());
      scenes.insert(scenes.end(), more.begin(), more.end());
      labels.insert(labels.end(), extra.begin(), extra.end());
      values = at::cat({values, effect.scenes});
      refits = at::cat({refits, effect.refit_scenes}, 1);
    }
    const std::vector<std::int64_t> units = setting_.world.units(scenes);
    std::vector<std::vector<std::uint8_t>> members;
    std::vector<std::string> names;
    for (std::size_t level = 0; level < strata.names.size(); ++level) {
      std::vector<std::uint8_t> in;
      std::int64_t with = 0, without = 0;
      std::set<std::int64_t> clusters;
      for (std::size_t i = 0; i < scenes.size(); ++i) {
        const bool inside = level_of(scenes[i]) == length(level);
        in.push_back(inside ? 1 : 0);
        if (!inside) continue;
        (labels[i] == 1 ? with : without) += 1;
        clusters.insert(units[i]);
      }
      if (with < kFewScenes || clusters.size() < 4) continue;
      out_["strata"].push_back(
          {{"stratification", strata.name},
           {"level", strata.names[level]},
           {"positives", with},
           {"negatives", without},
           {"effect",
            axis_json(without > 0 ? "on - off" : "removal",
                      scene_interval(values, refits, labels, units, in), with + without)}});
      members.push_back(std::move(in));
      names.push_back(strata.names[level]);
    }
    for (std::size_t a = 0; a < members.size(); ++a) {
      for (std::size_t b = a + 1; b < members.size(); ++b) {
        out_["interactions"].push_back(
            {{"stratification", strata.name},
             {"between", {names[a], names[b]}},
             {"difference",
              axis_json("difference",
                        stratum_difference(values, refits, labels, units, members[a], members[b]),
                        length(scenes.size()))}});
      }
    }
  }

  // --- what goes along with the concept --------------------------------------------------------

  void naive_total() {
    if (!setting_.talks()) return;
    probe::ResidualOptions options =
        setting_.residual(fitted_.data, plan_.id, setting_.protocol.total_refits);
    options.adjust_for = std::vector<std::string>();
    const patch::ConceptEffect effect =
        patch::concept_effect(*run_, labels_, units_,
                              patch::fit_directions(fitted_.data, plan_.id, fitted_.sites, options),
                              functional_, {.words = Words::regenerated});
    axes_["naive"]["total"] =
        axis_json("naive total", effect.theta.interval, length(scenes_.size()));
    count(1 + length(setting_.protocol.total_refits));
  }

  // The direct effects of what occurs together with the concept, adjusted for the concept.
  void proxies() {
    const double sesoi = plan_.sesoi;
    const Json& naive = axes_["naive"];
    const bool claimed =
        !null_effect(naive["direct"], sesoi) || !null_effect(naive["total"], sesoi);
    if (!claimed) return;
    const std::span<const std::uint8_t> mine = fitted_.data.labels(plan_.id);
    for (const std::string& name : setting_.adjusted_for(fitted_.data, plan_.id)) {
      if (!setting_.world.has(name)) continue;
      const double together = phi(mine, fitted_.data.labels(name));
      if (std::abs(together) < 0.1) continue;
      const std::vector<std::int64_t> scenes =
          setting_.world.balanced(Split::c, name, setting_.protocol.test_scenes, "audit.test");
      const auto run = setting_.runs(scenes);
      try {
        const patch::ConceptEffect effect = patch::concept_effect(
            *run, setting_.world.labels(name, scenes), setting_.world.units(scenes),
            patch::fit_directions(
                fitted_.data, name, fitted_.sites,
                setting_.residual(fitted_.data, name, setting_.protocol.direct_refits)),
            functional_, {});
        axes_["proxies"].push_back(
            {{"name", name},
             {"correlation", together},
             {"effect", axis_json("direct", effect.theta.interval, length(scenes.size()))}});
      } catch (const InvalidArgument& error) {
        axes_["proxies"].push_back({{"name", name},
                                    {"correlation", together},
                                    {"effect", Json()},
                                    {"note", error.what()}});
      }
      setting_.passes += 8 * length(scenes.size());
    }
  }

  static double phi(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
    double n = 0, both = 0, first = 0, second = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] > 1 || b[i] > 1) continue;
      ++n;
      both += a[i] * b[i];
      first += a[i];
      second += b[i];
    }
    const double x = first / n, y = second / n;
    const double scale = std::sqrt(x * (1 - x) * y * (1 - y));
    return scale > 0 ? (both / n - x * y) / scale : 0;
  }

  Setting& setting_;
  const audit::ConceptPlan& plan_;
  const FittedSites& fitted_;
  std::size_t shams_;
  vla::ControlFunctional functional_;
  std::vector<std::int64_t> scenes_;
  std::vector<std::uint8_t> labels_;
  std::vector<std::int64_t> units_;
  std::unique_ptr<patch::PairedRun> run_;
  patch::ConceptEffect direct_;
  std::optional<patch::ConceptEffect> total_;
  at::Tensor twins_;
  Json out_ = Json::object(), axes_ = Json::object();
};

}  // namespace

Json test_concept(Setting& setting, const audit::ConceptPlan& plan, const Chosen& chosen,
                  const Json& sites, std::size_t shams) {
  return Testing(setting, plan, chosen, sites, shams).run();
}

}  // namespace tierod::internal
