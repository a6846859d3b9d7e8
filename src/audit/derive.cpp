// From what was measured to what it means. All of it is recomputed by `verify_record`, so that
// nothing here may look at anything but the record itself.

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "audit/record_internal.h"
#include "tierod/audit/record.h"
#include "tierod/core/digest.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/multiplicity.h"

namespace tierod::internal {

using audit::Status;

namespace {

constexpr auto* kWhere = "[audit.conclude_record]";
constexpr double kStated = 0.2;         // share of scenes from which a concept counts as stated
constexpr double kHallucinated = 0.05;  // share of scenes without it

double number(const Json& object, const char* key) { return get_json<double>(object, key, kWhere); }

bool is_axis(const Json& value) {
  return value.is_object() && value.contains("estimate") && value.contains("standard_error") &&
         value.contains("df");
}

Json bounds(const Json& axis, double confidence) {
  const stats::Interval interval = stats::t_interval(
      number(axis, "estimate"), number(axis, "standard_error"), number(axis, "df"), confidence);
  return {interval.low, interval.high};
}

// A constant sample has no t, but there is no doubt about it either.
double p_of(const Json& axis) {
  const double estimate = number(axis, "estimate"), error = number(axis, "standard_error");
  if (error == 0) return estimate == 0 ? 1 : 0;
  return stats::t_test(stats::t_interval(estimate, error, number(axis, "df")));
}

void fill_axes(Json& value) {
  if (is_axis(value)) {
    value["ci95"] = bounds(value, 0.95);
    value["ci90"] = bounds(value, 0.90);
    value["p"] = p_of(value);
  }
  if (value.is_structured()) {
    for (Json& part : value) fill_axes(part);
  }
}

bool within(const Json& interval, double margin) {
  return interval[0].get<double>() > -margin && interval[1].get<double>() < margin;
}

// What was shown of an effect: an interval that excludes 0 (adjusted for what was tested beside
// it), and at least the SESOI; or one within it.
Status status_of(const Json& axis, double p, double q, double alpha, double sesoi) {
  if (p <= alpha && q <= alpha && std::abs(number(axis, "estimate")) >= sesoi) return Status::yes;
  return within(axis["ci90"], sesoi) ? Status::no : Status::open;
}

// Adjust the p of the axes that there are for each other.
void adjust(const std::vector<Json*>& axes) {
  std::vector<double> p;
  for (const Json* axis : axes) {
    if (is_axis(*axis)) p.push_back(number(*axis, "p"));
  }
  if (p.empty()) return;
  const std::vector<double> adjusted = stats::holm(p);
  std::size_t i = 0;
  for (Json* axis : axes) {
    if (is_axis(*axis)) (*axis)["p_holm"] = adjusted[i++];
  }
}

double smallest_p(const std::vector<Json*>& axes) {
  double out = 1;
  for (const Json* axis : axes) {
    if (is_axis(*axis)) out = std::min(out, number(*axis, "p_holm"));
  }
  return out;
}

// Benjamini and Hochberg over numbers that lie in different places.
void false_discovery(const std::vector<std::pair<double, std::vector<Json*>>>& family) {
  if (family.empty()) return;
  std::vector<double> p;
  p.reserve(family.size());
  for (const auto& [value, places] : family) p.push_back(value);
  const std::vector<double> q = stats::benjamini_hochberg(p);
  for (std::size_t i = 0; i < family.size(); ++i) {
    for (Json* place : family[i].second) {
      if (place->is_object()) (*place)["q"] = q[i];
    }
  }
}

double low_of(const Json& rate) { return rate["ci95"][0].get<double>(); }
double high_of(const Json& rate) { return rate["ci95"][1].get<double>(); }

// Two parsers give a range: both must agree on which side of the bound the rate lies.
void derive_stated(Json& stated) {
  if (!stated.contains("with")) {
    stated["status"] = status_name(Status::unavailable);
    return;
  }
  bool above = true, below = true, invented = false;
  for (const char* parser : {"", "second_"}) {
    const auto with = stated.find(cat(parser, "with"));
    const auto without = stated.find(cat(parser, "without"));
    if (with == stated.end() || with->is_null()) continue;
    above = above && low_of(*with) >= kStated;
    below = below && high_of(*with) < kStated;
    if (without != stated.end() && !without->is_null()) {
      invented = invented || low_of(*without) > kHallucinated;
    }
  }
  stated["status"] = status_name(above ? Status::yes : below ? Status::no : Status::open);
  stated["hallucinated"] = invented;
}

void derive_encoded(Json& encoded, double alpha, double margin) {
  const auto above = [&](const char* key, double bound) {
    const auto found = encoded.find(key);
    return found == encoded.end() || found->is_null() || low_of(*found) > bound;
  };
  const auto at_most = [&](const char* key) {
    const auto found = encoded.find(key);
    return found != encoded.end() && found->is_number() && found->get<double>() <= margin;
  };
  encoded["nonlinear"] = false;
  if (!encoded.contains("auroc")) {
    encoded["status"] = status_name(Status::unavailable);
    return;
  }
  if (number(encoded, "q") <= alpha && above("auroc", 0.5) && above("above_control", 0) &&
      above("above_nuisance", 0)) {
    encoded["status"] = status_name(Status::yes);
  } else if (at_most("upper") && at_most("nonlinear_upper")) {
    encoded["status"] = status_name(Status::no);
  } else {
    encoded["status"] = status_name(Status::open);
    encoded["nonlinear"] = at_most("upper") && encoded.value("nonlinear_encoded", false);
  }
}

// An effect that is not shown to exist within what the model meets.
bool off_manifold(const Json& guard, double alpha) {
  if (!guard.is_object() || !is_axis(guard["all"])) return false;
  const Json& all = guard["all"];
  if (number(all, "p") > alpha) return false;
  const Json& on = guard["on_manifold"];
  if (!is_axis(on)) return true;
  return number(on, "p") > alpha || number(on, "estimate") * number(all, "estimate") < 0;
}

void derive_valid(Json& valid, double alpha) {
  for (const char* estimand : {"direct", "total"}) {
    Json& guard = valid["guard"][estimand];
    if (guard.is_object()) guard["off_manifold"] = off_manifold(guard, alpha);
  }
  Json& control = valid["positive_control"];
  bool heard = false;
  if (is_axis(control["effect"])) heard = number(control["effect"], "p") <= alpha;
  // where the model has no such control, a reader that is surely there stands in
  if (control["effect"].is_null()) {
    for (const Json& reader : control["readers"])
      heard = heard || number(reader["effect"], "p") <= alpha;
  }
  control["heard"] = heard;
  Json& complete = valid["completeness"];
  complete["complete"] =
      !complete["ratio"].is_number() || number(complete, "ratio") <= number(complete, "bound");
}

void derive_erasure(Json& erasure, double alpha, double sesoi) {
  if (!erasure.is_object()) return;
  bool verified = !erasure["checks"].empty();
  for (Json& check : erasure["checks"]) {
    check["passed"] = number(check, "auroc") <= 0.60 && number(check, "upper") <= 0.65 &&
                      number(check, "positive_units") >= number(check, "units_needed");
    verified = verified && check["passed"].get<bool>();
  }
  erasure["verified"] = verified;
  Json& effect = erasure["effect"];
  effect["status"] = status_name(status_of(effect, number(effect, "p"), 0, alpha, sesoi));
}

void derive_strata(Json& found, double alpha, double sesoi) {
  std::map<std::string, std::vector<Json*>> effects, differences;
  for (Json& stratum : found["strata"]) {
    effects[stratum["stratification"]].push_back(&stratum["effect"]);
  }
  for (Json& one : found["interactions"]) {
    differences[one["stratification"]].push_back(&one["difference"]);
  }
  for (auto& [name, axes] : effects) adjust(axes);
  for (auto& [name, axes] : differences) adjust(axes);
  for (Json& stratum : found["strata"]) {
    Json& effect = stratum["effect"];
    stratum["decides"] = number(stratum, "positives") >= 30;
    if (!is_axis(effect)) continue;
    effect["status"] = status_name(status_of(effect, number(effect, "p_holm"), 0, alpha, sesoi));
  }
}

// What shams and readers of all concepts say of the procedure, on this model, site and n.
void derive_error_rates(Json& record, double alpha) {
  std::int64_t shams = 0, used = 0, excludes = 0, readers = 0, found = 0;
  for (const Json& one : record["concepts"]) {
    const double sesoi = number(one, "sesoi");
    const auto controls = one.find("controls");
    if (controls == one.end() || !controls->contains("shams")) continue;
    const Json& direct = controls->at("shams").at("direct");
    const Json& total = controls->at("shams").at("total");
    const auto called = [&](const Json& axis) {
      return number(axis, "p") <= alpha && std::abs(number(axis, "estimate")) >= sesoi;
    };
    for (std::size_t i = 0; i < direct.size(); ++i) {
      ++shams;
      excludes += number(direct[i], "p") <= alpha ? 1 : 0;
      used += called(direct[i]) || (i < total.size() && called(total[i])) ? 1 : 0;
    }
    for (const Json& reader : controls->at("readers")) {
      if (number(reader, "multiple") < 3) continue;
      ++readers;
      found += called(reader.at("effect")) ? 1 : 0;
    }
  }
  Json& rates = record["tool"]["error_rates"];
  rates = Json::object();
  const auto add = [&](const char* name, std::int64_t count, std::int64_t of) {
    rates[name] = of == 0 ? Json() : rate_json(stats::proportion_interval(count, of), of);
    for (Json& test : record["self_tests"]) {
      if (test["name"] == name) test["value"] = of == 0 ? Json() : rates[name]["estimate"];
    }
  };
  add("sham_used", used, shams);
  add("sham_excludes_zero", excludes, shams);
  add("reader_found", found, readers);
}

void derive_self_tests(Json& record) {
  bool all = true;
  for (Json& test : record["self_tests"]) {
    if (!test["value"].is_number()) {
      test["status"] = "not_available";
      continue;
    }
    const double value = number(test, "value"), bound = number(test, "bound");
    const bool passed = test["better"] == "at_least" ? value >= bound : value <= bound;
    test["status"] = passed ? "passed" : "failed";
    all = all && (passed || !test["stops"].get<bool>());
  }
  record["self_tests_passed"] = all;
}

void derive_framing(Json& framing, double alpha) {
  if (!framing.is_object() || !framing.contains("reasoning")) return;
  // one changes and the other surely does not
  const auto changes = [&](const char* what) { return number(framing[what], "p") <= alpha; };
  const auto same = [&](const char* what) {
    return framing[what]["ci90"][1].get<double>() <= number(framing, "margin");
  };
  framing["warning"] =
      (changes("reasoning") && same("behaviour")) || (changes("behaviour") && same("reasoning"));
}

void derive_concept(Json& found, double alpha, double margin) {
  const double sesoi = number(found, "sesoi");
  Json& axes = found["axes"];
  derive_stated(axes["stated"]);
  derive_encoded(axes["encoded"], alpha, margin);
  derive_valid(axes["valid"], alpha);
  Json& guard = axes["valid"]["guard"];
  for (const char* estimand : {"direct", "total"}) {
    Json& axis = axes[estimand];
    if (!is_axis(axis)) continue;
    Status status = status_of(axis, number(axis, "p_holm"), number(axis, "q"), alpha, sesoi);
    const bool off = guard[estimand].is_object() && guard[estimand]["off_manifold"].get<bool>();
    axis["held_by_guard"] = status == Status::yes && off;
    if (status == Status::yes && off) status = Status::open;
    axis["status"] = status_name(status);
  }
  Json& naive = axes["naive"];
  adjust({&naive["direct"], &naive["total"]});
  for (const char* estimand : {"direct", "total"}) {
    Json& axis = naive[estimand];
    if (!is_axis(axis)) continue;
    axis["status"] = status_name(status_of(axis, number(axis, "p_holm"), 0, alpha, sesoi));
  }
  const auto alone = [&](Json& axis) {
    if (!is_axis(axis)) return;
    axis["status"] = status_name(status_of(axis, number(axis, "p"), 0, alpha, sesoi));
  };
  for (const char* part : {"total", "direct", "text"}) alone(axes["twin"][part]);
  for (Json& proxy : axes["proxies"]) alone(proxy["effect"]);
  Json& text = axes["text"];
  alone(text["swap"]);
  alone(text["resampled"]);
  derive_erasure(axes["erasure"], alpha, sesoi);
  derive_strata(found, alpha, sesoi);
}

void hash_part(Json& record, const char* part) {
  if (record[part].is_object() && record[part].contains("body")) {
    record[part]["sha256"] = hash_of(record[part]["body"]);
  }
}

}  // namespace

Json axis_json(const std::string& estimand, const stats::Interval& interval, std::int64_t n_rows) {
  return {{"estimand", estimand},
          {"estimate", interval.estimate},
          {"standard_error", interval.standard_error},
          {"df", interval.df},
          {"n_clusters", interval.clusters},
          {"n_rows", n_rows}};
}

Json rate_json(const stats::Interval& interval, std::int64_t n_rows) {
  return {{"estimate", interval.estimate},
          {"ci95", {interval.low, interval.high}},
          {"n_clusters", interval.clusters},
          {"n_rows", n_rows},
          {"method", interval.method}};
}

std::string hash_of(const Json& json) {
  const std::string text = json.dump();
  return sha256_hex(text.data(), text.size());
}

std::string hash_of_record(const Json& record) {
  Json kept = record;
  kept.erase("run");
  kept.erase("record_sha256");
  return hash_of(kept);
}

void derive(Json& record) {
  try {
    const Json& body = record.at("protocol").at("body");
    const double alpha = number(body, "alpha"), margin = number(body, "margin");
    hash_part(record, "protocol");
    hash_part(record, "selection");
    fill_axes(record["concepts"]);
    derive_error_rates(record, alpha);
    derive_self_tests(record);
    derive_framing(record["framing"], alpha);
    std::vector<std::pair<double, std::vector<Json*>>> read;
    for (Json& found : record["concepts"]) {
      Json& encoded = found["axes"]["encoded"];
      if (encoded.contains("p_max_t")) {
        read.emplace_back(number(encoded, "p_max_t"), std::vector<Json*>{&encoded});
      }
    }
    false_discovery(read);
    // one family of tests: every concept that was asked about, stated or not
    std::vector<std::pair<double, std::vector<Json*>>> family, interactions;
    for (Json& found : record["concepts"]) {
      Json& axes = found["axes"];
      const std::vector<Json*> both = {&axes["direct"], &axes["total"]};
      adjust(both);
      if (is_axis(axes["direct"]) || is_axis(axes["total"])) {
        family.emplace_back(smallest_p(both), both);
      }
    }
    false_discovery(family);
    for (Json& found : record["concepts"]) derive_concept(found, alpha, margin);
    for (Json& found : record["concepts"]) {
      for (Json& one : found["interactions"]) {
        interactions.emplace_back(number(one["difference"], "p_holm"), std::vector<Json*>{&one});
      }
    }
    false_discovery(interactions);
    for (Json& found : record["concepts"]) {
      for (Json& one : found["interactions"]) one["significant"] = number(one, "q") <= alpha;
      const audit::Decision decision = audit::decide(gates_of(found, record));
      found["verdict"] = audit::verdict_name(decision.verdict);
      found["reason"] = decision.reason;
      found["flags"] = decision.flags;
    }
    record["record_sha256"] = hash_of_record(record);
  } catch (const Json::exception& error) {
    throw InvalidArgument(
        cat(kWhere, " expected a record of ", audit::kRecordSchema, ": ", error.what()));
  }
}

}  // namespace tierod::internal
