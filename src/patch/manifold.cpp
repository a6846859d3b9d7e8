#include "tierod/patch/manifold.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/covariance_internal.h"
#include "stats/check_internal.h"
#include "stats/sample_internal.h"
#include "stats/shuffle_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/influence.h"
#include "tierod/vla/kinematics.h"

namespace tierod::patch {

using internal::cat;
using internal::length;

namespace {

constexpr auto* kFit = "patch.Manifold.fit";
constexpr auto* kPlausible = "patch.implausible";

void check_options(const ManifoldOptions& o) {
  if (!(o.low >= 0 && o.low < o.high && o.high <= 1)) {
    throw InvalidArgument(cat("[", kFit, "] expected percentiles 0 <= low < high <= 1, got low ",
                              o.low, " and high ", o.high));
  }
  if (!(o.shrinkage <= 1)) {
    throw InvalidArgument(
        cat("[", kFit, "] expected shrinkage <= 1 (below 0: estimated), got ", o.shrinkage));
  }
  if (o.neighbours < 1 || o.rows_per_dimension < 1) {
    throw InvalidArgument(cat("[", kFit, "] expected neighbours and rows_per_dimension >= 1, got ",
                              o.neighbours, " and ", o.rows_per_dimension));
  }
}

// Each half must hold enough rows that some lie beyond the percentiles.
std::int64_t needed_rows(std::int64_t d, const ManifoldOptions& o) {
  double tail = 1;
  if (o.low > 0) tail = std::min(tail, o.low);
  if (o.high < 1) tail = std::min(tail, 1 - o.high);
  return std::max(o.rows_per_dimension * d, static_cast<std::int64_t>(std::ceil(2 / tail - 1e-9)));
}

struct Halves {
  std::vector<std::int64_t> fitted;
  std::vector<std::int64_t> natural;
};

// Large groups first, each to the half that has fewer rows; which of equal ones first is drawn.
Halves halve(const stats::Clusters& clusters, std::uint64_t seed) {
  std::vector<std::size_t> order(clusters.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  internal::shuffle(std::span(order), CounterRandom(seed, "patch.manifold"), 0, 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return clusters.counts()[a] > clusters.counts()[b];
  });
  std::vector<bool> fits(clusters.size());
  std::size_t fitted = 0;
  std::size_t natural = 0;
  for (const std::size_t g : order) {
    fits[g] = fitted <= natural;
    (fits[g] ? fitted : natural) += clusters.counts()[g];
  }
  const std::size_t rows = clusters.rows();
  if (4 * std::min(fitted, natural) < rows) {
    throw InvalidArgument(cat("[", kFit, "] expected groups that can be halved, got one with ",
                              std::max(fitted, natural), " of ", rows,
                              " rows; group by a smaller unit, or give more groups"));
  }
  Halves out;
  for (std::size_t i = 0; i < rows; ++i) {
    (fits[clusters.of_row()[i]] ? out.fitted : out.natural).push_back(length(i));
  }
  return out;
}

// The values of the natural rows, ascending.
class Natural {
 public:
  Natural() = default;
  explicit Natural(const at::Tensor& values) {
    const at::Tensor x = values.contiguous();
    ascending_.assign(x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel());
    std::sort(ascending_.begin(), ascending_.end());
  }

  double quantile(double p) const { return internal::sorted_quantile(ascending_, p); }

  // Equal values count half, and those within rounding of f32 are equal: after a norm layer all
  // rows have one length, and none is long.
  at::Tensor percentiles(const at::Tensor& values) const {
    const at::Tensor x = values.contiguous();
    at::Tensor out = at::empty(x.sizes(), at::kDouble);
    std::transform(x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel(),
                   out.mutable_data_ptr<double>(), [&](double value) {
                     const double rounding = 1e-6 * std::abs(value);
                     const auto first =
                         std::lower_bound(ascending_.begin(), ascending_.end(), value - rounding);
                     const auto last = std::upper_bound(first, ascending_.end(), value + rounding);
                     const auto below = static_cast<double>(first - ascending_.begin());
                     const auto equal = static_cast<double>(last - first);
                     return (below + equal / 2) / internal::real(ascending_.size());
                   });
    return out;
  }

 private:
  std::vector<double> ascending_;
};

double share(const at::Tensor& flags) {
  return flags.numel() == 0 ? 0 : flags.to(at::kDouble).mean().item<double>();
}

}  // namespace

struct Manifold::State {
  struct Measures {
    at::Tensor norm, mahalanobis, neighbour;  // f64 [m]
  };

  ManifoldOptions options;
  at::Tensor mean;      // [d]
  at::Tensor cholesky;  // [d, d], lower
  at::Tensor whitened;  // [fitted rows, d]
  double shrinkage = 0;
  std::int64_t natural_rows = 0;
  Natural norm, mahalanobis, neighbour;
  NaturalLimits limits;
  double natural_off_share = 0;

  at::Tensor whiten(const at::Tensor& rows) const {
    return at::linalg_solve_triangular(cholesky, (rows - mean).t(), false).t().contiguous();
  }

  Measures measure(const at::Tensor& rows) const {
    constexpr std::int64_t kBlock = 512;
    const at::Tensor white = whiten(rows);
    std::vector<at::Tensor> nearest;
    for (std::int64_t begin = 0; begin < white.size(0); begin += kBlock) {
      const std::int64_t count = std::min(kBlock, white.size(0) - begin);
      const at::Tensor apart = at::cdist(white.narrow(0, begin, count), whitened);
      nearest.push_back(std::get<0>(apart.kthvalue(options.neighbours, 1)));
    }
    return {.norm = at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}),
            .mahalanobis = at::linalg_vector_norm(white, 2, at::IntArrayRef{1}),
            .neighbour = nearest.empty() ? at::empty({0}, at::kDouble) : at::cat(nearest)};
  }

  ManifoldCheck place(const Measures& found) const {
    ManifoldCheck out{.norm = norm.percentiles(found.norm),
                      .mahalanobis = mahalanobis.percentiles(found.mahalanobis),
                      .neighbour = neighbour.percentiles(found.neighbour)};
    const at::Tensor by_norm = out.norm.lt(options.low).logical_or(out.norm.gt(options.high));
    const at::Tensor by_mahalanobis = out.mahalanobis.gt(options.high);
    const at::Tensor by_neighbour = out.neighbour.gt(options.high);
    out.off = by_norm.logical_or(by_mahalanobis).logical_or(by_neighbour);
    out.norm_share = share(by_norm);
    out.mahalanobis_share = share(by_mahalanobis);
    out.neighbour_share = share(by_neighbour);
    out.off_share = share(out.off);
    return out;
  }
};

Manifold::Manifold(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Manifold Manifold::fit(const at::Tensor& rows, std::span<const std::int64_t> groups,
                       const ManifoldOptions& options) {
  const at::NoGradGuard no_grad;
  check_options(options);
  const at::Tensor x = internal::checked_rows(rows, kFit, "rows");
  const std::int64_t d = x.size(1);
  internal::check_same_length(groups.size(), static_cast<std::size_t>(x.size(0)), kFit, "groups",
                              "rows");
  if (const std::int64_t needed = needed_rows(d, options); x.size(0) < needed) {
    throw InvalidArgument(cat("[", kFit, "] expected at least ", needed, " rows (",
                              options.rows_per_dimension, " for each of ", d,
                              " dimensions, and enough to resolve the percentiles ", options.low,
                              " and ", options.high, "), got ", x.size(0),
                              "; give more rows, or project them on their principal components"));
  }
  const stats::Clusters clusters(groups, 2, kFit);
  const Halves halves = halve(clusters, options.seed);
  if (length(halves.fitted.size()) < options.neighbours) {
    throw InvalidArgument(cat("[", kFit, "] expected neighbours <= ", halves.fitted.size(),
                              ", the rows of the fitted half, got ", options.neighbours));
  }

  auto state = std::make_shared<State>();
  state->options = options;
  const at::Tensor fitted = x.index_select(0, internal::index_of(halves.fitted));
  state->mean = fitted.mean(0);
  const at::Tensor centred = fitted - state->mean;
  const auto count = static_cast<double>(fitted.size(0));
  at::Tensor covariance = at::matmul(centred.t(), centred) / (count - 1);
  state->shrinkage = internal::shrink(covariance, count, options.shrinkage);
  at::Tensor failed;
  std::tie(state->cholesky, failed) = at::linalg_cholesky_ex(covariance);
  if (failed.item<int>() != 0) {
    throw NumericalError(
        cat("[", kFit, "] expected rows that vary: their covariance with shrinkage ",
            state->shrinkage, " is singular; leave the shrinkage to be estimated, ",
            "raise it, or project the rows on their principal components"));
  }
  state->whitened = state->whiten(fitted);

  const at::Tensor natural = x.index_select(0, internal::index_of(halves.natural));
  state->natural_rows = natural.size(0);
  const State::Measures found = state->measure(natural);
  state->norm = Natural(found.norm);
  state->mahalanobis = Natural(found.mahalanobis);
  state->neighbour = Natural(found.neighbour);
  state->limits = {.norm_low = state->norm.quantile(options.low),
                   .norm_high = state->norm.quantile(options.high),
                   .mahalanobis_high = state->mahalanobis.quantile(options.high),
                   .neighbour_high = state->neighbour.quantile(options.high)};
  state->natural_off_share = state->place(found).off_share;
  return Manifold(std::move(state));
}

ManifoldCheck Manifold::check(const at::Tensor& rows) const {
  const at::NoGradGuard no_grad;
  constexpr auto* kWhere = "patch.Manifold.check";
  const at::Tensor x = internal::checked_rows(rows, kWhere, "rows");
  if (x.size(1) != width()) {
    throw InvalidArgument(
        cat("[", kWhere, "] expected rows [m, ", width(), "], as were fitted, got ", x.sizes()));
  }
  return state_->place(state_->measure(x));
}

std::int64_t Manifold::width() const { return state_->mean.size(0); }
std::int64_t Manifold::fitted_rows() const { return state_->whitened.size(0); }
std::int64_t Manifold::natural_rows() const { return state_->natural_rows; }
double Manifold::shrinkage() const { return state_->shrinkage; }
const NaturalLimits& Manifold::limits() const { return state_->limits; }
double Manifold::natural_off_share() const { return state_->natural_off_share; }

at::Tensor implausible(const vla::Rollout& rollout, const Plausible& limits) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, limit] :
       {std::pair{"max_acceleration", limits.max_acceleration},
        std::pair{"max_jerk", limits.max_jerk}, std::pair{"max_curvature", limits.max_curvature},
        std::pair{"max_lateral_acceleration", limits.max_lateral_acceleration}}) {
    if (!(limit > 0)) {
      throw InvalidArgument(cat("[", kPlausible, "] expected ", name, " > 0, got ", limit,
                                "; infinity for no limit"));
    }
  }
  const at::Tensor& given = rollout.actions;
  if (!given.defined() || given.dim() != 3 || given.size(1) < 1 || given.size(2) != 2 ||
      !given.is_floating_point()) {
    throw InvalidArgument(cat("[", kPlausible, "] expected floating actions [rows, waypoints, 2], ",
                              "got ", given.defined() ? cat(given.sizes()) : "none"));
  }
  if (!rollout.initial_speed.defined() || rollout.initial_speed.dim() != 1 ||
      rollout.initial_speed.size(0) != given.size(0)) {
    throw InvalidArgument(
        cat("[", kPlausible, "] expected initial_speed [", given.size(0), "], got ",
            rollout.initial_speed.defined() ? cat(rollout.initial_speed.sizes()) : "none"));
  }
  const at::Tensor actions = given.to(at::kCPU, at::kDouble);
  const at::Tensor initial = rollout.initial_speed.to(at::kCPU, at::kDouble);
  const at::Tensor after = vla::unicycle_speed(actions, initial, rollout.dt_s);  // checks dt_s
  const at::Tensor before =
      at::cat({initial.unsqueeze(1), after.narrow(1, 0, after.size(1) - 1)}, 1);
  const at::Tensor acceleration = actions.select(2, 0);
  const at::Tensor curvature = actions.select(2, 1).abs();
  const at::Tensor fastest = at::maximum(before.abs(), after.abs());
  // `not within`, so that NaN counts as beyond
  const auto beyond = [](const at::Tensor& size, double limit) {
    return size.le(limit * (1 + 1e-6)).all(1).logical_not();
  };
  at::Tensor out =
      beyond(acceleration.abs(), limits.max_acceleration)
          .logical_or(beyond(curvature, limits.max_curvature))
          .logical_or(beyond(fastest.square() * curvature, limits.max_lateral_acceleration));
  if (acceleration.size(1) > 1) {
    out = out.logical_or(beyond(acceleration.diff(1, 1).abs() / rollout.dt_s, limits.max_jerk));
  }
  return out;
}

OffManifold off_manifold_effect(std::span<const double> values, std::span<const std::uint8_t> off,
                                std::span<const std::int64_t> groups, double confidence) {
  constexpr auto* kWhere = "patch.off_manifold_effect";
  internal::check_same_length(off.size(), values.size(), kWhere, "off", "values");
  internal::check_same_length(groups.size(), values.size(), kWhere, "groups", "values");
  OffManifold out{.all =
                      stats::influence_interval(stats::mean_influence(values, groups), confidence)};
  std::vector<double> kept;
  std::vector<std::int64_t> kept_groups;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (off[i] > 1) {
      throw InvalidArgument(
          cat("[", kWhere, "] expected off to be 0 or 1, got ", int{off[i]}, " at index ", i));
    }
    if (off[i] != 0) continue;
    kept.push_back(values[i]);
    kept_groups.push_back(groups[i]);
  }
  out.off_share = 1 - internal::real(kept.size()) / internal::real(values.size());
  if (!kept.empty() && stats::Clusters(kept_groups).size() >= 2) {
    out.on_manifold =
        stats::influence_interval(stats::mean_influence(kept, kept_groups), confidence);
  }
  const bool shown = out.on_manifold && out.on_manifold->excludes(0) &&
                     (out.on_manifold->estimate > 0) == (out.all.estimate > 0);
  out.flagged = out.all.excludes(0) && !shown;
  return out;
}

}  // namespace tierod::patch
