#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/vla/staged_model.h"
#include "zoo/driving_model_internal.h"
#include "zoo/row_spans_internal.h"

namespace tierod::internal {

template <typename... Args>
[[noreturn]] void refuse_rollout(const Args&... args) {
  throw InvalidArgument(cat("[zoo.DrivingModel.rollout] ", args...));
}

/// Hold the address of the random numbers of each row.
struct Keys {
  std::vector<std::uint64_t> scene;
  std::vector<std::uint32_t> sample;
};

/// Carry what a rollout has so far. A copy shares the memory's tensors, which nobody writes into
/// but behind its end.
struct Drive {
  std::shared_ptr<Network> network;
  vla::RolloutOptions options;
  zoo::Mask mask;
  Keys keys;
  std::vector<Cut> cuts;
  std::vector<RowSpans> rows{};
  Memory memory{};
  std::vector<std::vector<std::int64_t>> words{};  ///< of each step
  at::Tensor initial_speed{};                      ///< [rows]

  std::int64_t count() const { return static_cast<std::int64_t>(keys.scene.size()); }
  std::int64_t columns() const { return kPrefix + static_cast<std::int64_t>(words.size()); }

  /// Return the state at <cot>.
  at::Tensor read_prefix(const vla::Batch& batch, const at::Tensor& index);
  void read_words(at::Tensor hidden);
  void pass_cache(const DrivingSites& sites);
  at::Tensor denoise(const DrivingSites& sites);
  /// Return what was said, around `actions`.
  vla::Rollout finish(at::Tensor actions) const;
};

/// Hold a drive up to its last word.
class DrivingThought final : public vla::Thought {
 public:
  explicit DrivingThought(Drive drive) : drive_(std::move(drive)) {}
  std::int64_t bytes() const override;
  const Drive& drive() const noexcept { return drive_; }

 private:
  Drive drive_;
};

}  // namespace tierod::internal
