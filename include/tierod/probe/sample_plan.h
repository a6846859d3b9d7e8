#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/dataset.h"

namespace tierod::probe {

/// Say what there is for one concept at one site.
struct TIEROD_API SampleSize {
  std::string concept_name;
  std::int64_t width = 0;          ///< columns d, or components kept
  std::size_t units = 0;           ///< independent units of A
  std::size_t positive_units = 0;  ///< of them with the concept
  std::size_t test_units = 0;      ///< of C; 0: not planned for
  std::size_t test_positives = 0;  ///< units of C with the concept
};

struct TIEROD_API SamplePlan {
  bool accepted = false;         ///< nothing below refuses
  std::size_t needed_units = 0;  ///< of A, 16 a column
  /// Columns that the units there are would carry: reduce to so many on the training rows.
  std::int64_t most_columns = 0;
  /// What a fresh probe would still read on held-out rows after a rank-1 erasure: interpolated in
  /// units a column between measurements (docs/probe.md).
  double expected_erased_auroc = 0;
  std::vector<std::string> sentences;  ///< what to do, with the numbers
};

/// Plan how many independent units a direction and its erasure need.
/// @throws InvalidArgument unless width >= 1 and positive counts are no larger than all.
TIEROD_API SamplePlan plan_sample(const SampleSize& size);

/// Plan for what a dataset holds; `splits` tells A from C (absent: all is A).
TIEROD_API SamplePlan plan_sample(const ProbeDataset& dataset, const std::string& site,
                                  const std::string& concept_name, const Splits* splits = nullptr);

}  // namespace tierod::probe
