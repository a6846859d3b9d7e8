#include "tierod/audit/protocol.h"

#include <algorithm>
#include <cmath>

#include "core/json_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/site.h"
#include "tierod/vla/functional.h"

namespace tierod::audit {

using internal::cat;
using internal::check_keys;
using internal::get_json;
using internal::Json;

namespace {

constexpr auto* kWhere = "[audit.Protocol]";

template <typename... Args>
[[noreturn]] void refuse(const Args&... args) {
  throw InvalidArgument(cat(kWhere, " ", args...));
}

void check_name(const std::string& what, const std::string& name,
                const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  refuse("expected ", what, " to be one of ", internal::list_text(known, 32), ", got '", name,
         "'; nearest ", internal::list_text(nearest_names(name, known)));
}

patch::Over over_from(const std::string& name) {
  for (const patch::Over each :
       {patch::Over::each, patch::Over::pooled, patch::Over::concatenated}) {
    if (name == patch::over_name(each)) return each;
  }
  refuse("expected `over` of a candidate to be each, pooled or concatenated, got '", name, "'");
}

Json to(const ConceptPlan& plan) {
  return {{"id", plan.id},
          {"definition", plan.definition},
          {"functional", plan.functional},
          {"claimed_sign", plan.claimed_sign},
          {"sesoi", plan.sesoi}};
}

Json to(const CandidateSites& sites) {
  return {{"name", sites.name},
          {"sites", sites.sites},
          {"spans", sites.spans},
          {"fields", sites.fields},
          {"over", patch::over_name(sites.over)}};
}

/// Reads a field where it is there, and leaves the default where it is not.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  template <typename T>
  void operator()(const char* key, T& field) const {
    if (json_.contains(key)) field = get_json<T>(json_, key, where_);
  }
  void operator()(const char* key, int& field) const {
    if (json_.contains(key)) field = static_cast<int>(get_json<std::int64_t>(json_, key, where_));
  }

 private:
  const Json& json_;
  std::string where_;
};

ConceptPlan concept_from(const Json& json) {
  const std::string where = cat(kWhere, " concept");
  check_keys(json, {"id", "definition", "functional", "claimed_sign", "sesoi"}, where);
  ConceptPlan out{.id = get_json<std::string>(json, "id", where)};
  const Reader read(json, cat(where, " '", out.id, "'"));
  read("definition", out.definition);
  read("functional", out.functional);
  read("claimed_sign", out.claimed_sign);
  read("sesoi", out.sesoi);
  return out;
}

CandidateSites sites_from(const Json& json) {
  const std::string where = cat(kWhere, " candidate");
  check_keys(json, {"name", "sites", "spans", "fields", "over"}, where);
  CandidateSites out{.name = get_json<std::string>(json, "name", where)};
  const Reader read(json, cat(where, " '", out.name, "'"));
  read("sites", out.sites);
  read("spans", out.spans);
  read("fields", out.fields);
  std::string over = patch::over_name(out.over);
  read("over", over);
  out.over = over_from(over);
  return out;
}

// One list of the plain fields, for writing, reading and knowing their keys.
template <typename Protocol, typename Visit>
void visit_fields(Protocol& p, Visit&& visit) {
  visit("model", p.model);
  visit("seed", p.seed);
  visit("share_a", p.share_a);
  visit("share_b", p.share_b);
  visit("share_c", p.share_c);
  visit("group_level", p.group_level);
  visit("fit_scenes", p.fit_scenes);
  visit("choose_scenes", p.choose_scenes);
  visit("test_scenes", p.test_scenes);
  visit("verify_scenes", p.verify_scenes);
  visit("stratum_scenes", p.stratum_scenes);
  visit("batch_size", p.batch_size);
  visit("adjust_for", p.adjust_for);
  visit("interactions", p.interactions);
  visit("stratifications", p.stratifications);
  visit("wrong_functional", p.wrong_functional);
  visit("doses", p.doses);
  visit("framings", p.framings);
  visit("alpha", p.alpha);
  visit("margin", p.margin);
  visit("direct_refits", p.direct_refits);
  visit("total_refits", p.total_refits);
  visit("checked_refits", p.checked_refits);
  visit("shams", p.shams);
  visit("readers", p.readers);
  visit("permuted", p.permuted);
  visit("matched", p.matched);
  visit("sham_totals", p.sham_totals);
  visit("most_sham_used", p.most_sham_used);
  visit("framing_scenes", p.framing_scenes);
  visit("framing_seeds", p.framing_seeds);
  visit("examples", p.examples);
  visit("allow_few", p.allow_few);
  visit("hazard", p.hazard);
  visit("odd_slice", p.odd_slice);
}

void check_share(const char* name, double value, double low, double high) {
  if (value > low && value < high) return;
  refuse("expected ", name, " in (", low, ", ", high, "), got ", value);
}

template <typename T>
void check_least(const char* name, T value, T least) {
  if (value >= least) return;
  refuse("expected ", name, " >= ", least, ", got ", value);
}

}  // namespace

void Protocol::check() const {
  if (concepts.empty()) refuse("expected at least one concept, got none");
  std::vector<std::string> seen;
  for (const ConceptPlan& plan : concepts) {
    if (plan.id.empty()) refuse("expected every concept to have an id, got ''");
    if (std::find(seen.begin(), seen.end(), plan.id) != seen.end()) {
      refuse("expected each concept once, got '", plan.id, "' twice");
    }
    seen.push_back(plan.id);
    check_name(cat("the functional of '", plan.id, "'"), plan.functional,
               vla::ControlFunctional::names());
    if (plan.claimed_sign < -1 || plan.claimed_sign > 1) {
      refuse("expected the claimed sign of '", plan.id, "' to be -1, 0 or 1, got ",
             plan.claimed_sign);
    }
    if (!(plan.sesoi > 0) || !std::isfinite(plan.sesoi)) {
      refuse("expected a smallest effect of interest > 0 of '", plan.id, "' in the unit of ",
             plan.functional, ", got ", plan.sesoi, "; set `sesoi`: there is no default for ",
             plan.functional);
    }
  }
  if (!(share_a > 0 && share_b > 0 && share_c > 0) ||
      std::abs(share_a + share_b + share_c - 1) > 1e-9) {
    refuse("expected positive shares of A, B and C that sum to 1, got ", share_a, ", ", share_b,
           ", ", share_c);
  }
  check_least("fit_scenes", fit_scenes, std::int64_t{0});
  check_least("choose_scenes", choose_scenes, std::int64_t{20});
  check_least("test_scenes", test_scenes, std::int64_t{20});
  check_least("verify_scenes", verify_scenes, std::int64_t{20});
  check_least("stratum_scenes", stratum_scenes, std::int64_t{0});
  check_least("batch_size", batch_size, std::int64_t{1});
  check_least("direct_refits", direct_refits, std::size_t{2});
  check_least("total_refits", total_refits, std::size_t{2});
  check_least("framing_scenes", framing_scenes, std::int64_t{0});
  check_least("framing_seeds", framing_seeds, std::int64_t{2});
  check_least("examples", examples, std::int64_t{0});
  check_share("alpha", alpha, 0, 0.5);
  check_share("margin", margin, 0, 0.5);
  check_share("most_sham_used", most_sham_used, 0, 1);
  if (shams != 0 && shams < 40) {
    refuse("expected shams to be 0 or at least 40 over all concepts, got ", shams,
           "; fewer say nothing about an error rate of 5 %");
  }
  if (candidates.empty()) {
    refuse(
        "expected at least one candidate set of sites, got none; name sites, or let the model "
        "describe its input cuts");
  }
  for (const CandidateSites& sites : candidates) {
    if (sites.sites.empty()) refuse("expected sites in the candidate '", sites.name, "', got none");
  }
  if (doses.size() < 3) refuse("expected at least 3 doses, got ", doses.size());
}

std::string Protocol::to_json() const {
  Json out = Json::object();
  visit_fields(*this, [&](const char* key, const auto& field) { out[key] = field; });
  out["concepts"] = Json::array();
  for (const ConceptPlan& plan : concepts) out["concepts"].push_back(to(plan));
  out["candidates"] = Json::array();
  for (const CandidateSites& sites : candidates) out["candidates"].push_back(to(sites));
  out["positive"] =
      positive ? Json{{"nuisance", positive->nuisance}, {"functional", positive->functional}}
               : Json();
  return out.dump();
}

Protocol Protocol::from_json(const std::string& json) {
  const Json all = internal::parse_json(json, kWhere);
  if (!all.is_object()) refuse("expected a JSON object, got ", all.type_name());
  Protocol out;
  std::vector<std::string> known = {"concepts", "candidates", "positive"};
  const Reader read(all, kWhere);
  visit_fields(out, [&](const char* key, auto& field) {
    known.emplace_back(key);
    read(key, field);
  });
  for (const auto& [key, unused] : all.items()) check_name("every key", key, known);
  if (all.contains("concepts")) {
    for (const Json& one : all["concepts"]) out.concepts.push_back(concept_from(one));
  }
  if (all.contains("candidates")) {
    for (const Json& one : all["candidates"]) out.candidates.push_back(sites_from(one));
  }
  if (all.contains("positive") && !all["positive"].is_null()) {
    const std::string where = cat(kWhere, " positive");
    check_keys(all["positive"], {"nuisance", "functional"}, where);
    out.positive = PositivePlan{get_json<std::string>(all["positive"], "nuisance", where),
                                get_json<std::string>(all["positive"], "functional", where)};
  }
  return out;
}

std::string Protocol::sha256() const {
  const std::string text = to_json();
  return sha256_hex(text.data(), text.size());
}

Protocol Protocol::quick() const {
  Protocol out = *this;
  out.sham_totals = false;
  out.permuted = 2;
  out.matched = 2;
  out.stratum_scenes = std::min<std::int64_t>(out.stratum_scenes, 30);
  out.framing_scenes = std::min<std::int64_t>(out.framing_scenes, 24);
  return out;
}

}  // namespace tierod::audit
