#include "tierod/patch/matched.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <tuple>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::patch {

using internal::cat;

namespace {

at::Tensor square(const at::Tensor& covariance, const char* where) {
  if (!covariance.defined() || covariance.dim() != 2 || covariance.size(0) != covariance.size(1)) {
    throw InvalidArgument(cat("[patch.", where, "] expected a covariance [d, d], got ",
                              covariance.defined() ? cat(covariance.sizes()) : "none"));
  }
  at::Tensor out = covariance.to(at::kCPU, at::kDouble);
  if (!out.isfinite().all().item<bool>()) {
    throw NumericalError(cat("[patch.", where, "] expected a finite covariance"));
  }
  return out;
}

// Hold w along the eigenvectors of a covariance, both checked.
struct Eigenbasis {
  at::Tensor values, vectors, along;

  Eigenbasis(const at::Tensor& write, const at::Tensor& covariance, std::int64_t count,
             const char* where) {
    const at::Tensor s = square(covariance, where);
    const std::int64_t d = s.size(0);
    if (!write.defined() || write.dim() != 1 || write.size(0) != d || count < 1) {
      throw InvalidArgument(cat("[patch.", where, "] expected a write vector [", d,
                                "] and count >= 1, got ",
                                write.defined() ? cat(write.sizes()) : "none", " and ", count));
    }
    const at::Tensor w = write.to(at::kCPU, at::kDouble);
    if (!w.isfinite().all().item<bool>()) {
      throw NumericalError(cat("[patch.", where, "] expected a finite write vector"));
    }
    const auto largest = s.abs().max().item<double>();
    if ((s - s.t()).abs().max().item<double>() > 1e-8 * largest) {
      throw InvalidArgument(cat("[patch.", where, "] expected a symmetric covariance"));
    }
    std::tie(values, vectors) = at::linalg_eigh(s);
    along = at::matmul(vectors.t(), w);
  }

  // Return rows [count, d] of the eigenbasis as vectors, each by a product of its own: the first
  // ones of a pool are the same to the last bit whatever their number.
  at::Tensor mapped(const at::Tensor& rows) const {
    std::vector<at::Tensor> out;
    out.reserve(static_cast<std::size_t>(rows.size(0)));
    for (std::int64_t i = 0; i < rows.size(0); ++i) out.push_back(at::mv(vectors, rows[i]));
    return at::stack(out);
  }
};

}  // namespace

at::Tensor matched_directions(const at::Tensor& write, const at::Tensor& covariance,
                              std::int64_t count, std::uint64_t seed) {
  const Eigenbasis basis(write, covariance, count, "matched_directions");
  const std::int64_t d = basis.along.size(0);
  at::Tensor signs = at::empty({count, d}, at::kDouble);
  const CounterRandom random(seed, "patch.matched");
  auto* sign = signs.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < d; ++j) {
      const bool up =
          (random.bits(static_cast<std::uint64_t>(i), 0, static_cast<std::uint32_t>(j)) & 1U) != 0;
      *sign++ = up ? 1 : -1;
    }
  }
  return basis.mapped(signs * basis.along);
}

at::Tensor mahalanobis_directions(const at::Tensor& write, const at::Tensor& covariance,
                                  std::int64_t count, std::uint64_t seed) {
  constexpr auto* kWhere = "mahalanobis_directions";
  const Eigenbasis basis(write, covariance, count, kWhere);
  const std::int64_t d = basis.along.size(0);
  const double floor = 1e-12 * basis.values.max().item<double>();
  const at::Tensor kept = basis.values.gt(floor).to(at::kDouble);
  const at::Tensor squares = basis.along.square();
  if (!((squares * kept).sum().item<double>() > (1 - 1e-8) * squares.sum().item<double>())) {
    throw NumericalError(cat("[patch.", kWhere,
                             "] expected a write vector within what varies; some ",
                             "of it lies where the covariance is 0"));
  }
  const auto distance =
      std::sqrt((squares * kept / basis.values.clamp_min(floor)).sum().item<double>());
  at::Tensor normals = at::empty({count, d}, at::kDouble);
  const CounterRandom random(seed, "patch.mahalanobis");
  auto* value = normals.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < d; ++j) {
      *value++ = random.normal(static_cast<std::uint64_t>(i), 0, static_cast<std::uint32_t>(j));
    }
  }
  normals = normals * kept;
  const at::Tensor whitened = normals / normals.norm(2, 1, true) * distance;
  return basis.mapped(whitened * basis.values.clamp_min(0).sqrt());
}

double participation_ratio(const at::Tensor& covariance) {
  const at::Tensor s = square(covariance, "participation_ratio");
  const auto trace = s.trace().item<double>();
  const auto squares = (s * s.t()).sum().item<double>();
  if (!(squares > 0)) {
    throw InvalidArgument("[patch.participation_ratio] expected a covariance that is not zero");
  }
  return trace * trace / squares;
}

}  // namespace tierod::patch
