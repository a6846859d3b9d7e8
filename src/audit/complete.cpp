// What a protocol leaves open follows from model and scenes, and is written out before anything is
// measured.

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "audit/world_internal.h"
#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"
#include "tierod/vla/functional.h"

namespace tierod::audit {

using internal::cat;

namespace {

constexpr auto* kWhere = "[audit.complete]";

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

void fill_concepts(Protocol& protocol, const vla::SceneSource& source) {
  const std::vector<std::string> known = source.concepts();
  const std::vector<vla::ConceptClaim> claims = source.claims();
  if (protocol.concepts.empty()) {
    for (const std::string& id : known) {
      // what never occurs was not asked for by name, and cannot be audited
      const at::Tensor labels = source.labels(id);
      if (labels.eq(1).any().item<bool>())
        protocol.concepts.push_back({.id = id, .functional = ""});
    }
  }
  for (ConceptPlan& plan : protocol.concepts) {
    check_name("every concept", plan.id, known);
    const auto claim = std::find_if(claims.begin(), claims.end(),
                                    [&](const auto& one) { return one.id == plan.id; });
    if (claim != claims.end()) {
      if (plan.definition.empty()) plan.definition = claim->definition;
      // a claim is of one functional: another has no sign
      if (plan.functional.empty() || plan.functional == claim->functional) {
        plan.functional = claim->functional;
        if (plan.claimed_sign == 0) plan.claimed_sign = claim->sign;
      }
    }
    if (plan.functional.empty()) plan.functional = "mean_acceleration";
    const auto functional = vla::ControlFunctional::from_name(plan.functional);
    if (plan.sesoi == 0) {
      if (!functional.sesoi()) {
        refuse("expected a smallest effect of interest for '", plan.id, "' in ", functional.unit(),
               ": ", plan.functional, " has no default; set `sesoi` of the concept");
      }
      plan.sesoi = *functional.sesoi();
    }
    const at::Tensor labels = source.labels(plan.id);
    const auto with = labels.eq(1).sum().item<std::int64_t>();
    const auto without = labels.eq(0).sum().item<std::int64_t>();
    if (with == 0 || without == 0) {
      refuse("expected scenes with and without '", plan.id, "', got ", with, " with and ", without,
             " without; leave the concept out, or bring other scenes");
    }
  }
}

void fill_sites(Protocol& protocol, const vla::ModelDescription& about) {
  if (protocol.candidates.empty()) {
    for (const vla::InputCut& cut : about.input_cuts) {
      protocol.candidates.push_back(
          {.name = cut.name, .sites = cut.sites, .spans = cut.spans, .fields = cut.fields});
    }
    if (protocol.candidates.empty() && !about.head_inputs.empty()) {
      protocol.candidates.push_back({.name = "head inputs", .sites = about.head_inputs});
    }
  }
  for (const CandidateSites& candidate : protocol.candidates) {
    for (const std::string& pattern : candidate.sites) {
      static_cast<void>(about.sites.match(SitePattern(pattern)));  // throws with the nearest names
    }
  }
}

}  // namespace

Protocol complete(Protocol protocol, const vla::Model& model, const vla::SceneSource& source) {
  const vla::ModelDescription about = model.describe();
  if (protocol.model.empty()) protocol.model = about.name;
  fill_concepts(protocol, source);
  fill_sites(protocol, about);

  const std::vector<vla::SceneNuisance> nuisances = source.nuisances();
  std::vector<std::string> names;
  names.reserve(nuisances.size());
  for (const vla::SceneNuisance& one : nuisances) names.push_back(one.name);
  if (protocol.adjust_for.empty()) {
    // what is there or not, as a concept is; numbers may be consequences, and are asked for by name
    for (const vla::SceneNuisance& one : nuisances) {
      if (!one.categorical && one.values.eq(0).logical_or(one.values.eq(1)).all().item<bool>()) {
        protocol.adjust_for.push_back(one.name);
      }
    }
  }
  for (const std::string& name : protocol.adjust_for)
    check_name("what is adjusted for", name, names);

  std::vector<std::string> known;
  for (const vla::Stratification& one : source.strata()) known.push_back(one.name);
  if (protocol.stratifications.empty()) protocol.stratifications = known;
  for (const std::string& name : protocol.stratifications) {
    check_name("every stratification", name, known);
  }
  if (protocol.framings.empty() &&
      std::find(about.options.begin(), about.options.end(), "framing") != about.options.end()) {
    protocol.framings = source.framings();
  }
  if (!protocol.positive) {
    const std::vector<vla::ControlClaim> claims = source.control_claims();
    if (!claims.empty()) protocol.positive = PositivePlan{claims[0].nuisance, claims[0].functional};
  }
  if (protocol.positive) {
    check_name("the positive control", protocol.positive->nuisance, names);
    static_cast<void>(vla::ControlFunctional::from_name(protocol.positive->functional));
  }
  if (protocol.wrong_functional.empty()) protocol.wrong_functional = "lateral_offset";
  protocol.check();
  return protocol;
}

}  // namespace tierod::audit
