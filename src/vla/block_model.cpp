#include "tierod/vla/block_model.h"

#include <ATen/ops/index_select.h>

#include "core/tensor_internal.h"

namespace tierod::vla {

at::Tensor BlockModel::finish_columns(const at::Tensor& hidden,
                                      const std::vector<std::int64_t>& columns) {
  const at::Tensor all = finish(hidden);
  return at::index_select(all, -1, internal::index_of(columns).to(all.device()));
}

}  // namespace tierod::vla
