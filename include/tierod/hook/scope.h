#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tierod/core/event.h"
#include "tierod/export.h"

namespace tierod {

/// Say, for the current thread and the lifetime of the object, in which phase and step the model
/// is. Scopes nest; the inner one counts. Cheap enough to stand around every decode step.
class TIEROD_API PhaseScope {
 public:
  /// `position_offset` is the absolute position of the first token in the tensors of this scope
  /// (0 in prefill, prompt length + t in decode step t), -1 where it is unknown. Where it is not
  /// given, it is 0 in the phases that see the sequence from its start, and unknown in `decode`: a
  /// selection by absolute position is refused there.
  explicit PhaseScope(Phase phase, std::int64_t step = -1,
                      std::optional<std::int64_t> position_offset = std::nullopt);
  ~PhaseScope();
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  Phase phase_;
  std::int64_t step_;
  std::int64_t position_offset_;
};

/// Name a parallel pass of the same phase ("guided", "unguided") for the lifetime of the object.
class TIEROD_API BranchScope {
 public:
  explicit BranchScope(std::string_view branch);
  ~BranchScope();
  BranchScope(const BranchScope&) = delete;
  BranchScope& operator=(const BranchScope&) = delete;

 private:
  std::uint16_t branch_;
};

/// Say which model the sites of this scope belong to, where several models with sites of the same
/// names may run: a session that `see_only_model` restricts sees no other. 0 is no model.
class TIEROD_API ModelScope {
 public:
  explicit ModelScope(std::uint32_t model);
  ~ModelScope();
  ModelScope(const ModelScope&) = delete;
  ModelScope& operator=(const ModelScope&) = delete;

 private:
  std::uint32_t model_;
};

/// Count the start of a run in every session of this thread that sees the current model; what
/// RunScope does on construction.
TIEROD_API void run_started();
/// Count the end of a run that was not left by an exception.
TIEROD_API void run_completed();

/// Bracket one run (a forward pass, a rollout) of a model that declares how often its sites fire in
/// a run. A run left by an exception does not count as complete.
class TIEROD_API RunScope {
 public:
  RunScope();
  ~RunScope();
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;

 private:
  int exceptions_;
};

/// Hide every open session from this thread's hook points for the lifetime of the object: what a
/// callback holds while it runs a forward of its own. A session that is opened meanwhile is seen.
class TIEROD_API Suspend {
 public:
  Suspend();
  ~Suspend();
  Suspend(const Suspend&) = delete;
  Suspend& operator=(const Suspend&) = delete;

  /// Return how many of them surround the caller on this thread.
  static int depth() noexcept;

 private:
  std::uint64_t hidden_below_;
  bool in_callback_;
};

}  // namespace tierod
