#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"

namespace tierod::vla {

/// Hold the inputs of several scenes at once, by name; the first axis of every tensor is the row.
struct TIEROD_API Batch {
  std::map<std::string, at::Tensor> tensors{};
  /// Scene of each row. It keys the random numbers of the row, so that a scene gets the same ones
  /// in any batch, and its twin the same as itself.
  std::vector<std::int64_t> ids{};

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(ids.size()); }
  /// Return the tensor called `name`.
  /// @throws InvalidArgument that lists what there is.
  const at::Tensor& at(const std::string& name) const;
  /// Return the rows at `index`, in that order.
  /// @throws OutOfRange if one does not exist.
  Batch select(const std::vector<std::int64_t>& index) const;
};

/// Describe one tensor that a model reads.
struct TIEROD_API BatchField {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  /// Sizes after the row axis; -1 is free.
  std::vector<std::int64_t> shape{};
  std::string description{};
};

/// Describe the batches that a model takes.
struct TIEROD_API BatchSpec {
  std::vector<BatchField> fields{};

  /// Throw unless every field is there with its dtype and sizes, as many rows as ids, and at least
  /// one; tensors that the model does not read are left alone.
  /// @throws InvalidArgument that names the field, what was expected, and what was seen.
  void check(const Batch& batch) const;
};

}  // namespace tierod::vla
