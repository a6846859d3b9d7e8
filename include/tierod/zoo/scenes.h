#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/scene_source.h"
#include "tierod/zoo/scene.h"
#include "tierod/zoo/spec.h"

namespace tierod::zoo {

/// Give the scenes of a configuration to models and tests.
///
/// Batches hold `image` uint8 [rows, 3, 48, 96], `ego` f32 [rows, 4, 2] (speed in m/s and
/// acceleration in m/s^2 at -.75, -.5, -.25 and 0 s; the acceleration is given itself, small
/// differences of speeds are not learned) and `navigation` int64 [rows] (0 follow, 1 keep left,
/// 2 keep right).
class TIEROD_API Scenes : public vla::SceneSource {
 public:
  /// @throws InvalidArgument as `SceneConfig::check` does.
  explicit Scenes(SceneConfig config);

  const SceneConfig& config() const noexcept { return generator_.config(); }
  const SceneGenerator& generator() const noexcept { return generator_; }
  /// Return the state of a scene, or of its twin.
  /// @throws OutOfRange if there is no such scene, InvalidArgument as `twin`.
  Scene scene(std::int64_t id, const std::string& twin_by = {}) const;
  /// Draw pictures and inputs on so many threads; 0: as many as the machine has.
  void set_threads(std::int64_t threads);

  std::int64_t size() const override { return config().scenes; }
  vla::Batch batch(const std::vector<std::int64_t>& ids) const override;
  std::vector<std::string> group_levels() const override;
  std::vector<std::int64_t> group(const std::string& level,
                                  const std::vector<std::int64_t>& ids) const override;
  std::vector<std::string> concepts() const override;
  /// Return the labels of a concept or of stop_line; nothing is missing.
  at::Tensor labels(const std::string& name) const override;
  std::vector<vla::SceneNuisance> nuisances() const override;
  /// @throws InvalidArgument on an unknown concept, and on one with prevalence 0: no scene can have
  ///         it.
  std::optional<vla::Batch> twin(const std::vector<std::int64_t>& ids,
                                 const std::string& name) const override;
  std::vector<std::string> framings() const override;
  at::Tensor image(std::int64_t id, const std::string& twin_by = {}) const override;
  std::vector<std::vector<vla::Agent>> agents(const std::vector<std::int64_t>& ids,
                                              const std::string& twin_by = {}) const override;
  std::vector<vla::Lane> lane(const std::vector<std::int64_t>& ids) const override;
  /// Return "rarity" (common, uncommon, rare) and "salience <concept>" (far, near, where present).
  std::vector<vla::Stratification> strata() const override;
  /// Return what a careful driver does: every concept slows down.
  std::vector<vla::ConceptClaim> claims() const override;
  /// Return the bend of the road, which moves the car sideways.
  std::vector<vla::ControlClaim> control_claims() const override;
  vla::CotVocabulary vocabulary() const override;
  /// Return the weights f64 [size] that bring an enriched draw back to natural prevalence.
  at::Tensor weights() const;

 private:
  std::vector<Scene> draw(const std::vector<std::int64_t>& ids, const std::string& twin_by,
                          const std::string& where) const;
  vla::Batch inputs(const std::vector<std::int64_t>& ids, const std::string& twin_by,
                    const std::string& where) const;

  SceneGenerator generator_;
  std::uint32_t hidden_ = 0;
  std::size_t threads_ = 1;
};

/// Return the chains of thought int64 [rows, longest] of `ids` (or of their twins) that a truthful
/// model of `spec` writes, padded with -1.
TIEROD_API at::Tensor truthful_cot(const Spec& spec, const Scenes& scenes,
                                   const std::vector<std::int64_t>& ids,
                                   const std::string& twin_by = {}, std::uint64_t seed = 0);

/// Return the law's actions f64 [rows, 16, 2] for `ids` (or for their twins), given chains of
/// thought int64 [rows, length]; truthful ones where none are given.
/// @throws InvalidArgument if the tokens have other rows.
TIEROD_API at::Tensor law_actions(const Spec& spec, const Scenes& scenes,
                                  const std::vector<std::int64_t>& ids,
                                  const std::string& twin_by = {},
                                  const std::optional<at::Tensor>& cot_tokens = std::nullopt,
                                  std::uint64_t seed = 0);

}  // namespace tierod::zoo
