#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

/// Hold one bin of a reliability diagram.
struct TIEROD_API CalibrationBin {
  double mean_probability = 0;
  double frequency = 0;  ///< share of ones
  std::size_t rows = 0;
};

struct TIEROD_API Calibration {
  double ece = 0;       ///< sum over bins of rows / n |frequency - mean_probability|
  double brier = 0;     ///< mean squared difference (Brier 1950)
  double log_loss = 0;  ///< mean -log of the probability given to what happened, in nats
  std::vector<CalibrationBin> bins;
};

/// Measure how well probabilities [n] of "1" fit labels [n]. The expected calibration error uses
/// bins of equal mass (Nixon et al. 2019): the rows sorted by probability are cut into `bins` parts
/// of n / bins rows; equal probabilities stay together in the part of their middle row.
///
/// Probabilities are kept off 0 and 1 by the smallest step of f64 for the log-loss, as scikit-learn
/// does.
/// @throws InvalidArgument on differing lengths, other labels, probabilities outside [0, 1], or
///         unless 1 <= bins <= n. A single class is allowed: a probability can be judged by it.
TIEROD_API Calibration calibration(std::span<const double> probabilities,
                                   std::span<const std::uint8_t> labels, std::size_t bins = 10);

}  // namespace tierod::stats
