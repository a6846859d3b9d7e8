#include "tierod/probe/residual_direction.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/covariance_internal.h"
#include "probe/rows_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::doubles_of;
using tierod::internal::index_of;
using tierod::internal::length;

namespace {

constexpr auto* kWhere = "probe.residual_direction";
constexpr double kRowsPerColumn = 16;
constexpr double kRounding = 1e-12;

/// Sums of products of the design g = (1, c, Z, c Z) and the rows h, less a fixed shift.
struct Products {
  at::Tensor gg, gh, hh;
  void add(const Products& other, double sign = 1) {
    gg = gg.add(other.gg, sign);
    gh = gh.add(other.gh, sign);
    hh = hh.add(other.hh, sign);
  }
};

Products products_of(const at::Tensor& g, const at::Tensor& h) {
  return {.gg = at::mm(g.t(), g), .gh = at::mm(g.t(), h), .hh = at::mm(h.t(), h)};
}

// Pseudo-inverse of a positive semi-definite matrix, on the scale of its diagonal. A column whose
// diagonal is at most `floor` [m] is rounding about 0 and takes no part: brought to scale, it would
// be an arbitrary column.
at::Tensor pseudo_inverse(const at::Tensor& a, const at::Tensor& floor) {
  const at::Tensor diagonal = a.diagonal();
  const at::Tensor scale =
      at::where(diagonal.gt(floor), diagonal.clamp_min(1e-300).rsqrt(), diagonal.mul(0));
  const auto [values, vectors] = at::linalg_eigh(a.mul(at::outer(scale, scale)));
  const at::Tensor keep = values.gt(1e-10 * values.max().item<double>());
  const at::Tensor inverse = values.clamp_min(1e-300).reciprocal().mul(keep);
  return at::mm(vectors.mul(inverse), vectors.t()).mul(at::outer(scale, scale));
}

// Indicators too: sums of products of centred columns lose no digits.
at::Tensor standardised(const at::Tensor& design) {
  const at::Tensor centred = design.sub(design.mean(0));
  return centred.div(centred.square().mean(0).sqrt());
}

// g = (1, c, Z, c Z) becomes (1, c, Z - m, c (Z - m)).
at::Tensor centring(const at::Tensor& means, bool interactions) {
  const std::int64_t q = means.size(0), m = 2 + q + (interactions ? q : 0);
  at::Tensor t = at::eye(m, at::kDouble);
  for (std::int64_t j = 0; j < q; ++j) {
    const auto mean = means[j].item<double>();
    t[2 + j][0].fill_(-mean);
    if (interactions) t[2 + q + j][1].fill_(-mean);
  }
  return t;
}

ResidualFit solve(const Products& raw, const at::Tensor& shift, std::int64_t q,
                  const std::string& site, const std::string& concept_name,
                  const ResidualOptions& options) {
  const auto n = raw.gg[0][0].item<double>();
  const at::Tensor t = centring(raw.gg[0].narrow(0, 2, q).div(n), options.interactions && q > 0);
  const at::Tensor gg = at::mm(at::mm(t, raw.gg), t.t()), gh = at::mm(t, raw.gh);
  // Frisch & Waugh: first what the other columns explain of c, then c's coefficient
  const std::int64_t m = gg.size(0);
  std::vector<std::int64_t> all_but_c;
  for (std::int64_t j = 0; j < m; ++j) {
    if (j != 1) all_but_c.push_back(j);
  }
  const at::Tensor others = index_of(all_but_c);
  const at::Tensor oo = gg.index_select(0, others).index_select(1, others);
  const at::Tensor oc = gg.index_select(0, others).select(1, 1);
  // what centring leaves of a constant: the rounding of sums that were kRounding^-1 times as large
  const at::Tensor floor = raw.gg.diagonal().mul(kRounding).index_select(0, others);
  const at::Tensor inverse = pseudo_inverse(oo, floor);
  const at::Tensor explained = at::mv(inverse, oc);
  const auto cc = gg[1][1].item<double>(), ones = gg[0][1].item<double>();
  const double scatter = cc - ones * ones / n;
  const double residual = cc - at::dot(oc, explained).item<double>();
  double vif = residual > 1e-9 * scatter ? scatter / residual : HUGE_VAL;
  if (!(vif > 1 - 1e-6)) {
    throw NumericalError(cat("[", kWhere, "] the variance inflation of ", concept_name, " at ",
                             site, " came out as ", vif,
                             ", below 1: what it is adjusted for is too badly conditioned; adjust "
                             "for less, or bring nuisances to a like scale"));
  }
  vif = std::max(vif, 1.0);
  if (!(vif <= options.most_vif)) {
    throw InvalidArgument(cat("[", kWhere, "] the variance inflation of ", concept_name, " is ",
                              vif, ", more than ", options.most_vif,
                              ": what it is adjusted for says nearly the same; adjust for less, or "
                              "bring rows where they part"));
  }
  const at::Tensor oh = gh.index_select(0, others);
  const at::Tensor b = gh[1].sub(at::mv(oh.t(), explained)).div(residual);  // [d]
  const at::Tensor rest = at::mm(inverse, oh.sub(at::outer(oc, b)));        // [m - 1, d]

  const at::Tensor fitted = at::outer(gh[1], b).add(at::mm(oh.t(), rest));
  at::Tensor covariance = raw.hh.sub(fitted);
  covariance = covariance.add(covariance.t()).div(2 * n);
  const at::Tensor mean = raw.gh[0].div(n);  // less the shift
  const at::Tensor total = raw.hh.div(n).sub(at::outer(mean, mean));

  FitReport report;
  report.rows = static_cast<std::int64_t>(n);
  report.shrinkage = tierod::internal::shrink(covariance, n, options.shrinkage);
  const std::int64_t d = covariance.size(0);
  const auto [factor, info] = at::linalg_cholesky_ex(covariance);
  const auto most = factor.diagonal().max().item<double>();
  const auto least = factor.diagonal().min().item<double>();
  if (info.item<std::int64_t>() != 0 || !(least * least > 1e-13 * most * most)) {
    throw NumericalError(cat("[", kWhere, "] the residual covariance of ", report.rows, " rows x ",
                             d, " at ", site,
                             " is singular; leave the shrinkage to be estimated, or raise it"));
  }
  report.rank = d;
  report.condition = most * most / (least * least);
  const at::Tensor solved = at::cholesky_solve(b.unsqueeze(1), factor).squeeze(1);
  const auto reach = at::dot(b, solved).item<double>();
  if (!(reach > 0)) {
    throw NumericalError(cat("[", kWhere, "] ", concept_name, " has no effect at ", site,
                             " once adjusted; there is no direction"));
  }
  const at::Tensor read = solved.div(reach);
  const auto variance = at::dot(read, at::mv(total, read)).item<double>();
  // at c = 0 and the mean of Z
  const auto low = at::dot(read, rest[0].sub(mean)).item<double>();
  return {.direction = Direction(site, read, b, mean.add(shift), std::sqrt(variance), low, low + 1),
          .effect = b,
          .vif = vif,
          .report = report};
}

void check_cells(const ProbeDataset& dataset, const std::string& concept_name,
                 const std::vector<std::string>& names, const std::vector<std::size_t>& rows,
                 const std::vector<std::int64_t>& units, std::size_t least) {
  const auto labels = dataset.labels(concept_name);
  for (const std::string& name : names) {
    const std::vector<std::uint32_t> cells = dataset.cells(name);
    std::map<std::pair<std::uint32_t, int>, std::set<std::int64_t>> units_of;
    std::set<std::uint32_t> seen;
    for (const std::size_t i : rows) {
      units_of[{cells[i], labels[i]}].insert(units[i]);
      seen.insert(cells[i]);
    }
    for (const std::uint32_t cell : seen) {
      for (const int cls : {0, 1}) {
        const std::size_t count = units_of[{cell, cls}].size();
        if (count >= least) continue;
        throw InvalidArgument(cat("[", kWhere, "] expected at least ", least, " units with ",
                                  concept_name, " = ", cls, " in each cell of ", name, ", got ",
                                  count, " in cell ", cell,
                                  "; merge cells, leave it out, or bring more groups"));
      }
    }
  }
}

}  // namespace

ResidualFits residual_direction(const ProbeDataset& dataset, const std::string& site,
                                const std::string& concept_name, const ResidualOptions& options) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (options.folds == 1 || !(options.shrinkage <= 1) || !(options.most_vif >= 1)) {
    throw InvalidArgument(cat("[", kWhere, "] expected folds 0 or >= 2, shrinkage <= 1 and ",
                              "most_vif >= 1, got ", options.folds, ", ", options.shrinkage, ", ",
                              options.most_vif));
  }
  const std::vector<std::string> names =
      options.adjust_for.value_or(dataset.companions(concept_name));
  if (std::find(names.begin(), names.end(), concept_name) != names.end()) {
    throw InvalidArgument(cat("[", kWhere, "] ", concept_name, " cannot be adjusted for itself"));
  }
  const auto labels = dataset.labels(concept_name);
  const std::vector<std::string> concepts = dataset.concepts();
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    bool known = labels[i] != kMissingLabel;
    for (const std::string& name : names) {
      if (std::find(concepts.begin(), concepts.end(), name) == concepts.end()) continue;
      known = known && dataset.labels(name)[i] != kMissingLabel;
    }
    if (known) rows.push_back(i);
  }
  const std::string level = dataset.level(options.least_units);
  const std::vector<std::int64_t> units = dataset.units(level);
  check_cells(dataset, concept_name, names, rows, units, options.least_cell);

  const at::Tensor index = index_of(rows);
  const at::Tensor c =
      doubles_of(labels).index_select(0, index).unsqueeze(1);  // known labels, 0 and 1
  const at::Tensor z = standardised(dataset.design(names, rows));
  const std::int64_t q = z.size(1);
  std::vector<at::Tensor> columns{at::ones({length(rows.size()), 1}, at::kDouble), c, z};
  if (options.interactions) columns.push_back(z.mul(c));
  const at::Tensor g = at::cat(columns, 1);
  const at::Tensor all = dataset.site(site);
  const at::Tensor x = internal::checked_rows(all.index_select(0, index.to(all.device())), kWhere,
                                              cat("rows at ", site));
  const at::Tensor shift = x.mean(0);
  const at::Tensor h = x.sub(shift);

  at::Tensor positions = at::full({length(dataset.rows())}, std::nan(""), at::kDouble);
  const auto fit = [&](const Products& products) {
    return solve(products, shift, q, site, concept_name, options);
  };
  std::vector<std::uint32_t> folds;
  std::vector<ResidualFit> held_out;
  std::optional<ResidualFit> full;
  if (options.folds == 0) {
    full = fit(products_of(g, h));
    positions.index_put_({index}, full->direction.position(x));
  } else {
    folds = dataset.folds(options.folds, options.seed, level);
    std::vector<std::uint32_t> own;
    own.reserve(rows.size());
    for (const std::size_t row : rows) own.push_back(folds[row]);
    std::vector<Products> parts;
    std::vector<at::Tensor> picks;
    for (const auto& list : internal::rows_by_fold(own, options.folds, kWhere)) {
      picks.push_back(index_of(list));
      parts.push_back(
          products_of(g.index_select(0, picks.back()), h.index_select(0, picks.back())));
    }
    Products sum = parts[0];
    for (std::size_t f = 1; f < parts.size(); ++f) sum.add(parts[f]);
    full = fit(sum);
    for (std::size_t f = 0; f < parts.size(); ++f) {
      Products rest = sum;
      rest.add(parts[f], -1);
      // a column that is constant without this fold must come out so: summed anew, not as what a
      // subtraction leaves
      rest.gg = at::zeros_like(sum.gg);
      rest.gh = at::zeros_like(sum.gh);
      for (std::size_t o = 0; o < parts.size(); ++o) {
        if (o == f) continue;
        rest.gg.add_(parts[o].gg);
        rest.gh.add_(parts[o].gh);
      }
      held_out.push_back(fit(rest));
      positions.index_put_({index.index_select(0, picks[f])},
                           held_out.back().direction.position(x.index_select(0, picks[f])));
    }
  }
  ResidualFits out{.full = *std::move(full),
                   .held_out = std::move(held_out),
                   .folds = std::move(folds),
                   .positions = positions};
  std::set<std::int64_t> different;
  for (const std::size_t i : rows) different.insert(units[i]);
  const auto count = static_cast<double>(different.size());
  const auto width = static_cast<double>(x.size(1));
  if (count < kRowsPerColumn * width) {
    out.note = cat(different.size(), " independent units for ", x.size(1), " columns: fewer than ",
                   kRowsPerColumn, " a column (", kRowsPerColumn * width, "); ",
                   options.folds == 0 ? "cross-fit (folds), or reduce the columns first"
                                      : "use the cross-fitted positions, never the full direction "
                                        "on these rows");
  }
  return out;
}

}  // namespace tierod::probe
