#pragma once

#include "hook/region_internal.h"
#include "tierod/hook/capture.h"
#include "tierod/hook/sink.h"

namespace tierod::internal {

/// Flatten a captured value into rows and hand it to `sink`. `kept` is what gather() and the
/// reduction left of `x`.
/// @throws InvalidArgument, with `where` in front, if the layout does not say what the rows are.
void deliver(CaptureSink& sink, const Event& event, const at::Tensor& x, const Region& region,
             const at::Tensor& kept, Reduce reduce, std::optional<std::int64_t> position_offset,
             const std::string& where);

}  // namespace tierod::internal
