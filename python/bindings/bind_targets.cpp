#include <cstdio>
#include <optional>

#include "arrays_internal.h"
#include "tierod/probe/control_task.h"
#include "tierod/probe/moments_validation.h"
#include "tierod/probe/target_evaluation.h"
#include "tierod/store/moments_sink.h"

namespace tierod::bindings {

using probe::TargetEvaluation;
using probe::TargetRow;
using probe::TargetSummary;

void bind_targets(py::module_& m) {
  py::class_<TargetRow>(m, "TargetRow", "What was found of one real target at one site.")
      .def_readonly("site", &TargetRow::site)
      .def_readonly("target_name", &TargetRow::target_name)
      .def_readonly("rows", &TargetRow::rows)
      .def_readonly("units", &TargetRow::units)
      .def_readonly("mean", &TargetRow::mean)
      .def_readonly("sd", &TargetRow::sd)
      .def_readonly("r2", &TargetRow::r2)
      .def_readonly("pearson", &TargetRow::pearson)
      .def_readonly("spearman", &TargetRow::spearman)
      .def_readonly("rmse", &TargetRow::rmse)
      .def_readonly("mae", &TargetRow::mae)
      .def_readonly("control_r2", &TargetRow::control_r2)
      .def_readonly("control_recurrence", &TargetRow::control_recurrence)
      .def_readonly("above_control", &TargetRow::above_control)
      .def_readonly("nuisance_r2", &TargetRow::nuisance_r2)
      .def_readonly("above_nuisance", &TargetRow::above_nuisance)
      .def_readonly("group_control_r2", &TargetRow::group_control_r2)
      .def_readonly("above_group_control", &TargetRow::above_group_control)
      .def_readonly("memorisation_r2", &TargetRow::memorisation_r2)
      .def_readonly("learned", &TargetRow::learned)
      .def_readonly("above_best", &TargetRow::above_best)
      .def_readonly("upper", &TargetRow::upper)
      .def_readonly("equivalence_p", &TargetRow::equivalence_p)
      .def_readonly("p", &TargetRow::p)
      .def_readonly("p_max_t", &TargetRow::p_max_t)
      .def_readonly("p_method", &TargetRow::p_method)
      .def_readonly("setting", &TargetRow::setting)
      .def_readonly("condition", &TargetRow::condition)
      .def_readonly("encoded", &TargetRow::encoded)
      .def_readonly("note", &TargetRow::note)
      .def("__repr__", [](const TargetRow& r) {
        char text[64];
        std::snprintf(text, sizeof text, "%.3f [%.3f, %.3f]", r.r2.estimate, r.r2.low, r.r2.high);
        return "TargetRow('" + r.target_name + "' at '" + r.site + "': R2 " + text +
               (r.encoded ? ", encoded" : "") + (r.note.empty() ? "" : "; " + r.note) + ")";
      });
  py::class_<TargetSummary>(m, "TargetSummary", "What all sites say of one target.")
      .def_readonly("target_name", &TargetSummary::target_name)
      .def_readonly("best_site", &TargetSummary::best_site)
      .def_readonly("best_r2", &TargetSummary::best_r2)
      .def_readonly("p_max_t", &TargetSummary::p_max_t)
      .def_readonly("q", &TargetSummary::q)
      .def_readonly("encoded_sites", &TargetSummary::encoded_sites)
      .def_readonly("upper", &TargetSummary::upper)
      .def_readonly("not_linearly_encoded", &TargetSummary::not_linearly_encoded);
  py::class_<TargetEvaluation>(m, "TargetEvaluation", "A table of sites and targets.")
      .def_readonly("probe", &TargetEvaluation::probe)
      .def_readonly("level", &TargetEvaluation::level)
      .def_readonly("units", &TargetEvaluation::units)
      .def_readonly("sites", &TargetEvaluation::sites)
      .def_readonly("targets", &TargetEvaluation::targets)
      .def_readonly("rows", &TargetEvaluation::rows)
      .def_readonly("summary", &TargetEvaluation::summary)
      .def_readonly("notes", &TargetEvaluation::notes)
      .def_property_readonly("predictions",
                             [](const TargetEvaluation& e) -> std::optional<at::Tensor> {
                               if (!e.predictions.defined()) return std::nullopt;
                               return e.predictions;
                             })
      .def_readonly("complete", &TargetEvaluation::complete)
      .def("at", &TargetEvaluation::at, py::arg("site"), py::arg("target_name"),
           py::return_value_policy::reference_internal, "Return one cell.")
      .def("__repr__", [](const TargetEvaluation& e) {
        return "TargetEvaluation(" + e.probe + ", sites: " + std::to_string(e.sites.size()) +
               ", targets: " + std::to_string(e.targets.size()) +
               ", units: " + std::to_string(e.units) + " of the level " + e.level + ")";
      });
  py::class_<probe::MomentsValidation>(m, "MomentsValidation",
                                       "What held-out moments say of linear probes.")
      .def_readonly("fits", &probe::MomentsValidation::fits, "The fit without each fold.")
      .def_readonly("correlation", &probe::MomentsValidation::correlation,
                    "Of score and label [K, P, C].")
      .def_readonly("separation", &probe::MomentsValidation::separation, "d' [K, P, C].")
      .def_readonly("normal_auroc", &probe::MomentsValidation::normal_auroc,
                    "The AUROC of normal scores of this d' [K, P, C].");
  m.def("cross_validate_moments", &probe::cross_validate_moments, py::arg("fitter"),
        py::arg("moments"), py::arg("site"), py::call_guard<py::gil_scoped_release>(),
        "Fit every fold's complement and tell from moments how well the fold is read.");
  m.def(
      "control_targets",
      [](const Integers& keys, const Doubles& targets, std::uint64_t seed, std::size_t draw) {
        return array_of(probe::control_targets(span_of(keys), span_of(targets), seed, draw));
      },
      py::arg("keys"), py::arg("targets"), py::arg("seed") = 0, py::arg("draw") = 0,
      "Return the targets [n] of a control task.");
  m.def(
      "_evaluate_targets",
      [](const probe::ProbeDataset& dataset, const probe::LinearFitter& fitter,
         probe::EvaluationOptions options, const std::optional<probe::ProbeDataset>& random_init,
         const py::object& progress) {
        options.progress = progress_of(progress);
        const py::gil_scoped_release released;
        return probe::evaluate_targets(dataset, fitter, options,
                                       random_init ? &*random_init : nullptr);
      },
      py::arg("dataset"), py::arg("fitter"), py::arg("options"), py::arg("random_init"),
      py::arg("progress"));
}

}  // namespace tierod::bindings
