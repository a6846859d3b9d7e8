#include "tierod/stats/calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"

namespace tierod::stats {

using tierod::internal::ascending_order;
using tierod::internal::cat;
using tierod::internal::check_not_empty;
using tierod::internal::check_same_length;
using tierod::internal::real;

namespace {

constexpr auto* kWhere = "stats.calibration";

void check(std::span<const double> probabilities, std::span<const std::uint8_t> labels,
           std::size_t bins) {
  check_not_empty(probabilities.size(), kWhere, "probabilities");
  check_same_length(labels.size(), probabilities.size(), kWhere, "labels", "probabilities");
  if (bins == 0 || bins > probabilities.size()) {
    throw InvalidArgument(
        cat("[", kWhere, "] expected 1 <= bins <= rows (", probabilities.size(), "), got ", bins));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (!(probabilities[i] >= 0 && probabilities[i] <= 1)) {
      throw InvalidArgument(cat("[", kWhere, "] expected probabilities inside [0, 1], got ",
                                probabilities[i], " at index ", i));
    }
    if (labels[i] > 1) {
      throw InvalidArgument(cat("[", kWhere, "] expected labels 0 or 1, got ", int{labels[i]},
                                " at index ", i, "; drop rows whose label is missing"));
    }
  }
}

}  // namespace

Calibration calibration(std::span<const double> probabilities, std::span<const std::uint8_t> labels,
                        std::size_t bins) {
  check(probabilities, labels, bins);
  const std::size_t n = probabilities.size();
  Calibration out;
  constexpr double kStep = std::numeric_limits<double>::epsilon();
  for (std::size_t i = 0; i < n; ++i) {
    const double miss = probabilities[i] - labels[i];
    const double p = std::clamp(probabilities[i], kStep, 1 - kStep);
    out.brier += miss * miss / real(n);
    out.log_loss -= std::log(labels[i] != 0 ? p : 1 - p) / real(n);
  }
  const std::vector<std::size_t> order = ascending_order(probabilities);
  out.bins.resize(bins);
  for (std::size_t begin = 0; begin < n;) {
    std::size_t end = begin + 1;
    while (end < n && probabilities[order[end]] == probabilities[order[begin]]) ++end;
    CalibrationBin& bin = out.bins[(begin + (end - 1 - begin) / 2) * bins / n];
    for (; begin < end; ++begin) {
      bin.mean_probability += probabilities[order[begin]];
      bin.frequency += labels[order[begin]];
      ++bin.rows;
    }
  }
  std::erase_if(out.bins, [](const CalibrationBin& bin) { return bin.rows == 0; });
  for (CalibrationBin& bin : out.bins) {
    out.ece += std::abs(bin.frequency - bin.mean_probability) / real(n);
    bin.mean_probability /= real(bin.rows);
    bin.frequency /= real(bin.rows);
  }
  return out;
}

}  // namespace tierod::stats
