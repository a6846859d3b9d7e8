#include "tierod/patch/metric.h"

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

Metric logit_difference(std::int64_t right, std::int64_t wrong) {
  if (right < 0 || wrong < 0 || right == wrong) {
    throw InvalidArgument(
        internal::cat("[patch.logit_difference] expected two different outputs, got ", right,
                      " and ", wrong, "; give the numbers of two tokens"));
  }
  return {.name = internal::cat("logit ", right, " - logit ", wrong),
          .value =
              [](const at::Tensor& outputs) {
                const at::Tensor last = outputs.select(1, outputs.size(1) - 1);
                return last.select(1, 0).sub(last.select(1, 1));
              },
          .tokens = 1,
          .columns = {right, wrong}};
}

}  // namespace tierod::patch
