#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/hook/site_table.h"
#include "tierod/vla/batch.h"
#include "tierod/vla/rollout.h"
#include "tierod/vla/scene_source.h"

namespace tierod::vla {

/// Say how a control head reads the language model.
enum class Coupling : std::uint8_t {
  kv_cache,     ///< an expert attends to its keys and values (Alpamayo, pi0)
  features,     ///< a head reads hidden states (GR00T, SimLingo)
  same_stream,  ///< actions are tokens of the same stream (OpenVLA)
  none,         ///< there is no language model
};

/// Return "kv_cache", "features", "same_stream" or "none".
TIEROD_API const char* coupling_name(Coupling coupling) noexcept;

/// Name a complete cut through a model before it says anything: sites through which all goes that
/// some inputs of the batch can tell ("image"). What is edited there is edited everywhere.
struct TIEROD_API InputCut {
  std::string name;
  std::vector<std::string> sites;
  /// Spans of these sites; empty: all tokens.
  std::vector<std::string> spans{};
  /// Inputs of the batch that enter by the cut.
  std::vector<std::string> fields{};
};

/// Describe a model to whoever tests it.
struct TIEROD_API ModelDescription {
  std::string name{};
  Coupling coupling = Coupling::none;
  /// Sites, with the phases in which they fire and how often in one rollout.
  SiteTable sites{};
  /// Width of the activations of each site.
  std::map<std::string, std::int64_t> widths{};
  /// The sites through which control reads: nothing reaches it past them.
  std::vector<std::string> head_inputs{};
  /// Sites after the head's last read, whose edit cannot move control while the CoT is held.
  std::vector<std::string> null_sites{};
  std::int64_t waypoints = 0;
  double dt_s = 0;
  /// Rollout options, by name, that the model can do.
  std::vector<std::string> options{};
  std::string weights_sha256{};
  std::string dtype = "float32";
  /// Complete cuts before the words; where there are none, an edit of a concept is one of the head
  /// inputs.
  std::vector<InputCut> input_cuts{};
};

/// Drive: turn a batch of scenes into what the model says and would do. The only interface that a
/// model must offer; Python may subclass it. Each call takes a whole batch, never a token.
class TIEROD_API Model {
 public:
  virtual ~Model() = default;
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  virtual ModelDescription describe() const = 0;
  virtual BatchSpec batch_spec() const = 0;
  /// Return rows r = b * num_samples + j. Hook points fire on the calling thread.
  /// @throws InvalidArgument on a batch or an option that the model cannot take.
  virtual Rollout rollout(const Batch& batch, const RolloutOptions& options) = 0;
};

/// Throw unless the model can do everything that differs from the defaults in `options`.
/// @throws InvalidArgument that names the option and what the model can do.
TIEROD_API void check_options(const RolloutOptions& options, const ModelDescription& description);

/// Roll out the scenes `ids` of `source` in batches of `batch_size`, checking every batch and every
/// rollout, and return them as one. `noise` and `cot_tokens` of `options` are cut accordingly.
/// @throws InvalidArgument, NumericalError as the checks deserve.
TIEROD_API Rollout rollout_scenes(Model& model, const SceneSource& source,
                                  const std::vector<std::int64_t>& ids,
                                  const RolloutOptions& options = {},
                                  std::int64_t batch_size = 256);

}  // namespace tierod::vla
