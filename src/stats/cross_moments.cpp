#include "tierod/stats/cross_moments.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <limits>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

at::Tensor divide_or_nan(const at::Tensor& sum, const at::Tensor& count, std::int64_t ddof) {
  const at::Tensor denominator = count.sub(static_cast<double>(ddof));
  const at::Tensor safe = at::where(denominator.gt(0), denominator, at::full_like(count, kNaN));
  return sum.dim() == 2 ? sum.div(safe.unsqueeze(1)) : sum.div(safe);
}

}  // namespace

void CrossMoments::update(const at::Tensor& rows, const at::Tensor& labels) {
  const bool shaped = rows.defined() && labels.defined() && rows.dim() == 2 && labels.dim() == 2 &&
                      rows.size(0) == labels.size(0) && at::isFloatingType(rows.scalar_type()) &&
                      at::isFloatingType(labels.scalar_type());
  if (!shaped) {
    throw InvalidArgument(
        cat("[stats.CrossMoments.update] expected floating rows [n, d] and labels [n, k], got ",
            rows.defined() ? cat(rows.sizes()) : std::string("an undefined tensor"), " and ",
            labels.defined() ? cat(labels.sizes()) : std::string("an undefined tensor"),
            "; one row of labels for each row, NaN where a label is not known"));
  }
  if (count_.defined() && (rows.size(1) != width() || labels.size(1) != concepts())) {
    throw InvalidArgument(cat("[stats.CrossMoments.update] expected width ", width(), " and ",
                              concepts(), " concepts as before, got ", rows.size(1), " and ",
                              labels.size(1)));
  }
  if (rows.size(0) == 0) return;
  // The accumulators outlive any inference-mode scope that the model runs in.
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = rows.detach().to(at::kCPU, at::kDouble);
  const at::Tensor z = labels.detach().to(at::kCPU, at::kDouble);
  const at::Tensor centre = x.mean(0);
  if (!at::isfinite(centre).all().item<bool>() || at::isinf(z).any().item<bool>()) {
    throw NumericalError(
        cat("[stats.CrossMoments.update] the ", rows.size(0),
            " rows hold NaN or infinite values, or a label is infinite; find the layer that makes "
            "them, or drop the rows"));
  }
  const at::Tensor known = at::isnan(z).logical_not();
  const at::Tensor mask = known.to(at::kDouble);
  const at::Tensor value = at::where(known, z, at::zeros_like(z));
  const at::Tensor count = mask.sum(0);
  const at::Tensor safe = count.clamp_min(1);
  const at::Tensor mean_z = value.sum(0).div(safe);
  // Deviations are taken from the batch's mean first, so that the sums below stay small.
  const at::Tensor deviation = x.sub(centre);
  const at::Tensor shift = at::mm(mask.t(), deviation).div(safe.unsqueeze(1));
  const at::Tensor dz = value.sub(mean_z).mul(mask);
  CrossMoments batch;
  batch.count_ = count;
  batch.mean_x_ = centre.unsqueeze(0).add(shift);
  batch.mean_z_ = mean_z;
  // sum over known rows of (z - mean z)(x - mean x); the shift drops out, since dz sums to zero.
  batch.cross_ = at::mm(dz.t(), deviation);
  batch.label_scatter_ = dz.square().sum(0);
  combine(batch);
}

void CrossMoments::merge(const CrossMoments& other) {
  if (other.empty()) return;
  if (!empty() && (width() != other.width() || concepts() != other.concepts())) {
    throw InvalidArgument(cat("[stats.CrossMoments.merge] expected width ", width(), " and ",
                              concepts(), " concepts, got ", other.width(), " and ",
                              other.concepts()));
  }
  combine(other);
}

void CrossMoments::combine(const CrossMoments& other) {
  if (empty()) {
    *this = other;
    return;
  }
  const at::Tensor total = count_.add(other.count_);
  const at::Tensor share = other.count_.div(total.clamp_min(1));
  const at::Tensor weight = count_.mul(share);  // n m / (n + m)
  const at::Tensor dx = other.mean_x_.sub(mean_x_);
  const at::Tensor dz = other.mean_z_.sub(mean_z_);
  // New tensors, not in place: a copy of an accumulator must not change with the original.
  cross_ = cross_.add(other.cross_).add(dx.mul(dz.mul(weight).unsqueeze(1)));
  label_scatter_ = label_scatter_.add(other.label_scatter_).add(dz.square().mul(weight));
  mean_x_ = mean_x_.add(dx.mul(share.unsqueeze(1)));
  mean_z_ = mean_z_.add(dz.mul(share));
  count_ = total;
}

std::int64_t CrossMoments::width() const { return empty() ? 0 : mean_x_.size(1); }
std::int64_t CrossMoments::concepts() const { return empty() ? 0 : count_.size(0); }

void CrossMoments::need_rows(const char* function) const {
  if (!empty()) return;
  throw StateError(
      cat("[stats.CrossMoments.", function, "] no rows were seen; call update() first"));
}

at::Tensor CrossMoments::count() const {
  need_rows("count");
  return count_.to(at::kLong);
}

at::Tensor CrossMoments::mean_rows() const {
  need_rows("mean_rows");
  return divide_or_nan(mean_x_.mul(count_.unsqueeze(1)), count_, 0);
}

at::Tensor CrossMoments::mean_labels() const {
  need_rows("mean_labels");
  return divide_or_nan(mean_z_.mul(count_), count_, 0);
}

at::Tensor CrossMoments::label_variance(std::int64_t ddof) const {
  need_rows("label_variance");
  return divide_or_nan(label_scatter_, count_, ddof);
}

at::Tensor CrossMoments::cross_covariance(std::int64_t ddof) const {
  need_rows("cross_covariance");
  return divide_or_nan(cross_, count_, ddof);
}

}  // namespace tierod
