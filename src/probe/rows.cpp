#include <ATen/core/grad_mode.h>

#include "core/text_internal.h"
#include "probe/rows_internal.h"
#include "stats/tensor_internal.h"
#include "store/finite_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

at::Tensor checked_native_rows(const at::Tensor& rows, std::string_view where,
                               std::string_view name) {
  const bool narrow = rows.defined() && rows.dim() == 2 && rows.size(1) > 0 &&
                      (rows.scalar_type() == at::kFloat || rows.scalar_type() == at::kHalf ||
                       rows.scalar_type() == at::kBFloat16);
  if (!narrow) return checked_rows(rows, where, name);
  const at::NoGradGuard no_grad;
  at::Tensor out = rows.detach().to(at::kCPU).contiguous();
  const std::int64_t bad =
      first_nonfinite(out.const_data_ptr(), out.size(0), out.size(1), out.scalar_type());
  if (bad >= 0) {
    throw NumericalError(cat("[", where, "] expected finite ", name,
                             ", got NaN or infinity in row ", bad,
                             "; drop the row, or find what made it"));
  }
  return out;
}

}  // namespace tierod::internal
