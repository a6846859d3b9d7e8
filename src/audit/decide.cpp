#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "core/text_internal.h"
#include "tierod/audit/verdict.h"
#include "tierod/core/error.h"

namespace tierod::audit {

using internal::cat;

namespace {

constexpr std::array<std::pair<Verdict, const char*>, 14> kVerdicts = {{
    {Verdict::inconclusive, "INCONCLUSIVE"},
    {Verdict::used_conditional, "USED_CONDITIONAL"},
    {Verdict::contradicted, "CONTRADICTED"},
    {Verdict::proxy, "PROXY"},
    {Verdict::sub_sesoi, "SUB_SESOI"},
    {Verdict::absent, "ABSENT"},
    {Verdict::text_only, "TEXT_ONLY"},
    {Verdict::encoded_not_used, "ENCODED_NOT_USED"},
    {Verdict::stated_not_encoded, "STATED_NOT_ENCODED"},
    {Verdict::not_used, "NOT_USED"},
    {Verdict::used_not_stated, "USED_NOT_STATED"},
    {Verdict::used_text, "USED_TEXT"},
    {Verdict::used_not_via_text, "USED_NOT_VIA_TEXT"},
    {Verdict::used, "USED"},
}};
constexpr std::array<std::pair<Status, const char*>, 4> kStatuses = {{
    {Status::yes, "yes"},
    {Status::no, "no"},
    {Status::open, "open"},
    {Status::unavailable, "unavailable"},
}};

template <typename Table, typename Value>
const char* name_in(const Table& table, Value value) noexcept {
  for (const auto& [each, name] : table) {
    if (each == value) return name;
  }
  return "?";
}

template <typename Table>
auto value_in(const Table& table, std::string_view name, const char* where) {
  for (const auto& [value, each] : table) {
    if (name == each) return value;
  }
  std::vector<std::string> known;
  known.reserve(table.size());
  for (const auto& [value, each] : table) known.emplace_back(each);
  throw InvalidArgument(
      cat("[", where, "] expected one of ", internal::list_text(known, 16), ", got '", name, "'"));
}

bool opposite(const EffectGate& a, const EffectGate& b) {
  return a.status == Status::yes && b.status == Status::yes && a.sign * b.sign < 0;
}

bool stratum_yes(const GateResults& gates) {
  return std::any_of(gates.strata.begin(), gates.strata.end(), [](const StratumGate& s) {
    return s.decides && s.effect.status == Status::yes;
  });
}

// On what the use depends, where it does.
std::optional<std::string> condition_of(const GateResults& gates) {
  if (opposite(gates.direct, gates.total)) return "the words";
  std::map<std::string, std::vector<const StratumGate*>> by_name;
  for (const StratumGate& stratum : gates.strata) {
    if (stratum.decides) by_name[stratum.stratification].push_back(&stratum);
  }
  for (const auto& [name, strata] : by_name) {
    const bool differs = std::any_of(
        gates.interactions.begin(), gates.interactions.end(),
        [&](const InteractionGate& i) { return i.stratification == name && i.significant; });
    for (const StratumGate* a : strata) {
      if (a->effect.status != Status::yes) continue;
      for (const StratumGate* b : strata) {
        if (opposite(a->effect, b->effect)) return name;
        if (differs && b->effect.status == Status::no) return name;
      }
    }
  }
  return std::nullopt;
}

Verdict label_of_null(const GateResults& gates) {
  if (gates.stated == Status::no) return Verdict::absent;
  if (gates.text == Status::yes) return Verdict::text_only;
  if (gates.encoded == Status::yes) return Verdict::encoded_not_used;
  if (gates.encoded == Status::no) return Verdict::stated_not_encoded;
  return Verdict::not_used;
}

Verdict label_of_use(const GateResults& gates) {
  if (gates.stated == Status::no) return Verdict::used_not_stated;
  if (gates.text == Status::yes) return Verdict::used_text;
  if (gates.text == Status::no) return Verdict::used_not_via_text;
  return Verdict::used;
}

bool both_null(const GateResults& gates) {
  // a model without words has one of the two
  const auto null = [](const EffectGate& gate) {
    return gate.status == Status::no || gate.status == Status::unavailable;
  };
  return null(gates.direct) && null(gates.total) &&
         (gates.direct.status == Status::no || gates.total.status == Status::no);
}

// Why neither use nor disuse was shown: the first thing that would have to change.
std::string missing(const GateResults& gates) {
  if (both_null(gates)) {
    if (gates.twin.status == Status::yes) return "not_localised";
    if (gates.erasure_verified && gates.erasure == Status::yes) return "not_localised";
    if (!gates.erasure_verified && gates.erasure != Status::unavailable) return "erasure_failed";
    if (gates.encoded_nonlinearly) return "nonlinear";
  } else if (gates.twin.status == Status::yes && lead_of(gates).status != Status::yes) {
    return "not_localised";
  }
  return "power";
}

}  // namespace

const char* verdict_name(Verdict verdict) noexcept { return name_in(kVerdicts, verdict); }
Verdict verdict_from(std::string_view name) {
  return value_in(kVerdicts, name, "audit.verdict_from");
}
const char* status_name(Status status) noexcept { return name_in(kStatuses, status); }
Status status_from(std::string_view name) { return value_in(kStatuses, name, "audit.status_from"); }

const EffectGate& lead_of(const GateResults& gates) noexcept {
  if (gates.total.status == Status::unavailable) return gates.direct;
  if (gates.direct.status == Status::unavailable) return gates.total;
  return gates.direct.size > gates.total.size ? gates.direct : gates.total;
}

Decision decide(const GateResults& gates) {
  Decision out;
  if (gates.stated == Status::open) out.flags.emplace_back("stated_rate_undecided");
  const auto give = [&](Verdict verdict, std::string reason = {}) {
    out.verdict = verdict;
    out.reason = std::move(reason);
    return out;
  };
  // 1: nothing can be said
  if (!gates.self_tests_passed) return give(Verdict::inconclusive, "self_test");
  if (!gates.enough_clusters) return give(Verdict::inconclusive, "clusters");
  if (!gates.enough_scenes) return give(Verdict::inconclusive, "n");
  if (!gates.positive_control_heard) return give(Verdict::inconclusive, "site");
  if (!gates.complete) return give(Verdict::inconclusive, "not_localised");
  if (gates.only_off_manifold) return give(Verdict::inconclusive, "off_manifold");
  // 2: it depends
  if (const std::optional<std::string> condition = condition_of(gates)) {
    return give(Verdict::used_conditional, *condition);
  }
  const EffectGate& lead = lead_of(gates);
  // 3: used, the other way round
  if (lead.status == Status::yes && lead.sign < 0) return give(Verdict::contradicted);
  // 4: something that goes along with it is used
  if (gates.naive.status == Status::yes && both_null(gates)) {
    for (const ProxyGate& proxy : gates.proxies) {
      if (proxy.status == Status::yes) return give(Verdict::proxy, proxy.name);
    }
  }
  // 5: used
  if (lead.status == Status::yes) return give(label_of_use(gates));
  // 6: not used
  const bool twin_allows =
      gates.twin.status == Status::no || gates.twin.status == Status::unavailable;
  if (both_null(gates) && gates.erasure_verified && gates.erasure == Status::no && twin_allows &&
      !stratum_yes(gates)) {
    return give(label_of_null(gates));
  }
  // 7: used, and less than anybody cares about. A twin that moves control by more says that the
  // direction missed it.
  if (lead.excludes_zero && lead.size < 1 && gates.twin.status != Status::yes) {
    return give(Verdict::sub_sesoi);
  }
  // 8: neither was shown
  return give(Verdict::inconclusive, missing(gates));
}

}  // namespace tierod::audit
