#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/model.h"

namespace tierod::vla {

/// Hold what a model has read and said before it acts: its cache, its words, and what else its
/// control head reads. It belongs to the model that made it.
class TIEROD_API Thought {
 public:
  virtual ~Thought() = default;
  Thought() = default;
  Thought(const Thought&) = delete;
  Thought& operator=(const Thought&) = delete;

  /// Return the memory that it holds.
  virtual std::int64_t bytes() const = 0;
};

/// Drive in two stages: think (read the scene, write the chain of thought), then act on what that
/// left behind. Many actions can be had of one thought, so that an experiment on the control head,
/// its inputs included, runs no layer of the language model again.
///
/// A rollout is both, to the last bit. The sites of `describe` that fire in the phases `head` and
/// `denoise` alone are those of `act`. Neither opens a RunScope: one brackets both, or an `act` by
/// itself.
class TIEROD_API StagedModel : public Model {
 public:
  /// @throws InvalidArgument on a batch or an option that the model cannot take.
  virtual std::shared_ptr<const Thought> think(const Batch& batch,
                                               const RolloutOptions& options) = 0;
  /// Act on a thought, with its options, and leave it as it was. Not to be called on one thought
  /// from two threads at once.
  /// @param knockouts  more of them, of what the control head reads
  /// @throws InvalidArgument on the thought of another model, and on other readers.
  virtual Rollout act(const Thought& thought, const std::vector<Knockout>& knockouts) = 0;

  /// Think, then act.
  Rollout rollout(const Batch& batch, const RolloutOptions& options) override;
};

}  // namespace tierod::vla
