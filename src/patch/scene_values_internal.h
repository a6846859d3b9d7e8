#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "tierod/patch/paired_run.h"

namespace tierod::internal {

/// Hold the labels and groups of a run's scenes, checked.
class SceneLabels {
 public:
  /// @throws InvalidArgument, starting with `where`, on other lengths or labels.
  SceneLabels(const char* where, const patch::PairedRun& run, std::span<const std::uint8_t> labels,
              std::span<const std::int64_t> groups);

  std::span<const std::uint8_t> labels() const noexcept { return labels_; }
  std::span<const std::int64_t> groups() const noexcept { return groups_; }
  /// Return numbers a row as the mean over the samples of each scene, f64 [scenes].
  at::Tensor by_scene(const at::Tensor& rows) const;
  /// Return edited - base of each scene, [rows], as on - off: negated where the scene itself has
  /// the concept. f64 [scenes].
  at::Tensor on_minus_off(const at::Tensor& edited_minus_base) const;
  /// Return `here` where the scene has the concept, else `there`, f64 [scenes].
  at::Tensor where_on(const at::Tensor& here, const at::Tensor& there) const;

 private:
  std::span<const std::uint8_t> labels_;
  std::span<const std::int64_t> groups_;
  at::Tensor on_;  // bool [scenes]
};

/// Return the other class of each label.
std::vector<std::uint8_t> opposite(std::span<const std::uint8_t> labels);

/// See f64 numbers of the CPU as a span.
std::span<const double> numbers_of(const at::Tensor& x);

}  // namespace tierod::internal
