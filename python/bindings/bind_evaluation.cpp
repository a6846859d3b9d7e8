#include <algorithm>
#include <optional>

#include "arrays_internal.h"
#include "tierod/probe/control_task.h"
#include "tierod/probe/dataset.h"
#include "tierod/probe/evaluation.h"
#include "tierod/probe/mlp_fitter.h"
#include "tierod/probe/probe_direction.h"
#include "tierod/probe/residual_direction.h"
#include "tierod/probe/sample_plan.h"
#include "tierod/probe/standardised_fitter.h"
#include "tierod/store/moments_sink.h"
#include "tierod/store/reader.h"

namespace tierod::bindings {

namespace {

using probe::Evaluation;
using probe::EvaluationOptions;
using probe::EvaluationRow;
using probe::ProbeDataset;
using probe::Split;
using probe::Splits;

std::string counted(std::size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

template <typename Array>
std::vector<typename Array::value_type> vector_of(const Array& array) {
  const auto view = span_of(array);
  return {view.begin(), view.end()};
}

py::array_t<std::int64_t> integers(std::span<const std::int64_t> values) {
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(values.size()));
  std::copy(values.begin(), values.end(), out.mutable_data());
  return out;
}

std::vector<Split> splits_of(const Bytes& codes) {
  std::vector<Split> out;
  for (const std::uint8_t code : span_of(codes)) {
    if (code > 2) {
      throw InvalidArgument("[probe.check_split] expected 0 (A), 1 (B) or 2 (C), got " +
                            std::to_string(code));
    }
    out.push_back(static_cast<Split>(code));
  }
  return out;
}

/// A probe that Python fits: `fit(rows, labels, groups, seed, setting)` returns what scores rows.
class PythonFitter final : public probe::RowFitter {
 public:
  PythonFitter(std::string name, std::size_t settings, py::object fit)
      : name_(std::move(name)),
        settings_(settings),
        fit_(new py::object(std::move(fit)), DropPython()) {}
  std::string name() const override { return name_; }
  std::size_t settings() const override { return settings_; }
  probe::Scorer fit(const probe::FitTask& task, std::size_t setting) const override {
    const py::gil_scoped_acquire gil;
    py::array_t<std::uint8_t> labels(static_cast<py::ssize_t>(task.labels.size()));
    std::copy(task.labels.begin(), task.labels.end(), labels.mutable_data());
    const std::shared_ptr<py::object> score(
        new py::object((*fit_)(task.rows, labels, integers(task.groups), task.seed, setting)),
        DropPython());
    return [score](const at::Tensor& rows) {
      const py::gil_scoped_acquire again;
      return (*score)(rows).cast<at::Tensor>();
    };
  }

 private:
  std::string name_;
  std::size_t settings_;
  std::shared_ptr<py::object> fit_;
};

void bind_dataset(py::module_& m) {
  py::enum_<probe::NuisanceKind>(m, "NuisanceKind")
      .value("numeric", probe::NuisanceKind::numeric)
      .value("binned", probe::NuisanceKind::binned)
      .value("categorical", probe::NuisanceKind::categorical);
  py::class_<probe::Nuisance>(m, "Nuisance", "What goes together with concepts without being one.")
      .def_readonly("name", &probe::Nuisance::name)
      .def_readonly("kind", &probe::Nuisance::kind)
      .def_property_readonly("values", [](const probe::Nuisance& n) { return array_of(n.values); })
      .def_readonly("cell_count", &probe::Nuisance::cell_count);
  py::class_<Splits>(m, "Splits", "The assignment of rows to A, B and C.")
      .def_readonly("level", &Splits::level)
      .def_readonly("note", &Splits::note)
      .def_property_readonly(
          "units",
          [](const Splits& s) { return py::make_tuple(s.units[0], s.units[1], s.units[2]); })
      .def_property_readonly(
          "of_row",
          [](const Splits& s) {
            py::array_t<std::uint8_t> out(static_cast<py::ssize_t>(s.of_row.size()));
            std::transform(s.of_row.begin(), s.of_row.end(), out.mutable_data(),
                           [](Split x) { return static_cast<std::uint8_t>(x); });
            return out;
          },
          "0, 1, 2 for A, B, C [n].")
      .def("__repr__", [](const Splits& s) {
        return "Splits(by " + s.level + ": " + std::to_string(s.units[0]) + " A, " +
               std::to_string(s.units[1]) + " B, " + std::to_string(s.units[2]) + " C)";
      });
  py::class_<ProbeDataset>(m, "ProbeDataset", "Activations by site with labels and groups.")
      .def(py::init([](const Integers& groups) { return ProbeDataset(vector_of(groups)); }),
           py::arg("groups"))
      .def_static(
          "_from_store",
          [](const py::object& reader, const std::string& stream, std::vector<std::string> sites,
             const std::vector<std::string>& concepts, const std::optional<at::Tensor>& rows) {
            // the dataset keeps the Python reader alive
            const std::shared_ptr<py::object> kept(new py::object(reader), DropPython());
            const std::shared_ptr<const ActivationReader> shared(
                kept, reader.cast<const ActivationReader*>());
            const py::gil_scoped_release released;
            return ProbeDataset::from_store(shared, stream, std::move(sites), concepts,
                                            rows.value_or(at::Tensor()));
          },
          py::arg("reader"), py::arg("stream"), py::arg("sites"), py::arg("concepts"),
          py::arg("rows"))
      .def("add_site",
           py::overload_cast<const std::string&, const at::Tensor&>(&ProbeDataset::add_site),
           py::arg("name"), py::arg("rows"), "Add activations [n, d]; they are not copied.")
      .def(
          "add_concept",
          [](ProbeDataset& d, const std::string& name, const Bytes& labels) {
            d.add_concept(name, vector_of(labels));
          },
          py::arg("name"), py::arg("labels"), "Add labels [n] 0, 1 or 255.")
      .def(
          "add_target",
          [](ProbeDataset& d, const std::string& name, const Doubles& values) {
            d.add_target(name, vector_of(values));
          },
          py::arg("name"), py::arg("values"), "Add a real target [n]; NaN is unknown.")
      .def(
          "add_nuisance",
          [](ProbeDataset& d, const std::string& name, const Doubles& values,
             probe::NuisanceKind kind,
             std::size_t bins) { d.add_nuisance(name, vector_of(values), kind, bins); },
          py::arg("name"), py::arg("values"), py::arg("kind"), py::arg("bins") = 4,
          "Add a nuisance [n].")
      .def(
          "add_level",
          [](ProbeDataset& d, const std::string& name, const Integers& ids) {
            d.add_level(name, vector_of(ids));
          },
          py::arg("name"), py::arg("ids"), "Add a level above those there.")
      .def(
          "set_twins",
          [](ProbeDataset& d, const Integers& twins) { d.set_twins(vector_of(twins)); },
          py::arg("twins"), "Join rows of one twin number; -1 has none.")
      .def(
          "set_strata",
          [](ProbeDataset& d, const Integers& strata) { d.set_strata(vector_of(strata)); },
          py::arg("strata"), "Let permuted labels move only within strata.")
      .def(
          "set_types",
          [](ProbeDataset& d, const Integers& types) { d.set_types(vector_of(types)); },
          py::arg("types"), "Set the type that control labels are keyed on.")
      .def_property_readonly("rows", &ProbeDataset::rows)
      .def_property_readonly("sites", &ProbeDataset::sites)
      .def_property_readonly("concepts", &ProbeDataset::concepts)
      .def_property_readonly("targets", &ProbeDataset::targets)
      .def_property_readonly("levels", &ProbeDataset::levels)
      .def_property_readonly("nuisances", &ProbeDataset::nuisances)
      .def_property_readonly("groups", [](const ProbeDataset& d) { return integers(d.groups()); })
      .def("site", &ProbeDataset::site, py::arg("name"), "Return the rows [n, d] of a site.")
      .def(
          "labels",
          [](const ProbeDataset& d, std::string_view name) {
            const auto labels = d.labels(name);
            py::array_t<std::uint8_t> out(static_cast<py::ssize_t>(labels.size()));
            std::copy(labels.begin(), labels.end(), out.mutable_data());
            return out;
          },
          py::arg("concept_name"), "Return the labels [n]; 255 is unknown.")
      .def(
          "target",
          [](const ProbeDataset& d, std::string_view name) { return array_of(d.target(name)); },
          py::arg("name"), "Return the values [n] of a target; NaN is unknown.")
      .def(
          "types", [](const ProbeDataset& d) { return integers(d.types()); },
          "Return the type [n] of each row; empty where there is none.")
      .def("level", &ProbeDataset::level, py::arg("least") = 40,
           "Return the highest level with so many units.")
      .def(
          "units",
          [](const ProbeDataset& d, std::string_view level) { return integers(d.units(level)); },
          py::arg("level") = "group", "Return the unit [n] of each row.")
      .def(
          "folds",
          [](const ProbeDataset& d, std::size_t folds, std::uint64_t seed, std::string_view level) {
            const std::vector<std::uint32_t> of_row = d.folds(folds, seed, level);
            return integers(std::vector<std::int64_t>(of_row.begin(), of_row.end()));
          },
          py::arg("folds") = 5, py::arg("seed") = 0, py::arg("level") = "group",
          "Return the fold [n] of each row.")
      .def(
          "split",
          [](const ProbeDataset& d, double a, double b, double c, std::uint64_t seed,
             std::size_t least_units, std::size_t least_test_units) {
            return d.split({a, b, c, seed, least_units, least_test_units});
          },
          py::arg("a") = 0.5, py::arg("b") = 0.2, py::arg("c") = 0.3, py::arg("seed") = 0,
          py::arg("least_units") = 40, py::arg("least_test_units") = 12,
          "Split units at random into A, B and C.")
      .def(
          "check_split",
          [](const ProbeDataset& d, const Bytes& of_row) { d.check_split(splits_of(of_row)); },
          py::arg("of_row"), "Refuse a split (0, 1, 2 a row) that parts a group or twins.")
      .def("subset", py::overload_cast<const at::Tensor&>(&ProbeDataset::subset, py::const_),
           py::arg("rows"), "Return the dataset of some rows.")
      .def("design",
           py::overload_cast<const std::vector<std::string>&>(&ProbeDataset::design, py::const_),
           py::arg("names"), "Return the columns [n, q] of nuisances and concepts.")
      .def("companions", &ProbeDataset::companions, py::arg("concept_name"),
           py::arg("with_concepts") = true, "Return the names of what may go with a concept.");
  m.def(
      "control_labels",
      [](const Integers& keys, const Bytes& labels, std::uint64_t seed, std::size_t draw) {
        const auto out = probe::control_labels(span_of(keys), span_of(labels), seed, draw);
        py::array_t<std::uint8_t> array(static_cast<py::ssize_t>(out.size()));
        std::copy(out.begin(), out.end(), array.mutable_data());
        return array;
      },
      py::arg("keys"), py::arg("labels"), py::arg("seed") = 0, py::arg("draw") = 0,
      "Return the labels [n] of a control task.");
  m.def("training_statistics", &probe::training_statistics, py::arg("moments"), py::arg("site"),
        py::arg("held_out") = py::none(), py::call_guard<py::gil_scoped_release>(),
        "Return what linear probes need from streamed moments.");
}

void bind_results(py::module_& m) {
  py::class_<EvaluationRow>(m, "EvaluationRow", "What was found of one concept at one site.")
      .def_readonly("site", &EvaluationRow::site)
      .def_readonly("concept_name", &EvaluationRow::concept_name)
      .def_readonly("rows", &EvaluationRow::rows)
      .def_readonly("positives", &EvaluationRow::positives)
      .def_readonly("units", &EvaluationRow::units)
      .def_readonly("positive_units", &EvaluationRow::positive_units)
      .def_readonly("auroc", &EvaluationRow::auroc)
      .def_readonly("auprc", &EvaluationRow::auprc)
      .def_readonly("balanced_accuracy", &EvaluationRow::balanced_accuracy)
      .def_readonly("log_loss", &EvaluationRow::log_loss)
      .def_readonly("brier", &EvaluationRow::brier)
      .def_readonly("ece", &EvaluationRow::ece)
      .def_readonly("control_auroc", &EvaluationRow::control_auroc)
      .def_readonly("control_recurrence", &EvaluationRow::control_recurrence)
      .def_readonly("above_control", &EvaluationRow::above_control)
      .def_readonly("nuisance_auroc", &EvaluationRow::nuisance_auroc)
      .def_readonly("above_nuisance", &EvaluationRow::above_nuisance)
      .def_readonly("group_control_auroc", &EvaluationRow::group_control_auroc)
      .def_readonly("above_group_control", &EvaluationRow::above_group_control)
      .def_readonly("memorisation_auroc", &EvaluationRow::memorisation_auroc)
      .def_readonly("learned", &EvaluationRow::learned)
      .def_readonly("above_best", &EvaluationRow::above_best)
      .def_readonly("upper", &EvaluationRow::upper)
      .def_readonly("equivalence_p", &EvaluationRow::equivalence_p)
      .def_readonly("p", &EvaluationRow::p)
      .def_readonly("p_max_t", &EvaluationRow::p_max_t)
      .def_readonly("p_method", &EvaluationRow::p_method)
      .def_readonly("setting", &EvaluationRow::setting)
      .def_readonly("condition", &EvaluationRow::condition)
      .def_readonly("encoded", &EvaluationRow::encoded)
      .def_readonly("note", &EvaluationRow::note)
      .def("__repr__", [](const EvaluationRow& r) {
        char text[64];
        std::snprintf(text, sizeof text, "%.3f [%.3f, %.3f]", r.auroc.estimate, r.auroc.low,
                      r.auroc.high);
        return "EvaluationRow('" + r.concept_name + "' at '" + r.site + "': AUROC " + text +
               (r.encoded ? ", encoded" : "") + (r.note.empty() ? "" : "; " + r.note) + ")";
      });
  using probe::ConceptSummary;
  py::class_<ConceptSummary>(m, "ConceptSummary", "What all sites say of one concept.")
      .def_readonly("concept_name", &ConceptSummary::concept_name)
      .def_readonly("best_site", &ConceptSummary::best_site)
      .def_readonly("best_auroc", &ConceptSummary::best_auroc)
      .def_readonly("p_max_t", &ConceptSummary::p_max_t)
      .def_readonly("q", &ConceptSummary::q)
      .def_readonly("encoded_sites", &ConceptSummary::encoded_sites)
      .def_readonly("upper", &ConceptSummary::upper)
      .def_readonly("not_encoded", &ConceptSummary::not_encoded);
  py::class_<probe::Conclusion>(m, "Conclusion", "Whether a concept is encoded, in words.")
      .def_readonly("concept_name", &probe::Conclusion::concept_name)
      .def_property_readonly(
          "encoding", [](const probe::Conclusion& c) { return probe::encoding_name(c.encoding); })
      .def_readonly("sentence", &probe::Conclusion::sentence)
      .def("__repr__", [](const probe::Conclusion& c) { return "Conclusion(" + c.sentence + ")"; });
  py::class_<Evaluation>(m, "Evaluation", "A table of sites and concepts.")
      .def_readonly("probe", &Evaluation::probe)
      .def_readonly("level", &Evaluation::level)
      .def_readonly("units", &Evaluation::units)
      .def_readonly("sites", &Evaluation::sites)
      .def_readonly("concepts", &Evaluation::concepts)
      .def_readonly("rows", &Evaluation::rows)
      .def_readonly("summary", &Evaluation::summary)
      .def_readonly("notes", &Evaluation::notes)
      .def_property_readonly("scores",
                             [](const Evaluation& e) -> std::optional<at::Tensor> {
                               if (!e.scores.defined()) return std::nullopt;
                               return e.scores;
                             })
      .def_readonly("complete", &Evaluation::complete)
      .def_property_readonly("margin", [](const Evaluation& e) { return e.options.margin; })
      .def_property_readonly("alpha", [](const Evaluation& e) { return e.options.alpha; })
      .def("at", &Evaluation::at, py::arg("site"), py::arg("concept_name"),
           py::return_value_policy::reference_internal, "Return one cell.")
      .def("__repr__", [](const Evaluation& e) {
        return "Evaluation(" + e.probe + ", " + counted(e.sites.size(), "site") + " x " +
               counted(e.concepts.size(), "concept") + ", " + counted(e.units, "unit") +
               " of the level " + e.level + ")";
      });
  m.def(
      "_conclude",
      [](const Evaluation& linear, const std::optional<Evaluation>& nonlinear) {
        return probe::conclude(linear, nonlinear ? &*nonlinear : nullptr);
      },
      py::arg("linear"), py::arg("nonlinear"));
}

void bind_more_fitters(py::module_& m) {
  using probe::LinearFitter;
  // a copy of the Python object keeps the inner fitter alive
  py::class_<probe::StandardisedFitter, LinearFitter>(m, "StandardisedFitter",
                                                      "Fits on columns of variance 1.")
      .def(py::init([](const py::object& inner) {
             const std::shared_ptr<py::object> kept(new py::object(inner), DropPython());
             return probe::StandardisedFitter(
                 std::shared_ptr<const LinearFitter>(kept, inner.cast<const LinearFitter*>()));
           }),
           py::arg("inner"));
  py::enum_<probe::WritePattern>(m, "WritePattern")
      .value("mean_difference", probe::WritePattern::mean_difference)
      .value("covariance", probe::WritePattern::covariance);
  m.def("probe_direction", &probe::probe_direction, py::arg("training"), py::arg("concept_index"),
        py::arg("read"), py::arg("write") = probe::WritePattern::mean_difference,
        py::arg("site") = "",
        "Return the direction that reads with the weights of a linear probe.");
  m.def("ridge_direction", &probe::ridge_direction, py::arg("training"), py::arg("concept_index"),
        py::arg("penalty"), py::arg("write") = probe::WritePattern::mean_difference,
        py::arg("site") = "", "Return the ridge direction of a concept.");
}

void bind_residual(py::module_& m) {
  using probe::ResidualFit;
  using probe::ResidualFits;
  py::class_<ResidualFit>(m, "ResidualFit", "The direction of one fit.")
      .def_readonly("direction", &ResidualFit::direction)
      .def_readonly("effect", &ResidualFit::effect)
      .def_readonly("vif", &ResidualFit::vif)
      .def_readonly("report", &ResidualFit::report);
  py::class_<ResidualFits>(m, "ResidualFits", "A residualised direction and its refits.")
      .def_readonly("full", &ResidualFits::full)
      .def_readonly("held_out", &ResidualFits::held_out)
      .def_property_readonly(
          "folds",
          [](const ResidualFits& r) {
            return integers(std::vector<std::int64_t>(r.folds.begin(), r.folds.end()));
          })
      .def_readonly("positions", &ResidualFits::positions)
      .def_readonly("note", &ResidualFits::note);
  m.def(
      "_residual_direction",
      [](const ProbeDataset& dataset, const std::string& site, const std::string& concept_name,
         std::optional<std::vector<std::string>> adjust_for, bool interactions, double shrinkage,
         double most_vif, std::size_t least_cell, std::size_t folds, std::size_t least_units,
         std::uint64_t seed) {
        return probe::residual_direction(dataset, site, concept_name,
                                         {.adjust_for = std::move(adjust_for),
                                          .interactions = interactions,
                                          .shrinkage = shrinkage,
                                          .most_vif = most_vif,
                                          .least_cell = least_cell,
                                          .folds = folds,
                                          .least_units = least_units,
                                          .seed = seed});
      },
      py::call_guard<py::gil_scoped_release>(), py::arg("dataset"), py::arg("site"),
      py::arg("concept_name"), py::arg("adjust_for"), py::arg("interactions"), py::arg("shrinkage"),
      py::arg("most_vif"), py::arg("least_cell"), py::arg("folds"), py::arg("least_units"),
      py::arg("seed"));
  using probe::SamplePlan;
  py::class_<SamplePlan>(m, "SamplePlan", "How many independent units a direction needs.")
      .def_readonly("accepted", &SamplePlan::accepted)
      .def_readonly("needed_units", &SamplePlan::needed_units)
      .def_readonly("most_columns", &SamplePlan::most_columns)
      .def_readonly("expected_erased_auroc", &SamplePlan::expected_erased_auroc)
      .def_readonly("sentences", &SamplePlan::sentences)
      .def("__str__", [](const SamplePlan& p) {
        std::string text;
        for (const std::string& s : p.sentences) text += (text.empty() ? "" : " ") + s;
        return text;
      });
  m.def(
      "_plan_sample",
      [](const ProbeDataset& dataset, const std::string& site, const std::string& concept_name,
         const std::optional<Splits>& splits) {
        return probe::plan_sample(dataset, site, concept_name, splits ? &*splits : nullptr);
      },
      py::arg("dataset"), py::arg("site"), py::arg("concept_name"), py::arg("splits"));
  m.def(
      "plan_sample",
      [](const std::string& concept_name, std::int64_t width, std::size_t units,
         std::size_t positive_units, std::size_t test_units, std::size_t test_positives) {
        return probe::plan_sample(
            {concept_name, width, units, positive_units, test_units, test_positives});
      },
      py::arg("concept_name"), py::arg("width"), py::arg("units"), py::arg("positive_units"),
      py::arg("test_units") = 0, py::arg("test_positives") = 0,
      "Plan how many independent units a direction and its erasure need.");
}

void bind_evaluate(py::module_& m) {
  py::class_<EvaluationOptions>(m, "EvaluationOptions", "How to evaluate.")
      .def(py::init<>())
      .def_readwrite("folds", &EvaluationOptions::folds)
      .def_readwrite("least_units", &EvaluationOptions::least_units)
      .def_readwrite("confidence", &EvaluationOptions::confidence)
      .def_readwrite("interval", &EvaluationOptions::interval)
      .def_readwrite("replicates", &EvaluationOptions::replicates)
      .def_readwrite("control_draws", &EvaluationOptions::control_draws)
      .def_readwrite("memorisation", &EvaluationOptions::memorisation)
      .def_readwrite("concepts_as_nuisances", &EvaluationOptions::concepts_as_nuisances)
      .def_readwrite("margin", &EvaluationOptions::margin)
      .def_readwrite("alpha", &EvaluationOptions::alpha)
      .def_readwrite("permutations", &EvaluationOptions::permutations)
      .def_readwrite("seed", &EvaluationOptions::seed)
      .def_readwrite("threads", &EvaluationOptions::threads)
      .def_readwrite("keep_scores", &EvaluationOptions::keep_scores);
  using probe::RowFitter;
  py::class_<RowFitter>(m, "RowFitter", "Fits a probe that needs the rows themselves.")
      .def_property_readonly("name", &RowFitter::name)
      .def_property_readonly("settings", &RowFitter::settings);
  py::class_<PythonFitter, RowFitter>(m, "_PythonFitter", "A probe that Python fits.")
      .def(py::init<std::string, std::size_t, py::object>(), py::arg("name"), py::arg("settings"),
           py::arg("fit"));
  using probe::MlpModel;
  using probe::MlpOptions;
  py::class_<MlpOptions>(m, "MlpOptions", "How to fit the multi-layer probe.")
      .def(py::init<>())
      .def_readwrite("hidden", &MlpOptions::hidden)
      .def_readwrite("epochs", &MlpOptions::epochs)
      .def_readwrite("batch", &MlpOptions::batch)
      .def_readwrite("learning_rate", &MlpOptions::learning_rate)
      .def_readwrite("weight_decays", &MlpOptions::weight_decays)
      .def_readwrite("patience", &MlpOptions::patience)
      .def_readwrite("held_out", &MlpOptions::held_out);
  py::class_<MlpModel>(m, "MlpModel", "A fitted multi-layer probe.")
      .def(py::init<std::map<std::string, at::Tensor>>(), py::arg("state"))
      .def("scores", &MlpModel::scores, py::arg("rows"), py::call_guard<py::gil_scoped_release>(),
           "Return the log odds [m] of rows [m, d].")
      .def("state", &MlpModel::state, "Return the weights by name.")
      .def_property_readonly("epochs", &MlpModel::epochs);
  py::class_<probe::MlpFitter, RowFitter>(m, "MlpFitter", "A probe with one hidden layer.")
      .def(py::init<MlpOptions>(), py::arg_v("options", MlpOptions(), "MlpOptions()"))
      .def(
          "fit_model",
          [](const probe::MlpFitter& fitter, const at::Tensor& rows, const Bytes& labels,
             const Integers& groups, std::uint64_t seed, std::size_t setting) {
            const probe::FitTask task{
                .rows = rows, .labels = span_of(labels), .groups = span_of(groups), .seed = seed};
            const py::gil_scoped_release released;
            return fitter.fit_model(task, setting);
          },
          py::arg("rows"), py::arg("labels"), py::arg("groups"), py::arg("seed") = 0,
          py::arg("setting") = 0, "Fit on rows [n, d] with labels [n] and groups [n].");
  const auto bind = [&]<typename Fitter>(const Fitter*) {
    m.def(
        "_evaluate",
        [](const ProbeDataset& dataset, const Fitter& fitter, EvaluationOptions options,
           const std::optional<ProbeDataset>& random_init, const py::object& progress) {
          options.progress = progress_of(progress);
          const py::gil_scoped_release released;
          return probe::evaluate(dataset, fitter, options, random_init ? &*random_init : nullptr);
        },
        py::arg("dataset"), py::arg("fitter"), py::arg("options"), py::arg("random_init"),
        py::arg("progress"));
  };
  bind(static_cast<const probe::LinearFitter*>(nullptr));
  bind(static_cast<const RowFitter*>(nullptr));
  bind(static_cast<const probe::LogisticFitter*>(nullptr));
}

}  // namespace

void bind_evaluation(py::module_& m) {
  bind_dataset(m);
  bind_results(m);
  bind_more_fitters(m);
  bind_residual(m);
  bind_evaluate(m);
}

}  // namespace tierod::bindings
