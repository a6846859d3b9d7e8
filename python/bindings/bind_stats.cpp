#include "bindings_internal.h"
#include "tierod/stats/moments.h"

namespace tierod::bindings {

void bind_stats(py::module_& m) {
  py::class_<Moments>(m, "Moments",
                      "Count, mean and (co)variance of rows in one pass, in f64 (Chan, Golub & "
                      "LeVeque 1979).")
      .def(py::init<bool>(), py::arg("covariance") = false)
      .def("update", &Moments::update, py::arg("rows"), "Add rows [n, d].")
      .def("merge", &Moments::merge, py::arg("other"), "Add all that other has seen.")
      .def_property_readonly("count", &Moments::count)
      .def_property_readonly("width", &Moments::width)
      .def_property_readonly("has_covariance", &Moments::has_covariance)
      .def("mean", &Moments::mean, "Return the mean [d], f64.")
      .def("variance", &Moments::variance, py::arg("ddof") = 1, "Return the variances [d], f64.")
      .def("covariance", &Moments::covariance, py::arg("ddof") = 1,
           "Return the covariance [d, d], f64.")
      .def("__repr__", [](const Moments& s) {
        return "Moments(count=" + std::to_string(s.count()) +
               ", width=" + std::to_string(s.width()) + ")";
      });
}

}  // namespace tierod::bindings
