#pragma once

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tierod/core/error.h"
#include "tierod/core/progress.h"

namespace tierod::bindings {

namespace py = pybind11;

/// Carry a TypeError or ValueError of a hook through the model: transformers runs a forward again
/// when it meets a TypeError. The session raises the original when it closes.
class HookAborted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Delete what holds a Python object, from whatever thread and at whatever time. A session that is
/// open when the process ends lives longer than the interpreter, and its callback then stays.
struct DropPython {
  template <typename T>
  void operator()(T* held) const {
    if (Py_IsInitialized() == 0) return;
    const py::gil_scoped_acquire gil;
    delete held;
  }
};

/// Carry a Python exception through C++. Unlike pybind11's own carrier it can be raised more than
/// once: where the hook fails, and again when the session closes.
class PythonError : public std::exception {
 public:
  explicit PythonError(const py::error_already_set& error)
      : value_(new py::object(error.value()), DropPython()), text_(error.what()) {}
  const char* what() const noexcept override { return text_.c_str(); }
  /// Set the interpreter's error indicator. The GIL must be held.
  void raise() const { PyErr_SetObject(py::type::handle_of(*value_).ptr(), value_->ptr()); }
  bool matches(PyObject* type) const {
    return PyErr_GivenExceptionMatches(value_->ptr(), type) != 0;
  }

 private:
  std::shared_ptr<py::object> value_;
  std::string text_;
};

/// Call `act`; a TypeError or ValueError goes on as HookAborted.
template <typename Act>
auto travelling(Act&& act) {
  try {
    return act();
  } catch (const PythonError& error) {
    if (error.matches(PyExc_TypeError) || error.matches(PyExc_ValueError)) {
      throw HookAborted(error.what());
    }
    throw;
  } catch (const py::type_error& error) {
    throw HookAborted(error.what());
  } catch (const InvalidArgument& error) {
    throw HookAborted(error.what());
  } catch (const c10::TypeError& error) {
    throw HookAborted(error.what_without_backtrace());
  } catch (const c10::ValueError& error) {
    throw HookAborted(error.what_without_backtrace());
  }
}

/// Return a Python callable (done, total, what) as a Progress; None, or a result of None, goes on.
/// An exception in it, Ctrl-C among them, comes out as itself.
inline Progress progress_of(const py::object& function) {
  if (function.is_none()) return {};
  const std::shared_ptr<py::object> holder(new py::object(function), DropPython());
  return [holder](std::int64_t done, std::int64_t total, std::string_view what) {
    const py::gil_scoped_acquire gil;
    try {
      const py::object answer = (*holder)(done, total, what);
      return answer.is_none() || answer.cast<bool>();
    } catch (const py::error_already_set& error) {
      throw PythonError(error);
    }
  };
}

void bind_core(py::module_& m);
void bind_stats(py::module_& m);
void bind_resampling(py::module_& m);
void bind_probe(py::module_& m);
void bind_evaluation(py::module_& m);
void bind_targets(py::module_& m);
void bind_patch(py::module_& m);
void bind_paired_run(py::module_& m);
void bind_patch_tools(py::module_& m);
void bind_experiments(py::module_& m);
void bind_site_sweep(py::module_& m);
void bind_audit(py::module_& m);
void bind_hook(py::module_& m);
void bind_module_hook(py::module_& m);
void bind_store(py::module_& m);
void bind_store_maintenance(py::module_& m);
void bind_vla(py::module_& m);
void bind_cot(py::module_& m);
void bind_zoo(py::module_& m);
void bind_zoo_model(py::module_& m);

/// Let libtierod find, on autograd's own threads, the sessions of the thread that called
/// backward().
void bind_autograd_threads();
/// Make this thread's sessions findable there; cheap after the first call on a thread.
void hand_on_sessions();

}  // namespace tierod::bindings
