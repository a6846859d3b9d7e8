#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace tierod::internal {

/// Convert a count to the integer that tensors count with.
inline std::int64_t length(std::size_t n) { return static_cast<std::int64_t>(n); }

/// Copy numbers [n] of rows into a tensor that indexes them.
template <typename Numbers>
at::Tensor index_of(const Numbers& numbers) {
  at::Tensor out = at::empty({length(std::size(numbers))}, at::TensorOptions().dtype(at::kLong));
  std::transform(std::begin(numbers), std::end(numbers), out.mutable_data_ptr<std::int64_t>(),
                 [](auto number) { return static_cast<std::int64_t>(number); });
  return out;
}

/// Copy numbers [n] into a tensor of f64.
template <typename Numbers>
at::Tensor doubles_of(const Numbers& numbers) {
  at::Tensor out = at::empty({length(std::size(numbers))}, at::TensorOptions().dtype(at::kDouble));
  std::transform(std::begin(numbers), std::end(numbers), out.mutable_data_ptr<double>(),
                 [](auto number) { return static_cast<double>(number); });
  return out;
}

}  // namespace tierod::internal
