#include "tierod/patch/matched.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>

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

}  // namespace

at::Tensor matched_directions(const at::Tensor& write, const at::Tensor& covariance,
                              std::int64_t count, std::uint64_t seed) {
  constexpr auto* kWhere = "matched_directions";
  const at::Tensor s = square(covariance, kWhere);
  const std::int64_t d = s.size(0);
  if (!write.defined() || write.dim() != 1 || write.size(0) != d || count < 1) {
    throw InvalidArgument(cat("[patch.", kWhere, "] expected a write vector [", d,
                              "] and count >= 1, got ",
                              write.defined() ? cat(write.sizes()) : "none", " and ", count));
  }
  const at::Tensor w = write.to(at::kCPU, at::kDouble);
  if (!w.isfinite().all().item<bool>()) {
    throw NumericalError(cat("[patch.", kWhere, "] expected a finite write vector"));
  }
  const auto largest = s.abs().max().item<double>();
  if ((s - s.t()).abs().max().item<double>() > 1e-8 * largest) {
    throw InvalidArgument(cat("[patch.", kWhere, "] expected a symmetric covariance"));
  }
  const at::Tensor u = std::get<1>(at::linalg_eigh(s));  // columns
  const at::Tensor along = at::matmul(u.t(), w);
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
  return at::matmul(signs * along, u.t());
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
