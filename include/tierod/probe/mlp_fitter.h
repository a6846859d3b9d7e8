#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/row_fitter.h"

namespace tierod::probe {

/// Set up the multi-layer probe.
struct TIEROD_API MlpOptions {
  std::int64_t hidden = 64;
  std::size_t epochs = 200;  ///< at most
  std::size_t batch = 256;
  double learning_rate = 1e-3;
  /// Decoupled weight decay, one a setting.
  std::vector<double> weight_decays{1e-2};
  /// Passes without a better held-out loss before it stops.
  std::size_t patience = 15;
  /// Share of the training groups that is held out to stop early.
  double held_out = 0.2;
};

/// Hold a fitted probe: score = w2' relu(W1 ((x - mean) / sd) + b1) + b2, the log odds of a 1.
class TIEROD_API MlpModel {
 public:
  /// Take the tensors that `state` gives. @throws InvalidArgument if one is missing or misshapen.
  explicit MlpModel(std::map<std::string, at::Tensor> state);

  /// Return the scores [m], f64, of rows [m, d].
  /// @throws InvalidArgument unless floating rows of this width.
  at::Tensor scores(const at::Tensor& rows) const;
  /// Return mean [d], scale [d] (1 / sd), w1 [h, d], b1 [h], w2 [h], b2 [], f32.
  std::map<std::string, at::Tensor> state() const;
  /// Return the number of passes until the weights that were kept; 0 after `MlpModel(state)`.
  std::size_t epochs() const noexcept { return epochs_; }

 private:
  friend class MlpFitter;
  MlpModel() = default;
  at::Tensor mean_, scale_, w1_, b1_, w2_, b2_;
  std::size_t epochs_ = 0;
};

/// Fit a probe with one hidden layer: the gate for concepts that no linear probe reads. Columns are
/// standardised by training rows; classes count equally; AdamW (Loshchilov & Hutter 2019) minimises
/// the log-loss in f32; the weights with the least log-loss on held-out groups are kept. Initial
/// weights and the order of rows come from counters of the task's seed.
class TIEROD_API MlpFitter final : public RowFitter {
 public:
  /// @throws InvalidArgument on options outside their range.
  explicit MlpFitter(MlpOptions options = {});
  std::string name() const override { return "mlp"; }
  std::size_t settings() const override { return options_.weight_decays.size(); }
  Scorer fit(const FitTask& task, std::size_t setting) const override;
  /// @throws InvalidArgument unless rows are floating [n, d] with labels of both classes and groups
  ///         [n]; OutOfRange if there is no such setting; NumericalError if a row is not finite.
  MlpModel fit_model(const FitTask& task, std::size_t setting) const;

 private:
  MlpOptions options_;
};

}  // namespace tierod::probe
