#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"

namespace tierod::patch {

/// Return vectors [count, d], f64, that are to `write` [d] what chance is: u = U (s . U'w) with U
/// the eigenvectors of the covariance and s random signs. Each is as long as w, and as far in the
/// distribution (Mahalanobis), so that a control made of them is neither weaker nor further off the
/// data than the direction itself; isotropic directions are both (docs/patch.md).
///
/// With a participation ratio below 20 there are too few independent signs: all of them resemble w.
/// Take `mahalanobis_directions` then.
/// @throws InvalidArgument on other shapes, count < 1, or a covariance that is not symmetric.
/// @throws NumericalError if a value is not finite.
TIEROD_API at::Tensor matched_directions(const at::Tensor& write, const at::Tensor& covariance,
                                         std::int64_t count, std::uint64_t seed = 0);

/// Return vectors [count, d], f64, as far in the distribution (Mahalanobis) as `write` [d], in
/// directions that are uniform once the covariance is whitened. Their length is another one, and
/// should be told along with what they do.
/// @throws as `matched_directions`; NumericalError if `write` lies where the covariance has none.
TIEROD_API at::Tensor mahalanobis_directions(const at::Tensor& write, const at::Tensor& covariance,
                                             std::int64_t count, std::uint64_t seed = 0);

/// Return (sum of eigenvalues)^2 / sum of their squares: how many dimensions a covariance [d, d]
/// has that count.
/// @throws InvalidArgument unless it is square and not zero.
TIEROD_API double participation_ratio(const at::Tensor& covariance);

}  // namespace tierod::patch
