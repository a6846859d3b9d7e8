#include <optional>

#include "arrays_internal.h"
#include "tierod/patch/site_sweep.h"

namespace tierod::bindings {

namespace {

using patch::Attribution;
using patch::PairedRun;
using patch::SitePart;
using patch::SiteSweepRequest;
using patch::SiteSweepResult;

SiteSweepRequest request_of(std::vector<std::string> sites,
                            const std::vector<std::pair<std::string, std::string>>& parts,
                            const std::vector<std::pair<std::string, patch::Donor>>& donors,
                            const py::object& edit, std::string edit_name, patch::Words words) {
  SiteSweepRequest out;
  out.sites = std::move(sites);
  out.parts.clear();
  for (const auto& [name, selection] : parts) {
    out.parts.push_back({.name = name, .selection = Selection::from_json(selection)});
  }
  for (const auto& [name, donor] : donors) out.donors.push_back({.name = name, .donor = donor});
  out.words = words;
  out.edit_name = std::move(edit_name);
  if (edit.is_none()) return out;
  const std::shared_ptr<py::function> call(new py::function(edit), DropPython());
  out.edit = [call](const std::string& site,
                    const SitePart& part) -> std::shared_ptr<const patch::Edit> {
    const py::gil_scoped_acquire gil;
    const py::object made = (*call)(site, part.name, part.selection.to_json());
    if (!py::isinstance<patch::Edit>(made)) return nullptr;
    // the Python object is what puts it on: keep it alive with the edit
    const std::shared_ptr<py::object> kept(new py::object(made), DropPython());
    const auto* core = made.cast<const patch::Edit*>();
    return {kept, core};
  };
  return out;
}

}  // namespace

void bind_site_sweep(py::module_& m) {
  py::class_<SiteSweepRequest>(m, "_SiteSweepRequest")
      .def(py::init(&request_of), py::arg("sites"), py::arg("parts"), py::arg("donors"),
           py::arg("edit"), py::arg("edit_name"), py::arg("words"));
  py::class_<SiteSweepResult>(m, "_SiteSweepResult", "The functional of every cell.")
      .def_readonly("values", &SiteSweepResult::values)
      .def_readonly("base", &SiteSweepResult::base)
      .def_readonly("source", &SiteSweepResult::source)
      .def_readonly("donors", &SiteSweepResult::donors)
      .def_readonly("sites", &SiteSweepResult::sites)
      .def_readonly("parts", &SiteSweepResult::parts)
      .def_readonly("functional", &SiteSweepResult::functional)
      .def_readonly("unit", &SiteSweepResult::unit)
      .def_readonly("rollouts", &SiteSweepResult::rollouts)
      .def_readonly("acts", &SiteSweepResult::acts)
      .def_readonly("rechecked", &SiteSweepResult::rechecked)
      .def_readonly("recheck_difference", &SiteSweepResult::recheck_difference)
      .def_readonly("resumed", &SiteSweepResult::resumed)
      .def_readonly("complete", &SiteSweepResult::complete);
  m.def(
      "_site_sweep",
      [](PairedRun& run, const SiteSweepRequest& request, const vla::ControlFunctional& functional,
         std::int64_t recheck, double tolerance, std::uint64_t seed, std::string file,
         const py::object& progress) {
        const patch::SiteSweepOptions options{.recheck = recheck,
                                              .tolerance = tolerance,
                                              .seed = seed,
                                              .file = std::move(file),
                                              .progress = progress_of(progress)};
        const py::gil_scoped_release no_gil;
        return patch::site_sweep(run, request, functional, options);
      },
      py::arg("run"), py::arg("request"), py::arg("functional"), py::arg("recheck"),
      py::arg("tolerance"), py::arg("seed"), py::arg("file"), py::arg("progress"));
  py::class_<Attribution>(m, "_Attribution", "First-order estimates of the cells of a sweep.")
      .def_readonly("values", &Attribution::values)
      .def_readonly("donors", &Attribution::donors)
      .def_readonly("sites", &Attribution::sites)
      .def_readonly("parts", &Attribution::parts)
      .def_readonly("ranking", &Attribution::ranking);
  m.def("_attribute_sites", &patch::attribute_sites, py::arg("run"), py::arg("request"),
        py::arg("functional"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace tierod::bindings
