#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/stats/clusters.h"

namespace tierod::stats {

/// What moves as a whole when labels are permuted.
enum class PermutationUnit : std::uint8_t {
  group,  ///< one label a group: groups of any size exchange their labels
  track,  ///< labels that change within a group (frames of a scene): groups of equal length
          ///< exchange their whole track, so that its autocorrelation stays
};

/// Permute labels between groups, within strata. Rows of one group never part.
class TIEROD_API GroupPermutation {
 public:
  /// @param labels  one number a row [n]: 0/1, a class, a dose
  /// @param groups  the independent unit of each row [n]; a row of its own each for free rows
  /// @param strata  labels move only between groups of one stratum [n]; empty: a single stratum
  /// @throws InvalidArgument on differing lengths, a stratum that differs within a group, labels
  ///         that differ within a group under unit `group`, or if no permutation changes anything.
  /// @throws NumericalError if a label is not finite.
  GroupPermutation(std::span<const double> labels, std::span<const std::int64_t> groups,
                   std::span<const std::int64_t> strata = {},
                   PermutationUnit unit = PermutationUnit::group);

  std::size_t rows() const noexcept { return labels_.size(); }
  std::size_t clusters() const noexcept { return clusters_.size(); }
  /// Return the number of groups that have another to exchange with.
  std::size_t movable_clusters() const noexcept { return movable_; }

  /// Fill `out` [n] with the labels of permutation number `replicate`, a pure function of
  /// (seed, replicate).
  void permute(std::uint64_t seed, std::size_t replicate, std::span<double> out) const;

  /// Return log10 of the number of different arrangements of the labels.
  double log10_arrangements() const noexcept { return log10_arrangements_; }
  /// Return the smallest p that `permutations` random permutations can give: the larger of
  /// 1 / (permutations + 1) and 1 / arrangements.
  double smallest_p(std::size_t permutations) const;

 private:
  Clusters clusters_;
  std::vector<double> labels_;
  std::vector<std::vector<std::uint32_t>> rows_of_;  // by cluster, in the order of the rows
  std::vector<std::vector<std::uint32_t>> classes_;  // clusters that may exchange
  std::size_t movable_ = 0;
  double log10_arrangements_ = 0;
};

enum class Alternative : std::uint8_t {
  greater,
  less,
  two_sided,  ///< |T|: for a statistic whose null distribution is centred at 0
};

struct TIEROD_API PermutationOptions {
  std::size_t permutations = 999;
  Alternative alternative = Alternative::greater;
  PermutationUnit unit = PermutationUnit::group;
  std::uint64_t seed = 0;
  /// The level that the test is meant to reach; if no p can be that small, `note` says so.
  double alpha = 0.05;
  /// Threads that call the statistic side by side, which must then be safe to call so.
  std::size_t threads = 1;
};

struct TIEROD_API PermutationResult {
  double statistic = 0;
  double p = 1;               ///< (1 + #{T_b >= T}) / (B + 1), never 0
  std::size_t exceeding = 0;  ///< #{T_b >= T}
  std::size_t permutations = 0;
  double smallest_p = 1;  ///< what this many permutations of these groups could give at best
  double log10_arrangements = 0;
  std::vector<double> null;  ///< T_b [B]
  std::string note;
};

/// Compute a statistic from labels [n]; the other data is the callback's own.
using LabelStatistic = std::function<double(std::span<const double> labels)>;

/// Test "the labels do not matter" by permuting whole groups or tracks within strata (Phipson &
/// Smyth 2010 for the p that counts the observed arrangement).
/// @throws as the constructor of `GroupPermutation`; NumericalError if a statistic is not finite.
TIEROD_API PermutationResult permutation_test(const LabelStatistic& statistic,
                                              std::span<const double> labels,
                                              std::span<const std::int64_t> groups,
                                              std::span<const std::int64_t> strata = {},
                                              const PermutationOptions& options = {});

/// Return the number of permutations B with 1 / (B + 1) <= alpha / tests: what a Bonferroni or
/// Holm-adjusted p needs in order to reach alpha at all.
/// @throws InvalidArgument unless alpha is inside (0, 1) and tests >= 1.
TIEROD_API std::size_t permutations_needed(double alpha, std::size_t tests = 1);

}  // namespace tierod::stats
