#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "audit/record_internal.h"
#include "audit/world_internal.h"
#include "tierod/audit/protocol.h"
#include "tierod/core/progress.h"
#include "tierod/patch/controls.h"
#include "tierod/patch/guard.h"
#include "tierod/patch/manifold.h"
#include "tierod/patch/paired_run.h"
#include "tierod/probe/dataset.h"
#include "tierod/vla/model.h"

namespace tierod::internal {

/// Hold activations of A at one candidate set of sites, with all labels: what directions are fitted
/// on. Sites of the dataset are called as those of the model.
struct FittedSites {
  audit::CandidateSites candidate;
  std::vector<patch::EditSite> sites;
  probe::ProbeDataset data;
  std::vector<patch::GuardPlace> guard;
  std::int64_t widest = 0;
};

/// Hold activations of A at every place through which control reads: each head input x span.
struct FittedHead {
  std::vector<patch::EditSite> places;  ///< in the order of the dataset's sites
  std::vector<std::string> names;       ///< of the dataset's sites
  probe::ProbeDataset data;
  std::int64_t wanted = 0;  ///< scenes that the widest place asks for
  std::vector<std::string> notes;
};

/// Hold what all stages of an audit share.
class Setting {
 public:
  Setting(vla::Model& model, const vla::SceneSource& source, const audit::Protocol& protocol,
          Progress progress);

  vla::Model& model;
  const vla::SceneSource& source;
  const audit::Protocol& protocol;
  const vla::ModelDescription about;
  World world;

  bool can(const std::string& option) const;
  /// Return paired runs through scenes, by the protocol's seed.
  std::unique_ptr<patch::PairedRun> runs(std::vector<std::int64_t> scenes,
                                         vla::RolloutOptions options = {}) const;
  /// Tell whether the model says anything.
  bool talks();
  bool has_twins(const std::string& name) const;

  const FittedSites& fitted(std::size_t candidate);
  const FittedHead& head();
  /// Return what a concept's directions are adjusted for.
  std::vector<std::string> adjusted_for(const probe::ProbeDataset& data,
                                        const std::string& feature) const;
  probe::ResidualOptions residual(const probe::ProbeDataset& data, const std::string& feature,
                                  std::size_t folds) const;

  /// Say what is being done. @throws StateError if the caller asked to stop.
  void say(const std::string& what);
  /// Rollouts of the model so far, by those who count them.
  std::int64_t passes = 0;

 private:
  Progress progress_;
  std::int64_t done_ = 0;
  std::map<std::size_t, std::unique_ptr<FittedSites>> fitted_;
  std::unique_ptr<FittedHead> head_;
  std::optional<bool> talks_;

 public:
  std::int64_t steps = 1;  ///< in all, for progress
  void step() { ++done_; }
};

/// Thrown where the caller asked to stop: what is finished is kept.
class Stopped : public StateError {
 public:
  using StateError::StateError;
};

}  // namespace tierod::internal
