#include <ATen/core/grad_mode.h>

#include "core/tensor_internal.h"
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

std::vector<std::vector<std::int64_t>> rows_by_fold(std::span<const std::uint32_t> folds,
                                                    std::size_t fold_count,
                                                    std::string_view where) {
  std::vector<std::vector<std::int64_t>> out(fold_count);
  for (std::size_t i = 0; i < folds.size(); ++i) {
    if (folds[i] >= fold_count) {
      throw InvalidArgument(cat("[", where, "] expected folds below ", fold_count, ", got ",
                                folds[i], " in row ", i, "; number them 0, 1, ..."));
    }
    out[folds[i]].push_back(length(i));
  }
  return out;
}

}  // namespace tierod::internal
