#include "tierod/stats/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "stats/check_internal.h"
#include "stats/parallel_internal.h"
#include "stats/sample_internal.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/distributions.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_finite;
using tierod::internal::check_fraction;
using tierod::internal::check_same_length;
using tierod::internal::for_ranges;
using tierod::internal::kInfinity;
using tierod::internal::kNaN;
using tierod::internal::mean_of;
using tierod::internal::real;
using tierod::internal::sorted_quantile;
using tierod::internal::sum_of;
using tierod::internal::variance_of;

namespace {

constexpr auto* kWhere = "stats.cluster_bootstrap";
// Measured by the bench's coverage table: below it percentile and BCa intervals are too short.
constexpr std::size_t kEnoughClusters = 30;

void check_options(std::size_t clusters, const BootstrapOptions& options) {
  check_at_least(clusters, 2, kWhere, "clusters", "rows of one group are not independent evidence");
  check_fraction(options.confidence, kWhere, "confidence");
  const auto least = static_cast<std::size_t>(std::ceil(2 / (1 - options.confidence) - 1e-9));
  check_at_least(options.replicates, least, kWhere, "replicates",
                 "fewer do not reach into the tails of this confidence");
  check_at_least(options.batch, 1, kWhere, "replicates a batch", "leave it at its default");
  check_at_least(options.threads, 1, kWhere, "threads", "leave it at its default");
  if (!(options.max_undefined >= 0 && options.max_undefined < 1)) {
    throw InvalidArgument(
        cat("[", kWhere, "] expected max_undefined inside [0, 1), got ", options.max_undefined));
  }
}

double estimate_of_sample(double value) {
  if (!std::isfinite(value)) {
    throw NumericalError(cat("[", kWhere, "] the estimate of the sample itself is ", value,
                             "; the estimator must be defined where every cluster counts once"));
  }
  return value;
}

// Drop what is undefined, or refuse.
std::vector<double> defined(const std::vector<double>& values, const BootstrapOptions& options,
                            std::size_t* undefined) {
  std::vector<double> kept;
  kept.reserve(values.size());
  for (const double v : values) {
    if (std::isfinite(v)) kept.push_back(v);
  }
  *undefined = values.size() - kept.size();
  if (real(*undefined) > options.max_undefined * real(values.size()) || kept.size() < 2) {
    throw NumericalError(cat("[", kWhere, "] ", *undefined, " of ", values.size(),
                             " replicates are undefined; use more clusters, or allow a share of "
                             "them with max_undefined"));
  }
  return kept;
}

std::pair<double, double> percentiles(std::span<const double> sorted, double low, double high) {
  return {sorted_quantile(sorted, low), sorted_quantile(sorted, high)};
}

// Efron 1987: z0 from the share of replicates below the estimate (ties count half), a from the
// skewness of the delete-one estimates.
std::pair<double, double> bca_percentiles(const BatchEstimator& estimator, std::size_t clusters,
                                          const BootstrapOptions& options, BootstrapResult* out) {
  // Ties up to rounding: a ratio that is the same in every cluster comes out of sums of different
  // clusters with different last digits.
  const double estimate = out->interval.estimate, tie = 1e-13 * std::abs(estimate);
  double below = 0;
  for (const double v : out->replicates) {
    below += v < estimate - tie ? 1.0 : (v <= estimate + tie ? 0.5 : 0.0);
  }
  const double share = below / real(out->replicates.size());
  if (!(share > 0 && share < 1)) {
    throw NumericalError(cat("[", kWhere,
                             "] every replicate lies on one side of the estimate, for which BCa "
                             "has no interval; use the percentile method and look at the bias"));
  }
  out->bias_correction = normal_quantile(share);

  std::vector<double> leave_one_out(clusters);
  for_ranges(clusters, options.batch, options.threads, [&](std::size_t begin, std::size_t end) {
    std::vector<double> weights((end - begin) * clusters, 1.0);
    for (std::size_t g = begin; g < end; ++g) weights[(g - begin) * clusters + g] = 0;
    estimator(weights, std::span(leave_one_out).subspan(begin, end - begin));
  });
  for (std::size_t g = 0; g < clusters; ++g) {
    if (!std::isfinite(leave_one_out[g])) {
      throw NumericalError(
          cat("[", kWhere, "] BCa needs the estimate without each cluster, and it ", "is ",
              leave_one_out[g], " without cluster ", g, "; use the percentile method"));
    }
  }
  const double mean = mean_of(leave_one_out);
  double squares = 0, cubes = 0;
  for (const double v : leave_one_out) {
    const double d = mean - v;
    squares += d * d;
    cubes += d * d * d;
  }
  out->acceleration = squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0.0;
  const auto adjusted = [&](double p) {
    const double z = out->bias_correction + normal_quantile(p);
    return normal_cdf(out->bias_correction + z / (1 - out->acceleration * z));
  };
  const double tail = (1 - options.confidence) / 2;
  return {adjusted(tail), adjusted(1 - tail)};
}

void finish(const BootstrapOptions& options, std::size_t clusters, BootstrapResult* out) {
  out->interval.standard_error = std::sqrt(variance_of(out->replicates));
  out->interval.df = kInfinity;
  out->interval.confidence = options.confidence;
  out->interval.clusters = clusters;
  out->interval.method = bootstrap_method_name(options.method);
  if (clusters < kEnoughClusters && options.method != BootstrapMethod::studentised) {
    out->note = cat("with ", clusters, " clusters (fewer than about ", kEnoughClusters,
                    ") this interval covers less than it says; use a t interval on cluster means "
                    "or a jackknife interval");
  }
}

std::vector<double> run_replicates(const BatchEstimator& estimator, std::size_t clusters,
                                   const BootstrapOptions& options) {
  std::vector<double> out(options.replicates);
  for_ranges(options.replicates, options.batch, options.threads,
             [&](std::size_t begin, std::size_t end) {
               std::vector<double> weights((end - begin) * clusters);
               for (std::size_t r = begin; r < end; ++r) {
                 bootstrap_weights(options.seed, r,
                                   std::span(weights).subspan((r - begin) * clusters, clusters));
               }
               estimator(weights, std::span(out).subspan(begin, end - begin));
             });
  return out;
}

}  // namespace

const char* bootstrap_method_name(BootstrapMethod method) noexcept {
  switch (method) {
    case BootstrapMethod::percentile:
      return "percentile";
    case BootstrapMethod::bca:
      return "bca";
    case BootstrapMethod::studentised:
      return "studentised";
  }
  return "";
}

BootstrapResult cluster_bootstrap(const BatchEstimator& estimator, std::size_t clusters,
                                  const BootstrapOptions& options) {
  check_options(clusters, options);
  if (options.method == BootstrapMethod::studentised) {
    throw InvalidArgument(
        cat("[", kWhere,
            "] the studentised method needs an estimator that also returns its standard error"));
  }
  BootstrapResult out;
  const std::vector<double> ones(clusters, 1.0);
  double estimate = kNaN;
  estimator(ones, std::span(&estimate, 1));
  out.interval.estimate = estimate_of_sample(estimate);
  out.replicates = defined(run_replicates(estimator, clusters, options), options, &out.undefined);
  const double tail = (1 - options.confidence) / 2;
  auto [low, high] = std::pair(tail, 1 - tail);
  if (options.method == BootstrapMethod::bca) {
    std::tie(low, high) = bca_percentiles(estimator, clusters, options, &out);
  }
  std::vector<double> sorted = out.replicates;
  std::sort(sorted.begin(), sorted.end());
  std::tie(out.interval.low, out.interval.high) = percentiles(sorted, low, high);
  finish(options, clusters, &out);
  return out;
}

BootstrapResult cluster_bootstrap(const Estimator& estimator, std::size_t clusters,
                                  const BootstrapOptions& options) {
  return cluster_bootstrap(one_by_one(estimator), clusters, options);
}

BootstrapResult cluster_bootstrap(const StudentisedEstimator& estimator, std::size_t clusters,
                                  const BootstrapOptions& options) {
  check_options(clusters, options);
  if (options.method != BootstrapMethod::studentised) {
    throw InvalidArgument(cat("[", kWhere, "] the estimator returns standard errors, which the ",
                              bootstrap_method_name(options.method),
                              " method does not use; choose studentised"));
  }
  const Estimate sample = estimator(std::vector<double>(clusters, 1.0));
  BootstrapResult out;
  out.interval.estimate = estimate_of_sample(sample.value);
  if (!(sample.standard_error > 0) || !std::isfinite(sample.standard_error)) {
    throw NumericalError(cat("[", kWhere, "] expected a standard error > 0 for the sample, got ",
                             sample.standard_error));
  }
  const BatchEstimator pivot = one_by_one([&](std::span<const double> weights) {
    const Estimate e = estimator(weights);
    // a replicate without spread has no t value: undefined, as one without an estimate
    return e.standard_error > 0 ? (e.value - sample.value) / e.standard_error : kNaN;
  });
  out.replicates = defined(run_replicates(pivot, clusters, options), options, &out.undefined);
  std::vector<double> pivots = out.replicates;
  std::sort(pivots.begin(), pivots.end());
  const double tail = (1 - options.confidence) / 2;
  const auto [low, high] = percentiles(pivots, tail, 1 - tail);
  out.interval.low = sample.value - high * sample.standard_error;
  out.interval.high = sample.value - low * sample.standard_error;
  finish(options, clusters, &out);
  out.interval.standard_error = sample.standard_error;
  return out;
}

BootstrapResult ratio_of_sums(std::span<const double> numerator,
                              std::span<const double> denominator,
                              std::span<const std::int64_t> groups,
                              const BootstrapOptions& options) {
  constexpr auto* where = "stats.ratio_of_sums";
  check_same_length(denominator.size(), numerator.size(), where, "denominators", "numerators");
  check_same_length(groups.size(), numerator.size(), where, "groups", "numerators");
  check_finite(numerator, where, "numerators");
  check_finite(denominator, where, "denominators");
  const Clusters clusters(groups, 2, where);
  const std::vector<double> top = clusters.sums(numerator);
  const std::vector<double> bottom = clusters.sums(denominator);
  if (sum_of(bottom) == 0) {
    throw NumericalError(cat("[", where, "] the denominators sum to 0; the ratio is not defined"));
  }
  const auto weighted = [](std::span<const double> weights, std::span<const double> values) {
    return std::inner_product(weights.begin(), weights.end(), values.begin(), 0.0);
  };
  const auto ratio = [&](std::span<const double> weights) {
    const double below = weighted(weights, bottom);
    return below == 0 ? kNaN : weighted(weights, top) / below;
  };
  if (options.method != BootstrapMethod::studentised) {
    return cluster_bootstrap(Estimator(ratio), clusters.size(), options);
  }
  const auto with_error = [&](std::span<const double> weights) {
    const double value = ratio(weights);
    // delta method: residuals a_g - r b_g of the clusters, over the sum of the denominators
    double squares = 0;
    for (std::size_t g = 0; g < weights.size(); ++g) {
      const double residual = top[g] - value * bottom[g];
      squares += weights[g] * residual * residual;
    }
    const double count = real(weights.size());
    const double error = std::sqrt(squares * count / (count - 1));
    return Estimate{.value = value, .standard_error = error / std::abs(weighted(weights, bottom))};
  };
  return cluster_bootstrap(StudentisedEstimator(with_error), clusters.size(), options);
}

}  // namespace tierod::stats
