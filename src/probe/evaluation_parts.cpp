#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/text_internal.h"
#include "probe/evaluation_internal.h"
#include "stats/check_internal.h"
#include "stats/ranked_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/stats/bootstrap.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/jackknife.h"
#include "tierod/stats/max_t.h"
#include "tierod/stats/site_max_t.h"

namespace tierod::internal {

using probe::EvaluationOptions;
using probe::EvaluationRow;
using probe::ProbeDataset;
using stats::Interval;

std::span<const double> row_of(const at::Tensor& matrix, std::size_t row) {
  const auto width = static_cast<std::size_t>(matrix.size(1));
  return {matrix.const_data_ptr<double>() + row * width, width};
}

Interval control_difference(std::span<const double> scores, std::span<const std::uint8_t> labels,
                            const std::vector<std::vector<double>>& control_scores,
                            const std::vector<std::vector<std::uint8_t>>& control_labels,
                            std::span<const std::int64_t> units,
                            const stats::RankingOptions& options) {
  const stats::Clusters clusters(units, 2, "probe.evaluate");
  const double share = 1 / real(control_scores.size());
  using stats::RankingMethod;
  RankingMethod method = options.method;
  if (method == RankingMethod::automatic) {
    method = clusters.size() < 30 ? RankingMethod::jackknife : RankingMethod::bca;
  }
  if (method == RankingMethod::influence) {
    stats::Influence d = stats::auroc_influence(scores, labels, units);
    for (std::size_t r = 0; r < control_scores.size(); ++r) {
      const stats::Influence c =
          stats::auroc_influence(control_scores[r], control_labels[r], units);
      d.estimate -= share * c.estimate;
      for (std::size_t g = 0; g < d.contributions.size(); ++g) {
        d.contributions[g] -= share * c.contributions[g];
      }
    }
    return stats::influence_interval(d, options.confidence);
  }
  const Ranked own(scores, labels);
  std::vector<Ranked> controls;
  for (std::size_t r = 0; r < control_scores.size(); ++r) {
    controls.emplace_back(control_scores[r], control_labels[r]);
  }
  const auto of_row = clusters.of_row();
  const stats::Estimator estimator = [&](std::span<const double> weights) {
    const auto weight = [&](std::size_t row) { return weights[of_row[row]]; };
    double d = own.auroc(weight);
    for (const Ranked& control : controls) d -= share * control.auroc(weight);
    return d;
  };
  if (method == RankingMethod::jackknife) {
    return stats::jackknife_interval(estimator, clusters.size(), 0, options.confidence);
  }
  stats::BootstrapOptions bootstrap{.replicates = options.replicates,
                                    .confidence = options.confidence,
                                    .seed = options.seed,
                                    .threads = options.threads,
                                    .max_undefined = options.max_undefined};
  bootstrap.method = method == RankingMethod::percentile ? stats::BootstrapMethod::percentile
                                                         : stats::BootstrapMethod::bca;
  return stats::cluster_bootstrap(estimator, clusters.size(), bootstrap).interval;
}

namespace {

/// Hold the known units of a concept.
struct Known {
  std::vector<std::size_t> rows;     // with a known label
  std::vector<std::int64_t> units;   // of these rows
  std::vector<std::uint8_t> labels;  // of these rows
  bool constant = true;              // within units
};

Known known_of(const ProbeDataset& dataset, const std::string& name,
               std::span<const std::int64_t> units) {
  Known out;
  const std::span<const std::uint8_t> labels = dataset.labels(name);
  std::map<std::int64_t, std::uint8_t> first;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == probe::kUnknownLabel) continue;
    out.rows.push_back(i);
    out.units.push_back(units[i]);
    out.labels.push_back(labels[i]);
    if (first.emplace(units[i], labels[i]).first->second != labels[i]) out.constant = false;
  }
  return out;
}

// The known rows [n, d], f64, and the cluster of each, int64.
std::pair<at::Tensor, at::Tensor> known_rows(const at::Tensor& site, const Known& known,
                                             const stats::Clusters& clusters) {
  at::Tensor index = at::empty({static_cast<std::int64_t>(known.rows.size())}, at::kLong);
  at::Tensor unit = at::empty_like(index);
  auto* i = index.mutable_data_ptr<std::int64_t>();
  auto* u = unit.mutable_data_ptr<std::int64_t>();
  for (std::size_t r = 0; r < known.rows.size(); ++r) {
    i[r] = static_cast<std::int64_t>(known.rows[r]);
    u[r] = clusters.of_row()[r];
  }
  return {site.index_select(0, index.to(site.device())).to(at::kCPU, at::kDouble), unit};
}

// The statistics of both tests are mean differences, which a few columns of huge variance would
// drown. So rows are whitened first, on columns of variance 1 and with the correlations shrunk by a
// tenth; labels play no part in it, and so permuting them stays fair. A mean difference of whitened
// rows is what ridge and discriminant analysis read.
at::Tensor whitened(const at::Tensor& rows) {
  const auto n = static_cast<double>(rows.size(0));
  const at::Tensor centred = rows.sub(rows.mean(0));
  const at::Tensor variance = centred.square().mean(0);
  const at::Tensor alive = variance.gt(rows.mean(0).square().mul(1e-24).add(1e-300));
  const at::Tensor x = centred.mul(variance.clamp_min(1e-300).rsqrt().mul(alive));
  const auto [values, vectors] = at::linalg_eigh(at::mm(x.t(), x).div(n));
  return at::mm(x, vectors).mul(values.clamp_min(0).mul(0.9).add(0.1).rsqrt());
}

// Means [G, d] of the rows of each unit, f64.
at::Tensor unit_means(const at::Tensor& site, const Known& known, const stats::Clusters& clusters) {
  const auto [raw, unit] = known_rows(site, known, clusters);
  const at::Tensor rows = whitened(raw);
  at::Tensor sums =
      at::zeros({static_cast<std::int64_t>(clusters.size()), site.size(1)}, rows.options());
  sums.index_add_(0, unit, rows);
  at::Tensor counts = at::empty({sums.size(0), 1}, rows.options());
  auto* c = counts.mutable_data_ptr<double>();
  for (std::size_t g = 0; g < clusters.size(); ++g) c[g] = real(clusters.counts()[g]);
  return sums.div_(counts);
}

// Note [Sign flips of a quadratic form]
// Where labels vary within groups there is nothing whole to permute. A group's cross-covariance
// u_g = sum over its rows of (z - mean z)(x - mean x) has expectation 0 when labels and activations
// are independent, whatever goes on within the group, and T = sum_{g != h} u_g'u_h collects what
// different groups agree on. Flipping the sign of whole groups' u_g gives its null distribution
// (the wild bootstrap of degenerate U-statistics, Dehling & Mikosch 1994). The scale sqrt(2 sum_{g
// != h} (u_g'u_h)^2) is the same under every flip and puts sites on one footing. Flipping the
// contributions to a cross-validated AUROC instead would be wrong: without signal two groups repeat
// each other's error, since each is scored by a probe that saw the other's label.
void sign_flip(const ProbeDataset& dataset, const EvaluationOptions& options, std::size_t concepts,
               std::size_t c, std::size_t sites, const Known& known,
               std::vector<EvaluationRow>& rows, std::vector<std::string>& notes) {
  const std::size_t rounds = options.permutations;
  const stats::Clusters clusters(known.units, 2, "probe.evaluate");
  const auto groups = static_cast<std::int64_t>(clusters.size());
  const CounterRandom random(options.seed, "probe.sign_flip");
  at::Tensor signs = at::empty({static_cast<std::int64_t>(rounds) + 1, groups}, at::kDouble);
  auto* sign = signs.mutable_data_ptr<double>();
  for (std::size_t b = 0; b <= rounds; ++b) {
    for (std::int64_t g = 0; g < groups; ++g) {  // the first row is the sample itself
      const bool flip = b > 0 && (random.bits(b, static_cast<std::uint32_t>(g), 0) & 1U) != 0;
      *sign++ = flip ? -1 : 1;
    }
  }
  double mean = 0;
  for (const std::uint8_t y : known.labels) mean += y / real(known.labels.size());
  at::Tensor z = at::empty({static_cast<std::int64_t>(known.rows.size()), 1}, at::kDouble);
  for (std::size_t r = 0; r < known.rows.size(); ++r) {
    z.mutable_data_ptr<double>()[r] = known.labels[r] - mean;
  }
  std::vector<double> observed(sites), permuted(rounds * sites);
  for (std::size_t s = 0; s < sites; ++s) {
    const auto [x, unit] = known_rows(dataset.site(rows[s * concepts].site), known, clusters);
    at::Tensor u = at::zeros({groups, x.size(1)}, x.options());
    u.index_add_(0, unit, whitened(x).mul_(z));
    at::Tensor kernel = at::mm(u, u.t());
    kernel.diagonal().zero_();
    const double scale = std::sqrt(2 * kernel.square().sum().item<double>());
    const at::Tensor forms = at::mm(signs, kernel).mul_(signs).sum(1);
    const auto* t = forms.const_data_ptr<double>();
    observed[s] = scale > 0 ? t[0] / scale : 0;
    for (std::size_t b = 0; b < rounds; ++b) {
      permuted[b * sites + s] = scale > 0 ? t[b + 1] / scale : 0;
    }
  }
  const stats::MaxT adjusted = stats::max_t(observed, permuted, options.alpha);
  for (std::size_t s = 0; s < sites; ++s) {
    EvaluationRow& row = rows[s * concepts + c];
    row.p = adjusted.p[s];
    row.p_max_t = adjusted.single_step[s];
    row.p_method = "sign flip";
  }
  if (!adjusted.note.empty() &&
      std::find(notes.begin(), notes.end(), adjusted.note) == notes.end()) {
    notes.push_back(adjusted.note);
  }
}

// A probe that is not linear has no fits to spare for permutations. Its held-out scores give a p
// all the same: the t of (AUROC - .5) with twice the variance (Note [The error of a cross-validated
// AUROC]) against sign flips of whole groups' contributions, the same flips at all sites.
void held_out(const EvaluationOptions& options, std::size_t concepts, std::size_t c,
              const std::vector<std::vector<std::vector<double>>>& scores, const Known& known,
              std::vector<EvaluationRow>& rows, std::vector<std::string>& notes) {
  const std::size_t sites = scores.size(), rounds = options.permutations;
  std::vector<std::vector<double>> moved(sites);
  std::vector<double> observed(sites), permuted(rounds * sites), squares(sites);
  std::size_t groups = 0;
  const auto t_of = [](double sum, double square, double g) {
    const double variance = (square - sum * sum / g) / (g - 1);
    return variance > 0 ? sum / std::sqrt(variance * g) : 0;
  };
  for (std::size_t s = 0; s < sites; ++s) {
    stats::Influence u = stats::auroc_influence(scores[s][c], known.labels, known.units);
    groups = u.contributions.size();
    double sum = 0;
    for (double& v : u.contributions) {
      v += u.estimate - 0.5;
      sum += v;
      squares[s] += v * v;
    }
    observed[s] = t_of(sum, squares[s], real(groups)) / std::sqrt(2.0);
    moved[s] = std::move(u.contributions);
  }
  const CounterRandom random(options.seed, "probe.sign_flip");
  std::vector<double> signs(groups);
  for (std::size_t b = 0; b < rounds; ++b) {
    for (std::size_t g = 0; g < groups; ++g) {
      signs[g] = (random.bits(b + 1, static_cast<std::uint32_t>(g), 0) & 1U) != 0 ? -1 : 1;
    }
    for (std::size_t s = 0; s < sites; ++s) {
      double sum = 0;
      for (std::size_t g = 0; g < groups; ++g) sum += signs[g] * moved[s][g];
      permuted[b * sites + s] = t_of(sum, squares[s], real(groups));
    }
  }
  const stats::MaxT adjusted = stats::max_t(observed, permuted, options.alpha);
  for (std::size_t s = 0; s < sites; ++s) {
    EvaluationRow& row = rows[s * concepts + c];
    row.p = adjusted.p[s];
    row.p_max_t = adjusted.single_step[s];
    row.p_method = "held-out scores";
  }
  if (!adjusted.note.empty() &&
      std::find(notes.begin(), notes.end(), adjusted.note) == notes.end()) {
    notes.push_back(adjusted.note);
  }
}

}  // namespace

void add_p_values(const ProbeDataset& dataset, const EvaluationOptions& options,
                  std::span<const std::int64_t> units, const std::vector<bool>& refused,
                  const std::vector<std::vector<std::vector<double>>>& scores,
                  std::vector<EvaluationRow>& rows, std::vector<std::string>& notes) {
  if (options.permutations == 0) return;
  const std::vector<std::string> concepts = dataset.concepts();
  const std::size_t sites = rows.size() / concepts.size();
  // concepts that share their known rows go through one call, which builds one Gram matrix a site
  std::map<std::vector<std::size_t>, std::vector<std::size_t>> together;
  std::vector<Known> known;
  for (std::size_t c = 0; c < concepts.size(); ++c) {
    known.push_back(known_of(dataset, concepts[c], units));
    if (refused[c]) continue;
    if (!scores.empty()) {
      held_out(options, concepts.size(), c, scores, known[c], rows, notes);
    } else if (known[c].constant) {
      together[known[c].rows].push_back(c);
    } else {
      sign_flip(dataset, options, concepts.size(), c, sites, known[c], rows, notes);
    }
  }
  for (const auto& [known_rows, members] : together) {
    const Known& first = known[members[0]];
    const stats::Clusters clusters(first.units, 2, "probe.evaluate");
    std::vector<std::uint8_t> labels(clusters.size() * members.size());
    for (std::size_t m = 0; m < members.size(); ++m) {
      for (std::size_t r = 0; r < known_rows.size(); ++r) {
        labels[clusters.of_row()[r] * members.size() + m] = known[members[m]].labels[r];
      }
    }
    std::vector<std::int64_t> strata;
    if (!dataset.strata().empty()) {
      strata.resize(clusters.size());
      for (std::size_t r = 0; r < known_rows.size(); ++r) {
        strata[clusters.of_row()[r]] = dataset.strata()[known_rows[r]];
      }
    }
    std::vector<at::Tensor> means;
    for (std::size_t s = 0; s < sites; ++s) {
      means.push_back(unit_means(dataset.site(rows[s * concepts.size()].site), first, clusters));
    }
    stats::SiteMaxT map;
    try {
      map = stats::site_max_t(means, labels, strata,
                              {.permutations = options.permutations,
                               .folds = options.folds,
                               .seed = options.seed,
                               .alpha = options.alpha});
    } catch (const Error& error) {  // no permutation to be had: told, and the p stays NaN
      notes.push_back(cat("no permutation p: ", error.message()));
      continue;
    }
    for (std::size_t s = 0; s < sites; ++s) {
      for (std::size_t m = 0; m < members.size(); ++m) {
        EvaluationRow& row = rows[s * concepts.size() + members[m]];
        row.p = map.p[s * members.size() + m];
        row.p_max_t = map.single_step[s * members.size() + m];
        row.p_method = "permutation";
      }
    }
    if (!map.note.empty() && std::find(notes.begin(), notes.end(), map.note) == notes.end()) {
      notes.push_back(map.note);
    }
  }
}

}  // namespace tierod::internal
