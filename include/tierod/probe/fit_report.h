#pragma once

#include <cstdint>
#include <string>

#include "tierod/export.h"

namespace tierod::probe {

/// Say how well conditioned a fit was, and whether it is one: what a number alone would hide.
struct TIEROD_API FitReport {
  std::int64_t rows = 0;  ///< training rows
  std::int64_t rank = 0;  ///< of the matrix that was solved with
  /// Largest over smallest eigenvalue of that matrix, within its rank.
  double condition = 1;
  double shrinkage = 0;         ///< weight of the scaled identity in the covariance
  std::int64_t iterations = 0;  ///< 0 where the solution is direct
  bool converged = true;        ///< false: the weights are the last ones seen, not a minimum
  /// Estimate of how far the objective lies above its minimum; 0 where the solution is direct.
  double excess = 0;
  bool separated = false;  ///< a hyperplane splits the training rows without a mistake
  std::string note;        ///< what the reader must know; empty otherwise
};

}  // namespace tierod::probe
