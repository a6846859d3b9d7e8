#include "tierod/core/event.h"

#include <array>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

namespace {
constexpr std::array<const char*, 6> kPhaseNames = {"none",   "vision",  "prefill",
                                                    "decode", "denoise", "head"};
}  // namespace

const char* phase_name(Phase phase) noexcept {
  const auto index = static_cast<std::size_t>(phase);
  return index < kPhaseNames.size() ? kPhaseNames[index] : "invalid";
}

Phase phase_from_name(std::string_view name) {
  if (name.empty()) return Phase::none;
  for (std::size_t i = 0; i < kPhaseNames.size(); ++i) {
    if (name == kPhaseNames[i]) return static_cast<Phase>(i);
  }
  throw InvalidArgument(cat(
      "[core.phase_from_name] expected a phase of none, vision, prefill, decode, denoise, head, "
      "got '",
      name, "'"));
}

std::string Event::text() const {
  std::string text = site.name();
  if (phase == Phase::none && step < 0 && branch.empty() && call == 0) return text;
  text += cat("[", phase_name(phase));
  if (step >= 0) text += cat(" step ", step);
  if (!branch.empty()) text += cat(" branch ", branch);
  return text + cat(" call ", call, "]");
}

}  // namespace tierod
