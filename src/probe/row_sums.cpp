#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/sub.h>

#include <algorithm>

#include "core/tensor_internal.h"
#include "probe/row_sums_internal.h"
#include "probe/syrk_internal.h"

namespace tierod::internal {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Strips of about 96 columns were fastest between 48 and 288 for widths around 576.
std::int64_t strip_of(std::int64_t width) { return width <= 128 ? width : 96; }

template <typename T>
void accumulate(std::vector<double>& gram, const at::Tensor& product, double sign) {
  const auto* from = product.const_data_ptr<T>();
  const auto d = size(product.size(0));
  for (std::size_t i = 0; i < d; ++i) {
    double* to = gram.data() + i * d;
    const T* row = from + i * d;
    if (sign > 0) {
      for (std::size_t j = 0; j <= i; ++j) to[j] += static_cast<double>(row[j]);
    } else {
      for (std::size_t j = 0; j <= i; ++j) to[j] -= static_cast<double>(row[j]);
    }
  }
}

}  // namespace

RowSums::RowSums(std::int64_t width) : first(size(width)), gram(size(width * width)) {}

void RowSums::products(const at::Tensor& rows, double sign) {
  const std::int64_t d = width();
  if (rows.scalar_type() == at::kFloat && syrk_kernels() > 0) {
    add_syrk(rows.const_data_ptr<float>(), rows.size(0), d, sign, gram.data());
    return;
  }
  const std::int64_t strip = strip_of(d);
  at::Tensor product;
  for (std::int64_t begin = 0; begin < rows.size(0); begin += kBlockRows) {
    const at::Tensor x = rows.narrow(0, begin, std::min(kBlockRows, rows.size(0) - begin));
    if (!product.defined()) product = at::empty({d, d}, rows.options());
    for (std::int64_t c = 0; c < d; c += strip) {
      const std::int64_t columns = std::min(strip, d - c);
      at::Tensor to = product.narrow(0, c, d - c).narrow(1, c, columns);
      to.addmm_(x.narrow(1, c, d - c).t(), x.narrow(1, c, columns), 0, 1);
    }
    if (rows.scalar_type() == at::kFloat)
      accumulate<float>(gram, product, sign);
    else
      accumulate<double>(gram, product, sign);
  }
}

void RowSums::add_products(const at::Tensor& rows) { products(rows, 1); }
void RowSums::subtract_products(const at::Tensor& rows) { products(rows, -1); }

void RowSums::add(const RowSums& other, double sign) {
  if (other.empty()) return;
  if (empty()) *this = RowSums(other.width());
  rows += sign * other.rows;
  for (std::size_t i = 0; i < first.size(); ++i) first[i] += sign * other.first[i];
  for (std::size_t i = 0; i < gram.size(); ++i) gram[i] += sign * other.gram[i];
}

void RowSums::move(std::span<const double> delta) {
  const std::size_t d = first.size();
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      gram[i * d + j] += first[i] * delta[j] + delta[i] * first[j] + rows * delta[i] * delta[j];
    }
  }
  for (std::size_t i = 0; i < d; ++i) first[i] += rows * delta[i];
}

at::Tensor scatter_of(const RowSums& sums) {
  const std::int64_t d = sums.width();
  at::Tensor out = at::empty({d, d}, at::kDouble);
  auto* to = out.mutable_data_ptr<double>();
  const auto n = size(d);
  constexpr std::size_t kTile = 16;  // the mirrored half is written in tiles, for the cache's sake
  for (std::size_t i0 = 0; i0 < n; i0 += kTile) {
    for (std::size_t j0 = 0; j0 <= i0; j0 += kTile) {
      for (std::size_t i = i0; i < std::min(n, i0 + kTile); ++i) {
        const double mean = sums.first[i] / sums.rows;
        for (std::size_t j = j0; j <= std::min(i, j0 + kTile - 1); ++j) {
          const double value = sums.gram[i * n + j] - mean * sums.first[j];
          to[i * n + j] = value;
          to[j * n + i] = value;
        }
      }
    }
  }
  return out;
}

ShiftedRows::ShiftedRows(const at::Tensor& rows, const at::Tensor& centre, at::ScalarType type)
    : rows_(rows),
      centre_(centre.to(type)),
      scratch_(at::empty({kBlockRows, rows.size(1)}, centre_.options())) {}

at::Tensor ShiftedRows::shifted(const at::Tensor& rows) {
  at::Tensor out = scratch_.narrow(0, 0, rows.size(0));
  // f16 and bf16 are promoted by the subtraction itself; f64 rows in f32 arithmetic are subtracted
  // first, in f64
  if (rows.scalar_type() == at::kDouble && centre_.scalar_type() == at::kFloat) {
    out.copy_(rows.sub(centre_.to(at::kDouble)));
  } else {
    at::sub_out(out, rows, centre_);
  }
  return out;
}

at::Tensor ShiftedRows::range(std::int64_t begin, std::int64_t end) {
  return shifted(rows_.narrow(0, begin, end - begin));
}

at::Tensor ShiftedRows::pick(std::span<const std::int64_t> index) {
  const auto n = static_cast<std::int64_t>(index.size());
  if (index.back() - index.front() == n - 1) return range(index.front(), index.back() + 1);
  return shifted(rows_.index_select(0, index_of(index)));
}

}  // namespace tierod::internal
