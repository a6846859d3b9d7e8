#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/batch.h"
#include "tierod/vla/cot.h"

namespace tierod::vla {

/// Describe another road user at the moment of the picture, in the ego frame (x forward, y left).
/// It is taken to go on at constant velocity.
struct TIEROD_API Agent {
  std::string kind{};
  double x_m = 0;
  double y_m = 0;
  double vx_m_s = 0;  ///< over the ground, not relative to the ego vehicle
  double vy_m_s = 0;
  double radius_m = 0.5;
};

/// Describe the ego lane: its centre line [points, 2] in m in the ego frame, in driving order, and
/// its width.
struct TIEROD_API Lane {
  at::Tensor centre;
  double width_m = 3.5;
};

/// Hold one nuisance of every scene: what a probe might read instead of the concept.
struct TIEROD_API SceneNuisance {
  std::string name;
  /// f64 [size]; numbers of categories where `categorical`.
  at::Tensor values;
  bool categorical = false;
  /// Names of the categories 0, 1, ...
  std::vector<std::string> categories{};
};

/// Divide the scenes: `of_scene` int64 [size] holds 0, 1, ... for `names`, -1 for none of them.
struct TIEROD_API Stratification {
  std::string name;
  std::vector<std::string> names;
  at::Tensor of_scene;
};

/// Say what is claimed of a concept: what counts as present, and what it does to control.
struct TIEROD_API ConceptClaim {
  std::string id;
  std::string definition{};
  /// The control functional that it should move, by name.
  std::string functional = "mean_acceleration";
  /// -1: whoever states it claims to lower the functional; +1: to raise it; 0: nothing is claimed.
  int sign = 0;
};

/// Name a nuisance that surely moves a functional: where an edit of it is silent, so is every
/// other.
struct TIEROD_API ControlClaim {
  std::string nuisance;
  std::string functional;
};

/// Give the scenes that a model drives through, and what is known of them. Scenes are numbered from
/// 0 to size() - 1. Python may subclass it; every call takes many scenes at once.
class TIEROD_API SceneSource {
 public:
  virtual ~SceneSource() = default;
  SceneSource() = default;
  SceneSource(const SceneSource&) = delete;
  SceneSource& operator=(const SceneSource&) = delete;

  virtual std::int64_t size() const = 0;
  /// Return the model's inputs for the scenes `ids`, in that order.
  virtual Batch batch(const std::vector<std::int64_t>& ids) const = 0;
  /// Return the names of the levels that scenes are grouped by, the highest first: "town", "route",
  /// "scene".
  virtual std::vector<std::string> group_levels() const = 0;
  /// Return the group of each scene of `ids` at `level`.
  virtual std::vector<std::int64_t> group(const std::string& level,
                                          const std::vector<std::int64_t>& ids) const = 0;
  /// Return the names that `labels` knows.
  virtual std::vector<std::string> concepts() const = 0;
  /// Return whether `name` is present: uint8 [size], 0, 1, or 255 for missing.
  virtual at::Tensor labels(const std::string& name) const = 0;

  /// Return what else a probe might read; none by default.
  virtual std::vector<SceneNuisance> nuisances() const;
  /// Return the inputs of the exact counterfactuals of `ids`: the concept `name` absent where it is
  /// present and present where it is absent, all else equal; nothing where there are none.
  /// @throws InvalidArgument if one of the scenes cannot have the concept.
  virtual std::optional<Batch> twin(const std::vector<std::int64_t>& ids,
                                    const std::string& name) const;
  /// Return the names of prompt framings that should not matter; none by default.
  virtual std::vector<std::string> framings() const;
  /// Return the picture of a scene, uint8 [3, height, width], or of its twin by concept `twin_by`.
  /// @throws StateError by default: there is none.
  virtual at::Tensor image(std::int64_t id, const std::string& twin_by = {}) const;
  /// Return the other road users of each scene, or of its twin by concept `twin_by`.
  /// @throws StateError by default: unknown, so that no time to collision can be told.
  virtual std::vector<std::vector<Agent>> agents(const std::vector<std::int64_t>& ids,
                                                 const std::string& twin_by = {}) const;
  /// Return the ego lane of each scene.
  /// @throws StateError by default: unknown.
  virtual std::vector<Lane> lane(const std::vector<std::int64_t>& ids) const;
  /// Return the strata by which results are told apart as well (rarity, salience); none by default.
  virtual std::vector<Stratification> strata() const;
  /// Return what is claimed of each concept; by default nothing but that it is there.
  virtual std::vector<ConceptClaim> claims() const;
  /// Return what surely drives control, for positive controls; none by default.
  virtual std::vector<ControlClaim> control_claims() const;
  /// Return the words by which chains of thought name concepts and decisions; by default the ids of
  /// the concepts, and the decisions brake, stop, slow, keep, accelerate, steer left, steer right.
  virtual CotVocabulary vocabulary() const;
};

/// Throw unless `ids` is not empty and lies in [0, size).
/// @throws InvalidArgument on no scene at all, OutOfRange naming the first that does not exist.
TIEROD_API void check_scene_ids(const std::vector<std::int64_t>& ids, std::int64_t size,
                                const std::string& where);

}  // namespace tierod::vla
