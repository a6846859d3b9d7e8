// Can a concept be read at the candidate sites? Scored on A by probes that have not seen the
// scenes, against what nuisances and the other concepts tell.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "tierod/probe/evaluation.h"
#include "tierod/probe/linear_probe.h"
#include "tierod/probe/mlp_fitter.h"

namespace tierod::internal {

namespace {

constexpr std::int64_t kScenes = 2000;  // of A that are scored

Json rate(const stats::Interval& interval) {
  if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) return Json();
  return rate_json(interval, 0);
}

}  // namespace

Json encoding(Setting& setting, const audit::ConceptPlan& plan) {
  setting.say(cat(plan.id, ": can it be read?"));
  const at::NoGradGuard no_grad;
  Json out = Json::object();
  double upper = -1, nonlinear_upper = -1;
  bool nonlinear = false, all_linear = true;
  for (std::size_t i = 0; i < setting.protocol.candidates.size(); ++i) {
    const FittedSites& fitted = setting.fitted(i);
    const auto rows = std::min<std::int64_t>(kScenes, length(fitted.data.rows()));
    std::vector<std::int64_t> some(static_cast<std::size_t>(rows));
    for (std::int64_t k = 0; k < rows; ++k) some[static_cast<std::size_t>(k)] = k;
    const std::vector<std::int64_t> scenes(fitted.data.groups().begin(),
                                           fitted.data.groups().begin() + rows);
    std::vector<std::string> nuisances;
    for (const vla::SceneNuisance& one : setting.world.nuisances()) nuisances.push_back(one.name);
    // one concept is asked about; what occurs with it is what a probe might read in its place
    const probe::ProbeDataset all = setting.world.dataset(scenes, nuisances);
    probe::ProbeDataset data{std::vector<std::int64_t>(scenes)};
    data.add_level("unit", setting.world.units(scenes));
    const std::span<const std::uint8_t> labels = all.labels(plan.id);
    data.add_concept(plan.id, {labels.begin(), labels.end()});
    for (const probe::Nuisance& nuisance : all.nuisances()) {
      data.add_nuisance(nuisance.name, nuisance.values, nuisance.kind);
    }
    for (const std::string& name : setting.adjusted_for(all, plan.id)) {
      if (!setting.world.has(name)) continue;
      std::vector<double> values;
      for (const std::uint8_t label : all.labels(name)) values.push_back(label);
      data.add_nuisance(name, std::move(values));
    }
    const at::Tensor index = index_of(some);
    for (const patch::EditSite& site : fitted.sites) {
      data.add_site(site.site, fitted.data.site(site.site).index_select(0, index));
    }
    probe::EvaluationOptions options{.interval = stats::RankingMethod::influence,
                                     .control_draws = 3,
                                     .memorisation = false,
                                     .concepts_as_nuisances = false,
                                     .margin = setting.protocol.margin,
                                     .alpha = setting.protocol.alpha,
                                     .seed = setting.protocol.seed};
    const probe::Evaluation linear =
        probe::evaluate(data, probe::RidgeFitter({1, 100, 10000}), options);
    for (const probe::EvaluationRow& row : linear.rows) {
      if (!out.contains("auroc") || row.auroc.estimate > out["auroc"]["estimate"].get<double>()) {
        out["site"] = row.site;
        out["auroc"] = rate(row.auroc);
        out["above_control"] = rate(row.above_control);
        out["above_nuisance"] = rate(row.above_nuisance);
        out["nuisance_auroc"] = row.nuisance_auroc;
        out["p_max_t"] = row.p_max_t;
        out["n_rows"] = row.rows;
        out["n_clusters"] = row.units;
        out["note"] = row.note;
      }
    }
    upper = std::max(upper, linear.summary.front().upper);
    all_linear = all_linear && linear.summary.front().encoded_sites == 0;
    // only where a linear probe reads nothing does it matter what another one reads
    if (linear.summary.front().not_encoded) {
      const probe::Evaluation mlp = probe::evaluate(data, probe::MlpFitter(), options);
      nonlinear_upper = std::max(nonlinear_upper, mlp.summary.front().upper);
      nonlinear = nonlinear || mlp.summary.front().encoded_sites > 0;
    } else {
      nonlinear_upper = std::max(nonlinear_upper, 1.0);
    }
  }
  out["upper"] = upper;
  out["nonlinear_upper"] = nonlinear_upper < 1 ? Json(nonlinear_upper) : Json();
  out["nonlinear_encoded"] = nonlinear;
  out["learned"] = Json();  // needs the same network with random weights
  return out;
}

}  // namespace tierod::internal
