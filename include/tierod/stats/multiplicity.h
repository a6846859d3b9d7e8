#pragma once

#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

/// Return p values [m] adjusted by Holm (1979): reject where <= alpha, and the chance of any false
/// rejection is <= alpha under every dependence.
/// @throws InvalidArgument if `p` is empty or a value lies outside [0, 1].
TIEROD_API std::vector<double> holm(std::span<const double> p);

/// Return p values [m] adjusted by Benjamini & Hochberg (1995): reject where <= q, and the expected
/// share of false rejections is <= q for independent or positively dependent tests.
/// @throws InvalidArgument if `p` is empty or a value lies outside [0, 1].
TIEROD_API std::vector<double> benjamini_hochberg(std::span<const double> p);

/// Return p values [m] adjusted by Benjamini & Yekutieli (2001): the false discovery rate under
/// every dependence, at the price of a factor sum_i 1/i.
/// @throws InvalidArgument if `p` is empty or a value lies outside [0, 1].
TIEROD_API std::vector<double> benjamini_yekutieli(std::span<const double> p);

}  // namespace tierod::stats
