#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "audit/stages_internal.h"
#include "core/tensor_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/jackknife.h"

namespace tierod::internal {

namespace {

// Scenes of one class within `among` count alike, those of the others not at all.
std::vector<double> weights_of(std::span<const std::uint8_t> labels,
                               std::span<const std::uint8_t> among, std::uint8_t which) {
  std::vector<double> out;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool in = among.empty() || among[i] != 0;
    out.push_back(in && labels[i] == which ? 1 : 0);
  }
  return out;
}

double sum(const std::vector<double>& x) {
  double out = 0;
  for (const double value : x) out += value;
  return out;
}

// The balanced mean of a stratum with the contributions of all clusters, those outside of it 0, so
// that strata of the same clusters can be subtracted.
stats::Influence influence_of(std::span<const double> values, std::span<const std::uint8_t> labels,
                              std::span<const std::int64_t> units,
                              std::span<const std::uint8_t> among) {
  stats::Influence out;
  int classes = 0;
  for (const std::uint8_t which : {0, 1}) {
    const std::vector<double> weights = weights_of(labels, among, which);
    if (sum(weights) == 0) continue;
    const stats::Influence one = stats::mean_influence(values, units, weights);
    ++classes;
    out.estimate += one.estimate;
    out.contributions.resize(one.contributions.size());
    for (std::size_t g = 0; g < one.contributions.size(); ++g) {
      out.contributions[g] += one.contributions[g];
    }
  }
  if (classes == 0)
    throw InvalidArgument("[audit.strata] expected scenes in the stratum, got none");
  out.estimate /= classes;
  for (double& u : out.contributions) u /= classes;
  return out;
}

std::size_t clusters_in(std::span<const std::int64_t> units, std::span<const std::uint8_t> among) {
  std::set<std::int64_t> seen;
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (among.empty() || among[i] != 0) seen.insert(units[i]);
  }
  return seen.size();
}

stats::Interval interval_of(const stats::Influence& test, const std::vector<double>& thetas,
                            std::size_t clusters) {
  double variance = stats::influence_variance(test.contributions);
  double df = static_cast<double>(clusters) - 1;
  if (!thetas.empty()) {
    variance += stats::delete_group_variance(thetas);
    df = std::min(df, static_cast<double>(thetas.size()) - 1);
  }
  stats::Interval out = stats::t_interval(test.estimate, std::sqrt(variance), std::max(df, 1.0));
  out.clusters = clusters;
  out.method = thetas.empty() ? "t" : "refit jackknife t";
  return out;
}

}  // namespace

stats::Interval scene_interval(const at::Tensor& values, const at::Tensor& refits,
                               std::span<const std::uint8_t> labels,
                               std::span<const std::int64_t> units,
                               std::span<const std::uint8_t> among) {
  const stats::Influence test = influence_of(numbers_of(values), labels, units, among);
  std::vector<double> thetas;
  for (std::int64_t k = 0; refits.defined() && k < refits.size(0); ++k) {
    const at::Tensor row = refits[k].contiguous();
    thetas.push_back(influence_of(numbers_of(row), labels, units, among).estimate);
  }
  return interval_of(test, thetas, clusters_in(units, among));
}

stats::Interval stratum_difference(const at::Tensor& values, const at::Tensor& refits,
                                   std::span<const std::uint8_t> labels,
                                   std::span<const std::int64_t> units,
                                   std::span<const std::uint8_t> first,
                                   std::span<const std::uint8_t> second) {
  const auto difference = [&](const at::Tensor& x) {
    stats::Influence out = influence_of(numbers_of(x), labels, units, first);
    const stats::Influence other = influence_of(numbers_of(x), labels, units, second);
    out.estimate -= other.estimate;
    for (std::size_t g = 0; g < out.contributions.size(); ++g) {
      out.contributions[g] -= other.contributions[g];
    }
    return out;
  };
  std::vector<double> thetas;
  for (std::int64_t k = 0; refits.defined() && k < refits.size(0); ++k) {
    thetas.push_back(difference(refits[k].contiguous()).estimate);
  }
  return interval_of(difference(values), thetas,
                     std::min(clusters_in(units, first), clusters_in(units, second)));
}

at::Tensor on_minus_off(const at::Tensor& effect, std::span<const std::uint8_t> labels) {
  const at::Tensor by = effect.to(at::kCPU, at::kDouble).view({length(labels.size()), -1}).mean(1);
  return at::where(doubles_of(labels).gt(0.5), -by, by).contiguous();
}

Json numbers_json(const at::Tensor& x) {
  const at::Tensor flat = x.to(at::kCPU, at::kDouble).contiguous();
  if (flat.dim() == 0) return flat.item<double>();
  Json out = Json::array();
  for (std::int64_t i = 0; i < flat.size(0); ++i) out.push_back(numbers_json(flat[i]));
  return out;
}

}  // namespace tierod::internal
