#pragma once

#include "hook/region_internal.h"
#include "tierod/core/event.h"
#include "tierod/hook/intervention.h"

namespace tierod {

struct Intervention::Impl {
  Kind kind;
  // replace
  at::Tensor source;
  bool broadcast = false;
  bool allow_nonfinite = false;
  // replace_by_event
  ActivationCache donors;
  // affine
  Affine affine;
  // gather_rows
  std::vector<std::int64_t> permutation;
};

namespace internal {

/// Apply `intervention` to the chosen part of x at `event` and return a fresh tensor, or x itself
/// where the region is empty. `region` is what `selection` means here.
/// @throws InvalidArgument, SiteError; messages start with `where`, which names the site.
at::Tensor apply(const Intervention& intervention, const at::Tensor& x, const Region& region,
                 const Selection& selection, const Event& event, bool gradient,
                 const std::string& where);

/// Throw NumericalError if `x` holds NaN or Inf.
void check_finite(const at::Tensor& x, const std::string& where, const char* what);

/// Throw InvalidArgument unless `values` has the shape, dtype and device of `part`.
void check_replacement(const at::Tensor& values, const at::Tensor& part, const std::string& where,
                       const char* what);

}  // namespace internal

}  // namespace tierod
