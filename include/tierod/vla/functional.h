#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/rollout.h"
#include "tierod/vla/scene_source.h"

namespace tierod::vla {

/// Name what an effect on control is measured in. Immutable; protocols refer to it by name.
class TIEROD_API ControlFunctional {
 public:
  /// Return the functional called `name`.
  /// @throws InvalidArgument with the nearest names.
  static ControlFunctional from_name(std::string_view name);
  /// Return the names of all.
  static std::vector<std::string> names();

  const std::string& name() const noexcept { return name_; }
  const std::string& unit() const noexcept { return unit_; }
  /// Say what a positive number means.
  const std::string& positive_means() const noexcept { return positive_means_; }
  /// Return the smallest effect of interest, in `unit`, where there is a default.
  std::optional<double> sesoi() const noexcept { return sesoi_; }

  /// Return one number a row [rows]. `source`, `ids` (the scenes of the rollout) and `twin_by` (the
  /// concept, where the rollout is of the scenes' twins) tell where other road users and the lane
  /// are, for the functionals that ask for them.
  at::Tensor operator()(const Rollout& rollout, const SceneSource& source,
                        const std::vector<std::int64_t>& ids,
                        const std::string& twin_by = {}) const;

 private:
  using Evaluate = std::function<at::Tensor(const Rollout&, const SceneSource&,
                                            const std::vector<std::int64_t>&, const std::string&)>;
  ControlFunctional(std::string name, std::string unit, std::string positive_means,
                    std::optional<double> sesoi, Evaluate evaluate);
  static const std::vector<ControlFunctional>& all();

  std::string name_, unit_, positive_means_;
  std::optional<double> sesoi_;
  Evaluate evaluate_;
};

}  // namespace tierod::vla
