#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

/// Hold the sufficient statistics of mean-difference directions: sums and counts of rows by cluster
/// and class. Every resample of clusters, and its refitted direction, follows from them without the
/// rows.
class TIEROD_API ClassSums {
 public:
  /// Add up rows [n, d] (any floating dtype and device; sums are f64) by label (0 or 1) and
  /// cluster.
  /// @throws InvalidArgument unless 2-D, floating and of one length with labels and groups; on
  ///         other labels, a single class, or fewer than 2 clusters.
  /// @throws NumericalError if a row is not finite; the message names the first.
  ClassSums(const at::Tensor& rows, std::span<const std::uint8_t> labels,
            std::span<const std::int64_t> groups);

  std::size_t clusters() const noexcept { return groups_.size(); }
  std::int64_t width() const { return sums_.size(2); }
  /// Return the group label [G] of each cluster, ascending.
  std::span<const std::int64_t> groups() const noexcept { return groups_; }
  /// Return the sums [2, G, d], f64, of the rows with label 0 and 1.
  at::Tensor sums() const { return sums_.clone(); }
  /// Return the numbers of rows [2, G], f64.
  at::Tensor counts() const { return counts_.clone(); }

  /// Return the mean-difference directions [R, d], f64, for weights of the clusters [R, G]:
  /// mean of the ones minus mean of the zeros, each over weighted rows (the "mass-mean" direction
  /// of Marks & Tegmark 2023). One matrix product serves all; a row of weights that leaves a class
  /// empty gives NaN.
  /// @throws InvalidArgument unless weights are [R, G], floating.
  at::Tensor mean_differences(const at::Tensor& weights) const;

  /// Return the directions [R, d] of bootstrap replicates first .. first + replicates - 1, with the
  /// weights of `bootstrap_weights`: any cut of the replicates into calls gives the same numbers.
  /// @throws InvalidArgument if replicates is 0.
  at::Tensor bootstrap(std::size_t replicates, std::uint64_t seed = 0, std::size_t first = 0) const;

  /// Return the directions [K, d] of the delete-group jackknife, with the blocks of
  /// `jackknife_blocks`.
  /// @throws InvalidArgument unless 2 <= blocks <= clusters; NumericalError if a block holds all
  ///         rows of a class.
  at::Tensor jackknife(std::size_t blocks = 20, std::uint64_t seed = 0) const;

 private:
  /// Turn weights [clusters] into the coefficients [cells] of the cells' sums in the direction.
  void coefficients(const double* weights, double* out) const;

  std::vector<std::int64_t> groups_;
  at::Tensor sums_;    // [2, G, d]
  at::Tensor counts_;  // [2, G]
  // Cells (class, cluster) that hold rows: scenes mostly have one class, and products over the
  // empty cells would be zeros.
  struct Cell {
    std::size_t cls;
    std::size_t cluster;
    double rows;
  };
  std::vector<Cell> cells_;
  at::Tensor cell_sums_;  // [cells, d]
};

}  // namespace tierod::stats
