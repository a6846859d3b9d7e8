#pragma once

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <stdexcept>
#include <string>

#include "tierod/core/error.h"

namespace tierod::bindings {

namespace py = pybind11;

/// Carry a TypeError or ValueError of a hook through the model: transformers runs a forward again
/// when it meets a TypeError. The session raises the original when it closes.
class HookAborted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void bind_core(py::module_& m);
void bind_stats(py::module_& m);
void bind_hook(py::module_& m);
void bind_module_hook(py::module_& m);

}  // namespace tierod::bindings
