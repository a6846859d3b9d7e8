#include <pybind11/stl.h>

#include <cmath>

#include "bindings_internal.h"
#include "tierod/probe/cross_validation.h"
#include "tierod/probe/direction.h"
#include "tierod/probe/eraser.h"
#include "tierod/probe/fit_report.h"
#include "tierod/probe/fold_statistics.h"
#include "tierod/probe/linear_probe.h"
#include "tierod/probe/logistic.h"
#include "tierod/probe/verify_erasure.h"

namespace tierod::bindings {

namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string shape_of(const at::Tensor& x) {
  std::string text = "[";
  for (const std::int64_t size : x.sizes()) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

/// Refuse labels that are not [n, C] with the rows' n, or [n] for a single concept: what is laid
/// out otherwise would be read as other labels. `concepts` below 0 is any number.
void check_layout(const at::Tensor& labels, std::int64_t n, const std::string& rows,
                  std::int64_t concepts, const char* where) {
  const bool flat = labels.dim() == 1 && concepts <= 1;
  const bool table = labels.dim() == 2 && (concepts < 0 || labels.size(1) == concepts);
  if ((flat || table) && labels.size(0) == n) return;
  const std::string wanted = "[" + std::to_string(n) + ", " +
                             (concepts < 0 ? std::string("C") : std::to_string(concepts)) + "]";
  throw InvalidArgument("[" + std::string(where) + "] expected labels " + wanted +
                        (concepts <= 1 ? " or [" + std::to_string(n) + "]" : "") + " for " + rows +
                        ", got shape " + shape_of(labels) + "; one row of labels a row");
}

/// Return labels as bytes, 255 for missing: NaN of floating labels, 255 of integers.
/// @throws InvalidArgument unless [n, concepts] or, for one concept, [n], with n the rows.
std::vector<std::uint8_t> labels_of(const at::Tensor& labels, const at::Tensor& rows,
                                    std::int64_t concepts, const char* where) {
  // rows of another shape are refused by what takes them
  if (rows.dim() == 2) {
    check_layout(labels, rows.size(0), "rows " + shape_of(rows), concepts, where);
  }
  const at::Tensor y = labels.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto* value = y.const_data_ptr<double>();
  std::vector<std::uint8_t> out(static_cast<std::size_t>(y.numel()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double v = value[i];
    if (v == 0 || v == 1) {
      out[i] = static_cast<std::uint8_t>(v);
    } else if (std::isnan(v) || v == 255) {
      out[i] = 255;
    } else {
      throw InvalidArgument("[" + std::string(where) +
                            "] expected labels 0, 1 or missing (NaN, or " +
                            "255 of integers), got " + number(v) + " at flat index " +
                            std::to_string(i) + " of shape " + shape_of(labels));
    }
  }
  return out;
}

std::vector<std::uint32_t> folds_of(const at::Tensor& folds, const char* where) {
  if (folds.dim() != 1 || at::isFloatingType(folds.scalar_type())) {
    throw InvalidArgument("[" + std::string(where) + "] expected integer folds [n], got shape " +
                          shape_of(folds));
  }
  const at::Tensor f = folds.to(at::kCPU, at::kLong).contiguous();
  const auto* value = f.const_data_ptr<std::int64_t>();
  std::vector<std::uint32_t> out(static_cast<std::size_t>(f.numel()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (value[i] < 0 || value[i] > UINT32_MAX) {
      throw InvalidArgument("[" + std::string(where) + "] expected folds >= 0, got " +
                            std::to_string(value[i]) + " in row " + std::to_string(i));
    }
    out[i] = static_cast<std::uint32_t>(value[i]);
  }
  return out;
}

void bind_reports(py::module_& m) {
  using probe::FitReport;
  py::class_<FitReport>(m, "FitReport", "How well conditioned a fit was, and whether it is one.")
      .def_readonly("rows", &FitReport::rows)
      .def_readonly("rank", &FitReport::rank)
      .def_readonly("condition", &FitReport::condition)
      .def_readonly("shrinkage", &FitReport::shrinkage)
      .def_readonly("iterations", &FitReport::iterations)
      .def_readonly("converged", &FitReport::converged)
      .def_readonly("excess", &FitReport::excess)
      .def_readonly("separated", &FitReport::separated)
      .def_readonly("note", &FitReport::note)
      .def("__repr__", [](const FitReport& r) {
        return "FitReport(rows = " + std::to_string(r.rows) + ", rank = " + std::to_string(r.rank) +
               ", condition = " + number(r.condition) + (r.converged ? "" : ", NOT CONVERGED") +
               (r.separated ? ", separated" : "") +
               (r.note.empty() ? "" : ", note = '" + r.note + "'") + ")";
      });
}

void bind_statistics(py::module_& m) {
  using probe::FoldStatistics;
  using probe::TrainingStatistics;
  py::enum_<probe::Precision>(m, "Precision")
      .value("automatic", probe::Precision::automatic)
      .value("f32", probe::Precision::f32)
      .value("f64", probe::Precision::f64);
  py::enum_<probe::Targets>(m, "Targets")
      .value("labels", probe::Targets::labels)
      .value("reals", probe::Targets::reals);
  py::class_<TrainingStatistics>(m, "TrainingStatistics",
                                 "What linear probes of some targets need of their training rows.")
      .def_readonly("rows", &TrainingStatistics::rows)
      .def_readonly("mean", &TrainingStatistics::mean)
      .def_readonly("scatter", &TrainingStatistics::scatter)
      .def_readonly("ones", &TrainingStatistics::ones)
      .def_readonly("means", &TrainingStatistics::means)
      .def_readonly("target_mean", &TrainingStatistics::target_mean)
      .def_readonly("cross", &TrainingStatistics::cross)
      .def_readonly("which", &TrainingStatistics::which)
      .def_readonly("rounding", &TrainingStatistics::rounding)
      .def_property_readonly("has_labels", &TrainingStatistics::has_labels)
      .def_property_readonly("width", &TrainingStatistics::width)
      .def_property_readonly("concepts", &TrainingStatistics::concepts);
  py::class_<FoldStatistics>(m, "FoldStatistics",
                             "Statistics of one pass over rows, from which every linear probe "
                             "follows for every held-out fold.")
      .def(py::init<std::size_t, std::size_t, probe::Targets, probe::Precision>(),
           py::arg("concepts"), py::arg("folds"), py::arg("targets") = probe::Targets::labels,
           py::arg("precision") = probe::Precision::automatic)
      .def(
          "update",
          [](FoldStatistics& s, const at::Tensor& rows, const at::Tensor& labels,
             const at::Tensor& folds) {
            constexpr auto* where = "probe.FoldStatistics.update";
            const auto f = folds_of(folds, where);
            const auto concepts = static_cast<std::int64_t>(s.concepts());
            if (s.targets() == probe::Targets::reals) {
              const py::gil_scoped_release released;
              s.update(rows, labels, f);
            } else {
              const auto y = labels_of(labels, rows, concepts, where);
              const py::gil_scoped_release released;
              s.update(rows, y, f);
            }
          },
          py::arg("rows"), py::arg("labels"), py::arg("folds"),
          "Add rows [n, d], their labels or real targets [n, C], and folds [n].")
      .def("merge", &FoldStatistics::merge, py::arg("other"), "Add all that other has seen.")
      .def_property_readonly("concepts", &FoldStatistics::concepts)
      .def_property_readonly("folds", &FoldStatistics::folds)
      .def_property_readonly("targets", &FoldStatistics::targets)
      .def_property_readonly("width", &FoldStatistics::width)
      .def("rows", &FoldStatistics::rows, py::arg("fold"), "Return the number of rows of a fold.")
      .def("known", &FoldStatistics::known, py::arg("fold"), py::arg("concept_index"),
           "Return the number of its rows with a known label.")
      .def("training", &FoldStatistics::training, py::arg("held_out") = py::none(),
           py::call_guard<py::gil_scoped_release>(),
           "Return the statistics of all folds but held_out, or of all.")
      .def("training_sets", &FoldStatistics::training_sets, py::arg("held_out") = py::none(),
           py::call_guard<py::gil_scoped_release>(),
           "Return the same by sets of concepts that have the same training rows.");
}

void bind_fitters(py::module_& m) {
  using probe::LinearFits;
  using probe::LinearFitter;
  py::class_<LinearFits>(m, "LinearFits", "Linear probes of C concepts under P settings.")
      .def_readonly("weights", &LinearFits::weights)
      .def_readonly("intercepts", &LinearFits::intercepts)
      .def_readonly("reports", &LinearFits::reports)
      .def("report", &LinearFits::report, py::arg("setting"), py::arg("concept_index"),
           "Return the report of one fit.")
      .def_property_readonly("settings", &LinearFits::settings)
      .def_property_readonly("concepts", &LinearFits::concepts)
      .def_property_readonly("width", &LinearFits::width)
      .def("scores", &LinearFits::scores, py::arg("rows"), py::call_guard<py::gil_scoped_release>(),
           "Return the scores [P, C, n] of rows [n, d].");
  py::class_<LinearFitter>(m, "LinearFitter", "Fits linear probes from sufficient statistics.")
      .def_property_readonly("name", &LinearFitter::name)
      .def("fit", &LinearFitter::fit, py::arg("training"), py::call_guard<py::gil_scoped_release>(),
           "Fit all concepts under all settings.");
  py::class_<probe::RidgeFitter, LinearFitter>(m, "RidgeFitter", "Ridge regression of labels.")
      .def(py::init<std::vector<double>>(), py::arg("penalties"));
  py::class_<probe::LdaFitter, LinearFitter>(m, "LdaFitter", "Linear discriminant analysis.")
      .def(py::init<std::vector<double>>(), py::arg("shrinkages"));
  py::class_<probe::MeanDifferenceFitter, LinearFitter>(m, "MeanDifferenceFitter",
                                                        "The direction between class means.")
      .def(py::init<>());
}

void bind_cross_validation(py::module_& m) {
  using probe::CrossValidation;
  m.def("fit_linear", &probe::fit, py::arg("fitter"), py::arg("statistics"),
        py::arg("held_out") = py::none(), py::call_guard<py::gil_scoped_release>(),
        "Fit all concepts under all settings without one fold, or on all rows.");
  m.def("common_scale", &probe::common_scale, py::arg("fits"), py::arg("training"),
        py::call_guard<py::gil_scoped_release>(),
        "Put scores on the scale of the fits' own training rows, so that folds may be pooled.");
  m.def(
      "held_out_scores",
      [](const at::Tensor& rows, const at::Tensor& folds,
         const std::vector<probe::LinearFits>& fits) {
        const auto f = folds_of(folds, "probe.held_out_scores");
        const py::gil_scoped_release released;
        return probe::held_out_scores(rows, f, fits);
      },
      py::arg("rows"), py::arg("folds"), py::arg("fits"),
      "Return the scores [P, C, n] of rows by the fits that have not seen their fold.");
  m.def(
      "fold_auroc",
      [](const at::Tensor& scores, const at::Tensor& labels, const at::Tensor& folds,
         std::size_t fold_count) {
        constexpr auto* where = "probe.fold_auroc";
        // scores [P, C, n]
        const bool shaped = scores.dim() == 3;
        const auto y = labels_of(labels, shaped ? scores.select(0, 0).t() : scores,
                                 shaped ? scores.size(1) : -1, where);
        const auto f = folds_of(folds, where);
        const py::gil_scoped_release released;
        return probe::fold_auroc(scores, y, f, fold_count);
      },
      py::arg("scores"), py::arg("labels"), py::arg("folds"), py::arg("fold_count"),
      "Return the AUROC of scores within each fold [K, P, C].");
  py::class_<CrossValidation>(m, "CrossValidation", "Fits without each fold, and their scores.")
      .def_readonly("fits", &CrossValidation::fits)
      .def_readonly("scores", &CrossValidation::scores)
      .def_readonly("auroc", &CrossValidation::auroc);
  m.def(
      "cross_validate",
      [](const probe::LinearFitter& fitter, const at::Tensor& rows, const at::Tensor& labels,
         const at::Tensor& folds, std::size_t fold_count, probe::Precision precision) {
        const auto y = labels_of(labels, rows, -1, "probe.cross_validate");
        const auto f = folds_of(folds, "probe.cross_validate");
        const py::gil_scoped_release released;
        return probe::cross_validate(fitter, rows, y, f, fold_count, precision);
      },
      py::arg("fitter"), py::arg("rows"), py::arg("labels"), py::arg("folds"),
      py::arg("fold_count"), py::arg("precision") = probe::Precision::automatic,
      "Fit every fold's complement and score the fold.");
}

void bind_logistic(py::module_& m) {
  using probe::LogisticFits;
  using probe::LogisticFitter;
  py::class_<LogisticFits>(m, "LogisticFits", "Fits on all rows and without each fold.")
      .def_readonly("all", &LogisticFits::all)
      .def_readonly("without", &LogisticFits::without);
  py::class_<LogisticFitter>(m, "LogisticFitter", "Logistic regression of many concepts at once.")
      .def(py::init([](std::vector<double> penalties, double tolerance, std::int64_t max_iterations,
                       probe::Precision precision, bool refit) {
             return LogisticFitter(std::move(penalties), {.tolerance = tolerance,
                                                          .max_iterations = max_iterations,
                                                          .precision = precision,
                                                          .refit = refit});
           }),
           py::arg("penalties"), py::arg("tolerance") = 1e-7, py::arg("max_iterations") = 100,
           py::arg("precision") = probe::Precision::automatic, py::arg("refit") = true)
      .def_property_readonly("penalties", &LogisticFitter::penalties)
      .def(
          "fit",
          [](const LogisticFitter& fitter, const at::Tensor& rows, const at::Tensor& labels) {
            const auto y = labels_of(labels, rows, -1, "probe.LogisticFitter.fit");
            const py::gil_scoped_release released;
            return fitter.fit(rows, y);
          },
          py::arg("rows"), py::arg("labels"), "Fit labels [n, C] on all rows [n, d].")
      .def(
          "fit_folds",
          [](const LogisticFitter& fitter, const at::Tensor& rows, const at::Tensor& labels,
             const at::Tensor& folds, std::size_t fold_count) {
            const auto y = labels_of(labels, rows, -1, "probe.LogisticFitter.fit_folds");
            const auto f = folds_of(folds, "probe.LogisticFitter.fit_folds");
            const py::gil_scoped_release released;
            return fitter.fit_folds(rows, y, f, fold_count);
          },
          py::arg("rows"), py::arg("labels"), py::arg("folds"), py::arg("fold_count"),
          "Fit on all rows, and without each fold.");
}

void bind_directions(py::module_& m) {
  using probe::Direction;
  py::class_<Direction>(m, "Direction",
                        "A direction with separate read and write vectors, read' write = 1.")
      .def(py::init<std::string, const at::Tensor&, const at::Tensor&, const at::Tensor&, double,
                    double, double>(),
           py::arg("site"), py::arg("read"), py::arg("write"), py::arg("mean"), py::arg("sd"),
           py::arg("low"), py::arg("high"))
      .def_property_readonly("site", &Direction::site)
      .def_property_readonly("read", &Direction::read)
      .def_property_readonly("write", &Direction::write)
      .def_property_readonly("mean", &Direction::mean)
      .def_property_readonly("sd", &Direction::sd)
      .def_property_readonly("low", &Direction::low)
      .def_property_readonly("high", &Direction::high)
      .def_property_readonly("width", &Direction::width)
      .def("position", &Direction::position, py::arg("rows"), "Return read'(h - mean) [n].")
      .def("swap", &Direction::swap, py::arg("rows"), py::arg("to_high"),
           "Return rows moved to the position of the other class.")
      .def("ablate", &Direction::ablate, py::arg("rows"), "Return rows moved to position 0.")
      .def("add", &Direction::add, py::arg("rows"), py::arg("dose"),
           "Return rows moved by dose standard deviations.")
      .def("__repr__", [](const Direction& d) {
        return "Direction(site = '" + d.site() + "', width = " + std::to_string(d.width()) +
               ", sd = " + number(d.sd()) + ", low = " + number(d.low()) +
               ", high = " + number(d.high()) + ")";
      });
}

template <typename What>  // an eraser, or erased rows
void bind_verify_erasure(py::module_& m, const char* what, const char* text) {
  m.def(
      "verify_erasure",
      [](const What& erasure, const at::Tensor& rows, const at::Tensor& labels,
         const at::Tensor& groups, std::size_t folds, const std::vector<double>& penalties,
         double most, double most_upper, std::size_t positive_units, double confidence,
         std::size_t replicates, std::uint64_t seed) {
        constexpr auto* where = "probe.verify_erasure";
        const auto y = labels_of(labels, rows, 1, where);
        if (groups.dim() != 1 || at::isFloatingType(groups.scalar_type())) {
          throw InvalidArgument("[" + std::string(where) + "] expected integer groups [n], got " +
                                "shape " + shape_of(groups));
        }
        const at::Tensor g = groups.to(at::kCPU, at::kLong).contiguous();
        const py::gil_scoped_release released;
        return probe::verify_erasure(
            erasure, rows, y,
            {g.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(g.numel())},
            {.folds = folds,
             .penalties = penalties,
             .most = most,
             .most_upper = most_upper,
             .positive_units = positive_units,
             .confidence = confidence,
             .replicates = replicates,
             .seed = seed});
      },
      py::arg(what), py::arg("rows"), py::arg("labels"), py::arg("groups"), py::arg("folds") = 5,
      py::arg("penalties") = std::vector<double>{1e-4, 1e-2, 1}, py::arg("most") = 0.60,
      py::arg("most_upper") = 0.65, py::arg("positive_units") = 150, py::arg("confidence") = 0.95,
      py::arg("replicates") = 2000, py::arg("seed") = 0, text);
}

void bind_erasers(py::module_& m) {
  using probe::Eraser;
  using probe::LeaceFitter;
  py::class_<Eraser>(m, "Eraser", "An affine map after which no linear function reads a concept.")
      .def("apply", &Eraser::apply, py::arg("rows"), "Return erased rows [n, d].")
      .def_property_readonly("left", &Eraser::left)
      .def_property_readonly("right", &Eraser::right)
      .def_property_readonly("mean", &Eraser::mean)
      .def_property_readonly("rank", &Eraser::rank)
      .def_property_readonly("width", &Eraser::width)
      .def_property_readonly("report", &Eraser::report)
      .def("__repr__", [](const Eraser& e) {
        return "Eraser(rank = " + std::to_string(e.rank()) +
               ", width = " + std::to_string(e.width()) + ")";
      });
  using probe::OracleEraser;
  py::class_<OracleEraser>(m, "OracleEraser", "Removes concepts that are given along with rows.")
      .def("apply", &OracleEraser::apply, py::arg("rows"), py::arg("z"),
           "Return erased rows [n, d], given their concepts z [n, k].")
      .def_property_readonly("slope", &OracleEraser::slope)
      .def_property_readonly("mean", &OracleEraser::mean)
      .def_property_readonly("width", &OracleEraser::width)
      .def_property_readonly("report", &OracleEraser::report);
  py::class_<LeaceFitter>(m, "LeaceFitter", "Fits least-squares concept erasure.")
      .def(py::init<probe::Precision>(), py::arg("precision") = probe::Precision::automatic)
      .def("update", &LeaceFitter::update, py::arg("x"), py::arg("z"),
           py::call_guard<py::gil_scoped_release>(), "Add rows x [n, d] and concepts z [n, k].")
      .def("merge", &LeaceFitter::merge, py::arg("other"), "Add all that other has seen.")
      .def_property_readonly("rows", &LeaceFitter::rows)
      .def(
          "finish",
          [](const LeaceFitter& f, double shrinkage, double tolerance,
             std::vector<std::int64_t> columns) {
            return f.finish(
                {.shrinkage = shrinkage, .tolerance = tolerance, .columns = std::move(columns)});
          },
          py::arg("shrinkage") = -1.0, py::arg("tolerance") = 1e-6,
          py::arg("columns") = std::vector<std::int64_t>(),
          py::call_guard<py::gil_scoped_release>(),
          "Return the eraser of some columns of z (all); shrinkage below 0 is estimated.")
      .def(
          "finish_oracle",
          [](const LeaceFitter& f, double tolerance, std::vector<std::int64_t> columns) {
            return f.finish_oracle({.tolerance = tolerance, .columns = std::move(columns)});
          },
          py::arg("tolerance") = 1e-6, py::arg("columns") = std::vector<std::int64_t>(),
          py::call_guard<py::gil_scoped_release>(),
          "Return the eraser that is given z along with x.");
  using probe::ErasureCheck;
  py::class_<ErasureCheck>(m, "ErasureCheck", "What fresh probes still read after erasure.")
      .def_readonly("before", &ErasureCheck::before)
      .def_readonly("after", &ErasureCheck::after)
      .def_readonly("penalty", &ErasureCheck::penalty)
      .def_readonly("upper", &ErasureCheck::upper)
      .def_readonly("positives", &ErasureCheck::positives)
      .def_readonly("positive_units", &ErasureCheck::positive_units)
      .def_readonly("passed", &ErasureCheck::passed)
      .def_readonly("reason", &ErasureCheck::reason);
  bind_verify_erasure<Eraser>(
      m, "eraser", "Refit probes on erased rows of groups that the eraser has not seen.");
  bind_verify_erasure<at::Tensor>(m, "erased", "The same of rows [n, d] that any map has erased.");
}

}  // namespace

void bind_probe(py::module_& m) {
  bind_reports(m);
  bind_statistics(m);
  bind_fitters(m);
  bind_cross_validation(m);
  bind_logistic(m);
  bind_directions(m);
  bind_erasers(m);
}

}  // namespace tierod::bindings
