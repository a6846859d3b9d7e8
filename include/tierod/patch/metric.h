#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tierod/export.h"

namespace tierod::patch {

/// Turn a model's outputs into one number a row. Saying what it reads spares a sweep the rest: only
/// these positions pass the last block, and only these outputs are computed.
struct TIEROD_API Metric {
  std::string name = "metric";
  /// Outputs [rows, tokens, columns] -> [rows], on any number of rows, each row for itself.
  std::function<at::Tensor(const at::Tensor& outputs)> value{};
  /// Read the last so many positions of a row.
  std::int64_t tokens = 1;
  /// Read these outputs (logits), in this order; empty: all.
  std::vector<std::int64_t> columns{};
};

/// Return the difference of two logits at the last position, `right` - `wrong` (Wang et al. 2022,
/// arXiv 2211.00593, section 3).
/// @throws InvalidArgument if they are the same or negative.
TIEROD_API Metric logit_difference(std::int64_t right, std::int64_t wrong);

}  // namespace tierod::patch
