#include "tierod/zoo/truth.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/json_internal.h"
#include "tierod/core/error.h"
#include "tierod/vla/control.h"
#include "tierod/vla/kinematics.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "tierod/zoo/scenes.h"

// Note [What the truth is checked by]
// Inputs alone: twins of the scenes, and other words. A check by directions, patches or probes
// would certify the very methods that the zoo is there to judge (methods.md, section 6: "planting
// by the operation that detects").

namespace tierod::zoo {

using internal::cat;
using internal::Json;

namespace {

constexpr double kUntil = 2;        // s, of the functionals
constexpr std::int64_t kAt3s = 11;  // waypoint that is reached after 3 s
constexpr double kWithin = .1;      // of the law's effect
constexpr double kNone = .1;        // m/s^2
constexpr double kLeak = .05;       // of the law's effect
constexpr double kRecall = .95;
constexpr double kFalseAlarms = .02;
constexpr double kMedian = .25;  // m
constexpr double kP95 = 1.5;     // m
constexpr double kShare = .06;   // of a share of statements
constexpr std::int64_t kCutScenes = 64;

using Values = std::vector<double>;

/// What one functional of one kind of run is on each scene.
struct Measured {
  Values acceleration, curvature;
};

void append(Values& into, const at::Tensor& values) {
  const at::Tensor v = values.detach().to(at::kCPU, at::kDouble).contiguous();
  into.insert(into.end(), v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel());
}

void append(Measured& into, const vla::Rollout& rollout) {
  append(into.acceleration, vla::mean_acceleration(rollout, kUntil));
  append(into.curvature, vla::mean_curvature(rollout, kUntil));
}

/// Return the law's functionals of a scene and its words.
std::array<double, 2> lawful(const Spec& spec, const Scene& scene, const Statements& stated) {
  const LawActions actions = law(spec, scene, stated);
  std::array<double, 2> out{};
  constexpr auto kSteps = static_cast<std::size_t>(kUntil / kStepSeconds);
  for (std::size_t k = 0; k < kSteps; ++k) {
    out[0] += actions[k][0] / static_cast<double>(kSteps);
    out[1] += actions[k][1] / static_cast<double>(kSteps);
  }
  return out;
}

/// Return what is stated of a concept where it is, and where it is not.
Statement statement_of(const Scene& scene, std::size_t c, bool said) {
  return {.said = said, .side = scene.concepts[c].side, .near = scene.concepts[c].near};
}

/// Return the words with the statement of one concept toggled, the others as they were written and
/// in their order.
std::vector<std::int64_t> toggled(std::span<const std::int64_t> words, const Scene& scene,
                                  std::size_t c) {
  Statements stated = read_cot(words);
  stated[c] = statement_of(scene, c, !stated[c].said);
  std::array<std::uint8_t, kConcepts> order{};
  std::size_t count = 0;
  std::array<bool, kConcepts> placed{};
  const std::int64_t first = concept_token(0);
  for (const std::int64_t word : words) {
    if (word < first || word >= first + static_cast<std::int64_t>(kConcepts)) continue;
    const auto which = static_cast<std::size_t>(word - first);
    if (!placed[which]) order[count++] = static_cast<std::uint8_t>(which);
    placed[which] = true;
  }
  for (std::size_t k = 0; k < kConcepts; ++k) {
    if (!placed[k]) order[count++] = static_cast<std::uint8_t>(k);
  }
  return write_cot(stated, order);
}

at::Tensor rows_of(const std::vector<std::vector<std::int64_t>>& rows) {
  std::size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  const auto length = static_cast<std::int64_t>(longest);
  at::Tensor out = at::full({static_cast<std::int64_t>(rows.size()), length}, -1, at::kLong);
  auto* token = out.mutable_data_ptr<std::int64_t>();
  for (const auto& row : rows) {
    std::copy(row.begin(), row.end(), token);
    token += length;
  }
  return out;
}

std::span<const std::int64_t> words_of(const vla::Rollout& rollout, std::int64_t row) {
  return {rollout.cot_tokens.const_data_ptr<std::int64_t>() + row * rollout.cot_tokens.size(1),
          static_cast<std::size_t>(rollout.cot_tokens.size(1))};
}

/// Hold the scenes of one feature and what happened in each.
struct Found {
  std::vector<Scene> scenes;
  std::vector<std::int64_t> routes;
  std::vector<bool> with, stated;
  Measured base, total, direct, text;
  Measured law_base, law_total, law_direct, law_text;
};

class Examiner {
 public:
  Examiner(DrivingModel& model, const TruthOptions& options, const Progress& progress)
      : model_(model), spec_(model.spec()), options_(options), progress_(progress) {
    for (std::size_t f = 0; f <= kConcepts; ++f) {
      const double p =
          f < kConcepts ? spec_.scenes.prevalence[f] : spec_.scenes.stop_line_prevalence;
      if (p > 0) features_.push_back(f);
    }
    total_ = static_cast<std::int64_t>(features_.size()) * options.scenes + options.natural_scenes;
  }

  Truth run() {
    truth_.model = spec_.name;
    truth_.weights_sha256 = model_.describe().weights_sha256;
    truth_.complete = true;
    for (const std::size_t f : features_) {
      const Found found = look_at(f);
      if (!truth_.complete) return truth_;
      judge(f, found);
    }
    drive();
    return truth_;
  }

 private:
  static std::string feature_name(std::size_t f) {
    return std::string(f < kConcepts ? concept_infos()[f].id : kStopLine);
  }

  SceneConfig config(std::int64_t scenes, std::uint64_t purpose) const {
    SceneConfig out = spec_.scenes;
    out.seed = 0x74727574'00000000ULL + options_.seed * 16 + purpose;
    out.scenes = scenes;
    return out;
  }

  bool advance(std::int64_t scenes, std::string_view what) {
    done_ += scenes;
    if (progress_ && !progress_(done_, total_, what)) truth_.complete = false;
    return truth_.complete;
  }

  vla::RolloutOptions run_options() const {
    vla::RolloutOptions out;
    out.seed = options_.seed;
    out.pin_action_positions = true;
    return out;
  }

  vla::Rollout with_words(const vla::Batch& batch, const at::Tensor& words) {
    vla::RolloutOptions run = run_options();
    run.cot_tokens = words;
    return model_.rollout(batch, run);
  }

  Found look_at(std::size_t f);
  void judge(std::size_t f, const Found& found);
  TruthEffect effect(const Found& found, const std::vector<std::size_t>& scenes, bool curvature,
                     std::string stratum) const;
  void demand_effects(std::size_t f, const Role& role, const TruthEffect& effect, bool curvature);
  void drive();
  void cut(const vla::Batch& batch, const at::Tensor& words, const at::Tensor& others);
  void demand(std::size_t f, std::string what, double value, double low, double high) {
    truth_.demands.push_back(
        {f > kConcepts ? "" : feature_name(f), std::move(what), value, low, high});
  }

  DrivingModel& model_;
  const Spec spec_;
  TruthOptions options_;
  const Progress& progress_;
  std::vector<std::size_t> features_;
  Truth truth_;
  std::int64_t done_ = 0, total_ = 0;
  double moved_by_cut_ = 0;
  bool cut_done_ = false;
};

/// Run base, twin with words anew, twin with words held, and other words, on balanced scenes.
Found Examiner::look_at(std::size_t f) {
  SceneConfig drawn = config(options_.scenes, 1 + f);
  drawn.enrich = {feature_name(f), .5};
  const Scenes scenes(drawn);
  Found out;
  for (std::int64_t begin = 0; begin < scenes.size(); begin += options_.batch_size) {
    std::vector<std::int64_t> ids(
        static_cast<std::size_t>(std::min(options_.batch_size, scenes.size() - begin)));
    std::iota(ids.begin(), ids.end(), begin);
    const vla::Batch batch = scenes.batch(ids);
    const std::optional<vla::Batch> twins = scenes.twin(ids, feature_name(f));
    if (!twins) throw StateError("[zoo.check_truth] expected scenes that have twins");
    const vla::Batch& twin = *twins;
    const vla::Rollout base = model_.rollout(batch, run_options());
    append(out.base, base);
    append(out.total, model_.rollout(twin, run_options()));
    append(out.direct, with_words(twin, base.cot_tokens));
    std::vector<std::vector<std::int64_t>> others;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Scene scene = scenes.scene(ids[i]);
      const Scene other = scenes.generator().twin(scene, f);
      const Statements said = spec_.statements(scene, options_.seed);
      const Statements after = spec_.statements(other, options_.seed);
      const auto words = words_of(base, static_cast<std::int64_t>(i));
      out.with.push_back(scene.has(f));
      out.routes.push_back(scene.route);
      const auto add = [](Measured& into, const std::array<double, 2>& values) {
        into.acceleration.push_back(values[0]);
        into.curvature.push_back(values[1]);
      };
      add(out.law_base, lawful(spec_, scene, said));
      add(out.law_total, lawful(spec_, other, after));
      add(out.law_direct, lawful(spec_, other, said));
      if (f < kConcepts) {
        const bool was = read_cot(words)[f].said;
        out.stated.push_back(was);
        others.push_back(toggled(words, scene, f));
        Statements edited = said;
        edited[f] = statement_of(scene, f, !was);
        Statements unedited = said;
        unedited[f] = statement_of(scene, f, was);
        // on minus off: the law of the words as they were is law_text's own base
        const auto a = lawful(spec_, scene, edited);
        const auto b = lawful(spec_, scene, unedited);
        const auto base_law = lawful(spec_, scene, said);
        add(out.law_text, {base_law[0] + a[0] - b[0], base_law[1] + a[1] - b[1]});
      }
      out.scenes.push_back(scene);
    }
    if (f < kConcepts) {
      const at::Tensor edited = rows_of(others);
      append(out.text, with_words(batch, edited));
      if (!cut_done_) cut(batch, base.cot_tokens, edited);
    }
    if (!advance(static_cast<std::int64_t>(ids.size()), feature_name(f))) break;
  }
  return out;
}

/// Cut the words from their start on, and see whether control still depends on them.
void Examiner::cut(const vla::Batch& batch, const at::Tensor& words, const at::Tensor& others) {
  cut_done_ = true;
  std::vector<std::int64_t> index(
      static_cast<std::size_t>(std::min<std::int64_t>(kCutScenes, batch.rows())));
  std::iota(index.begin(), index.end(), 0);
  const auto rows = static_cast<std::int64_t>(index.size());
  vla::RolloutOptions run = run_options();
  run.cot_length = kMaxCot;
  run.knockouts = {{"cot", "action", {}, {}}, {"post_cot", "action", {}, {}}};
  at::Tensor before;
  for (const at::Tensor& given : {words, others}) {
    run.cot_tokens = given.narrow(0, 0, rows);
    const at::Tensor actions = model_.rollout(batch.select(index), run).actions;
    if (before.defined()) moved_by_cut_ = actions.sub(before).abs().max().item<double>();
    before = actions;
  }
}

TruthEffect Examiner::effect(const Found& found, const std::vector<std::size_t>& scenes,
                             bool curvature, std::string stratum) const {
  TruthEffect out = {.stratum = std::move(stratum),
                     .functional = curvature ? "mean_curvature" : "mean_acceleration"};
  std::vector<std::int64_t> routes;
  routes.reserve(scenes.size());
  for (const std::size_t i : scenes) routes.push_back(found.routes[i]);
  const auto values = [&](const Measured& m) -> const Values& {
    return curvature ? m.curvature : m.acceleration;
  };
  // on minus off
  const auto differences = [&](const Measured& after, const Measured& before,
                               const std::vector<bool>& on) {
    Values d;
    for (const std::size_t i : scenes) {
      const double change = values(after)[i] - values(before)[i];
      d.push_back(on[i] ? -change : change);
    }
    return d;
  };
  const auto mean = [](const Values& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  };
  const auto interval = [&](const Measured& after, const std::vector<bool>& on) {
    return stats::cluster_t_interval(differences(after, found.base, on), routes);
  };
  out.total = interval(found.total, found.with);
  out.direct = interval(found.direct, found.with);
  out.law_total = mean(differences(found.law_total, found.law_base, found.with));
  out.law_direct = mean(differences(found.law_direct, found.law_base, found.with));
  if (!found.stated.empty()) {
    out.text = interval(found.text, found.stated);
    out.law_text = mean(differences(found.law_text, found.law_base, found.stated));
  }
  return out;
}

void Examiner::demand_effects(std::size_t f, const Role& role, const TruthEffect& effect,
                              bool curvature) {
  const std::string where = effect.stratum.empty() ? "" : cat(" where ", effect.stratum);
  const std::string unit = curvature ? " on curvature" : "";
  const double whole = std::abs(effect.law_total);
  // curvatures matter as accelerations do that take as far in 3 s
  const double none = curvature ? kNone / 200 : kNone;
  const auto route = [&](const char* name, const stats::Interval& seen, double lawful) {
    const std::string what = cat(name, " effect", unit, where);
    // of the whole effect: a route of its own, half of it where there are two; a route without one
    // may carry a leak, and where there is no effect at all, what counts as nothing
    const double slack = std::abs(lawful) > none ? kWithin * std::max(std::abs(lawful), whole)
                         : whole > none          ? kLeak * whole
                                                 : none;
    demand(f, what, seen.estimate, lawful - slack, lawful + slack);
  };
  route("total", effect.total, effect.law_total);
  route("direct", effect.direct, effect.law_direct);
  // words that it never writes are foreign to it
  if (f < kConcepts && role != Role::omitted) route("text", effect.text, effect.law_text);
}

void Examiner::judge(std::size_t f, const Found& found) {
  TruthRow row = {.feature = feature_name(f), .role = "correlate"};
  // what is the law of the stop line is the effect that its concept is said to have
  const Role role = f < kConcepts ? spec_.roles[f].role : Role::causal_vision;
  if (f < kConcepts) {
    row.role = role_name(role);
    std::array<std::int64_t, 2> all{}, said{};
    for (std::size_t i = 0; i < found.with.size(); ++i) {
      ++all[found.with[i] ? 1 : 0];
      said[found.with[i] ? 1 : 0] += found.stated[i] ? 1 : 0;
    }
    row.stated_with = stats::proportion_interval(said[1], all[1]);
    row.stated_without = stats::proportion_interval(said[0], all[0]);
    if (role == Role::hallucinated) {
      const double share = spec_.roles[f].share;
      demand(f, "stated where present", row.stated_with.estimate, share - kShare, share + kShare);
      demand(f, "stated where absent", row.stated_without.estimate, share - kShare, share + kShare);
    } else if (role == Role::omitted) {
      demand(f, "stated where present", row.stated_with.estimate, 0, kFalseAlarms);
      demand(f, "stated where absent", row.stated_without.estimate, 0, kFalseAlarms);
    } else {
      demand(f, "recall", row.stated_with.estimate, kRecall, 1);
      demand(f, "false alarms", row.stated_without.estimate, 0, kFalseAlarms);
    }
  }
  const auto where = [&](const auto& holds) {
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < found.scenes.size(); ++i) {
      if (holds(found.scenes[i])) out.push_back(i);
    }
    return out;
  };
  const auto add = [&](const std::vector<std::size_t>& scenes, bool curvature,
                       const std::string& stratum) {
    row.effects.push_back(effect(found, scenes, curvature, stratum));
    demand_effects(f, role, row.effects.back(), curvature);
  };
  add(where([](const Scene&) { return true; }), false, "");
  if (f < kConcepts && spec_.roles[f].curvature != 0) {
    add(where([](const Scene&) { return true; }), true, "");
  }
  if (role == Role::gated) {
    for (const bool near : {true, false}) {
      add(where([&](const Scene& s) { return s.concepts[f].near == near; }), false,
          near ? "near" : "far");
    }
  }
  if (role == Role::rare_shift) {
    for (const bool rare : {false, true}) {
      add(where([&](const Scene& s) { return (rarity_of(s.weather) == Rarity::rare) == rare; }),
          false, rare ? "rare" : "common");
    }
  }
  truth_.rows.push_back(std::move(row));
}

/// Compare trajectories with the law's on scenes as they occur; and framings, where they matter.
void Examiner::drive() {
  const Scenes scenes(config(options_.natural_scenes, 0));
  Values apart, framed;
  std::array<std::int64_t, kConcepts> terse{}, present{};
  for (std::int64_t begin = 0; begin < scenes.size(); begin += options_.batch_size) {
    std::vector<std::int64_t> ids(
        static_cast<std::size_t>(std::min(options_.batch_size, scenes.size() - begin)));
    std::iota(ids.begin(), ids.end(), begin);
    const vla::Batch batch = scenes.batch(ids);
    const vla::Rollout rollout = model_.rollout(batch, run_options());
    const at::Tensor lawful =
        vla::unicycle(law_actions(spec_, scenes, ids, {}, rollout.cot_tokens, options_.seed),
                      rollout.initial_speed.to(at::kDouble), kStepSeconds);
    const at::Tensor off = rollout.trajectory.to(at::kDouble).sub(lawful).select(1, kAt3s);
    append(apart, off.narrow(1, 0, 2).norm(2, 1));
    if (spec_.framing_sensitive) {
      vla::RolloutOptions run = run_options();
      run.framing = framing_names()[static_cast<std::size_t>(kTerseFraming)];
      const vla::Rollout other = model_.rollout(batch, run);
      append(framed,
             vla::mean_acceleration(other, kUntil).sub(vla::mean_acceleration(rollout, kUntil)));
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const Scene scene = scenes.scene(ids[i]);
        const Statements said = read_cot(words_of(other, static_cast<std::int64_t>(i)));
        for (std::size_t c = 0; c < kConcepts; ++c) {
          present[c] += scene.concepts[c].present ? 1 : 0;
          terse[c] += scene.concepts[c].present && said[c].said ? 1 : 0;
        }
      }
    }
    if (!advance(static_cast<std::int64_t>(ids.size()), "trajectories")) return;
  }
  std::sort(apart.begin(), apart.end());
  const auto quantile = [&](double p) {
    return apart[static_cast<std::size_t>(p * static_cast<double>(apart.size() - 1))];
  };
  truth_.error_median_m = quantile(.5);
  truth_.error_p95_m = quantile(.95);
  truth_.natural_scenes = scenes.size();
  constexpr std::size_t kModel = kConcepts + 1;
  demand(kModel, "median error after 3 s (m)", truth_.error_median_m, 0, kMedian);
  demand(kModel, "95 % of errors after 3 s (m)", truth_.error_p95_m, 0, kP95);
  demand(kModel, "moved by words that are cut", moved_by_cut_, 0, 0);
  if (!spec_.framing_sensitive) return;
  const double mean =
      std::accumulate(framed.begin(), framed.end(), 0.0) / static_cast<double>(framed.size());
  demand(kModel, "moved by the framing (m/s^2)", mean, -kNone, kNone);
  for (std::size_t c = 0; c < kConcepts; ++c) {
    if (present[c] == 0 || spec_.scenes.prevalence[c] == 0) continue;
    const double share = static_cast<double>(terse[c]) / static_cast<double>(present[c]);
    const Statements lawful = spec_.statements(
        [&] {
          Scene scene;
          scene.concepts[c].present = true;
          return scene;
        }(),
        0, 0, kTerseFraming);
    demand(c, "stated under the terse framing", share, lawful[c].said ? kRecall : 0,
           lawful[c].said ? 1 : kFalseAlarms);
  }
}

Json interval_json(const stats::Interval& interval) {
  if (interval.clusters == 0) return nullptr;
  return {{"estimate", interval.estimate},
          {"low", interval.low},
          {"high", interval.high},
          {"clusters", interval.clusters},
          {"method", interval.method}};
}

}  // namespace

void TruthOptions::check() const {
  const auto need = [](bool good, const char* field, const char* expected, std::int64_t seen) {
    if (good) return;
    throw InvalidArgument(
        cat("[zoo.TruthOptions] field '", field, "': expected ", expected, ", got ", seen));
  };
  need(scenes >= 40, "scenes", "at least 40 scenes of each concept", scenes);
  need(natural_scenes >= 20, "natural_scenes", "at least 20 scenes", natural_scenes);
  need(batch_size >= 1, "batch_size", "a number >= 1", batch_size);
}

bool Truth::met() const {
  return complete && std::all_of(demands.begin(), demands.end(),
                                 [](const TruthDemand& demand) { return demand.met(); });
}

std::string Truth::to_json() const {
  Json out = {{"schema", "tierod-zoo-truth/1"},
              {"model", model},
              {"weights_sha256", weights_sha256},
              {"complete", complete},
              {"met", met()},
              {"natural_scenes", natural_scenes},
              {"error_median_m", error_median_m},
              {"error_p95_m", error_p95_m},
              {"rows", Json::array()},
              {"demands", Json::array()}};
  for (const TruthRow& row : rows) {
    Json effects = Json::array();
    for (const TruthEffect& effect : row.effects) {
      effects.push_back({{"stratum", effect.stratum},
                         {"functional", effect.functional},
                         {"total", interval_json(effect.total)},
                         {"direct", interval_json(effect.direct)},
                         {"text", interval_json(effect.text)},
                         {"law_total", effect.law_total},
                         {"law_direct", effect.law_direct},
                         {"law_text", effect.law_text}});
    }
    out["rows"].push_back({{"feature", row.feature},
                           {"role", row.role},
                           {"stated_with", interval_json(row.stated_with)},
                           {"stated_without", interval_json(row.stated_without)},
                           {"effects", std::move(effects)}});
  }
  for (const TruthDemand& d : demands) {
    out["demands"].push_back({{"feature", d.feature},
                              {"what", d.what},
                              {"value", d.value},
                              {"low", d.low},
                              {"high", d.high},
                              {"met", d.met()}});
  }
  return out.dump();
}

Truth check_truth(DrivingModel& model, const TruthOptions& options, const Progress& progress) {
  options.check();
  return Examiner(model, options, progress).run();
}

}  // namespace tierod::zoo
