#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/audit/protocol.h"
#include "tierod/probe/dataset.h"
#include "tierod/vla/scene_source.h"

namespace tierod::internal {

/// Know what is labelled of all scenes, and which of them belong to A, B and C.
class World {
 public:
  /// @throws InvalidArgument if the scenes cannot be split.
  World(const vla::SceneSource& source, const audit::Protocol& protocol);

  const vla::SceneSource& source() const noexcept { return source_; }
  /// Return the names of concepts, then of nuisances that are 0 or 1 everywhere.
  const std::vector<std::string>& features() const noexcept { return features_; }
  const std::vector<std::string>& concepts() const noexcept { return concepts_; }
  const std::vector<vla::SceneNuisance>& nuisances() const noexcept { return nuisances_; }
  const std::vector<vla::Stratification>& strata() const noexcept { return strata_; }
  /// Return the labels of a feature: [size] 0, 1, or 255 for missing.
  const std::vector<std::uint8_t>& labels(const std::string& feature) const;
  bool has(const std::string& feature) const { return labels_.contains(feature); }
  /// Add labels of a feature that is made for a control.
  void add(const std::string& feature, std::vector<std::uint8_t> labels);

  std::vector<std::uint8_t> labels(const std::string& feature,
                                   std::span<const std::int64_t> ids) const;
  /// Return the independent unit of each scene.
  std::vector<std::int64_t> units(std::span<const std::int64_t> ids) const;
  const std::string& level() const noexcept { return splits_.level; }
  const probe::Splits& splits() const noexcept { return splits_; }
  /// Return the ids of all scenes of a split, ascending.
  const std::vector<std::int64_t>& of(probe::Split split) const {
    return of_split_[static_cast<std::size_t>(split)];
  }

  /// Draw scenes of a split, as many with a feature as without, at most `count` in all: by counters
  /// of (seed, purpose), so that a larger draw holds a smaller one. Ascending.
  std::vector<std::int64_t> balanced(probe::Split split, const std::string& feature,
                                     std::int64_t count, std::string_view purpose,
                                     std::span<const std::int64_t> among = {}) const;
  /// Draw any scenes of a split.
  std::vector<std::int64_t> any(probe::Split split, std::int64_t count,
                                std::string_view purpose) const;

  /// Return a dataset of these scenes with groups, levels, features and the protocol's nuisances,
  /// without activations.
  probe::ProbeDataset dataset(std::span<const std::int64_t> ids,
                              const std::vector<std::string>& nuisances) const;

 private:
  std::vector<std::int64_t> drawn(std::vector<std::int64_t> from, std::int64_t count,
                                  std::string_view purpose) const;

  const vla::SceneSource& source_;
  std::uint64_t seed_;
  std::vector<std::string> concepts_, features_;
  std::vector<vla::SceneNuisance> nuisances_;
  std::vector<vla::Stratification> strata_;
  std::map<std::string, std::vector<std::uint8_t>> labels_;
  std::vector<std::string> levels_;                          // lowest first, above scenes
  std::map<std::string, std::vector<std::int64_t>> groups_;  // by level [size]
  std::vector<std::int64_t> units_;                          // [size]
  probe::Splits splits_;
  std::array<std::vector<std::int64_t>, 3> of_split_;
};

/// Return the number of scenes that are needed for `test` scenes of the rarest class in C.
std::int64_t scenes_needed(std::int64_t wanted, double share_of_split, double prevalence);

}  // namespace tierod::internal
