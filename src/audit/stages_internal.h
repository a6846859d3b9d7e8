#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "audit/setting_internal.h"
#include "tierod/export.h"
#include "tierod/vla/cot.h"

// The stages of an audit. Each returns a part of the evidence record as JSON, and depends on the
// protocol, the model, the scenes and earlier parts alone, so that a stage whose part is kept need
// not run again.
namespace tierod::internal {

/// Try the model itself: does it do what it declares, and are the known nulls null?
Json self_tests(Setting& setting);

/// Hold what B chose for one concept.
struct Chosen {
  std::size_t candidate = 0;
  int sign = 0;  ///< of the larger effect on B
};
/// Choose sites on B: the candidate along which the concept moves control most.
Json choose(Setting& setting, const audit::ConceptPlan& plan);
Chosen chosen_from(const Json& json);

/// Ask of a candidate set of sites whether anything goes past it, and whether what surely drives
/// control is heard there.
Json check_sites(Setting& setting, std::size_t candidate);

/// Ask A whether a concept can be read at the candidates.
Json encoding(Setting& setting, const audit::ConceptPlan& plan);

/// Drive split C with and without the concept: all axes of one concept.
/// @param sites  of `check_sites`, for the chosen candidate
Json test_concept(Setting& setting, const audit::ConceptPlan& plan, const Chosen& chosen,
                  const Json& sites, std::size_t shams);

/// Erase the concept at all head inputs together.
Json joint_erasure(Setting& setting, const audit::ConceptPlan& plan);

/// Tell where a twin's effect reaches the head: head inputs x spans.
Json localise(Setting& setting, const audit::ConceptPlan& plan);

/// Ask whether words or control change with the framing of the prompt.
Json framing_test(Setting& setting);

/// Compare each stated decision with what the model then does.
Json say_do(Setting& setting);

/// Show scenes of a concept: words, trajectories of base, edit and twin.
Json examples(Setting& setting, const audit::ConceptPlan& plan, const Chosen& chosen);

/// Hold what two parsers read in the words of a run.
struct ParsedRows {
  std::vector<vla::ParsedCot> first, second;
};
ParsedRows parse_words(const Setting& setting, const std::vector<std::string>& texts);

/// Return the axis of a mean over scenes, on - off: concept-balanced, with the refits' share of the
/// error where there are refits. Scenes of one class alone give that class's mean.
/// @param refits  f64 [K, scenes], or undefined
TIEROD_API stats::Interval scene_interval(const at::Tensor& values, const at::Tensor& refits,
                                          std::span<const std::uint8_t> labels,
                                          std::span<const std::int64_t> units,
                                          std::span<const std::uint8_t> among = {});

/// The same of the difference between two strata.
TIEROD_API stats::Interval stratum_difference(const at::Tensor& values, const at::Tensor& refits,
                                              std::span<const std::uint8_t> labels,
                                              std::span<const std::int64_t> units,
                                              std::span<const std::uint8_t> first,
                                              std::span<const std::uint8_t> second);

/// Return on - off of each scene, from edited - base.
at::Tensor on_minus_off(const at::Tensor& effect, std::span<const std::uint8_t> labels);

Json numbers_json(const at::Tensor& x);

}  // namespace tierod::internal
