#include "tierod/probe/direction.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/mv.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;

namespace {

std::string shape_text(const at::Tensor& x) {
  if (!x.defined()) return "an undefined tensor";
  return cat("shape ", x.sizes(), " of ", x.scalar_type());
}

at::Tensor checked_vector(const at::Tensor& x, const char* name) {
  if (!x.defined() || x.dim() != 1 || x.size(0) == 0 || !at::isFloatingType(x.scalar_type())) {
    throw InvalidArgument(
        cat("[probe.Direction] expected a floating vector [d] as ", name, ", got ", shape_text(x)));
  }
  at::Tensor out = x.detach().to(at::kCPU, at::kDouble).contiguous().clone();
  if (!at::isfinite(out).all().item<bool>()) {
    throw NumericalError(cat("[probe.Direction] ", name, " holds NaN or infinite values"));
  }
  return out;
}

}  // namespace

Direction::Direction(std::string site, const at::Tensor& read, const at::Tensor& write,
                     const at::Tensor& mean, double sd, double low, double high)
    : site_(std::move(site)), sd_(sd), low_(low), high_(high) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  read_ = checked_vector(read, "read");
  write_ = checked_vector(write, "write");
  mean_ = checked_vector(mean, "mean");
  for (const at::Tensor* other : {&write_, &mean_}) {
    if (other->size(0) != width()) {
      throw InvalidArgument(cat("[probe.Direction] expected vectors of one length, got read ",
                                width(), ", write ", write_.size(0), ", mean ", mean_.size(0)));
    }
  }
  if (!(sd > 0) || !std::isfinite(sd) || !std::isfinite(low) || !std::isfinite(high)) {
    throw InvalidArgument(cat("[probe.Direction] expected sd > 0 and finite class positions, got ",
                              "sd ", sd, ", low ", low, ", high ", high));
  }
  const auto product = at::dot(read_, write_).item<double>();
  const double lengths = read_.norm().item<double>() * write_.norm().item<double>();
  if (!(product > 1e-12 * lengths)) {
    throw NumericalError(cat("[probe.Direction] expected read' write > 0, got ", product,
                             " for vectors of lengths product ", lengths,
                             "; reading cannot see what is written"));
  }
  write_.div_(product);
}

at::Tensor Direction::position(const at::Tensor& rows) const {
  if (!rows.defined() || rows.dim() != 2 || rows.size(1) != width() ||
      !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(cat("[probe.Direction.position] expected floating rows [n, ", width(),
                              "], got ", shape_text(rows), "; flatten tokens into rows first"));
  }
  const at::Tensor h = rows.to(at::kDouble);
  const at::Tensor r = read_.to(rows.device());
  return at::mv(h, r).sub(at::dot(r, mean_.to(rows.device())));
}

at::Tensor Direction::move(const at::Tensor& rows, const at::Tensor& amount) const {
  const at::Tensor w = write_.to(rows.device());
  return rows.to(at::kDouble).addr(amount, w).to(rows.scalar_type());
}

at::Tensor Direction::swap(const at::Tensor& rows, bool to_high) const {
  return move(rows, position(rows).neg().add(to_high ? high_ : low_));
}

at::Tensor Direction::ablate(const at::Tensor& rows) const {
  return move(rows, position(rows).neg());
}

at::Tensor Direction::add(const at::Tensor& rows, double dose) const {
  if (!std::isfinite(dose)) {
    throw InvalidArgument(cat("[probe.Direction.add] expected a finite dose, got ", dose));
  }
  const at::Tensor here = position(rows);  // checks the rows
  return move(rows, at::full(here.sizes(), dose * sd_, here.options()));
}

}  // namespace tierod::probe
