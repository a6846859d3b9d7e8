#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/export.h"
#include "tierod/zoo/driving_model.h"
#include "tierod/zoo/spec.h"

namespace tierod::zoo {

/// Set how a model is trained. The same options, seed and number of threads give the same weights
/// to the last bit, also after interruptions.
struct TIEROD_API TrainOptions {
  std::int64_t steps = 3200;
  std::int64_t batch_size = 128;
  double learning_rate = 2e-3;
  std::int64_t warm_up_steps = 150;
  /// Share of the rows whose statements are flipped, which plants who steers. Such words are not
  /// imitated: from a trunk that can write, more of them pay.
  double flipped_rows = .35;
  /// Of the weights and of the scenes.
  std::uint64_t seed = 0;
  /// Threads of torch; more do not pay for a network of this size.
  std::int64_t threads = 1;
  /// "cpu", "cuda", ...
  std::string device = "cpu";
  /// Steps of the averages in the log.
  std::int64_t log_every = 100;

  /// @throws InvalidArgument that names the field, what was expected and what was seen.
  void check() const;
  std::string to_json() const;
  /// @throws InvalidArgument as `check` does, and on unknown keys.
  static TrainOptions from_json(const std::string& json);
  bool operator==(const TrainOptions&) const = default;
};

/// Hold averages over the last steps before `step`.
struct TrainLog {
  std::int64_t step = 0;
  double cross_entropy = 0;  ///< of the next word, nats
  double flow = 0;           ///< mean square of the actions' error, in units of their spread
  double auxiliary = 0;
  double cpu_s = 0;  ///< CPU time since the first step, all threads
};

/// Train a model of the zoo on scenes that are drawn as they are needed.
///
/// Minimises cross-entropy of the words, plus flow matching with prediction of the end point
/// (Lipman et al., "Flow matching for generative modeling", 2210.02747), plus .3 times an auxiliary
/// reading of the mean image token; AdamW, linear warm-up, cosine decay, clipping by norm, and an
/// exponential average of the weights, which is what the trained model has.
class TIEROD_API Trainer {
 public:
  /// @throws InvalidArgument as the checks of both do.
  Trainer(Spec spec, TrainOptions options);
  /// Start from the weights of a trained model: a shared trunk.
  Trainer(Spec spec, TrainOptions options, const DrivingModel& trunk);
  /// Go on where `save` was called.
  /// @throws IoError if the file cannot be read or trusted, InvalidArgument if it is no checkpoint.
  static Trainer resume(const std::string& path);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  const Spec& spec() const noexcept;
  const TrainOptions& options() const noexcept;
  std::int64_t step() const noexcept;
  bool finished() const noexcept { return step() >= options().steps; }
  std::vector<TrainLog> log() const;

  /// Make up to `steps` steps; -1: all that are left. Returns false where `progress` asked to stop.
  /// @throws NumericalError if the loss is not finite.
  bool run(std::int64_t steps = -1, const Progress& progress = {});
  /// Write a checkpoint, replacing `path` in one move: whoever is killed keeps the one before.
  /// @throws IoError if it cannot be written.
  void save(const std::string& path) const;
  /// Return the model with the averaged weights.
  std::shared_ptr<DrivingModel> model() const;

 private:
  struct State;
  explicit Trainer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tierod::zoo
