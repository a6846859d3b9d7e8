#include "tierod/probe/moments_validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/dataset.h"
#include "tierod/store/moments_sink.h"

namespace tierod::probe {

namespace {

// NaN where the denominator is 0.
at::Tensor ratio(const at::Tensor& above, const at::Tensor& below) {
  return at::where(below.gt(0), above.div(below), below.mul(0).add(std::nan("")));
}

}  // namespace

MomentsValidation cross_validate_moments(const LinearFitter& fitter, const FoldMoments& moments,
                                         std::string_view site) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const std::int64_t folds = moments.options().folds;
  if (folds < 2) {
    throw InvalidArgument(internal::cat("[probe.cross_validate_moments] expected folds >= 2, got ",
                                        folds, "; stream the rows into more folds"));
  }
  MomentsValidation out;
  std::vector<at::Tensor> correlation, separation;
  out.fits.reserve(static_cast<std::size_t>(folds));
  correlation.reserve(static_cast<std::size_t>(folds));
  separation.reserve(static_cast<std::size_t>(folds));
  for (std::int64_t k = 0; k < folds; ++k) {
    out.fits.push_back(fitter.fit(training_statistics(moments, site, k)));
    const at::Tensor& w = out.fits.back().weights;  // [P, C, d]
    if (moments.moments(site, k).count() == 0) {  // groups are dealt by a hash: a fold may get none
      correlation.push_back(w.select(2, 0).mul(std::nan("")));
      separation.push_back(correlation.back());
      continue;
    }
    const at::Tensor s = moments.moments(site, k).covariance(0);      // [d, d]
    const at::Tensor c = moments.cross(site, k).cross_covariance(0);  // [C, d]
    const at::Tensor share = moments.cross(site, k).mean_labels();    // [C]
    const at::Tensor spread = share.mul(share.neg().add(1));          // variance of labels
    const at::Tensor variance = at::matmul(w, s).mul(w).sum(2);       // [P, C] of scores
    const at::Tensor covariance = w.mul(c.unsqueeze(0)).sum(2);       // with labels
    const at::Tensor between = ratio(covariance.square(), spread.unsqueeze(0));
    correlation.push_back(ratio(covariance, variance.mul(spread.unsqueeze(0)).clamp_min(0).sqrt()));
    // the class means differ by Cov(score, z) / Var z, which explains Cov^2 / Var z of the variance
    separation.push_back(
        ratio(ratio(covariance, spread.unsqueeze(0)), variance.sub(between).clamp_min(0).sqrt()));
  }
  out.correlation = at::stack(correlation);
  out.separation = at::stack(separation);
  out.normal_auroc = out.separation.div(2).erf().add(1).div(2);  // Phi(x) = (1 + erf(x/sqrt 2)) / 2
  return out;
}

}  // namespace tierod::probe
