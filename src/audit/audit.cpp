#include "tierod/audit/audit.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <utility>

#include "audit/folder_internal.h"
#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "tierod/audit/record.h"
#include "tierod/core/digest.h"
#include "tierod/core/version.h"
#include "tierod/vla/functional.h"

namespace tierod::audit {

using internal::cat;
using internal::Json;
using internal::length;
using internal::Setting;
using probe::Split;

namespace {

constexpr auto* kWhere = "[audit.run]";
constexpr std::int64_t kEnough = 100;  // scenes of either class in C

std::string high(const PositivePlan& plan) { return cat("high ", plan.nuisance); }

// The halves of a nuisance, as labels like those of a concept.
void add_positive(Setting& setting) {
  if (!setting.protocol.positive) return;
  const PositivePlan& plan = *setting.protocol.positive;
  for (const vla::SceneNuisance& nuisance : setting.world.nuisances()) {
    if (nuisance.name != plan.nuisance) continue;
    const at::Tensor values = nuisance.values.to(at::kCPU, at::kDouble);
    const at::Tensor above = values.gt(values.median()).to(at::kByte).contiguous();
    const auto* data = above.const_data_ptr<std::uint8_t>();
    setting.world.add(high(plan), {data, data + above.numel()});
  }
}

// What each concept has in C, and how many scenes there would have to be.
Json needs_of(const Setting& setting) {
  Json out = Json::array();
  const std::int64_t size = setting.source.size();
  for (const ConceptPlan& plan : setting.protocol.concepts) {
    const std::vector<std::uint8_t>& all = setting.world.labels(plan.id);
    const double prevalence =
        static_cast<double>(std::count(all.begin(), all.end(), 1)) / static_cast<double>(size);
    const std::vector<std::uint8_t> c = setting.world.labels(plan.id, setting.world.of(Split::c));
    const auto with = std::count(c.begin(), c.end(), 1),
               without = std::count(c.begin(), c.end(), 0);
    const std::int64_t needed = internal::scenes_needed(
        std::max(kEnough, setting.protocol.test_scenes / 2), setting.protocol.share_c, prevalence);
    out.push_back({{"concept", plan.id},
                   {"prevalence", prevalence},
                   {"with_in_c", with},
                   {"without_in_c", without},
                   {"enough", std::min(with, without) >= kEnough},
                   {"scenes_needed", needed}});
  }
  return out;
}

void check_scenes(const Setting& setting) {
  if (setting.protocol.allow_few) return;
  for (const Json& need : needs_of(setting)) {
    if (need["enough"].get<bool>()) continue;
    throw InvalidArgument(
        cat(kWhere, " expected at least ", kEnough, " scenes with and without '",
            need["concept"].get<std::string>(), "' in split C, got ", need["with_in_c"].dump(),
            " and ", need["without_in_c"].dump(), " of ", setting.source.size(),
            " scenes; bring some ", need["scenes_needed"].dump(),
            ", choose scenes that hold the concept more often, or allow few: its verdict is then "
            "INCONCLUSIVE"));
  }
}

Json data_json(const Setting& setting) {
  // labels and units of all scenes: another draw has another hash
  std::string bytes;
  for (const std::string& feature : setting.world.features()) {
    const std::vector<std::uint8_t>& labels = setting.world.labels(feature);
    bytes.append(feature).append(labels.begin(), labels.end());
  }
  Json splits = Json::object();
  for (const Split split : {Split::a, Split::b, Split::c}) {
    splits[probe::split_name(split)] = {
        {"scenes", setting.world.of(split).size()},
        {"units", setting.world.splits().units[static_cast<std::size_t>(split)]}};
  }
  Json excluded = Json::array();
  for (const ConceptPlan& plan : setting.protocol.concepts) {
    const std::vector<std::uint8_t>& labels = setting.world.labels(plan.id);
    const auto missing = std::count(labels.begin(), labels.end(), 255);
    if (missing > 0) {
      excluded.push_back({{"id", plan.id}, {"reason", cat(missing, " scenes without a label")}});
    }
  }
  return {{"manifest_sha256", sha256_hex(bytes.data(), bytes.size())},
          {"scenes", setting.source.size()},
          {"level", setting.world.level()},
          {"note", setting.world.splits().note},
          {"splits", splits},
          {"excluded", excluded}};
}

Json model_json(const Setting& setting, const Json& self_tests) {
  bool deterministic = true;
  for (const Json& test : self_tests) {
    if (test["name"] == "base_vs_base") deterministic = test.value("deterministic", false);
  }
  return {{"name", setting.about.name},
          {"weights_sha256", setting.about.weights_sha256},
          {"coupling", vla::coupling_name(setting.about.coupling)},
          {"dtype", setting.about.dtype},
          {"deterministic", deterministic},
          {"head_inputs", setting.about.head_inputs},
          {"dt_s", setting.about.dt_s}};
}

Json rate_test(const char* name, double bound, const char* better, bool stops,
               const char* meaning) {
  return {{"name", name},     {"value", Json()}, {"bound", bound},
          {"better", better}, {"stops", stops},  {"meaning", meaning}};
}

Json assumptions() {
  return {
      "Labels say what is there. An unmeasured cause of concept and control would pass for it.",
      "All that goes along with a concept is adjusted for, and none of it is a consequence of it.",
      "Scenes of different units are independent.",
      "An edit along a direction within the natural range stands for the concept's presence.",
      "The scenes are like those for which the verdict is used."};
}

Json defeaters() {
  return {"other weights, another adapter, another numeric precision or another sampler",
          "scenes from another domain, or a concept that is defined in another way",
          "a prompt or framing that was not among those audited",
          "a mechanism that acts through what no head input or edited site carries"};
}

class Audit {
 public:
  Audit(vla::Model& model, const vla::SceneSource& source, Protocol protocol, AuditOptions options)
      : protocol_(std::move(protocol)),
        setting_(model, source, protocol_, options.progress),
        options_(std::move(options)) {
    add_positive(setting_);
    check_scenes(setting_);
  }

  AuditResult run() {
    const auto begin = std::chrono::steady_clock::now();
    internal::AuditFolder folder(options_.out, protocol_.to_json(), options_.resume);
    const auto& plans = protocol_.concepts;
    setting_.steps = 4 + 6 * length(plans.size()) + length(protocol_.candidates.size());
    Json times = Json::array();
    const auto stage = [&](const std::string& name, const std::function<Json()>& make) {
      const auto from = std::chrono::steady_clock::now();
      const std::int64_t passes = setting_.passes;
      Json out = folder.stage(name, make);
      setting_.step();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - from;
      times.push_back({{"stage", name},
                       {"seconds", std::round(took.count() * 1000) / 1000},
                       {"passes", setting_.passes - passes}});
      return out;
    };

    Json record = {
        {"schema", kRecordSchema},
        {"protocol", {{"body", Json::parse(protocol_.to_json())}}},
        {"selection", {{"body", Json::object()}}},
        {"data", data_json(setting_)},
        {"concepts", Json::array()},
        {"framing", Json()},
        {"say_do", Json()},
        {"assumptions", assumptions()},
        {"defeaters", defeaters()},
        {"tool", {{"version", version()}, {"benchmark", "docs/audit.md"}}},
        {"validity",
         {{"scope", cat("the model with weights ", setting_.about.weights_sha256,
                        " on scenes with the manifest of `data`")},
          {"expires_on", defeaters()}}},
        {"review",
         {{"hazard", protocol_.hazard}, {"odd_slice", protocol_.odd_slice}, {"sign_off", Json()}}}};
    record["self_tests"] = stage("self_tests", [&] { return internal::self_tests(setting_); });
    record["model"] = model_json(setting_, record["self_tests"]);
    const auto finish = [&](Outcome outcome) {
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      internal::derive(record);
      const std::time_t now =
          std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
      record["run"] = {{"stages", times},
                       {"seconds", std::round(took.count() * 1000) / 1000},
                       {"finished_unix_s", static_cast<std::int64_t>(now)},
                       {"passes", setting_.passes}};
      folder.write("record.json", record);
      return AuditResult{outcome, record.dump()};
    };
    internal::derive(record);
    if (!record["self_tests_passed"].get<bool>()) return finish(Outcome::self_test_failed);

    // B
    Json selection = Json::object();
    std::vector<internal::Chosen> chosen;
    for (const ConceptPlan& plan : plans) {
      const Json one = stage("choose_" + plan.id, [&] { return internal::choose(setting_, plan); });
      selection[plan.id] = one;
      chosen.push_back(internal::chosen_from(one));
    }
    folder.freeze("selection.json", selection);
    record["selection"] = {{"body", selection}};

    // C, opened once
    std::vector<Json> sites;
    for (std::size_t i = 0; i < protocol_.candidates.size(); ++i) {
      const bool used = std::any_of(chosen.begin(), chosen.end(),
                                    [&](const auto& one) { return one.candidate == i; });
      sites.push_back(
          used ? stage(cat("sites_", i), [&] { return internal::check_sites(setting_, i); })
               : Json());
    }
    const std::size_t shams_each = (protocol_.shams + plans.size() - 1) / plans.size();
    for (std::size_t i = 0; i < plans.size(); ++i) {
      const ConceptPlan& plan = plans[i];
      const auto functional = vla::ControlFunctional::from_name(plan.functional);
      Json found = stage("test_" + plan.id, [&] {
        return internal::test_concept(setting_, plan, chosen[i], sites[chosen[i].candidate],
                                      shams_each);
      });
      found["id"] = plan.id;
      found["definition"] = plan.definition;
      found["functional"] = plan.functional;
      found["unit"] = functional.unit();
      found["positive_means"] = functional.positive_means();
      found["claimed_sign"] = plan.claimed_sign;
      found["found_sign"] = chosen[i].sign;
      found["sesoi"] = plan.sesoi;
      found["axes"]["encoded"] =
          stage("encoding_" + plan.id, [&] { return internal::encoding(setting_, plan); });
      if (nothing_moves(found)) {
        found["axes"]["erasure"] =
            stage("erasure_" + plan.id, [&] { return internal::joint_erasure(setting_, plan); });
      }
      found["map"] = twin_moves(found) ? stage("map_" + plan.id,
                                               [&] { return internal::localise(setting_, plan); })
                                       : Json();
      found["examples"] = stage("examples_" + plan.id,
                                [&] { return internal::examples(setting_, plan, chosen[i]); });
      record["concepts"].push_back(std::move(found));
    }
    record["framing"] = stage("framing", [&] { return internal::framing_test(setting_); });
    record["say_do"] = stage("say_do", [&] { return internal::say_do(setting_); });
    record["self_tests"].push_back(
        rate_test("sham_used", protocol_.most_sham_used, "at_most", true,
                  "share of labels without meaning that the procedure calls used, on this model, "
                  "site and number of scenes"));
    record["self_tests"].push_back(
        rate_test("reader_found", 0.5, "at_least", true,
                  "share of readers worth 3 SESOI that the procedure finds, on this model, site "
                  "and number of scenes"));
    internal::derive(record);
    return finish(record["self_tests_passed"].get<bool>() ? Outcome::finished
                                                          : Outcome::self_test_failed);
  }

 private:
  // Where neither estimand is more than the SESOI, disuse must be shown by erasure.
  static bool nothing_moves(const Json& found) {
    const double sesoi = found["sesoi"].get<double>();
    bool any = false;
    for (const char* estimand : {"direct", "total"}) {
      const Json& axis = found["axes"][estimand];
      if (!axis.is_object()) continue;
      any = true;
      const stats::Interval ci90 =
          stats::t_interval(axis["estimate"].get<double>(), axis["standard_error"].get<double>(),
                            axis["df"].get<double>(), 0.90);
      if (!ci90.inside(-sesoi, sesoi)) return false;
    }
    return any;
  }

  static bool twin_moves(const Json& found) {
    const Json& twin = found["axes"]["twin"]["total"];
    return twin.is_object() &&
           std::abs(twin["estimate"].get<double>()) >= found["sesoi"].get<double>();
  }

  Protocol protocol_;
  Setting setting_;
  AuditOptions options_;
};

}  // namespace

AuditResult run_audit(vla::Model& model, const vla::SceneSource& source, const Protocol& protocol,
                      const AuditOptions& options) {
  protocol.check();
  return Audit(model, source, protocol, options).run();
}

std::string plan_audit(vla::Model& model, const vla::SceneSource& source,
                       const Protocol& protocol) {
  protocol.check();
  Setting setting(model, source, protocol, {});
  const std::int64_t concepts = length(protocol.concepts.size());
  const std::int64_t n = protocol.test_scenes, a = length(setting.world.of(Split::a).size());
  const std::int64_t read =
      std::min(a, protocol.fit_scenes > 0 ? protocol.fit_scenes : std::int64_t{2500});
  const std::int64_t shams = (length(protocol.shams) + concepts - 1) / concepts;
  const std::int64_t words = 2 * (1 + length(protocol.total_refits));
  Json stages = Json::array();
  const auto add = [&](const char* name, const char* split, std::int64_t scenes,
                       std::int64_t passes) {
    stages.push_back({{"stage", name}, {"split", split}, {"scenes", scenes}, {"passes", passes}});
  };
  add("self-tests", "B", 24, 288);
  add("read A at the candidates", "A", read, 2 * read * length(protocol.candidates.size()));
  add("choose", "B", protocol.choose_scenes * concepts, 3 * protocol.choose_scenes * concepts);
  add("check sites", "C", 140, 820);
  add("test", "C", n * concepts,
      concepts * n *
          (2 + 24 + length(protocol.permuted + protocol.matched) + 4 * shams + words + 3 + 6 + 4 +
           length(protocol.doses.size())));
  add("erasure, for each null", "A and C", a, 2 * a + n + protocol.verify_scenes);
  add("framing and say-do", "C", protocol.framing_scenes,
      protocol.framing_scenes * length(protocol.framings.size()) * protocol.framing_seeds + 200);
  std::int64_t passes = 0, needed = 0;
  for (const Json& one : stages) passes += one["passes"].get<std::int64_t>();
  const Json needs = needs_of(setting);
  bool enough = true;
  for (const Json& one : needs) {
    needed = std::max(needed, one["scenes_needed"].get<std::int64_t>());
    enough = enough && one["enough"].get<bool>();
  }
  return Json{{"protocol_sha256", protocol.sha256()},
              {"stages", stages},
              {"passes", passes},
              {"data", data_json(setting)},
              {"concepts", needs},
              {"scenes_needed", needed},
              {"enough", enough}}
      .dump();
}

}  // namespace tierod::audit
