#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/core/site.h"
#include "tierod/export.h"

namespace tierod {

/// Name the part of a rollout in which a site fires. The same layer runs once in prefill, once in
/// every decode step and, in an action expert, once in every denoise step.
enum class Phase : std::uint8_t { none, vision, prefill, decode, denoise, head };

/// Return "none", "vision", "prefill", "decode", "denoise" or "head".
TIEROD_API const char* phase_name(Phase phase) noexcept;

/// Parse what `phase_name` prints; the empty text is `none`.
/// @throws InvalidArgument on any other text.
TIEROD_API Phase phase_from_name(std::string_view name);

/// Address one firing of a site.
struct TIEROD_API Event {
  Site site;
  Phase phase = Phase::none;
  /// Count of the phase's steps from 0 (decode token, denoise step), -1 outside of any.
  std::int64_t step = -1;
  /// Name a parallel pass of the same phase, such as "guided" and "unguided"; empty: the only one.
  std::string branch{};
  /// Count firings with the same (site, phase, step, branch) from 0 within a session.
  std::int64_t call = 0;

  bool operator==(const Event&) const = default;
  /// Return for example `layers.3.resid_post[decode step 2 call 0]`.
  std::string text() const;
};

}  // namespace tierod
