#include "tierod/probe/standardised_fitter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/outer.h>
#include <c10/core/InferenceMode.h>

#include <utility>

#include "probe/scale_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

StandardisedFitter::StandardisedFitter(std::shared_ptr<const LinearFitter> inner)
    : inner_(std::move(inner)) {
  if (inner_ == nullptr) {
    throw InvalidArgument("[probe.StandardisedFitter] expected a fitter, got null");
  }
}

LinearFits StandardisedFitter::fit(const TrainingStatistics& training) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor variance =
      training.scatter.diagonal().div(static_cast<double>(training.rows)).clamp_min(0);
  const at::Tensor scale = internal::inverse_sd(variance, training.mean.square());
  TrainingStatistics scaled = training;
  scaled.mean = training.mean.mul(scale);
  scaled.scatter = training.scatter.mul(at::outer(scale, scale));
  if (training.has_labels()) {
    scaled.means = training.means.mul(scale);
  } else {
    scaled.cross = training.cross.mul(scale);
  }
  LinearFits fits = inner_->fit(scaled);
  fits.weights = fits.weights.mul(scale);
  return fits;
}

}  // namespace tierod::probe
