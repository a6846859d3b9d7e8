#pragma once

#include "tierod/export.h"

/// Statistics: what decides whether an effect is there, and whether its absence was shown.
namespace tierod::stats {

/// Return P(T <= t) of Student's t with `df` degrees of freedom; an infinite `df` is the normal.
/// @throws InvalidArgument unless t is a number and df > 0.
TIEROD_API double student_t_cdf(double t, double df);

/// Return P(T > t), exact in the tail where 1 - cdf would lose its digits.
/// @throws InvalidArgument unless t is a number and df > 0.
TIEROD_API double student_t_sf(double t, double df);

/// Return the t with P(T <= t) = p.
/// @throws InvalidArgument unless 0 < p < 1 and df > 0.
TIEROD_API double student_t_quantile(double p, double df);

/// Return P(Z <= z) of the standard normal. @throws InvalidArgument if z is not a number.
TIEROD_API double normal_cdf(double z);

/// Return the z with P(Z <= z) = p. @throws InvalidArgument unless 0 < p < 1.
TIEROD_API double normal_quantile(double p);

}  // namespace tierod::stats
