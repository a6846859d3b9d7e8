#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "probe/concept_plan_internal.h"
#include "probe/nested_internal.h"
#include "tierod/stats/ranking.h"

namespace tierod::internal {

/// Hold the nested scores of concepts that share rows, with where their tracks stand.
struct SiteScores {
  NestedScores nested, memorised;
  std::vector<std::size_t> members;                       // concepts
  std::vector<std::size_t> first_control;                 // track of the first type control
  std::vector<std::optional<std::size_t>> group_control;  // track, if there is one
};

/// Return the row of a cell that nothing is known of yet: all NaN, with the plan's notes.
probe::EvaluationRow empty_row(const ConceptPlan& plan, const std::string& site);

/// Fill a row with everything but its p.
/// @param m          which of the concepts of `found`
/// @param untrained  of the same concepts under random initialisation, or null
void fill_row(probe::EvaluationRow& row, const ConceptPlan& plan, const SiteScores& found,
              std::size_t m, const SiteScores* untrained, const stats::RankingOptions& ranking,
              const probe::EvaluationOptions& options);

/// Sum up what all sites say of each concept.
void summarise(probe::Evaluation& evaluation, const std::vector<bool>& refused);

}  // namespace tierod::internal
