#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tierod/hook/session.h"
#include "tierod/patch/paired_run.h"
#include "tierod/vla/staged_model.h"

namespace tierod::patch {

inline constexpr auto* kPairedRun = "patch.PairedRun";

/// What base and edited runs share. The experiments of the room are made of its batches.
struct PairedRun::Impl {
  Impl(vla::Model& driven, const vla::SceneSource& from, std::vector<std::int64_t> through,
       PairedOptions how);

  vla::Model& model;
  const vla::SceneSource& source;
  std::vector<std::int64_t> scenes;
  PairedOptions options;
  vla::ModelDescription about;
  vla::BatchSpec spec;
  vla::StagedModel* staged;         // the model, where it can act on a thought
  std::vector<vla::Rollout> parts;  // of the base, by batch
  vla::Rollout whole;
  /// Of the base, by batch; empty where they take more than the options allow.
  std::vector<std::shared_ptr<const vla::Thought>> thoughts;
  std::int64_t acts = 0, rollouts = 0;  // done so far: actions on a kept thought, and whole runs

  std::int64_t count() const { return static_cast<std::int64_t>(scenes.size()); }
  std::int64_t batches() const { return (count() + options.batch_size - 1) / options.batch_size; }
  std::int64_t samples() const { return options.rollout.num_samples; }

  std::int64_t first(std::int64_t number) const { return number * options.batch_size; }
  std::int64_t size(std::int64_t number) const {
    return std::min(options.batch_size, count() - first(number));
  }
  std::vector<std::int64_t> ids(std::int64_t number) const {
    return {scenes.begin() + first(number), scenes.begin() + first(number) + size(number)};
  }
  EditRows edit_rows(std::int64_t number, Words words) const;

  /// @throws StateError if the scenes have no twins.
  vla::Batch inputs(const std::vector<std::int64_t>& of, const std::string& twin_by) const;
  /// Return the inputs of a donor for the scenes of a batch, with the random numbers of these.
  vla::Batch donor_inputs(std::int64_t number, const Donor& donor) const;
  /// Return the options of one batch as they were given: those of the base run.
  vla::RolloutOptions as_given(std::int64_t number) const;
  /// Return words and noise of one batch.
  vla::RolloutOptions of_batch(std::int64_t number, Words words) const;
  /// Return the same with the words of another run of the same scenes.
  vla::RolloutOptions saying(std::int64_t number, const vla::Rollout& other) const;
  /// Return spans that selections of a batch may name.
  SpanTable spans_of(std::int64_t number, Words words) const;

  vla::Rollout drive(const vla::Batch& batch, const vla::RolloutOptions& how);
  /// Act on the base's thought of a batch.
  vla::Rollout act(std::int64_t number, const std::vector<vla::Knockout>& knockouts = {});
  bool can_act(std::int64_t number) const {
    return static_cast<std::size_t>(number) < thoughts.size();
  }
  /// Tell whether a session is open: one of the caller's sees whole runs alone.
  static bool anybody_looks() noexcept;
  /// Tell whether all that a session touches fires while the model acts.
  bool acts_alone(const Session& session) const;
  /// @throws InvalidArgument naming the row if its words are of another length than the base's.
  void check_aligned(std::int64_t number, const vla::Rollout& donor) const;
  vla::Rollout checked(vla::Rollout out, std::int64_t rows) const;

  /// Run all batches; `run(number)` gives the rollout of one.
  std::vector<vla::Rollout> each(const char* what,
                                 const std::function<vla::Rollout(std::int64_t)>& run) const;
  static vla::Rollout join(std::vector<vla::Rollout> rollouts);
  void need_base();

  /// Drive one batch within a session that `set_up` prepares; only the act of it where nothing
  /// before is touched and `inputs` is empty: those of the base.
  vla::Rollout within(std::int64_t number, const std::optional<vla::Batch>& inputs, Words words,
                      const std::function<void(Session&)>& set_up);
  /// Capture sites of a donor's run through a batch.
  ActivationCache donated(std::int64_t number, const Donor& donor,
                          const std::vector<std::string>& sites, const Selection& selection,
                          vla::Rollout* run = nullptr);
};

}  // namespace tierod::patch
