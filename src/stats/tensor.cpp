#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>

#include "stats/check_internal.h"
#include "stats/tensor_internal.h"

namespace tierod::internal {

at::Tensor checked_rows(const at::Tensor& rows, std::string_view where, std::string_view name) {
  if (!rows.defined() || rows.dim() != 2 || !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(cat("[", where, "] expected floating ", name, " [n, d], got ",
                              rows.defined()
                                  ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                                  : std::string("an undefined tensor"),
                              "; flatten tokens into rows first"));
  }
  if (rows.size(1) == 0) {
    throw InvalidArgument(cat("[", where, "] expected ", name, " of width 1 or more, got 0"));
  }
  const at::NoGradGuard no_grad;
  at::Tensor out = rows.detach().to(at::kCPU, at::kDouble).contiguous();
  // A NaN or infinity anywhere in a row shows in its sum; what only overflows is told apart below.
  const at::Tensor suspect = at::isfinite(out.sum(1)).logical_not();
  if (suspect.any().item<bool>()) {
    const at::Tensor bad = at::isfinite(out).all(1).logical_not();
    if (bad.any().item<bool>()) {
      throw NumericalError(cat(
          "[", where, "] expected finite ", name, ", got NaN or infinity in row ",
          bad.to(at::kByte).argmax().item<std::int64_t>(), "; drop the row, or find what made it"));
    }
  }
  return out;
}

}  // namespace tierod::internal
