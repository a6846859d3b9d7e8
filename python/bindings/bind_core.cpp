#include <pybind11/stl.h>

#include "bindings_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/event.h"
#include "tierod/core/random.h"
#include "tierod/core/selection.h"
#include "tierod/core/site.h"
#include "tierod/core/version.h"

namespace tierod::bindings {

namespace {

py::object make_exception(py::module_& m, const char* name, const py::object& bases,
                          const char* doc) {
  const std::string full = std::string("tierod.") + name;
  auto type = py::reinterpret_steal<py::object>(
      PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr));
  if (!type) throw py::error_already_set();
  m.add_object(name, type);
  return type;
}

// The types live as long as the interpreter.
struct ExceptionTypes {
  PyObject *invalid_argument, *out_of_range, *site_error, *state_error, *io_error, *numerical_error,
      *hook_aborted;
};
ExceptionTypes exception_types;

void bind_errors(py::module_& m) {
  const auto builtin = [](PyObject* type) { return py::reinterpret_borrow<py::object>(type); };
  const py::object error = make_exception(m, "Error", builtin(PyExc_Exception),
                                          "Base of every error that tierod raises.");
  const auto make = [&](const char* name, PyObject* standard, const char* doc) {
    return make_exception(m, name, py::make_tuple(error, builtin(standard)), doc).release().ptr();
  };
  exception_types = {
      make("InvalidArgument", PyExc_ValueError, "An argument breaks its contract."),
      make("OutOfRange", PyExc_IndexError, "An index lies outside of what exists."),
      make("SiteError", PyExc_LookupError,
           "A site is unknown, silent, or fired another number of times than declared."),
      make("StateError", PyExc_RuntimeError, "The object's present state does not allow the call."),
      make("IoError", PyExc_OSError, "A file cannot be read, written or trusted."),
      make("NumericalError", PyExc_ArithmeticError, "Numbers cannot be used: NaN, Inf, singular."),
      make("HookAborted", PyExc_RuntimeError,
           "A hook failed inside of the model; the session raises the original error on exit."),
  };
  // pybind11 wants it by value: NOLINTNEXTLINE(performance-unnecessary-value-param)
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const InvalidArgument& e) {
      PyErr_SetString(exception_types.invalid_argument, e.what());
    } catch (const OutOfRange& e) {
      PyErr_SetString(exception_types.out_of_range, e.what());
    } catch (const SiteError& e) {
      PyErr_SetString(exception_types.site_error, e.what());
    } catch (const StateError& e) {
      PyErr_SetString(exception_types.state_error, e.what());
    } catch (const IoError& e) {
      PyErr_SetString(exception_types.io_error, e.what());
    } catch (const NumericalError& e) {
      PyErr_SetString(exception_types.numerical_error, e.what());
    } catch (const PythonError& e) {
      e.raise();
    } catch (const HookAborted& e) {
      PyErr_SetString(exception_types.hook_aborted, e.what());
    }
  });
}

}  // namespace

void bind_core(py::module_& m) {
  bind_errors(m);
  m.def("version", &version, "Return the version of the loaded library.");
  m.def("nearest_names", &nearest_names, py::arg("name"), py::arg("candidates"),
        py::arg("limit") = 3, "Return the candidates nearest to name by edit distance.");
  m.def("site_alias", &site_alias, py::arg("port"), py::arg("layer"), py::arg("tower") = "",
        "Return the site name of (port, layer): ('resid_post', 3) is 'layers.3.resid_post'.");
  m.def("default_layout", &default_layout, py::arg("name"), py::arg("ndim"),
        "Return the axes, a letter each, of a tensor with ndim dimensions at a site.");
  m.def(
      "sha256_hex",
      [](const py::bytes& data) {
        const std::string_view view = data;
        return sha256_hex(view.data(), view.size());
      },
      py::arg("data"), "Return the SHA-256 digest as hexadecimal text.");
  m.def(
      "check_selection",
      [](const std::string& json) { return Selection::from_json(json).to_json(); }, py::arg("json"),
      "Parse a selection and write it in its canonical form.");
  m.def("philox4x32", &philox4x32, py::arg("counter"), py::arg("key"),
        "Return one block of Philox4x32-10 (Salmon et al. 2011).");

  py::class_<Site>(m, "Site", "A named place in a model; interned.")
      .def(py::init<std::string_view, std::string_view>(), py::arg("name"), py::arg("layout") = "")
      .def_property_readonly("name", &Site::name)
      .def_property_readonly("layout", &Site::layout)
      .def(
          "__eq__", [](const Site& a, const Site& b) { return a == b; }, py::is_operator())
      .def("__hash__", [](const Site& s) { return s.id(); })
      .def("__repr__", [](const Site& s) { return "Site('" + s.name() + "')"; });

  py::class_<SitePattern>(m, "SitePattern", "A pattern of site names: *, **, {0..5}, {q,k,v}.")
      .def(py::init<std::string_view>(), py::arg("pattern"))
      .def("matches", py::overload_cast<std::string_view>(&SitePattern::matches, py::const_),
           py::arg("name"))
      .def_property_readonly("is_exact", &SitePattern::is_exact)
      .def_property_readonly("text", &SitePattern::text);

  py::class_<Event>(m, "Event", "The address of one firing of a site.")
      .def_property_readonly("site", [](const Event& e) { return e.site.name(); })
      .def_property_readonly("phase", [](const Event& e) { return phase_name(e.phase); })
      .def_readonly("step", &Event::step)
      .def_readonly("branch", &Event::branch)
      .def_readonly("call", &Event::call)
      .def(
          "__eq__", [](const Event& a, const Event& b) { return a == b; }, py::is_operator())
      .def("__repr__", &Event::text);

  py::class_<CounterRandom>(
      m, "CounterRandom",
      "Random numbers that depend on (seed, purpose, scene, sample, position) alone.")
      .def(py::init<std::uint64_t, std::string_view>(), py::arg("seed"), py::arg("purpose"))
      .def("bits", &CounterRandom::bits, py::arg("scene"), py::arg("sample") = 0,
           py::arg("position") = 0)
      .def("uniform", &CounterRandom::uniform, py::arg("scene"), py::arg("sample") = 0,
           py::arg("position") = 0)
      .def("normal", &CounterRandom::normal, py::arg("scene"), py::arg("sample") = 0,
           py::arg("position") = 0)
      .def("gumbel", &CounterRandom::gumbel, py::arg("scene"), py::arg("sample") = 0,
           py::arg("position") = 0)
      .def("below", &CounterRandom::below, py::arg("bound"), py::arg("scene"),
           py::arg("sample") = 0, py::arg("position") = 0);
}

}  // namespace tierod::bindings
