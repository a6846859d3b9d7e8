#pragma once

#include <memory>
#include <string>

#include "tierod/export.h"
#include "tierod/probe/linear_probe.h"

namespace tierod::probe {

/// Fit another fitter on columns scaled to variance 1 by the training rows, and return weights for
/// the columns as they are. A penalty then means the same at every site, and a column of huge scale
/// does not decide the direction. Constant columns get weight 0.
class TIEROD_API StandardisedFitter final : public LinearFitter {
 public:
  /// @throws InvalidArgument if `inner` is null.
  explicit StandardisedFitter(std::shared_ptr<const LinearFitter> inner);
  std::string name() const override { return "standardised " + inner_->name(); }
  LinearFits fit(const TrainingStatistics& training) const override;

 private:
  std::shared_ptr<const LinearFitter> inner_;
};

}  // namespace tierod::probe
