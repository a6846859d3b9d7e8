#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "tierod/export.h"
#include "tierod/probe/direction.h"
#include "tierod/probe/fold_statistics.h"

namespace tierod::probe {

/// Choose the vector along which a concept is written.
enum class WritePattern : std::uint8_t {
  mean_difference,  ///< mean of the ones less mean of the zeros
  covariance,  ///< Sigma r / (r' Sigma r): how all rows move with what is read (Haufe 2014, eq. 6)
};

/// Return the direction that reads with `read` [d], the weights of any linear probe, and writes
/// with a pattern of the training rows, scaled so that r'w = 1. The positions of the classes are
/// their means of r'(h - mean), the unit of dose the standard deviation of r'h.
/// @throws InvalidArgument unless `read` is a floating vector of the width, and there is such a
///         concept; NumericalError if what is written is not seen by what reads.
TIEROD_API Direction probe_direction(const TrainingStatistics& training, std::int64_t concept_index,
                                     const at::Tensor& read,
                                     WritePattern write = WritePattern::mean_difference,
                                     std::string site = {});

/// Return the ridge direction of a concept: the weights of `RidgeFitter({penalty})` as read vector.
/// @throws as RidgeFitter and `probe_direction`.
TIEROD_API Direction ridge_direction(const TrainingStatistics& training, std::int64_t concept_index,
                                     double penalty,
                                     WritePattern write = WritePattern::mean_difference,
                                     std::string site = {});

}  // namespace tierod::probe
