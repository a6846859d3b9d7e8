#include "tierod/vla/staged_model.h"

#include "tierod/hook/scope.h"

namespace tierod::vla {

Rollout StagedModel::rollout(const Batch& batch, const RolloutOptions& options) {
  const RunScope run;
  return act(*think(batch, options), {});
}

}  // namespace tierod::vla
