#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include "core/text_internal.h"
#include "probe/scale_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/cross_validation.h"

namespace tierod::internal {

at::Tensor inverse_or_zero(const at::Tensor& x) {
  return x.clamp_min(1e-300).reciprocal().mul(x.gt(1e-300));
}

at::Tensor inverse_sd(const at::Tensor& variance, const at::Tensor& squares) {
  const at::Tensor alive = variance.gt(squares.mul(1e-24).add(1e-300));
  return variance.clamp_min(1e-300).rsqrt().mul(alive);
}

}  // namespace tierod::internal

namespace tierod::probe {

LinearFits common_scale(LinearFits fits, const TrainingStatistics& training) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (!training.has_labels() || training.concepts() != fits.concepts() ||
      training.width() != fits.width()) {
    throw InvalidArgument(internal::cat(
        "[probe.common_scale] expected the labelled training rows of these ", fits.concepts(),
        " concepts and width ", fits.width(), ", got those of ", training.concepts(),
        training.has_labels() ? " concepts" : " real targets", " and width ", training.width(),
        "; give each fit the statistics that it was fitted on"));
  }
  const at::Tensor middle = training.means.mean(0);  // [C, d]
  const at::Tensor covariance = training.scatter.div(static_cast<double>(training.rows));
  const std::int64_t settings = fits.weights.size(0), concepts = fits.weights.size(1);
  const at::Tensor flat = fits.weights.reshape({settings * concepts, fits.weights.size(2)});
  const at::Tensor sd =
      at::mm(flat, covariance).mul(flat).sum(1).clamp_min(0).sqrt().reshape({settings, concepts});
  fits.weights = fits.weights.mul(internal::inverse_or_zero(sd).unsqueeze(2));
  fits.intercepts = fits.weights.mul(middle.unsqueeze(0)).sum(2).neg();
  return fits;
}

}  // namespace tierod::probe
