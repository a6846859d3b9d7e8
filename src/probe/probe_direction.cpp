#include "tierod/probe/probe_direction.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/mv.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/linear_probe.h"

namespace tierod::probe {

using tierod::internal::cat;

Direction probe_direction(const TrainingStatistics& training, std::int64_t concept_index,
                          const at::Tensor& read, WritePattern write, std::string site) {
  constexpr auto* where = "probe.probe_direction";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (concept_index < 0 || concept_index >= training.concepts()) {
    throw InvalidArgument(cat("[", where, "] expected a concept in [0, ", training.concepts(),
                              "), got ", concept_index));
  }
  if (!read.defined() || read.dim() != 1 || read.size(0) != training.width() ||
      !at::isFloatingType(read.scalar_type())) {
    throw InvalidArgument(
        cat("[", where, "] expected a floating read vector [", training.width(), "], got ",
            read.defined() ? cat("shape ", read.sizes()) : std::string("an undefined tensor")));
  }
  const at::Tensor r = read.detach().to(at::kCPU, at::kDouble);
  const at::Tensor covariance = training.scatter.div(static_cast<double>(training.rows));
  const at::Tensor moved = at::mv(covariance, r);  // Sigma r
  const auto variance = at::dot(r, moved).item<double>();
  if (!(variance > 0)) {
    throw NumericalError(cat("[", where, "] expected r'h to vary, got variance ", variance));
  }
  const at::Tensor low = training.means[0][concept_index], high = training.means[1][concept_index];
  const auto position = [&](const at::Tensor& mean) {
    return at::dot(r, mean.sub(training.mean)).item<double>();
  };
  return {std::move(site),
          r,
          write == WritePattern::covariance ? moved : high.sub(low),
          training.mean,
          std::sqrt(variance),
          position(low),
          position(high)};
}

Direction ridge_direction(const TrainingStatistics& training, std::int64_t concept_index,
                          double penalty, WritePattern write, std::string site) {
  if (concept_index < 0 || concept_index >= training.concepts()) {
    throw InvalidArgument(cat("[probe.ridge_direction] expected a concept in [0, ",
                              training.concepts(), "), got ", concept_index));
  }
  const LinearFits fits = RidgeFitter({penalty}).fit(training);
  return probe_direction(training, concept_index, fits.weights[0][concept_index], write,
                         std::move(site));
}

}  // namespace tierod::probe
