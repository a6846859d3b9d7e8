#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/tensor_internal.h"
#include "probe/logistic_pass_internal.h"
#include "probe/row_sums_internal.h"

namespace tierod::internal {

namespace {

// Margins of a block stay in the cache between the two products.
constexpr std::size_t kPassRows = 512;
// f32 sums of so many blocks go to f64.
constexpr std::size_t kFlush = 8;

template <typename T>
void slopes(at::Tensor& margins, const at::Tensor& signs, std::int64_t position,
            const std::vector<const LogisticPoint*>& points, std::vector<LogisticSums>& sums) {
  const std::int64_t n = margins.size(1), stride = signs.size(1);
  auto* m = margins.mutable_data_ptr<T>();
  const auto* z = signs.const_data_ptr<T>();
  at::parallel_for(0, margins.size(0), 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const LogisticPoint& point = *points[static_cast<std::size_t>(i)];
      logistic_slopes(m + i * n,
                      z + static_cast<std::int64_t>(point.concept_index) * stride + position, n,
                      static_cast<T>(point.intercept), sums[static_cast<std::size_t>(i)]);
    }
  });
}

}  // namespace

LogisticPass logistic_pass(const LogisticData& data, const at::Tensor& weights,
                           std::span<const LogisticPoint> points) {
  const auto m = static_cast<std::int64_t>(points.size());
  const std::int64_t d = data.rows.size(1);
  LogisticPass out;
  ShiftedRows shifted(data.rows, data.centre, data.type);
  std::int64_t position = 0;
  for (std::size_t f = 0; f < data.of_fold.size(); ++f) {
    const auto& index = data.of_fold[f];
    std::vector<const LogisticPoint*> active;
    std::vector<std::int64_t> number;
    for (std::int64_t i = 0; i < m; ++i) {
      const LogisticPoint& point = points[static_cast<std::size_t>(i)];
      if (point.held_out == static_cast<std::int64_t>(f)) continue;
      active.push_back(&point);
      number.push_back(i);
    }
    const auto count = static_cast<std::int64_t>(active.size());
    out.gradient.push_back(at::zeros({m, d}, at::kDouble));
    out.sums.emplace_back(points.size());
    if (count == 0 || index.empty()) {
      position += static_cast<std::int64_t>(index.size());
      continue;
    }
    const at::Tensor which = index_of(number);
    const at::Tensor w = weights.index_select(0, which).to(data.type);
    at::Tensor b = at::empty({count, 1}, at::kDouble);
    for (std::int64_t i = 0; i < count; ++i) {
      b.mutable_data_ptr<double>()[i] = active[static_cast<std::size_t>(i)]->intercept;
    }
    b = b.to(data.type);
    std::vector<LogisticSums> sums(active.size());
    at::Tensor block_sum = at::zeros({count, d}, w.options());
    at::Tensor sum = at::zeros({count, d}, at::kDouble);
    std::size_t blocks = 0;
    at::Tensor scratch = at::empty({count * static_cast<std::int64_t>(kPassRows)}, w.options());
    for (std::size_t begin = 0; begin < index.size(); begin += kPassRows) {
      const auto piece = std::span(index).subspan(begin, std::min(kPassRows, index.size() - begin));
      const auto n = static_cast<std::int64_t>(piece.size());
      const at::Tensor x = shifted.pick(piece);
      at::Tensor margins = scratch.narrow(0, 0, count * n).view({count, n});
      at::addmm_out(margins, b, w, x.t());
      if (data.type == at::kFloat)
        slopes<float>(margins, data.signs, position, active, sums);
      else
        slopes<double>(margins, data.signs, position, active, sums);
      block_sum.addmm_(margins, x);
      position += n;
      if (++blocks % kFlush == 0) {
        sum.add_(block_sum);
        block_sum.zero_();
      }
    }
    sum.add_(block_sum);
    out.gradient.back().index_copy_(0, which, sum);
    for (std::int64_t i = 0; i < count; ++i) {
      out.sums.back()[static_cast<std::size_t>(number[static_cast<std::size_t>(i)])] =
          sums[static_cast<std::size_t>(i)];
    }
  }
  return out;
}

}  // namespace tierod::internal
