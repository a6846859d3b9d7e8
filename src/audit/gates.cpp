#include <cmath>

#include "audit/record_internal.h"
#include "tierod/audit/record.h"

namespace tierod::internal {

using audit::EffectGate;
using audit::GateResults;
using audit::Status;

namespace {

constexpr std::int64_t kLeastClusters = 12;
constexpr std::int64_t kLeastScenes = 100;  // of either class

Status status_in(const Json& axis) {
  const auto found = axis.is_object() ? axis.find("status") : axis.end();
  if (!axis.is_object() || found == axis.end()) return Status::unavailable;
  return audit::status_from(found->get<std::string>());
}

EffectGate effect_in(const Json& axis, double sesoi, double claim, double alpha) {
  EffectGate out{.status = status_in(axis)};
  if (out.status == Status::unavailable) return out;
  const double estimate = axis["estimate"].get<double>();
  const double signed_effect = estimate * claim;
  out.sign = signed_effect > 0 ? 1 : signed_effect < 0 ? -1 : 0;
  out.size = std::abs(estimate) / sesoi;
  const double p = axis.contains("p_holm") ? axis["p_holm"].get<double>() : axis["p"].get<double>();
  out.excludes_zero = p <= alpha;
  return out;
}

// Of what the words do by the swap and by resampling: one that acts is enough.
Status text_of(const Json& text) {
  const Status swap = status_in(text["swap"]), resampled = status_in(text["resampled"]);
  if (swap == Status::yes || resampled == Status::yes) return Status::yes;
  if (swap == Status::unavailable) return resampled;
  if (swap == Status::no && resampled != Status::open) return Status::no;
  return Status::open;
}

}  // namespace

GateResults gates_of(const Json& found, const Json& record) {
  const double alpha = record["protocol"]["body"]["alpha"].get<double>();
  const double sesoi = found["sesoi"].get<double>();
  const double claimed = found["claimed_sign"].get<double>();
  const double claim = claimed != 0 ? claimed : found["found_sign"].get<double>();
  const Json& axes = found["axes"];
  const Json& valid = axes["valid"];
  const auto effect = [&](const Json& axis) { return effect_in(axis, sesoi, claim, alpha); };

  GateResults out;
  out.self_tests_passed = record["self_tests_passed"].get<bool>();
  const Json& data = found["data"];
  out.enough_clusters = data["clusters"].get<std::int64_t>() >= kLeastClusters;
  out.enough_scenes = data["positives"].get<std::int64_t>() >= kLeastScenes &&
                      data["negatives"].get<std::int64_t>() >= kLeastScenes;
  out.positive_control_heard = valid["positive_control"]["heard"].get<bool>();
  out.complete = valid["completeness"]["complete"].get<bool>();

  out.stated = status_in(axes["stated"]);
  out.encoded = status_in(axes["encoded"]);
  out.encoded_nonlinearly = axes["encoded"]["nonlinear"].get<bool>();
  out.direct = effect(axes["direct"]);
  out.total = effect(axes["total"]);
  bool held = false;
  for (const char* estimand : {"direct", "total"}) {
    if (axes[estimand].is_object()) held = held || axes[estimand]["held_by_guard"].get<bool>();
  }
  out.only_off_manifold =
      held && out.direct.status != Status::yes && out.total.status != Status::yes;
  const EffectGate direct = effect(axes["naive"]["direct"]), total = effect(axes["naive"]["total"]);
  out.naive = total.status == Status::unavailable || direct.size > total.size ? direct : total;
  for (const Json& proxy : axes["proxies"]) {
    out.proxies.push_back({proxy["name"].get<std::string>(), status_in(proxy["effect"])});
  }
  out.text = text_of(axes["text"]);
  out.twin = effect(axes["twin"]["total"]);
  if (axes["erasure"].is_object()) {
    out.erasure = status_in(axes["erasure"]["effect"]);
    out.erasure_verified = axes["erasure"]["verified"].get<bool>();
  }
  for (const Json& stratum : found["strata"]) {
    out.strata.push_back({.stratification = stratum["stratification"].get<std::string>(),
                          .level = stratum["level"].get<std::string>(),
                          .decides = stratum["decides"].get<bool>(),
                          .effect = effect(stratum["effect"])});
  }
  for (const Json& one : found["interactions"]) {
    out.interactions.push_back(
        {one["stratification"].get<std::string>(), one["significant"].get<bool>()});
  }
  return out;
}

}  // namespace tierod::internal
