#include "tierod/stats/site_max_t.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/tensor_internal.h"
#include "stats/check_internal.h"
#include "stats/folds_internal.h"
#include "stats/permutation_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/max_t.h"
#include "tierod/stats/permutation.h"

namespace tierod::stats {

using tierod::internal::cannot_reach;
using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_fraction;
using tierod::internal::check_not_empty;
using tierod::internal::check_same_length;
using tierod::internal::checked_rows;
using tierod::internal::deal_folds;
using tierod::internal::index_of;
using tierod::internal::length;
using tierod::internal::real;

namespace {

constexpr auto* kWhere = "stats.site_max_t";

// Labels of all concepts under all permutations, and where groups stand: sorted by fold.
struct Design {
  std::size_t groups = 0, concepts = 0, permutations = 0, folds = 0;
  std::vector<std::size_t> order;       // [G] groups by fold
  std::vector<std::size_t> fold_begin;  // [folds + 1] into `order`
  std::vector<std::uint8_t> labels;     // [C, B + 1, G] in fold order; b = 0 as observed
  std::vector<std::size_t> ones;        // [C]
  double smallest_p = 0;                // of the concept that can be permuted least
};

Design make_design(std::size_t groups, std::span<const std::uint8_t> labels,
                   std::span<const std::int64_t> strata, const SiteMaxTOptions& options) {
  Design design{.groups = groups,
                .concepts = labels.size() / groups,
                .permutations = options.permutations,
                .folds = options.folds};
  const std::vector<std::size_t> fold = deal_folds(strata, groups, options.folds, options.seed);
  design.order.resize(groups);
  std::iota(design.order.begin(), design.order.end(), std::size_t{0});
  std::stable_sort(design.order.begin(), design.order.end(),
                   [&](std::size_t a, std::size_t b) { return fold[a] < fold[b]; });
  design.fold_begin.assign(options.folds + 1, 0);
  for (const std::size_t f : fold) ++design.fold_begin[f + 1];
  std::partial_sum(design.fold_begin.begin(), design.fold_begin.end(), design.fold_begin.begin());

  std::vector<std::int64_t> ids(groups);
  std::iota(ids.begin(), ids.end(), std::int64_t{0});
  std::vector<double> here(groups), permuted(groups);
  design.labels.reserve(design.concepts * (design.permutations + 1) * groups);
  const auto append = [&](const std::vector<double>& values) {
    for (const std::size_t g : design.order) {
      design.labels.push_back(static_cast<std::uint8_t>(values[g]));
    }
  };
  for (std::size_t c = 0; c < design.concepts; ++c) {
    std::size_t ones = 0;
    for (std::size_t g = 0; g < groups; ++g) {
      const std::uint8_t label = labels[g * design.concepts + c];
      if (label > 1) {
        throw InvalidArgument(cat("[", kWhere, "] expected labels 0 or 1, got ", int{label},
                                  " for group ", g, ", concept ", c,
                                  "; test a concept with missing labels on its own groups"));
      }
      here[g] = label;
      ones += label;
    }
    if (ones < options.folds || groups - ones < options.folds) {
      throw InvalidArgument(cat("[", kWhere, "] expected at least ", options.folds,
                                " groups of each class (the folds), got ", ones, " ones and ",
                                groups - ones, " zeros for concept ", c,
                                "; use fewer folds or more groups"));
    }
    design.ones.push_back(ones);
    const GroupPermutation permutation(here, ids, strata);
    design.smallest_p = std::max(design.smallest_p, permutation.smallest_p(options.permutations));
    append(here);
    for (std::size_t b = 0; b < options.permutations; ++b) {
      permutation.permute(options.seed, b, permuted);
      append(permuted);
    }
  }
  return design;
}

// K [G, G] of one site in fold order, centred, with zeros between groups of one fold.
at::Tensor between_folds(const at::Tensor& means, const Design& design) {
  const at::Tensor x = means.sub(means.mean(0)).index_select(0, index_of(design.order));
  at::Tensor gram = at::mm(x, x.t());
  for (std::size_t f = 0; f < design.folds; ++f) {
    const std::int64_t begin = length(design.fold_begin[f]);
    const std::int64_t size = length(design.fold_begin[f + 1]) - begin;
    gram.narrow(0, begin, size).narrow(1, begin, size).zero_();
  }
  return gram;
}

// The t of held-out scores between classes. `sums` [G] holds, for each group, the sum of its inner
// products with the ones of the other folds; `totals` [G] the same with all groups there.
double cross_fitted_t(const Design& design, const std::uint8_t* labels, std::size_t ones,
                      const double* sums, const double* totals) {
  double scatter = 0, of_ones = 0;
  for (std::size_t f = 0; f < design.folds; ++f) {
    const std::size_t begin = design.fold_begin[f], end = design.fold_begin[f + 1];
    const auto inside = std::accumulate(labels + begin, labels + end, std::size_t{0});
    const std::size_t training_ones = ones - inside;
    const std::size_t training_zeros = design.groups - (end - begin) - training_ones;
    // A permutation that leaves a class out of the training folds gives no direction: score 0.
    if (training_ones == 0 || training_zeros == 0) continue;
    const double a = 1 / real(training_ones) + 1 / real(training_zeros);
    const double b = 1 / real(training_zeros);
    double sum = 0, squares = 0, sum_of_ones = 0;
    for (std::size_t g = begin; g < end; ++g) {
      const double score = a * sums[g] - b * totals[g];
      sum += score;
      squares += score * score;
      sum_of_ones += labels[g] * score;
    }
    const double mean = sum / real(end - begin);
    scatter += squares - sum * mean;
    of_ones += sum_of_ones - mean * real(inside);
  }
  const double n = real(design.groups);
  const double inverse = 1 / real(ones) + 1 / (n - real(ones));
  const double within = scatter - of_ones * of_ones * inverse;
  // between = within = 0 only where no fold gave a direction
  if (!(within > 0)) return 0;
  return of_ones * inverse / std::sqrt(within / (n - 2) * inverse);
}

// T [C, B + 1] of one site.
void site_statistics(const at::Tensor& gram, const Design& design, std::size_t batch,
                     std::span<double> out) {
  const std::size_t groups = design.groups, total = out.size();
  const at::Tensor all = gram.sum(0);
  const auto* totals = all.const_data_ptr<double>();
  at::Tensor y = at::empty({length(batch), length(groups)}, gram.options());
  for (std::size_t begin = 0; begin < total; begin += batch) {
    const std::size_t size = std::min(batch, total - begin);
    const std::uint8_t* labels = design.labels.data() + begin * groups;
    std::copy_n(labels, size * groups, y.mutable_data_ptr<double>());
    const at::Tensor sums = at::mm(y, gram);
    const auto* row = sums.const_data_ptr<double>();
    for (std::size_t i = 0; i < size; ++i, row += groups, labels += groups) {
      const std::size_t ones = design.ones[(begin + i) / (design.permutations + 1)];
      out[begin + i] = cross_fitted_t(design, labels, ones, row, totals);
    }
  }
}

}  // namespace

SiteMaxT site_max_t(const std::vector<at::Tensor>& group_means,
                    std::span<const std::uint8_t> labels, std::span<const std::int64_t> strata,
                    const SiteMaxTOptions& options) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  check_not_empty(group_means.size(), kWhere, "sites");
  check_not_empty(labels.size(), kWhere, "concepts");
  check_at_least(options.folds, 2, kWhere, "folds", "scores must be held out");
  check_at_least(options.permutations, 1, kWhere, "permutations", "p would be 1");
  check_at_least(options.batch, 1, kWhere, "labels a batch", "leave it at its default");
  check_fraction(options.alpha, kWhere, "alpha");
  const at::Tensor first = checked_rows(group_means[0], kWhere, "group means of site 0");
  const auto groups = static_cast<std::size_t>(first.size(0));
  check_at_least(groups, 2 * options.folds, kWhere, "groups", "use fewer folds or more groups");
  if (labels.size() % groups != 0) {
    throw InvalidArgument(cat("[", kWhere, "] expected labels [", groups, ", concepts], got ",
                              labels.size(), " of them"));
  }
  if (!strata.empty()) check_same_length(strata.size(), groups, kWhere, "strata", "groups");

  const Design design = make_design(groups, labels, strata, options);
  const std::size_t sites = group_means.size(), rounds = options.permutations + 1;
  std::vector<double> statistics(sites * design.concepts * rounds);  // [S, C, B + 1]
  for (std::size_t s = 0; s < sites; ++s) {
    const at::Tensor means = checked_rows(group_means[s], kWhere, cat("group means of site ", s));
    check_same_length(static_cast<std::size_t>(means.size(0)), groups, kWhere,
                      cat("rows at site ", s), "groups");
    const at::Tensor gram = between_folds(means, design);
    // Where all groups are alike, but for rounding, T is 0 under every permutation.
    const auto largest = means.abs().max().item<double>();
    const double rounding = 1e-28 * static_cast<double>(means.size(1)) * largest * largest;
    if (!(gram.abs().max().item<double>() > rounding)) continue;
    site_statistics(
        gram, design, options.batch,
        std::span(statistics).subspan(s * design.concepts * rounds, design.concepts * rounds));
  }

  SiteMaxT out{.sites = sites,
               .concepts = design.concepts,
               .permutations = options.permutations,
               .smallest_p = design.smallest_p};
  for (auto* list : {&out.statistic, &out.p, &out.single_step, &out.step_down}) {
    list->resize(sites * design.concepts);
  }
  std::vector<double> observed(sites), permuted(options.permutations * sites);
  for (std::size_t c = 0; c < design.concepts; ++c) {
    for (std::size_t s = 0; s < sites; ++s) {
      const double* t = statistics.data() + (s * design.concepts + c) * rounds;
      observed[s] = t[0];
      for (std::size_t b = 0; b < options.permutations; ++b) permuted[b * sites + s] = t[b + 1];
    }
    const MaxT adjusted = max_t(observed, permuted, options.alpha);
    out.threshold.push_back(adjusted.threshold);
    for (std::size_t s = 0; s < sites; ++s) {
      const std::size_t cell = s * design.concepts + c;
      out.statistic[cell] = observed[s];
      out.p[cell] = adjusted.p[s];
      out.single_step[cell] = adjusted.single_step[s];
      out.step_down[cell] = adjusted.step_down[s];
    }
  }
  out.note = cannot_reach(out.smallest_p, options.alpha, options.permutations);
  return out;
}

}  // namespace tierod::stats
