#include "bindings_internal.h"
#include "tierod/stats/cross_moments.h"
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
  py::class_<CrossMoments>(m, "CrossMoments", "Cross-covariance of rows with labels.")
      .def(py::init<>())
      .def("update", &CrossMoments::update, py::arg("rows"), py::arg("labels"),
           "Add rows [n, d] and labels [n, k].")
      .def("merge", &CrossMoments::merge, py::arg("other"), "Add all that other has seen.")
      .def_property_readonly("empty", &CrossMoments::empty)
      .def_property_readonly("width", &CrossMoments::width)
      .def_property_readonly("concepts", &CrossMoments::concepts)
      .def("count", &CrossMoments::count, "Return the rows with a known label, int64 [k].")
      .def("mean_rows", &CrossMoments::mean_rows, "Return their mean, f64 [k, d].")
      .def("mean_labels", &CrossMoments::mean_labels, "Return the mean label, f64 [k].")
      .def("label_variance", &CrossMoments::label_variance, py::arg("ddof") = 1,
           "Return the variance of the labels, f64 [k].")
      .def("cross_covariance", &CrossMoments::cross_covariance, py::arg("ddof") = 1,
           "Return the cross-covariance, f64 [k, d].");
}

}  // namespace tierod::bindings
