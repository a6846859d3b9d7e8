#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tierod/export.h"

namespace tierod::stats {

/// Index rows by cluster (scene, route, town). Clusters are numbered by ascending group label, so
/// that nothing computed from them depends on the order of the rows.
class TIEROD_API Clusters {
 public:
  /// @throws InvalidArgument if `groups` is empty or names fewer than `least` clusters; `where`
  ///         ("stats.function") starts the message.
  explicit Clusters(std::span<const std::int64_t> groups, std::size_t least = 1,
                    std::string_view where = "stats.Clusters");

  /// Return the number of clusters G.
  std::size_t size() const noexcept { return labels_.size(); }
  /// Return the number of rows n.
  std::size_t rows() const noexcept { return of_row_.size(); }
  /// Return the cluster [n] of each row, in [0, G).
  std::span<const std::uint32_t> of_row() const noexcept { return of_row_; }
  /// Return the group label [G] of each cluster, ascending.
  std::span<const std::int64_t> labels() const noexcept { return labels_; }
  /// Return the number of rows [G] of each cluster.
  std::span<const std::size_t> counts() const noexcept { return counts_; }

  /// Return the sums [G] of `values` [n] within clusters.
  /// @throws InvalidArgument if the lengths differ.
  std::vector<double> sums(std::span<const double> values) const;
  /// Return the means [G] of `values` [n] within clusters.
  /// @throws InvalidArgument if the lengths differ.
  std::vector<double> means(std::span<const double> values) const;

 private:
  std::vector<std::uint32_t> of_row_;
  std::vector<std::int64_t> labels_;
  std::vector<std::size_t> counts_;
};

}  // namespace tierod::stats
