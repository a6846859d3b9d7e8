// Note [Hooks on PyTorch modules]
//
// A ModuleHook is what tierod registers on a torch.nn.Module. It takes the activation out of the
// module's arguments or output by an explicit address, never by guessing, lets the sessions act,
// and returns None unless a session edited it. It is written in C++ because it runs once a layer
// and call. For the same reason PyTorch calls it through a type of our own: the dispatch of a
// pybind11 method costs more than all that a capture does.

#include <ATen/core/grad_mode.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>
#include <structmember.h>

#include <cstddef>
#include <utility>

#include "bindings_internal.h"
#include "hook/session_state_internal.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/scope.h"

namespace tierod::bindings {

namespace {

std::string type_name(const py::handle& object) {
  return py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>();
}

class ModuleHook {
 public:
  ModuleHook(Site site, std::uint32_t model, std::optional<std::int64_t> index,
             std::optional<std::string> key,
             std::optional<std::pair<std::int64_t, std::int64_t>> columns, std::int64_t heads)
      : site_(site),
        model_(model),
        index_(index),
        key_(std::move(key)),
        columns_(std::move(columns)),
        heads_(heads) {}

  /// A forward hook: (module, args, output) -> None or the output to go on with.
  py::object on_output(const py::object& output) const {
    if (!internal::any_session_sees(model_)) return py::none();  // another thread's session
    if (!index_ && !key_) {
      const std::optional<at::Tensor> edited = act(output);
      return edited ? py::cast(*edited) : py::none();
    }
    if (key_) {
      const std::optional<at::Tensor> edited = act(output[py::str(*key_)]);
      if (!edited) return py::none();
      // ModelOutput and dict: a copy, so that the caller's own object stays as it was.
      py::object copy = py::module_::import("copy").attr("copy")(output);
      copy[py::str(*key_)] = *edited;
      return copy;
    }
    const auto [items, at] = sequence(output, "output");
    const std::optional<at::Tensor> edited = act(items[at]);
    if (!edited) return py::none();
    py::list changed(items);
    changed[at] = *edited;
    if (py::isinstance<py::list>(output)) return changed;
    const py::type kind = py::type::of(output);
    return py::hasattr(kind, "_make") ? kind.attr("_make")(changed) : py::tuple(changed);
  }

  /// A forward pre-hook with keyword arguments: (module, args, kwargs) -> None or (args, kwargs).
  py::object on_input(const py::tuple& args, const py::dict& kwargs) const {
    if (!internal::any_session_sees(model_)) return py::none();
    if (key_ && kwargs.contains(*key_)) {
      const std::optional<at::Tensor> edited = act(kwargs[py::str(*key_)]);
      if (!edited) return py::none();
      py::dict changed = kwargs.attr("copy")();
      changed[py::str(*key_)] = *edited;
      return py::make_tuple(args, changed);
    }
    const auto at = static_cast<std::size_t>(index_.value_or(0));
    if (at >= args.size()) {
      throw SiteError("[hook.instrument] at '" + site_.name() + "': the module was called with " +
                      std::to_string(args.size()) + " positional arguments" +
                      (key_ ? " and without '" + *key_ + "'" : std::string()) +
                      "; declare the site with its argument's index or name (module_site)");
    }
    const std::optional<at::Tensor> edited = act(args[at]);
    if (!edited) return py::none();
    py::list changed(args);
    changed[at] = *edited;
    return py::make_tuple(py::tuple(changed), kwargs);
  }

 private:
  std::pair<py::sequence, std::size_t> sequence(const py::object& object, const char* what) const {
    if (!py::isinstance<py::tuple>(object) && !py::isinstance<py::list>(object)) {
      throw SiteError("[hook.instrument] at '" + site_.name() + "': expected a tuple as " + what +
                      ", got " + type_name(object) + "; declare the site's getter anew");
    }
    auto items = py::reinterpret_borrow<py::sequence>(object);
    const auto at = static_cast<std::size_t>(index_.value_or(0));
    if (at >= items.size()) {
      throw SiteError("[hook.instrument] at '" + site_.name() + "': expected at least " +
                      std::to_string(at + 1) + " elements in the " + what + ", got " +
                      std::to_string(items.size()));
    }
    return {items, at};
  }

  std::optional<at::Tensor> act(const py::object& object) const {
    if (!THPVariable_Check(object.ptr())) {
      throw SiteError("[hook.instrument] at '" + site_.name() + "': expected a tensor, got " +
                      type_name(object) +
                      (object.is_none() ? "; the module does not compute it in this setting "
                                          "(attention weights need attn_implementation='eager')"
                                        : "; declare which element of the output is meant"));
    }
    const at::Tensor& whole = THPVariable_Unpack(object.ptr());
    return travelling([&]() -> std::optional<at::Tensor> {
      const at::Tensor part = view(whole);
      const ModelScope scope(model_);
      const at::Tensor edited = hook_point(part, site_);
      if (edited.is_same(part)) return std::nullopt;
      return put_back(whole, edited);
    });
  }

  at::Tensor view(const at::Tensor& whole) const {
    at::Tensor part = whole;
    if (columns_) part = part.narrow(-1, columns_->first, columns_->second - columns_->first);
    if (heads_ > 0) part = part.unflatten(-1, at::IntArrayRef({heads_, part.size(-1) / heads_}));
    return part;
  }

  at::Tensor put_back(const at::Tensor& whole, at::Tensor edited) const {
    if (heads_ > 0) edited = edited.flatten(-2);
    if (!columns_) return edited;
    at::Tensor out = whole.clone(at::MemoryFormat::Contiguous);
    out.narrow(-1, columns_->first, columns_->second - columns_->first).copy_(edited);
    return out;
  }

  Site site_;
  std::uint32_t model_;
  std::optional<std::int64_t> index_;
  std::optional<std::string> key_;
  std::optional<std::pair<std::int64_t, std::int64_t>> columns_;
  std::int64_t heads_;
};

/// One side of a ModuleHook as Python calls it. It has no references that a cycle could go through,
/// and so the garbage collector need not look at it.
struct HookFunction {
  PyObject_HEAD vectorcallfunc call;
  PyObject* owner;  // keeps `hook`
  const ModuleHook* hook;
};

HookFunction* as_function(PyObject* object) { return reinterpret_cast<HookFunction*>(object); }

/// Call `act(hook, second, third)` of a call (module, second, third).
template <typename Act>
PyObject* called(PyObject* self, PyObject* const* arguments, std::size_t count, PyObject* names,
                 Act&& act) noexcept {
  if (PyVectorcall_NARGS(count) != 3 || (names != nullptr && PyTuple_GET_SIZE(names) > 0)) {
    PyErr_SetString(PyExc_TypeError,
                    "[hook.ModuleHook] expected three positional arguments, as torch.nn.Module "
                    "calls its hooks");
    return nullptr;
  }
  try {
    return act(*as_function(self)->hook, arguments[1], arguments[2]).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (...) {
    py::detail::try_translate_exceptions();
  }
  return nullptr;
}

PyObject* call_output(PyObject* self, PyObject* const* arguments, std::size_t count,
                      PyObject* names) noexcept {
  return called(self, arguments, count, names,
                [](const ModuleHook& hook, PyObject* /*args*/, PyObject* output) {
                  return hook.on_output(py::reinterpret_borrow<py::object>(output));
                });
}

PyObject* call_input(PyObject* self, PyObject* const* arguments, std::size_t count,
                     PyObject* names) noexcept {
  return called(self, arguments, count, names,
                [](const ModuleHook& hook, PyObject* args, PyObject* kwargs) {
                  if (PyTuple_Check(args) == 0 || PyDict_Check(kwargs) == 0) {
                    throw py::type_error("[hook.ModuleHook] expected (module, args, kwargs)");
                  }
                  return hook.on_input(py::reinterpret_borrow<py::tuple>(args),
                                       py::reinterpret_borrow<py::dict>(kwargs));
                });
}

void drop_function(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(as_function(self)->owner);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* refuse_copy(PyObject* /*self*/, PyObject* /*protocol*/) {
  PyErr_SetString(py::module_::import("tierod").attr("StateError").ptr(),
                  "[hook.Session] a module cannot be copied or saved while a session on it is "
                  "open; close the session first");
  return nullptr;
}

PyTypeObject* function_type() {
  static PyTypeObject* const type = [] {
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(HookFunction, call), READONLY, nullptr},
        {nullptr, 0, 0, 0, nullptr}};
    static PyMethodDef methods[] = {{"__reduce_ex__", refuse_copy, METH_O, nullptr},
                                    {nullptr, nullptr, 0, nullptr}};
    static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(drop_function)},
                                  {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                  {Py_tp_members, members},
                                  {Py_tp_methods, methods},
                                  {0, nullptr}};
    static PyType_Spec spec = {
        "tierod._core.HookFunction", sizeof(HookFunction), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
    PyObject* made = PyType_FromSpec(&spec);
    if (made == nullptr) throw py::error_already_set();
    return reinterpret_cast<PyTypeObject*>(made);
  }();
  return type;
}

py::typing::Callable<py::object(py::object, py::object, py::object)> function_of(
    const py::object& owner, vectorcallfunc call) {
  PyTypeObject* type = function_type();
  PyObject* made = type->tp_alloc(type, 0);
  if (made == nullptr) throw py::error_already_set();
  as_function(made)->call = call;
  as_function(made)->hook = &owner.cast<const ModuleHook&>();
  as_function(made)->owner = owner.inc_ref().ptr();
  return py::reinterpret_steal<py::object>(made);
}

}  // namespace

void bind_module_hook(py::module_& m) {
  py::class_<ModuleHook>(m, "ModuleHook", "What instrument() registers on a module.")
      .def(py::init<Site, std::uint32_t, std::optional<std::int64_t>, std::optional<std::string>,
                    std::optional<std::pair<std::int64_t, std::int64_t>>, std::int64_t>(),
           py::arg("site"), py::arg("model") = 0, py::arg("index") = py::none(),
           py::arg("key") = py::none(), py::arg("columns") = py::none(), py::arg("heads") = 0)
      .def_property_readonly(
          "on_output", [](const py::object& self) { return function_of(self, call_output); },
          "A forward hook: (module, args, output) -> None or the output to go on with.")
      .def_property_readonly(
          "on_input", [](const py::object& self) { return function_of(self, call_input); },
          "A forward pre-hook: (module, args, kwargs) -> None or (args, kwargs).");
}

}  // namespace tierod::bindings
