#include "tierod/patch/donors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/text_internal.h"
#include "stats/check_internal.h"
#include "stats/shuffle_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/stats/clusters.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kMatched = "patch.matched_donors";

// Rotate and scale covariates so that Euclidean distance is Mahalanobis distance. Plain loops:
// equal rows must stay equal to the last bit, which a blocked product does not promise.
class Whitened {
 public:
  Whitened(std::span<const double> covariates, std::span<const std::uint8_t> labels)
      : rows_(labels.size()), columns_(covariates.size() / labels.size()) {
    std::vector<double> centred = within(covariates, labels);
    const std::vector<double> scale = scales(centred, covariates);
    const auto width = static_cast<std::int64_t>(columns_);
    at::Tensor correlation = at::empty({width, width}, at::kDouble);
    auto* entry = correlation.mutable_data_ptr<double>();
    const double freedom = std::max(1.0, internal::real(rows_) - 2);
    for (std::size_t a = 0; a < columns_; ++a) {
      for (std::size_t b = 0; b < columns_; ++b) {
        double sum = 0;
        for (std::size_t i = 0; i < rows_; ++i) {
          sum += centred[i * columns_ + a] * scale[a] * centred[i * columns_ + b] * scale[b];
        }
        entry[a * columns_ + b] = sum / freedom;
      }
    }
    // in correlations the cut-off does not depend on units
    const auto [values, vectors] = at::linalg_eigh(correlation);
    const at::Tensor axes = vectors.contiguous();
    const auto* value = values.const_data_ptr<double>();
    const auto* vector = axes.const_data_ptr<double>();
    std::vector<std::size_t> kept;
    for (std::size_t k = 0; k < columns_; ++k) {
      if (value[k] > 1e-10 * std::max(1.0, value[columns_ - 1])) kept.push_back(k);
    }
    width_ = kept.size();
    out_.assign(rows_ * width_, 0.0);
    for (std::size_t i = 0; i < rows_; ++i) {
      for (std::size_t j = 0; j < width_; ++j) {
        double sum = 0;
        for (std::size_t a = 0; a < columns_; ++a) {
          sum += covariates[i * columns_ + a] * scale[a] * vector[a * columns_ + kept[j]];
        }
        out_[i * width_ + j] = sum / std::sqrt(value[kept[j]]);
      }
    }
  }

  double squared(std::size_t i, std::size_t j) const {
    double sum = 0;
    for (std::size_t k = 0; k < width_; ++k) {
      const double apart = out_[i * width_ + k] - out_[j * width_ + k];
      sum += apart * apart;
    }
    return sum;
  }

 private:
  std::vector<double> within(std::span<const double> x,
                             std::span<const std::uint8_t> labels) const {
    std::vector<double> mean(2 * columns_, 0.0);
    std::vector<double> count(2, 0.0);
    for (std::size_t i = 0; i < rows_; ++i) {
      count[labels[i]] += 1;
      for (std::size_t a = 0; a < columns_; ++a) {
        mean[labels[i] * columns_ + a] += x[i * columns_ + a];
      }
    }
    std::vector<double> out(x.begin(), x.end());
    for (std::size_t i = 0; i < rows_; ++i) {
      for (std::size_t a = 0; a < columns_; ++a) {
        out[i * columns_ + a] -= mean[labels[i] * columns_ + a] / count[labels[i]];
      }
    }
    return out;
  }

  // 1 / sd; 0 for columns whose spread is rounding
  std::vector<double> scales(std::span<const double> centred, std::span<const double> x) const {
    std::vector<double> out(columns_, 0.0);
    for (std::size_t a = 0; a < columns_; ++a) {
      double squares = 0;
      double largest = 0;
      for (std::size_t i = 0; i < rows_; ++i) {
        squares += centred[i * columns_ + a] * centred[i * columns_ + a];
        largest = std::max(largest, std::abs(x[i * columns_ + a]));
      }
      const double sd = std::sqrt(squares / std::max(1.0, internal::real(rows_) - 2));
      if (sd > 1e-12 * largest) out[a] = 1 / sd;
    }
    return out;
  }

  std::size_t rows_;
  std::size_t columns_;
  std::size_t width_ = 0;
  std::vector<double> out_;  // [rows, width]
};

}  // namespace

MatchedDonors matched_donors(std::span<const double> covariates,
                             std::span<const std::uint8_t> labels,
                             std::span<const std::int64_t> groups,
                             std::span<const std::uint8_t> eligible) {
  const std::size_t n = labels.size();
  internal::check_binary(labels, kMatched);
  internal::check_same_length(groups.size(), n, kMatched, "groups", "labels");
  if (!eligible.empty()) {
    internal::check_same_length(eligible.size(), n, kMatched, "eligible", "labels");
  }
  if (covariates.empty() || covariates.size() % n != 0) {
    throw InvalidArgument(cat("[", kMatched, "] expected covariates [", n,
                              ", q] with q >= 1, a row for each label, got ", covariates.size(),
                              " numbers"));
  }
  internal::check_finite(covariates, kMatched, "covariates");
  const Whitened white(covariates, labels);
  MatchedDonors out{.donors = std::vector<std::int64_t>(n), .distances = std::vector<double>(n)};
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t best = n;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t j = 0; j < n; ++j) {
      if (labels[j] == labels[i] || groups[j] == groups[i]) continue;
      if (!eligible.empty() && eligible[j] == 0) continue;
      const double squared = white.squared(i, j);
      // distances that differ by rounding alone are ties
      if (best == n || squared < least * (1 - 1e-12)) {
        best = j;
        least = squared;
      }
    }
    if (best == n) {
      throw InvalidArgument(cat("[", kMatched, "] expected a donor with label ", 1 - int{labels[i]},
                                " in another group for each scene, got none ", "for scene ", i,
                                " of group ", groups[i],
                                eligible.empty() ? "; add scenes of other groups"
                                                 : "; add scenes of other groups, or let more be "
                                                   "eligible"));
    }
    out.donors[i] = static_cast<std::int64_t>(best);
    out.distances[i] = std::sqrt(least);
  }
  return out;
}

// Note [Swaps always suffice]: say scene i of group g, of c <= n/2 scenes, got a donor of g. A swap
// of donors with scene j helps if neither j nor j's donor is of g. At most c scenes are of g and c
// receive from g, and i is among both: at most 2c - 1 < n are unfit, so some j remains. Each swap
// ends a conflict and begins none.
std::vector<std::int64_t> shuffled_donors(std::span<const std::int64_t> groups,
                                          std::uint64_t seed) {
  constexpr auto* kWhere = "patch.shuffled_donors";
  const stats::Clusters clusters(groups, 1, kWhere);
  const std::size_t n = groups.size();
  for (std::size_t g = 0; g < clusters.size(); ++g) {
    if (2 * clusters.counts()[g] > n) {
      throw InvalidArgument(cat("[", kWhere, "] expected no group with more than half of the ", n,
                                " scenes, got ", clusters.counts()[g], " of group ",
                                clusters.labels()[g],
                                "; they cannot all receive from another group: add scenes of "
                                "other groups"));
    }
  }
  std::vector<std::int64_t> donors(n);
  std::iota(donors.begin(), donors.end(), 0);
  const CounterRandom random(seed, "patch.shuffled_donors");
  internal::shuffle(std::span(donors), random, 0, 0);
  const auto group_of = [&](std::size_t receiver) {
    return groups[static_cast<std::size_t>(donors[receiver])];
  };
  for (std::size_t i = 0; i < n; ++i) {
    if (group_of(i) != groups[i]) continue;
    const auto unfit = [&](std::size_t j) {
      return groups[j] == groups[i] || group_of(j) == groups[i];
    };
    std::size_t j = i;
    for (std::uint32_t tried = 0; tried < 64 && unfit(j); ++tried) {
      const auto words = random.block(1, static_cast<std::uint32_t>(i), tried);
      j = internal::scaled(words[0], words[1], n);
    }
    while (unfit(j)) j = (j + 1) % n;
    std::swap(donors[i], donors[j]);
  }
  // Repairs favour some permutations. Swaps of random pairs that break no rule, proposed alike both
  // ways, even that out (Metropolis); unrestricted, n log n / 2 of them mix (Diaconis and
  // Shahshahani 1981).
  for (std::uint64_t step = 0; step < 16 * n; ++step) {
    const auto words = random.block(step, 0, 2);
    const std::size_t i = internal::scaled(words[0], words[1], n);
    const std::size_t j = internal::scaled(words[2], words[3], n);
    if (group_of(j) != groups[i] && group_of(i) != groups[j]) std::swap(donors[i], donors[j]);
  }
  return donors;
}

}  // namespace tierod::patch
