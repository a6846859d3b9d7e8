#pragma once

#include <cstdint>
#include <vector>

#include "bindings_internal.h"

namespace tierod::bindings {

using Numbers = std::vector<std::int64_t>;
using Released = py::call_guard<py::gil_scoped_release>;

/// Read a tensor of integers; `what` names it in the error.
Numbers numbers_of(const at::Tensor& x, const char* what);

}  // namespace tierod::bindings
