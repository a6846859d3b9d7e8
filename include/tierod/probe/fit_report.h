#pragma once

#include <cstdint>
#include <string>

#include "tierod/export.h"

namespace tierod::probe {

/// Say how well conditioned a fit was: what a number alone would hide.
struct TIEROD_API FitReport {
  std::int64_t rows = 0;  ///< training rows
  std::int64_t rank = 0;  ///< of the matrix that was solved with
  /// Largest over smallest eigenvalue of that matrix, within its rank.
  double condition = 1;
  double shrinkage = 0;  ///< weight of the scaled identity in the covariance
  std::string note;      ///< what the reader must know; empty otherwise
};

}  // namespace tierod::probe
