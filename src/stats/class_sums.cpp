#include "tierod/stats/class_sums.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>

#include "core/tensor_internal.h"
#include "stats/check_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/stats/clusters.h"
#include "tierod/stats/resampling.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_binary;
using tierod::internal::check_same_length;
using tierod::internal::checked_rows;
using tierod::internal::length;

namespace {

// Replicates whose weights are held at once. Fixed, so that the products, and their last bits, do
// not depend on how a caller cuts the replicates.
constexpr std::size_t kBlock = 256;

at::TensorOptions f64() { return at::TensorOptions().dtype(at::kDouble); }

}  // namespace

ClassSums::ClassSums(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                     std::span<const std::int64_t> groups) {
  constexpr auto* where = "stats.ClassSums";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = checked_rows(rows, where, "rows");
  const auto n = static_cast<std::size_t>(x.size(0));
  check_same_length(labels.size(), n, where, "labels", "rows");
  check_same_length(groups.size(), n, where, "groups", "rows");
  check_binary(labels, where);
  const Clusters clusters(groups, 2, where);
  groups_.assign(clusters.labels().begin(), clusters.labels().end());
  const std::int64_t count = length(clusters.size());
  const std::int64_t d = x.size(1);

  sums_ = at::zeros({2, count, d}, f64());
  counts_ = at::zeros({2, count}, f64());
  auto* sums = sums_.mutable_data_ptr<double>();
  auto* counts = counts_.mutable_data_ptr<double>();
  const auto* row = x.const_data_ptr<double>();
  for (std::size_t i = 0; i < n; ++i, row += d) {
    const std::int64_t cell = labels[i] * count + clusters.of_row()[i];
    counts[cell] += 1;
    double* sum = sums + cell * d;
    for (std::int64_t j = 0; j < d; ++j) sum[j] += row[j];
  }
  const at::Tensor filled = counts_.flatten().nonzero().flatten();
  cell_sums_ = sums_.view({2 * count, d}).index_select(0, filled);
  const auto* cell = filled.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < filled.numel(); ++i) {
    cells_.push_back({.cls = static_cast<std::size_t>(cell[i] / count),
                      .cluster = static_cast<std::size_t>(cell[i] % count),
                      .rows = counts[cell[i]]});
  }
}

void ClassSums::coefficients(const double* weights, double* out) const {
  std::array<double, 2> mass = {0, 0};
  for (const Cell& cell : cells_) mass[cell.cls] += weights[cell.cluster] * cell.rows;
  // an empty class makes 0 / 0, and so the whole direction NaN
  const std::array<double, 2> scale = {-1 / mass[0], 1 / mass[1]};
  for (const Cell& cell : cells_) *out++ = weights[cell.cluster] * scale[cell.cls];
}

at::Tensor ClassSums::mean_differences(const at::Tensor& weights) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (!weights.defined() || weights.dim() != 2 || !at::isFloatingType(weights.scalar_type()) ||
      weights.size(1) != counts_.size(1)) {
    throw InvalidArgument(cat(
        "[stats.ClassSums.mean_differences] expected floating weights [R, ", clusters(), "], got ",
        weights.defined() ? cat("shape ", weights.sizes(), " of ", weights.scalar_type())
                          : std::string("an undefined tensor")));
  }
  const at::Tensor w = weights.detach().to(at::kCPU, at::kDouble).contiguous();
  at::Tensor a = at::empty({w.size(0), length(cells_.size())}, f64());
  const auto* from = w.const_data_ptr<double>();
  auto* to = a.mutable_data_ptr<double>();
  for (std::int64_t r = 0; r < w.size(0); ++r) {
    coefficients(from + r * w.size(1), to + r * a.size(1));
  }
  return at::mm(a, cell_sums_);
}

at::Tensor ClassSums::bootstrap(std::size_t replicates, std::uint64_t seed,
                                std::size_t first) const {
  const c10::InferenceMode normal(false);
  check_at_least(replicates, 1, "stats.ClassSums.bootstrap", "replicates", "ask for 2000");
  const at::NoGradGuard no_grad;
  at::Tensor out = at::empty({length(replicates), width()}, f64());
  const std::size_t last = first + replicates;
  std::vector<double> weights(clusters());
  at::Tensor a = at::empty({length(kBlock), length(cells_.size())}, f64());
  // Blocks lie on multiples of kBlock of the replicates' own numbers.
  for (std::size_t block = first / kBlock * kBlock; block < last; block += kBlock) {
    auto* row = a.mutable_data_ptr<double>();
    for (std::size_t r = 0; r < kBlock; ++r, row += cells_.size()) {
      bootstrap_weights(seed, block + r, weights);
      coefficients(weights.data(), row);
    }
    const std::size_t begin = std::max(block, first);
    const std::size_t end = std::min(block + kBlock, last);
    at::Tensor part = out.narrow(0, length(begin - first), length(end - begin));
    if (end - begin == kBlock) {
      at::mm_out(part, a, cell_sums_);
    } else {
      part.copy_(at::mm(a, cell_sums_).narrow(0, length(begin - block), length(end - begin)));
    }
  }
  return out;
}

at::Tensor ClassSums::jackknife(std::size_t blocks, std::uint64_t seed) const {
  const c10::InferenceMode normal(false);
  const std::vector<std::uint32_t> block = jackknife_blocks(clusters(), blocks, seed);
  at::Tensor weights = at::ones({length(blocks), length(clusters())}, f64());
  auto* w = weights.mutable_data_ptr<double>();
  for (std::size_t g = 0; g < block.size(); ++g) w[block[g] * clusters() + g] = 0;
  at::Tensor out = mean_differences(weights);
  const at::Tensor lost = at::isfinite(out.select(1, 0)).logical_not();
  if (lost.any().item<bool>()) {
    throw NumericalError(cat("[stats.ClassSums.jackknife] block ",
                             lost.to(at::kByte).argmax().item<std::int64_t>(), " of ", blocks,
                             " holds all rows of a class; use more groups or more blocks"));
  }
  return out;
}

}  // namespace tierod::stats
