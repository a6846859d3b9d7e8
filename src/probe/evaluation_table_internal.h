#pragma once

// What the tables of concepts and of targets have in common.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/text_internal.h"
#include "tierod/core/progress.h"
#include "tierod/export.h"
#include "tierod/probe/dataset.h"
#include "tierod/probe/evaluation.h"
#include "tierod/stats/ranking.h"

namespace tierod::internal {

/// Return how the intervals of a table are made.
stats::RankingOptions ranking_of(const probe::EvaluationOptions& options);

/// Call `visit(number, site)` for every site of the table until the progress callback says stop;
/// the table then keeps the sites that were visited.
template <typename Table, typename Visit>
void each_site(Table& table, const Progress& progress, const Visit& visit) {
  const auto total = static_cast<std::int64_t>(table.sites.size());
  for (std::size_t s = 0; s < table.sites.size(); ++s) {
    if (progress && !progress(static_cast<std::int64_t>(s), total, "sites")) {
      table.complete = false;
      table.notes.push_back(cat("stopped after ", s, " of ", total, " sites"));
      table.sites.resize(s);
      return;
    }
    visit(s, table.sites[s]);
  }
  if (progress) progress(total, total, "sites");
}

/// Return the rows of the site under random initialisation; where it is lacking, `cells` say so.
template <typename Row>
std::optional<at::Tensor> untrained_site(const probe::ProbeDataset* random_init,
                                         const std::string& site, std::span<Row> cells) {
  if (random_init == nullptr) return std::nullopt;
  const std::vector<std::string> there = random_init->sites();
  if (std::find(there.begin(), there.end(), site) != there.end()) return random_init->site(site);
  for (Row& cell : cells) add_note(cell.note, "random_init lacks this site");
  return std::nullopt;
}

/// Call nothing encoded without `p_max_t <= alpha`, and say where there is no p.
template <typename Row>
void need_p(std::vector<Row>& rows, const probe::EvaluationOptions& options) {
  for (Row& row : rows) {
    if (row.encoded && std::isnan(row.p_max_t)) {
      add_note(row.note,
               cat("not called encoded: that needs p_max_t <= ", options.alpha,
                   ", and there is no p", options.permutations == 0 ? " (permutations = 0)" : ""));
    }
    if (!(row.p_max_t <= options.alpha)) row.encoded = false;
  }
}

/// What all sites say of one concept or target: NaN where no site says anything.
struct Column {
  std::string best_site;
  double best = std::numeric_limits<double>::quiet_NaN();
  double p_max_t = std::numeric_limits<double>::quiet_NaN();  ///< least
  double upper = std::numeric_limits<double>::quiet_NaN();    ///< largest; NaN if one site has none
  std::size_t encoded_sites = 0;
};

/// @param rows   [sites x columns]
/// @param score  the interval of a row that "best" goes by
template <typename Row>
Column column_of(const std::vector<Row>& rows, std::size_t columns, std::size_t number,
                 stats::Interval Row::* score) {
  Column out;
  bool bounded = true;
  for (std::size_t i = number; i < rows.size(); i += columns) {
    const Row& row = rows[i];
    const double estimate = (row.*score).estimate;
    if (!std::isnan(estimate) && !(estimate <= out.best)) {
      out.best = estimate;
      out.best_site = row.site;
    }
    if (!(row.p_max_t >= out.p_max_t)) out.p_max_t = row.p_max_t;
    if (!(row.upper <= out.upper)) out.upper = row.upper;
    bounded = bounded && !std::isnan(row.upper);
    out.encoded_sites += row.encoded ? 1 : 0;
  }
  if (!bounded) out.upper = std::numeric_limits<double>::quiet_NaN();
  return out;
}

/// Return q values (Benjamini & Hochberg 1995) of the finite ones among p values, else NaN.
TIEROD_API std::vector<double> q_of(std::span<const double> p);

}  // namespace tierod::internal
