#include <cstdio>

#include "arrays_internal.h"
#include "core/tensor_internal.h"
#include "tierod/patch/donors.h"
#include "tierod/patch/manifold.h"
#include "tierod/patch/rotary.h"

namespace tierod::bindings {

namespace {

using patch::Manifold;
using patch::ManifoldCheck;
using patch::MatchedDonors;
using patch::NaturalLimits;
using patch::OffManifold;
using patch::Plausible;
using patch::RotaryPairs;

template <typename... Numbers>
std::string printed(const char* format, Numbers... numbers) {
  char text[240];
  std::snprintf(text, sizeof text, format, numbers...);
  return text;
}

void bind_manifold(py::module_& m) {
  py::class_<NaturalLimits>(m, "NaturalLimits", "The natural limits of norm and distances.")
      .def_readonly("norm_low", &NaturalLimits::norm_low)
      .def_readonly("norm_high", &NaturalLimits::norm_high)
      .def_readonly("mahalanobis_high", &NaturalLimits::mahalanobis_high)
      .def_readonly("neighbour_high", &NaturalLimits::neighbour_high);
  py::class_<ManifoldCheck>(m, "ManifoldCheck",
                            "Where rows lie among natural ones: percentiles in [0, 1], f64 [m].")
      .def_readonly("norm", &ManifoldCheck::norm)
      .def_readonly("mahalanobis", &ManifoldCheck::mahalanobis)
      .def_readonly("neighbour", &ManifoldCheck::neighbour)
      .def_readonly("off", &ManifoldCheck::off, "bool [m], any of the three outside its limits.")
      .def_readonly("norm_share", &ManifoldCheck::norm_share,
                    "Share of the rows outside by the norm.")
      .def_readonly("mahalanobis_share", &ManifoldCheck::mahalanobis_share)
      .def_readonly("neighbour_share", &ManifoldCheck::neighbour_share)
      .def_readonly("off_share", &ManifoldCheck::off_share)
      .def("__repr__", [](const ManifoldCheck& c) {
        return printed(
            "ManifoldCheck(%lld rows, off %.3g: norm %.3g, mahalanobis %.3g, neighbour %.3g)",
            static_cast<long long>(c.off.size(0)), c.off_share, c.norm_share, c.mahalanobis_share,
            c.neighbour_share);
      });
  py::class_<Manifold>(m, "_Manifold")
      .def_static(
          "fit",
          [](const at::Tensor& rows, const Integers& groups, double low, double high,
             double shrinkage, std::int64_t neighbours, std::int64_t rows_per_dimension,
             std::uint64_t seed) {
            const auto of = span_of(groups);
            const py::gil_scoped_release no_gil;
            return Manifold::fit(rows, of,
                                 {.low = low,
                                  .high = high,
                                  .shrinkage = shrinkage,
                                  .neighbours = neighbours,
                                  .rows_per_dimension = rows_per_dimension,
                                  .seed = seed});
          },
          py::arg("rows"), py::arg("groups"), py::arg("low"), py::arg("high"), py::arg("shrinkage"),
          py::arg("neighbours"), py::arg("rows_per_dimension"), py::arg("seed"))
      .def("check", &Manifold::check, py::arg("rows"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("width", &Manifold::width)
      .def_property_readonly("fitted_rows", &Manifold::fitted_rows)
      .def_property_readonly("natural_rows", &Manifold::natural_rows)
      .def_property_readonly("shrinkage", &Manifold::shrinkage)
      .def_property_readonly("limits", &Manifold::limits)
      .def_property_readonly("natural_off_share", &Manifold::natural_off_share);
  py::class_<Plausible>(
      m, "Plausible",
      "What a car can do: sizes of acceleration in m/s^2, jerk in m/s^3, curvature in 1/m and "
      "lateral acceleration\nin m/s^2.\n\nThe defaults are physical limits on a dry road: friction "
      ".8 g; full braking after .2 s, the build-up time\nof hydraulic brakes; an axle's middle on "
      "a radius of 5 m, tighter than cars turn. For\nthe comfort of nuPlan "
      "(2403.04133) use 4.05, 4.13, and 4.89 sideways.")
      .def(py::init([](double acceleration, double jerk, double curvature, double lateral) {
             return Plausible{.max_acceleration = acceleration,
                              .max_jerk = jerk,
                              .max_curvature = curvature,
                              .max_lateral_acceleration = lateral};
           }),
           py::kw_only(), py::arg("max_acceleration") = Plausible{}.max_acceleration,
           py::arg("max_jerk") = Plausible{}.max_jerk,
           py::arg("max_curvature") = Plausible{}.max_curvature,
           py::arg("max_lateral_acceleration") = Plausible{}.max_lateral_acceleration)
      .def_readonly("max_acceleration", &Plausible::max_acceleration)
      .def_readonly("max_jerk", &Plausible::max_jerk)
      .def_readonly("max_curvature", &Plausible::max_curvature)
      .def_readonly("max_lateral_acceleration", &Plausible::max_lateral_acceleration)
      .def("__repr__", [](const Plausible& p) {
        return printed(
            "Plausible(max_acceleration=%.4g, max_jerk=%.4g, max_curvature=%.4g, "
            "max_lateral_acceleration=%.4g)",
            p.max_acceleration, p.max_jerk, p.max_curvature, p.max_lateral_acceleration);
      });
  m.def("_implausible", &patch::implausible, py::arg("rollout"), py::arg("limits"));
  py::class_<OffManifold>(m, "OffManifold",
                          "An effect on all scenes, and where the edit stayed on the manifold.")
      .def_readonly("all", &OffManifold::all)
      .def_readonly("on_manifold", &OffManifold::on_manifold, "None with fewer than 2 groups left.")
      .def_readonly("off_share", &OffManifold::off_share, "Of the scenes.")
      .def_readonly("flagged", &OffManifold::flagged,
                    "`all` excludes 0, and `on_manifold` does not on the same side.")
      .def("__repr__", [](const OffManifold& o) {
        return printed("OffManifold(%.4g [%.4g, %.4g], off %.3g%s)", o.all.estimate, o.all.low,
                       o.all.high, o.off_share, o.flagged ? ", flagged" : "");
      });
  m.def(
      "_off_manifold_effect",
      [](const Doubles& values, const Bytes& off, const Integers& groups, double confidence) {
        return patch::off_manifold_effect(span_of(values), span_of(off), span_of(groups),
                                          confidence);
      },
      py::arg("values"), py::arg("off"), py::arg("groups"), py::arg("confidence"));
}

void bind_donors(py::module_& m) {
  py::class_<MatchedDonors>(m, "MatchedDonors", "The donor of each scene, and how far it is.")
      .def_property_readonly(
          "donors", [](const MatchedDonors& found) { return internal::index_of(found.donors); },
          "int64 [n], places among the scenes.")
      .def_property_readonly(
          "distances",
          [](const MatchedDonors& found) { return internal::doubles_of(found.distances); },
          "f64 [n], Mahalanobis, in within-class standard deviations.");
  m.def(
      "_matched_donors",
      [](const Doubles& covariates, const Bytes& labels, const Integers& groups,
         const Bytes& eligible) {
        const auto x = span_of(covariates);
        const auto z = span_of(labels);
        const auto of = span_of(groups);
        const auto may = span_of(eligible);
        const py::gil_scoped_release no_gil;
        return patch::matched_donors(x, z, of, may);
      },
      py::arg("covariates"), py::arg("labels"), py::arg("groups"), py::arg("eligible"));
  m.def(
      "_shuffled_donors",
      [](const Integers& groups, std::uint64_t seed) {
        return internal::index_of(patch::shuffled_donors(span_of(groups), seed));
      },
      py::arg("groups"), py::arg("seed"));
}

void bind_rotary(py::module_& m) {
  py::enum_<RotaryPairs>(m, "RotaryPairs", "Which two numbers of a head turn together.")
      .value("halves", RotaryPairs::halves)
      .value("interleaved", RotaryPairs::interleaved);
  m.def("_rotary_frequencies", &patch::rotary_frequencies, py::arg("head_width"), py::arg("theta"));
  m.def("_rotate_keys", &patch::rotate_keys, py::arg("keys"), py::arg("from_positions"),
        py::arg("to_positions"), py::arg("inverse_frequencies"), py::arg("pairs"),
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_patch_tools(py::module_& m) {
  bind_manifold(m);
  bind_donors(m);
  bind_rotary(m);
}

}  // namespace tierod::bindings
