#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

struct TIEROD_API SiteMaxTOptions {
  std::size_t permutations = 1999;
  std::size_t folds = 5;
  std::uint64_t seed = 0;
  double alpha = 0.05;
  /// Permuted labels whose scores are held at once. It changes memory and speed only.
  std::size_t batch = 512;
};

/// Hold a map sites x concepts; the lists are row-major [sites, concepts].
struct TIEROD_API SiteMaxT {
  std::size_t sites = 0;
  std::size_t concepts = 0;
  std::vector<double> statistic;    ///< t of the held-out scores, see `site_max_t`
  std::vector<double> p;            ///< of each cell alone
  std::vector<double> single_step;  ///< adjusted over the sites of the concept
  std::vector<double> step_down;    ///< never above single_step
  std::vector<double> threshold;    ///< [concepts] statistic beyond which single_step <= alpha
  std::size_t permutations = 0;
  double smallest_p = 1;
  std::string note;  ///< says so when no p can reach alpha
};

/// Test at every site whether group means tell a concept, with p values adjusted over the sites.
///
/// A cell's statistic: groups are dealt to folds at random within strata; the mean-difference
/// direction of the other folds scores each held-out group; scores are centred within folds; T is
/// their two-sample t between the classes. Labels move between whole groups within strata, the same
/// permutation for every site and concept, and each cell is refitted in every fold under each of
/// them. One Gram matrix [G, G] a site serves all folds, concepts and permutations: a score is a
/// sum over training groups of inner products, and those within one fold are zeroed beforehand.
///
/// Memory: 8 G^2 bytes for the site at hand, and concepts x (permutations + 1) x (G + 8 sites)
/// bytes; sites do not add to the former.
///
/// At a site where all groups are alike T is 0, and p 1.
///
/// @param group_means  a tensor [G, d_s] a site, floating: one row a group (a scene's mean)
/// @param labels       [G, C] row-major, 0 or 1
/// @param strata       [G]; empty: one stratum
/// @throws InvalidArgument on differing lengths, other labels, fewer than 2 folds, a concept with
///         fewer groups of a class than folds, no site or concept, labels that no permutation
///         changes, or alpha not inside (0, 1).
/// @throws NumericalError if a mean is not finite (the message names site and row).
TIEROD_API SiteMaxT site_max_t(const std::vector<at::Tensor>& group_means,
                               std::span<const std::uint8_t> labels,
                               std::span<const std::int64_t> strata = {},
                               const SiteMaxTOptions& options = {});

}  // namespace tierod::stats
