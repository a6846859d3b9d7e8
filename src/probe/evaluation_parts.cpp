#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
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

std::size_t rarest_units(std::span<const std::uint8_t> labels,
                         std::span<const std::int64_t> units) {
  std::set<std::int64_t> of[2];
  for (std::size_t i = 0; i < labels.size(); ++i) of[labels[i]].insert(units[i]);
  return std::min(of[0].size(), of[1].size());
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
  controls.reserve(control_scores.size());
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
  std::vector<std::int64_t> strata;  // of these rows, 0, 1, ...; all 0 where there are none
  std::size_t stratum_count = 1;
  std::size_t mixed_units = 0;  // whose rows differ in label
};

Known known_of(const ProbeDataset& dataset, const std::string& name,
               std::span<const std::int64_t> units) {
  Known out;
  const std::span<const std::uint8_t> labels = dataset.labels(name);
  std::map<std::int64_t, std::uint8_t> first;
  std::set<std::int64_t> mixed;
  std::map<std::int64_t, std::int64_t> number;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == probe::kUnknownLabel) continue;
    out.rows.push_back(i);
    out.units.push_back(units[i]);
    out.labels.push_back(labels[i]);
    if (first.emplace(units[i], labels[i]).first->second != labels[i]) mixed.insert(units[i]);
    out.strata.push_back(dataset.strata().empty() ? 0 : dataset.strata()[i]);
    number.emplace(out.strata.back(), 0);
  }
  out.stratum_count = std::max<std::size_t>(number.size(), 1);
  std::int64_t next = 0;
  for (auto& [stratum, at] : number) at = next++;
  for (std::int64_t& stratum : out.strata) stratum = number[stratum];
  out.mixed_units = mixed.size();
  return out;
}

void note_once(std::vector<std::string>& notes, const std::string& note) {
  if (!note.empty() && std::find(notes.begin(), notes.end(), note) == notes.end()) {
    notes.push_back(note);
  }
}

/// Hold the p values of an evaluation as they are filled in.
struct Sink {
  std::vector<EvaluationRow>& rows;  // [sites x concepts]
  std::vector<std::string>& notes;
  std::size_t sites, concepts;

  EvaluationRow& at(std::size_t site, std::size_t c) const { return rows[site * concepts + c]; }
  void add(std::size_t c, const std::string& note) const {
    for (std::size_t s = 0; s < sites; ++s) {
      std::string& to = at(s, c).note;
      to += cat(to.empty() ? "" : "; ", note);
    }
  }
  void fill(std::size_t c, const stats::MaxT& adjusted, const char* method) const {
    for (std::size_t s = 0; s < sites; ++s) {
      EvaluationRow& row = at(s, c);
      row.p = adjusted.p[s];
      row.p_max_t = adjusted.single_step[s];
      row.p_method = method;
    }
    note_once(notes, adjusted.note);
  }
};

at::Tensor integers(std::span<const std::int64_t> values) {
  at::Tensor out = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<std::int64_t>());
  return out;
}

/// The rows of a concept's known labels, by unit and by stratum.
struct Places {
  Places(const Known& known, const stats::Clusters& clusters)
      : unit(at::empty({static_cast<std::int64_t>(known.rows.size())}, at::kLong)),
        stratum(integers(known.strata)),
        stratum_rows(at::zeros({static_cast<std::int64_t>(known.stratum_count), 1}, at::kDouble)) {
    auto* u = unit.mutable_data_ptr<std::int64_t>();
    for (const std::uint32_t cluster : clusters.of_row()) *u++ = cluster;
    auto* n = stratum_rows.mutable_data_ptr<double>();
    for (const std::int64_t s : known.strata) n[s] += 1;
  }
  // `values` [n, d] less the means of their strata
  at::Tensor centred(const at::Tensor& values) const {
    at::Tensor sums = at::zeros({stratum_rows.size(0), values.size(1)}, values.options());
    sums.index_add_(0, stratum, values);
    return values.sub(sums.div_(stratum_rows).index_select(0, stratum));
  }
  at::Tensor unit;          // int64 [n]
  at::Tensor stratum;       // int64 [n]
  at::Tensor stratum_rows;  // f64 [S, 1]
};

// The known rows [n, d], f64.
at::Tensor known_rows(const at::Tensor& site, const Known& known) {
  at::Tensor index = at::empty({static_cast<std::int64_t>(known.rows.size())}, at::kLong);
  auto* i = index.mutable_data_ptr<std::int64_t>();
  for (const std::size_t row : known.rows) *i++ = static_cast<std::int64_t>(row);
  return site.index_select(0, index.to(site.device())).to(at::kCPU, at::kDouble);
}

// The statistics of both tests are mean differences, which a few columns of huge variance would
// drown. So rows are whitened first, on columns of variance 1 and with the correlations shrunk by a
// tenth; labels play no part in it, and so permuting them stays fair. A mean difference of whitened
// rows is what ridge and discriminant analysis read. Both are taken within strata, whose
// differences neither test may use.
at::Tensor whitened(const at::Tensor& rows, const Places& places) {
  const auto n = static_cast<double>(rows.size(0));
  const at::Tensor centred = places.centred(rows);
  const at::Tensor variance = centred.square().mean(0);
  const at::Tensor alive = variance.gt(rows.square().mean(0).mul(1e-24).add(1e-300));
  const at::Tensor x = centred.mul(variance.clamp_min(1e-300).rsqrt().mul(alive));
  const auto [values, vectors] = at::linalg_eigh(at::mm(x.t(), x).div(n));
  return at::mm(x, vectors).mul(values.clamp_min(0).mul(0.9).add(0.1).rsqrt());
}

// Means [G, d] of the rows of each unit, f64.
at::Tensor unit_means(const at::Tensor& site, const Known& known, const Places& places,
                      const stats::Clusters& clusters) {
  const at::Tensor rows = whitened(known_rows(site, known), places);
  at::Tensor sums =
      at::zeros({static_cast<std::int64_t>(clusters.size()), site.size(1)}, rows.options());
  sums.index_add_(0, places.unit, rows);
  at::Tensor counts = at::empty({sums.size(0), 1}, rows.options());
  auto* c = counts.mutable_data_ptr<double>();
  for (std::size_t g = 0; g < clusters.size(); ++g) c[g] = real(clusters.counts()[g]);
  return sums.div_(counts);
}

// Note [Sign flips of a quadratic form]
// Where labels vary within groups there is nothing whole to permute. A group's cross-covariance
// u_g = sum over its rows of (z - mean z)(x - mean x), with the means of its stratum, has
// expectation 0 when labels and activations are independent within strata, whatever goes on within
// the group, and T = sum_{g != h} u_g'u_h collects what different groups agree on. With the means
// of all rows u_g would have the sign of what strata differ in, in each group alike. Flipping the
// signs of whole groups gives the null distribution of T (the wild bootstrap of degenerate
// U-statistics, Dehling & Mikosch 1994).
//
// The means are of the same rows, which ties groups of a stratum to each other: E T is not 0 but of
// the order of trace(cov x) var z. So what is flipped is the centred label, and it is centred
// again: u*_g = s_g u_g - m X_g, with X_g the sum of the group's centred rows and m the mean in the
// stratum of the flipped labels. The sum of the u*_g is still sum_g s_g u_g, as X sums to 0.
//
// The scale sqrt(2 sum_{g != h} (u_g'u_h)^2) is the same under every flip and puts sites on one
// footing. Flipping the contributions to a cross-validated AUROC instead would be wrong: without
// signal two groups repeat each other's error, since each is scored by a probe that saw the other's
// label.
void sign_flip(const ProbeDataset& dataset, const EvaluationOptions& options, std::size_t c,
               const Known& known, const Sink& sink) {
  const std::size_t rounds = options.permutations;
  const stats::Clusters clusters(known.units, 2, "probe.evaluate");
  const Places places(known, clusters);
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
  at::Tensor z = at::empty({static_cast<std::int64_t>(known.rows.size()), 1}, at::kDouble);
  std::copy(known.labels.begin(), known.labels.end(), z.mutable_data_ptr<double>());
  z = places.centred(z);
  at::Tensor of_group = at::zeros({groups, 1}, z.options());  // sums of centred labels
  of_group.index_add_(0, places.unit, z);
  at::Tensor member = at::zeros({groups, places.stratum_rows.size(0)}, z.options());
  auto* m = member.mutable_data_ptr<double>();
  for (std::size_t r = 0; r < known.rows.size(); ++r) {
    m[clusters.of_row()[r] * known.stratum_count + static_cast<std::size_t>(known.strata[r])] = 1;
  }
  // [B + 1, G] mean of the flipped labels in the group's stratum
  const at::Tensor means =
      at::mm(at::mm(signs.mul(of_group.t()), member).div_(places.stratum_rows.t()), member.t());
  std::vector<double> observed(sink.sites), permuted(rounds * sink.sites);
  for (std::size_t s = 0; s < sink.sites; ++s) {
    const at::Tensor x = whitened(known_rows(dataset.site(sink.at(s, c).site), known), places);
    at::Tensor sums = at::zeros({groups, x.size(1)}, x.options());
    sums.index_add_(0, places.unit, x);
    at::Tensor u = at::zeros_like(sums);
    u.index_add_(0, places.unit, x.mul(z));
    at::Tensor kernel = at::mm(u, u.t());
    kernel.diagonal().zero_();
    const double scale = std::sqrt(2 * kernel.square().sum().item<double>());
    at::Tensor forms = at::mm(signs, kernel).mul_(signs).sum(1);
    forms.add_(at::mv(signs.mul(means), u.mul(sums).sum(1)), 2);
    forms.sub_(at::mv(means.square(), sums.square().sum(1)));
    const auto* t = forms.const_data_ptr<double>();
    observed[s] = scale > 0 ? t[0] / scale : 0;
    for (std::size_t b = 0; b < rounds; ++b) {
      permuted[b * sink.sites + s] = scale > 0 ? t[b + 1] / scale : 0;
    }
  }
  sink.fill(c, stats::max_t(observed, permuted, options.alpha), "sign flip");
  sink.add(c, cat("labels vary within ", known.mixed_units, " of ", clusters.size(),
                  " units: p by sign flips, not by permutation of whole units"));
}

// Contributions [G] to (AUROC - .5), with mean the estimate itself. Only pairs of one stratum
// count, since a pair of two strata tells what strata differ in: the AUROCs of the strata with
// weights n1 n0 / (n1 + n0) (van Elteren 1960). Empty if no stratum has both classes.
std::vector<double> above_half(std::span<const double> scores, const Known& known,
                               const stats::Clusters& clusters) {
  std::vector<double> out(clusters.size());
  double total = 0;
  for (std::size_t s = 0; s < known.stratum_count; ++s) {
    std::vector<double> own;
    std::vector<std::uint8_t> labels;
    std::vector<std::int64_t> units;
    std::set<std::uint32_t> places;
    double ones = 0;
    for (std::size_t r = 0; r < known.rows.size(); ++r) {
      if (known.strata[r] != static_cast<std::int64_t>(s)) continue;
      own.push_back(scores[r]);
      labels.push_back(known.labels[r]);
      units.push_back(known.units[r]);
      places.insert(clusters.of_row()[r]);
      ones += known.labels[r];
    }
    const double weight = ones * (real(own.size()) - ones) / real(own.size());
    if (!(weight > 0)) continue;
    total += weight;
    stats::Influence u;
    if (places.size() > 1) {
      u = stats::auroc_influence(own, labels, units);
    } else {
      u = {.estimate = stats::auroc(own, labels), .contributions = {0}};
    }
    const double share = weight * real(out.size()) / real(places.size());
    auto contribution = u.contributions.begin();
    for (const std::uint32_t g : places) out[g] = share * (*contribution++ + u.estimate - 0.5);
  }
  if (!(total > 0)) return {};
  for (double& v : out) v /= total;
  return out;
}

// A probe that is not linear has no fits to spare for permutations. Its held-out scores give a p
// all the same: the t of (AUROC - .5) with twice the variance (Note [The error of a cross-validated
// AUROC]) against sign flips of whole groups' contributions, the same flips at all sites.
void held_out(const EvaluationOptions& options, std::size_t c,
              const std::vector<std::vector<std::vector<double>>>& scores, const Known& known,
              const Sink& sink) {
  const std::size_t sites = scores.size(), rounds = options.permutations;
  const stats::Clusters clusters(known.units, 2, "probe.evaluate");
  const std::size_t groups = clusters.size();
  std::vector<std::vector<double>> moved(sites);
  std::vector<double> observed(sites), permuted(rounds * sites), squares(sites);
  const auto t_of = [](double sum, double square, double g) {
    const double variance = (square - sum * sum / g) / (g - 1);
    return variance > 0 ? sum / std::sqrt(variance * g) : 0;
  };
  for (std::size_t s = 0; s < sites; ++s) {
    moved[s] = above_half(scores[s][c], known, clusters);
    if (moved[s].empty()) {
      sink.add(c, cat("no p for ", sink.at(0, c).concept_name,
                      ": no stratum has both classes, so that it cannot be told from the strata"));
      return;
    }
    double sum = 0;
    for (const double v : moved[s]) {
      sum += v;
      squares[s] += v * v;
    }
    observed[s] = t_of(sum, squares[s], real(groups)) / kRepeatedError;
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
  sink.fill(c, stats::max_t(observed, permuted, options.alpha), "held-out scores");
}

/// Concepts that share their known rows, and the folds of the cross-fitted statistic.
struct Together {
  std::vector<std::size_t> members;
  std::size_t folds = 0;
};

// Permute whole units. Concepts of one call share one Gram matrix a site; one that cannot be
// permuted must not take the p of the others away, and is then tried alone.
void permute(const ProbeDataset& dataset, const EvaluationOptions& options, const Together& group,
             const std::vector<Known>& known, const Sink& sink) {
  const Known& first = known[group.members[0]];
  const stats::Clusters clusters(first.units, 2, "probe.evaluate");
  const Places places(first, clusters);
  const std::size_t count = group.members.size();
  std::vector<std::uint8_t> labels(clusters.size() * count);
  std::vector<std::int64_t> strata(clusters.size());
  for (std::size_t r = 0; r < first.rows.size(); ++r) {
    const std::size_t g = clusters.of_row()[r];
    strata[g] = first.strata[r];
    for (std::size_t m = 0; m < count; ++m) {
      labels[g * count + m] = known[group.members[m]].labels[r];
    }
  }
  std::vector<at::Tensor> means;
  means.reserve(sink.sites);
  for (std::size_t s = 0; s < sink.sites; ++s) {
    means.push_back(
        unit_means(dataset.site(sink.at(s, group.members[0]).site), first, places, clusters));
  }
  const auto test = [&](const std::vector<std::size_t>& members,
                        std::span<const std::uint8_t> of_units) {
    const stats::SiteMaxT map = stats::site_max_t(means, of_units, strata,
                                                  {.permutations = options.permutations,
                                                   .folds = group.folds,
                                                   .seed = options.seed,
                                                   .alpha = options.alpha});
    for (std::size_t s = 0; s < sink.sites; ++s) {
      for (std::size_t m = 0; m < members.size(); ++m) {
        EvaluationRow& row = sink.at(s, members[m]);
        row.p = map.p[s * members.size() + m];
        row.p_max_t = map.single_step[s * members.size() + m];
        row.p_method = "permutation";
      }
    }
    note_once(sink.notes, map.note);
  };
  if (count > 1) {
    try {
      return test(group.members, labels);
    } catch (const Error&) {  // of one concept: which one, and why, is told below
    }
  }
  for (std::size_t m = 0; m < count; ++m) {
    std::vector<std::uint8_t> own(clusters.size());
    for (std::size_t g = 0; g < own.size(); ++g) own[g] = labels[g * count + m];
    try {
      test({group.members[m]}, own);
    } catch (const Error& error) {
      sink.add(group.members[m],
               cat("no p for ", sink.at(0, group.members[m]).concept_name, ": ", error.message()));
    }
  }
}

}  // namespace

void add_p_values(const ProbeDataset& dataset, const EvaluationOptions& options,
                  std::span<const std::int64_t> units, const std::vector<bool>& refused,
                  const std::vector<std::vector<std::vector<double>>>& scores,
                  std::vector<EvaluationRow>& rows, std::vector<std::string>& notes) {
  if (options.permutations == 0) return;
  const std::vector<std::string> concepts = dataset.concepts();
  const Sink sink{rows, notes, rows.size() / concepts.size(), concepts.size()};
  std::map<std::pair<std::vector<std::size_t>, std::size_t>, Together> together;
  std::vector<Known> known;
  for (std::size_t c = 0; c < concepts.size(); ++c) {
    known.push_back(known_of(dataset, concepts[c], units));
    if (refused[c]) continue;
    if (!scores.empty()) {
      held_out(options, c, scores, known[c], sink);
      continue;
    }
    if (known[c].mixed_units > 0) {
      sign_flip(dataset, options, c, known[c], sink);
      continue;
    }
    // every fold of the statistic needs a unit of each class
    const std::size_t rare = rarest_units(known[c].labels, known[c].units);
    const std::size_t folds = std::min(options.folds, rare);
    if (folds < options.folds) {
      sink.add(c, cat("its rarer class lies in ", rare, " units: p with ", folds, " folds"));
    }
    Together& group = together[{known[c].rows, folds}];
    group.members.push_back(c);
    group.folds = folds;
  }
  for (const auto& [key, group] : together) permute(dataset, options, group, known, sink);
}

}  // namespace tierod::internal
