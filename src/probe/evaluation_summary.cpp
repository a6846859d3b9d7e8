#include <cmath>

#include "probe/evaluation_row_internal.h"
#include "stats/check_internal.h"
#include "tierod/stats/multiplicity.h"

namespace tierod::internal {

void summarise(probe::Evaluation& evaluation, const std::vector<bool>& refused) {
  std::vector<double> p;
  std::vector<std::size_t> tested;
  for (std::size_t c = 0; c < evaluation.concepts.size(); ++c) {
    probe::ConceptSummary sum{.concept_name = evaluation.concepts[c],
                              .best_auroc = kNaN,
                              .p_max_t = kNaN,
                              .q = kNaN,
                              .upper = kNaN};
    if (!refused[c]) {
      sum.upper = -1;
      bool bounded = true;
      for (std::size_t s = 0; s < evaluation.sites.size(); ++s) {
        const probe::EvaluationRow& row = evaluation.rows[s * evaluation.concepts.size() + c];
        if (!(row.auroc.estimate <= sum.best_auroc)) {
          sum.best_auroc = row.auroc.estimate;
          sum.best_site = row.site;
        }
        if (!(row.p_max_t >= sum.p_max_t)) sum.p_max_t = row.p_max_t;
        sum.encoded_sites += row.encoded ? 1 : 0;
        // a site without a bound leaves the largest unknown
        if (row.upper > sum.upper) sum.upper = row.upper;
        bounded = bounded && !std::isnan(row.upper);
      }
      if (!bounded) sum.upper = kNaN;
      sum.not_encoded = sum.upper <= evaluation.options.margin && evaluation.complete;
      if (std::isfinite(sum.p_max_t)) {
        p.push_back(sum.p_max_t);
        tested.push_back(c);
      }
    }
    evaluation.summary.push_back(std::move(sum));
  }
  if (p.empty()) return;
  const std::vector<double> q = stats::benjamini_hochberg(p);
  for (std::size_t i = 0; i < q.size(); ++i) evaluation.summary[tested[i]].q = q[i];
}

}  // namespace tierod::internal
