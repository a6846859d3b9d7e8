#include "tierod/stats/moments.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

void Moments::update(const at::Tensor& rows) {
  if (!rows.defined() || rows.dim() != 2 || !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(cat("[stats.Moments.update] expected floating rows [n, d], got ",
                              rows.defined()
                                  ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                                  : std::string("an undefined tensor"),
                              "; flatten tokens into rows first"));
  }
  if (mean_.defined() && rows.size(1) != width()) {
    throw InvalidArgument(cat("[stats.Moments.update] expected rows of width ", width(),
                              " as before, got ", rows.size(1)));
  }
  const std::int64_t n = rows.size(0);
  if (n == 0) return;
  // The accumulators outlive any inference-mode scope that the model runs in.
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = rows.detach().to(at::kCPU, at::kDouble);
  const at::Tensor mean = x.mean(0);
  // A NaN or infinity anywhere in a column shows in its mean, which is d numbers to look at.
  if (!at::isfinite(mean).all().item<bool>()) {
    throw NumericalError(
        cat("[stats.Moments.update] the ", n,
            " rows hold NaN or infinite values; find the layer that makes them, or drop the rows"));
  }
  const at::Tensor centred = x.sub(mean);
  combine(n, mean, covariance_ ? at::mm(centred.t(), centred) : centred.square().sum(0));
}

void Moments::merge(const Moments& other) {
  if (covariance_ != other.covariance_) {
    throw InvalidArgument(
        "[stats.Moments.merge] one accumulator keeps the covariance and the other only variances; "
        "make both of one kind");
  }
  if (other.count_ == 0) return;
  if (count_ > 0 && width() != other.width()) {
    throw InvalidArgument(
        cat("[stats.Moments.merge] expected width ", width(), ", got ", other.width()));
  }
  combine(other.count_, other.mean_, other.scatter_);
}

void Moments::combine(std::int64_t count, const at::Tensor& mean, const at::Tensor& scatter) {
  if (count_ == 0) {
    count_ = count;
    mean_ = mean.clone();
    scatter_ = scatter.clone();
    return;
  }
  const at::Tensor delta = mean.sub(mean_);
  const auto total = static_cast<double>(count_ + count);
  const double weight = static_cast<double>(count_) * static_cast<double>(count) / total;
  const at::Tensor between =
      covariance_ ? delta.unsqueeze(1).mul(delta.unsqueeze(0)) : delta.square();
  // New tensors, not in place: a copy of an accumulator must not change with the original.
  scatter_ = scatter_.add(scatter).add(between, weight);
  mean_ = mean_.add(delta, static_cast<double>(count) / total);
  count_ += count;
}

std::int64_t Moments::width() const { return mean_.defined() ? mean_.size(0) : 0; }

at::Tensor Moments::mean() const {
  if (count_ == 0) throw StateError("[stats.Moments.mean] no rows were seen; call update() first");
  return mean_.clone();
}

at::Tensor Moments::variance(std::int64_t ddof) const {
  if (count_ <= ddof) {
    throw StateError(
        cat("[stats.Moments.variance] expected more than ", ddof, " rows, got ", count_));
  }
  const auto denominator = static_cast<double>(count_ - ddof);
  return (covariance_ ? scatter_.diagonal() : scatter_).div(denominator);
}

at::Tensor Moments::covariance(std::int64_t ddof) const {
  if (!covariance_) {
    throw StateError(
        "[stats.Moments.covariance] only variances are kept; construct with covariance = true");
  }
  if (count_ <= ddof) {
    throw StateError(
        cat("[stats.Moments.covariance] expected more than ", ddof, " rows, got ", count_));
  }
  return scatter_.div(static_cast<double>(count_ - ddof));
}

}  // namespace tierod
