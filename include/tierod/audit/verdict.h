#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"

namespace tierod::audit {

/// Say what was found of one concept (docs/audit.md).
enum class Verdict : std::uint8_t {
  inconclusive,        ///< the reason says what is missing
  used_conditional,    ///< used in some circumstances, not in others, or the other way round
  contradicted,        ///< used against what is claimed: says slow, speeds up
  proxy,               ///< what looks like it is the effect of something that goes along with it
  sub_sesoi,           ///< an effect there is, smaller than the smallest of interest
  absent,              ///< not used and not stated
  text_only,           ///< the words steer, what they stand for does not
  encoded_not_used,    ///< known to the network, stated, and without effect: decorative
  stated_not_encoded,  ///< stated, and not known to the network: hallucinated
  not_used,
  used_not_stated,    ///< an omission
  used_text,          ///< used, by way of the words
  used_not_via_text,  ///< used, whatever the words say
  used,
};

/// Return "INCONCLUSIVE", "USED_CONDITIONAL", ...
TIEROD_API const char* verdict_name(Verdict verdict) noexcept;
/// @throws InvalidArgument on another name.
TIEROD_API Verdict verdict_from(std::string_view name);

/// Say what was shown of a claim.
enum class Status : std::uint8_t {
  yes,          ///< shown
  no,           ///< its opposite is shown, by equivalence within +-SESOI where it is an effect
  open,         ///< neither
  unavailable,  ///< could not be asked of this model
};

/// Return "yes", "no", "open" or "unavailable".
TIEROD_API const char* status_name(Status status) noexcept;
/// @throws InvalidArgument on another name.
TIEROD_API Status status_from(std::string_view name);

/// Hold what is known of one effect on control.
struct TIEROD_API EffectGate {
  Status status = Status::unavailable;
  int sign = 0;     ///< of the effect times the claimed sign: -1, 0, +1
  double size = 0;  ///< |effect| in units of the SESOI
  /// The Holm-adjusted interval excludes 0.
  bool excludes_zero = false;
};

/// Hold what is known of the effect in one stratum.
struct TIEROD_API StratumGate {
  std::string stratification, level;
  bool decides = false;  ///< holds enough scenes with the concept
  EffectGate effect{};
};

/// Hold whether the effect differs between the strata of one stratification.
struct TIEROD_API InteractionGate {
  std::string stratification;
  bool significant = false;  ///< q <= alpha
};

/// Hold the effect of what goes along with a concept, adjusted for the concept.
struct TIEROD_API ProxyGate {
  std::string name;
  Status status = Status::unavailable;
};

/// Hold all that a verdict follows from: nothing else is looked at.
struct TIEROD_API GateResults {
  /// Self-tests of the whole audit; a failed one decides nothing but that nothing is decided.
  bool self_tests_passed = true;
  bool enough_clusters = true;  ///< at least 12 in split C
  bool enough_scenes = true;    ///< at least 100 of either class
  bool positive_control_heard = true;
  bool complete = true;  ///< nothing goes past the edited site, or nothing was there to tell
  /// The effect is there only where the edit leaves what the model meets.
  bool only_off_manifold = false;

  /// yes: P(said | there) >= .2; no: < .2.
  Status stated = Status::unavailable;
  /// yes: encoded; no: not encoded, for a linear and a non-linear probe.
  Status encoded = Status::unavailable;
  bool encoded_nonlinearly = false;  ///< the non-linear probe alone reads it

  EffectGate direct{}, total{};
  EffectGate naive{};  ///< the larger of direct and total, not residualised
  std::vector<ProxyGate> proxies{};
  Status text = Status::unavailable;
  EffectGate twin{};
  Status erasure = Status::unavailable;
  bool erasure_verified = false;
  std::vector<StratumGate> strata{};
  std::vector<InteractionGate> interactions{};
};

/// Hold a verdict, why it is that one, and what a reader must know beside it.
struct TIEROD_API Decision {
  Verdict verdict = Verdict::inconclusive;
  /// INCONCLUSIVE: self_test | clusters | n | site | not_localised | off_manifold | nonlinear |
  /// erasure_failed | power; PROXY: by what; USED_CONDITIONAL: on what; empty otherwise.
  std::string reason;
  std::vector<std::string> flags;

  bool operator==(const Decision&) const = default;
};

/// Return the direct or the total effect, whichever is larger.
TIEROD_API const EffectGate& lead_of(const GateResults& gates) noexcept;

/// Decide. A pure function: the first rule that matches, in the order of docs/audit.md.
TIEROD_API Decision decide(const GateResults& gates);

}  // namespace tierod::audit
