#include <cmath>

#include "probe/evaluation_row_internal.h"
#include "probe/evaluation_table_internal.h"
#include "stats/check_internal.h"
#include "tierod/stats/multiplicity.h"

namespace tierod::internal {

stats::RankingOptions ranking_of(const probe::EvaluationOptions& options) {
  return {.method = options.interval,
          .confidence = options.confidence,
          .replicates = options.replicates,
          .seed = options.seed,
          .max_undefined = 0.05,
          .threads = options.threads};
}

std::vector<double> q_of(std::span<const double> p) {
  std::vector<double> finite;
  for (const double value : p) {
    if (std::isfinite(value)) finite.push_back(value);
  }
  std::vector<double> out(p.size(), kNaN);
  if (finite.empty()) return out;
  const std::vector<double> q = stats::benjamini_hochberg(finite);
  std::size_t next = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (std::isfinite(p[i])) out[i] = q[next++];
  }
  return out;
}

void summarise(probe::Evaluation& evaluation, const std::vector<bool>& refused) {
  const std::size_t count = evaluation.concepts.size();
  std::vector<double> p;
  p.reserve(count);
  for (std::size_t c = 0; c < count; ++c) {
    const Column column =
        refused[c] ? Column{} : column_of(evaluation.rows, count, c, &probe::EvaluationRow::auroc);
    p.push_back(column.p_max_t);
    evaluation.summary.push_back(
        {.concept_name = evaluation.concepts[c],
         .best_site = column.best_site,
         .best_auroc = column.best,
         .p_max_t = column.p_max_t,
         .encoded_sites = column.encoded_sites,
         .upper = column.upper,
         .not_encoded = column.upper <= evaluation.options.margin && evaluation.complete});
  }
  const std::vector<double> q = q_of(p);
  for (std::size_t c = 0; c < count; ++c) evaluation.summary[c].q = q[c];
}

}  // namespace tierod::internal
