#include "tierod/probe/eraser.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "core/text_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::checked_rows;

namespace {

constexpr auto* kFinish = "probe.LeaceFitter.finish";

// Chen et al. 2010, equation 23, from the covariance alone.
double oracle_shrinkage(const at::Tensor& covariance, double rows) {
  const auto d = static_cast<double>(covariance.size(0));
  const auto squares = covariance.square().sum().item<double>();  // tr(S^2)
  const auto trace = covariance.diagonal().sum().item<double>();
  const double above = (1 - 2 / d) * squares + trace * trace;
  const double below = (rows + 1 - 2 / d) * (squares - trace * trace / d);
  return below > 0 ? std::min(1.0, above / below) : 1.0;
}

}  // namespace

at::Tensor Eraser::apply(const at::Tensor& rows) const {
  if (!rows.defined() || rows.dim() != 2 || rows.size(1) != width() ||
      !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(
        cat("[probe.Eraser.apply] expected floating rows [n, ", width(), "], got ",
            rows.defined() ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                           : std::string("an undefined tensor"),
            "; flatten tokens into rows first"));
  }
  const auto device = rows.device();
  const at::Tensor centred = rows.to(at::kDouble).sub(mean_.to(device));
  const at::Tensor read = at::matmul(centred, right_.t().to(device));
  return rows.to(at::kDouble).sub(at::matmul(read, left_.t().to(device))).to(rows.scalar_type());
}

void LeaceFitter::update(const at::Tensor& x, const at::Tensor& z) {
  constexpr auto* where = "probe.LeaceFitter.update";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor rows = checked_rows(x, where, "x");
  const at::Tensor concepts = checked_rows(z, where, "z");
  if (rows.size(0) != concepts.size(0)) {
    throw InvalidArgument(cat("[", where, "] expected as many rows of z as of x (", rows.size(0),
                              "), got ", concepts.size(0)));
  }
  if (width_ != 0 &&
      (rows.size(1) != width_ || rows.size(1) + concepts.size(1) != moments_.width())) {
    throw InvalidArgument(cat("[", where, "] expected x of width ", width_, " and z of width ",
                              moments_.width() - width_, " as before, got ", rows.size(1), " and ",
                              concepts.size(1)));
  }
  moments_.update(at::cat({rows, concepts}, 1));
  if (moments_.count() > 0) width_ = rows.size(1);
}

void LeaceFitter::merge(const LeaceFitter& other) {
  if (width_ != 0 && other.width_ != 0 && width_ != other.width_) {
    throw InvalidArgument(
        cat("[probe.LeaceFitter.merge] expected x of width ", width_, ", got ", other.width_));
  }
  moments_.merge(other.moments_);
  width_ = std::max(width_, other.width_);
}

Eraser LeaceFitter::finish(const LeaceOptions& options) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (rows() < 2) {
    throw StateError(
        cat("[", kFinish, "] expected at least 2 rows, got ", rows(), "; call update() first"));
  }
  if (!(options.shrinkage <= 1) || !(options.tolerance > 0 && options.tolerance < 1)) {
    throw InvalidArgument(cat("[", kFinish, "] expected shrinkage <= 1 and a tolerance inside ",
                              "(0, 1), got ", options.shrinkage, " and ", options.tolerance));
  }
  const at::Tensor all = moments_.covariance();
  const std::int64_t concepts = all.size(0) - width_;
  const at::Tensor sd = all.diagonal().narrow(0, width_, concepts).sqrt();
  const at::Tensor mean = moments_.mean();
  for (std::int64_t k = 0; k < concepts; ++k) {
    const double scale = std::max(1.0, std::abs(mean[width_ + k].item<double>()));
    if (!(sd[k].item<double>() > 1e-12 * scale)) {
      throw NumericalError(cat("[", kFinish, "] column ", k, " of z is constant over ", rows(),
                               " rows; there is nothing to erase"));
    }
  }
  at::Tensor covariance = all.narrow(0, 0, width_).narrow(1, 0, width_).clone();
  const at::Tensor cross = all.narrow(0, 0, width_).narrow(1, width_, concepts).div(sd);

  Eraser out;
  out.mean_ = mean.narrow(0, 0, width_).clone();
  out.report_.rows = rows();
  out.report_.shrinkage = options.shrinkage >= 0
                              ? options.shrinkage
                              : oracle_shrinkage(covariance, static_cast<double>(rows()));
  const double gamma = out.report_.shrinkage;
  const double level = covariance.diagonal().sum().item<double>() / static_cast<double>(width_);
  covariance.mul_(1 - gamma).diagonal().add_(gamma * level);

  // W = S^-1/2 and its pseudo-inverse S^1/2 within the rank of S
  const auto [values, vectors] = at::linalg_eigh(covariance);
  const auto top = values.max().item<double>();
  if (!(top > 0)) throw NumericalError(cat("[", kFinish, "] x is constant over ", rows(), " rows"));
  const at::Tensor kept = values.gt(top * static_cast<double>(width_) * 1e-15).nonzero().flatten();
  const at::Tensor root = values.index_select(0, kept).sqrt();
  const at::Tensor basis = vectors.index_select(1, kept);  // [d, rank]
  out.report_.rank = kept.numel();
  out.report_.condition = std::pow(root.max().item<double>() / root.min().item<double>(), 2);

  const at::Tensor whitened = at::mm(basis.t(), cross).div_(root.unsqueeze(1));  // [rank, k]
  const auto [u, s, vh] = at::linalg_svd(whitened, false);
  const auto largest = s.max().item<double>();
  // of standardised labels: a correlation, so that rounding is 1e-16 of 1
  if (!(largest > 1e-12)) {
    throw NumericalError(
        cat("[", kFinish, "] z does not correlate with x; there is nothing to erase"));
  }
  const at::Tensor found = s.gt(options.tolerance * largest).nonzero().flatten();
  const at::Tensor directions = u.index_select(1, found);  // orthonormal [rank, k]
  out.left_ = at::mm(basis.mul(root), directions);
  out.right_ = at::mm(directions.t(), basis.div(root).t());
  if (found.numel() < concepts) {
    out.report_.note =
        cat("the ", concepts, " columns of z span only ", found.numel(), " dimensions of x");
  }
  if (rows() <= width_) {
    out.report_.note += cat(out.report_.note.empty() ? "" : "; ", "only ", rows(), " rows for ",
                            width_, " columns: verify the erasure on held-out groups");
  }
  return out;
}

}  // namespace tierod::probe
