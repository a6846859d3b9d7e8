#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/block_model.h"
#include "tierod/vla/staged_model.h"
#include "tierod/zoo/spec.h"

namespace tierod::internal {
class Network;
struct NetworkConfig;
}  // namespace tierod::internal

namespace tierod::zoo {

/// Name the version of the weights' files. Others are refused.
inline constexpr const char* kModelFormat = "tierod-zoo-model/1";

/// Drive by a vision-language-action network whose truth is known.
///
///     picture -> 18 image tokens
///     framing, navigation, image, ego history, <cot> -> causal language model -> words, <act>
///     16 noisy actions -> expert, whose layer l reads layer l of the language model's cache
///     -> (acceleration, curvature) -> unicycle -> trajectory
///
/// A row is 27 positions of prefix, the words, <act>, padding, and 16 waypoints. The words of a row
/// are a function of its picture, its prompt and (seed, scene id, sample), its action noise one of
/// (seed, scene id, sample), whatever else is in the batch.
///
/// A given chain of thought is read word by word as a written one is, by the same arithmetic: a run
/// with its own words again is equal to the last bit.
class TIEROD_API DrivingModel : public vla::StagedModel {
 public:
  /// Make a model with fresh weights, the same on every machine.
  static std::shared_ptr<DrivingModel> fresh(Spec spec, std::uint64_t seed = 0);
  /// Read a model that `save` wrote.
  /// @throws IoError if the file cannot be read, is damaged, or is of another version.
  static std::shared_ptr<DrivingModel> load(const std::string& path);
  /// Return one of the models that ship, by the name of its specification.
  /// @throws InvalidArgument with the names that there are; IoError as `load`.
  static std::shared_ptr<DrivingModel> named(const std::string& name);
  /// Return the names of the models that ship.
  static std::vector<std::string> names();
  /// Return the folder of the models that ship: that of the environment variable TIEROD_ZOO where
  /// it is set, else the one beside the library.
  static std::string folder();
  ~DrivingModel() override;

  /// Write weights, specification and training log as one HDF5 file, with a sha256 over all.
  void save(const std::string& path) const;

  const Spec& spec() const noexcept;
  std::int64_t parameter_count() const;
  /// Return the training log as JSON, "[]" for fresh weights.
  const std::string& training_log() const noexcept;
  /// Return the number of Euler steps of the action expert.
  std::int64_t denoise_steps() const noexcept;

  vla::ModelDescription describe() const override;
  vla::BatchSpec batch_spec() const override;
  /// @throws InvalidArgument on a batch or options that do not fit, words that the language does
  ///         not have, a CoT that does not end in <act>, knockouts of spans that there are not, or
  ///         that leave a token nothing to see.
  std::shared_ptr<const vla::Thought> think(const vla::Batch& batch,
                                            const vla::RolloutOptions& options) override;
  /// @throws InvalidArgument on the thought of another model, and on knockouts of other readers.
  vla::Rollout act(const vla::Thought& thought,
                   const std::vector<vla::Knockout>& knockouts) override;

  /// Return the language model block by block. Its rows are the prefix and, where the batch has
  /// `cot_tokens` int64 [rows, length], those; its outputs are the logits of the next token.
  std::shared_ptr<vla::BlockModel> language_model();

  /// For the trainer, and for tests.
  DrivingModel(Spec spec, std::shared_ptr<internal::Network> network, std::string log);
  const std::shared_ptr<internal::Network>& network() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tierod::zoo
