#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

SceneLabels::SceneLabels(const char* where, const patch::PairedRun& run,
                         std::span<const std::uint8_t> labels, std::span<const std::int64_t> groups)
    : labels_(labels), groups_(groups) {
  const std::size_t scenes = run.scenes().size();
  if (labels.size() != scenes || groups.size() != scenes) {
    throw InvalidArgument(cat("[", where, "] expected a label and a group for each of ", scenes,
                              " scenes, got ", labels.size(), " and ", groups.size()));
  }
  for (const std::uint8_t label : labels) {
    if (label <= 1) continue;
    throw InvalidArgument(cat("[", where, "] expected labels 0 or 1, got ", int{label},
                              "; leave scenes with unknown labels out"));
  }
  on_ = doubles_of(labels).gt(0.5);
}

at::Tensor SceneLabels::by_scene(const at::Tensor& rows) const {
  return rows.to(at::kCPU, at::kDouble).view({length(labels_.size()), -1}).mean(1).contiguous();
}

at::Tensor SceneLabels::on_minus_off(const at::Tensor& edited_minus_base) const {
  const at::Tensor by = by_scene(edited_minus_base);
  return at::where(on_, -by, by).contiguous();
}

at::Tensor SceneLabels::where_on(const at::Tensor& here, const at::Tensor& there) const {
  return at::where(on_, by_scene(here), by_scene(there)).contiguous();
}

std::vector<std::uint8_t> opposite(std::span<const std::uint8_t> labels) {
  std::vector<std::uint8_t> out;
  out.reserve(labels.size());
  for (const std::uint8_t label : labels) out.push_back(label == 0 ? 1 : 0);
  return out;
}

std::span<const double> numbers_of(const at::Tensor& x) {
  return {x.const_data_ptr<double>(), static_cast<std::size_t>(x.numel())};
}

}  // namespace tierod::internal
