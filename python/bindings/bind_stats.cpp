#include "arrays_internal.h"
#include "tierod/stats/calibration.h"
#include "tierod/stats/cross_moments.h"
#include "tierod/stats/distributions.h"
#include "tierod/stats/equivalence.h"
#include "tierod/stats/icc.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/interval.h"
#include "tierod/stats/moments.h"
#include "tierod/stats/multiplicity.h"
#include "tierod/stats/power.h"
#include "tierod/stats/ranking.h"
#include "tierod/stats/trend.h"

namespace tierod::bindings {

namespace {

void bind_moments(py::module_& m) {
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

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

void bind_intervals(py::module_& m) {
  using stats::Interval;
  py::class_<Interval>(m, "Interval", "An estimate with its two-sided confidence interval.")
      .def_readonly("estimate", &Interval::estimate)
      .def_readonly("low", &Interval::low)
      .def_readonly("high", &Interval::high)
      .def_readonly("standard_error", &Interval::standard_error)
      .def_readonly("df", &Interval::df)
      .def_readonly("confidence", &Interval::confidence)
      .def_readonly("clusters", &Interval::clusters)
      .def_readonly("method", &Interval::method)
      .def("excludes", &Interval::excludes, py::arg("value"),
           "Tell whether value lies outside of [low, high].")
      .def("inside", &Interval::inside, py::arg("lower"), py::arg("upper"),
           "Tell whether the whole interval lies inside of (lower, upper).")
      .def("__repr__", [](const Interval& i) {
        return "Interval(" + number(i.estimate) + " [" + number(i.low) + ", " + number(i.high) +
               "], " + number(100 * i.confidence) + " % " + i.method + ", " +
               std::to_string(i.clusters) + " clusters)";
      });
  m.def("t_interval", &stats::t_interval, py::arg("estimate"), py::arg("standard_error"),
        py::arg("df"), py::arg("confidence") = 0.95, "Return estimate +- t standard_error.");
  m.def("t_test", &stats::t_test, py::arg("interval"), py::arg("null") = 0.0,
        "Return the two-sided p of 'the parameter is null'.");
  m.def(
      "cluster_t_interval",
      [](const Doubles& values, const Integers& groups, double confidence) {
        return stats::cluster_t_interval(span_of(values), span_of(groups), confidence);
      },
      py::arg("values"), py::arg("groups"), py::arg("confidence") = 0.95,
      "Return the t interval of the mean of cluster means.");

  using stats::Influence;
  py::class_<Influence>(m, "Influence", "An estimate and what each cluster contributes to it.")
      .def(py::init([](double estimate, const Doubles& contributions) {
             const auto view = span_of(contributions);
             return Influence{.estimate = estimate, .contributions = {view.begin(), view.end()}};
           }),
           py::arg("estimate"), py::arg("contributions"))
      .def_readonly("estimate", &Influence::estimate)
      .def_property_readonly("contributions",
                             [](const Influence& i) { return array_of(i.contributions); });
  m.def(
      "mean_influence",
      [](const Doubles& values, const Integers& groups, const Doubles& weights) {
        return stats::mean_influence(span_of(values), span_of(groups), span_of(weights));
      },
      py::arg("values"), py::arg("groups"), py::arg("weights"),
      "Return the weighted mean with its clusters' contributions.");
  m.def(
      "balanced_influence",
      [](const Doubles& values, const Bytes& labels, const Integers& groups) {
        return stats::balanced_influence(span_of(values), span_of(labels), span_of(groups));
      },
      py::arg("values"), py::arg("labels"), py::arg("groups"),
      "Return the concept-balanced mean with its clusters' contributions.");
  m.def(
      "influence_variance",
      [](const Doubles& contributions) {
        return stats::influence_variance(span_of(contributions));
      },
      py::arg("contributions"), "Return s^2 / G of the contributions.");
  m.def("influence_interval", &stats::influence_interval, py::arg("influence"),
        py::arg("confidence") = 0.95, "Return the t interval from the contributions.");
}

void bind_equivalence(py::module_& m) {
  using stats::Equivalence;
  py::class_<Equivalence>(m, "Equivalence", "Two one-sided tests within margins.")
      .def_readonly("p_lower", &Equivalence::p_lower)
      .def_readonly("p_upper", &Equivalence::p_upper)
      .def_readonly("p", &Equivalence::p)
      .def_readonly("lower", &Equivalence::lower)
      .def_readonly("upper", &Equivalence::upper)
      .def_readonly("alpha", &Equivalence::alpha)
      .def_readonly("interval", &Equivalence::interval)
      .def_readonly("equivalent", &Equivalence::equivalent)
      .def("__repr__", [](const Equivalence& e) {
        return "Equivalence(" + std::string(e.equivalent ? "" : "not shown ") + "within (" +
               number(e.lower) + ", " + number(e.upper) + "), p = " + number(e.p) + ")";
      });
  m.def("tost", &stats::tost, py::arg("estimate"), py::arg("margin"), py::arg("alpha") = 0.05,
        "Test equivalence within +-margin.");
  m.def("tost_between", &stats::tost_between, py::arg("estimate"), py::arg("lower"),
        py::arg("upper"), py::arg("alpha") = 0.05, "Test equivalence within (lower, upper).");
  m.def(
      "cluster_tost",
      [](const Doubles& values, const Integers& groups, double margin, double alpha) {
        return stats::cluster_tost(span_of(values), span_of(groups), margin, alpha);
      },
      py::arg("values"), py::arg("groups"), py::arg("margin"), py::arg("alpha") = 0.05,
      "Test equivalence of the mean of cluster means within +-margin.");
}

void bind_multiplicity(py::module_& m) {
  const auto def = [&](const char* name, std::vector<double> (*adjust)(std::span<const double>),
                       const char* doc) {
    m.def(
        name, [adjust](const Doubles& p) { return array_of(adjust(span_of(p))); }, py::arg("p"),
        doc);
  };
  def("holm", &stats::holm, "Return p values adjusted by Holm.");
  def("benjamini_hochberg", &stats::benjamini_hochberg,
      "Return p values adjusted by Benjamini & Hochberg.");
  def("benjamini_yekutieli", &stats::benjamini_yekutieli,
      "Return p values adjusted by Benjamini & Yekutieli.");
}

void bind_design(py::module_& m) {
  using stats::ClusterDesign;
  py::class_<ClusterDesign>(m, "ClusterDesign", "How much rows of one cluster repeat each other.")
      .def_readonly("icc", &ClusterDesign::icc)
      .def_readonly("between_variance", &ClusterDesign::between_variance)
      .def_readonly("within_variance", &ClusterDesign::within_variance)
      .def_readonly("mean_cluster_rows", &ClusterDesign::mean_cluster_rows)
      .def_readonly("design_effect", &ClusterDesign::design_effect)
      .def_readonly("effective_rows", &ClusterDesign::effective_rows)
      .def_readonly("rows", &ClusterDesign::rows)
      .def_readonly("clusters", &ClusterDesign::clusters)
      .def("__repr__", [](const ClusterDesign& d) {
        return "ClusterDesign(icc = " + number(d.icc) + ", " + std::to_string(d.rows) +
               " rows count as " + number(d.effective_rows) + ")";
      });
  m.def(
      "cluster_design",
      [](const Doubles& values, const Integers& groups) {
        return stats::cluster_design(span_of(values), span_of(groups));
      },
      py::arg("values"), py::arg("groups"),
      "Estimate intraclass correlation, design effect and effective sample size.");

  py::class_<stats::GroupPlan>(m, "GroupPlan", "How many groups a claim needs.")
      .def_readonly("groups", &stats::GroupPlan::groups)
      .def_readonly("power", &stats::GroupPlan::power)
      .def("__repr__", [](const stats::GroupPlan& p) {
        return "GroupPlan(groups = " + std::to_string(p.groups) + ", power = " + number(p.power) +
               ")";
      });
  m.def("cluster_mean_sd", &stats::cluster_mean_sd, py::arg("sd"), py::arg("icc"), py::arg("rows"),
        "Return the standard deviation of a mean of rows of one cluster.");
  m.def("t_test_power", &stats::t_test_power, py::arg("effect"), py::arg("sd"), py::arg("groups"),
        py::arg("alpha") = 0.05, "Return the power of the two-sided t test over groups.");
  m.def("equivalence_power", &stats::equivalence_power, py::arg("margin"), py::arg("effect"),
        py::arg("sd"), py::arg("groups"), py::arg("alpha") = 0.05, "Return the power of tost.");
  m.def("groups_for_effect", &stats::groups_for_effect, py::arg("effect"), py::arg("sd"),
        py::arg("power") = 0.8, py::arg("alpha") = 0.05, py::arg("most") = 10'000'000,
        "Return the least number of groups that finds the effect.");
  m.def("groups_for_equivalence", &stats::groups_for_equivalence, py::arg("margin"),
        py::arg("effect"), py::arg("sd"), py::arg("power") = 0.8, py::arg("alpha") = 0.05,
        py::arg("most") = 10'000'000, "Return the least number of groups that shows equivalence.");
}

void bind_ranking(py::module_& m) {
  m.def(
      "auroc",
      [](const Doubles& scores, const Bytes& labels, const Doubles& weights) {
        return stats::auroc(span_of(scores), span_of(labels), span_of(weights));
      },
      py::arg("scores"), py::arg("labels"), py::arg("weights"),
      "Return the area under the ROC curve.");
  m.def(
      "auprc",
      [](const Doubles& scores, const Bytes& labels, const Doubles& weights) {
        return stats::auprc(span_of(scores), span_of(labels), span_of(weights));
      },
      py::arg("scores"), py::arg("labels"), py::arg("weights"),
      "Return the area under the precision-recall curve.");
  m.def(
      "auroc_influence",
      [](const Doubles& scores, const Bytes& labels, const Integers& groups) {
        return stats::auroc_influence(span_of(scores), span_of(labels), span_of(groups));
      },
      py::arg("scores"), py::arg("labels"), py::arg("groups"),
      "Return the AUROC with its clusters' contributions.");

  using stats::RankingMeasure;
  using stats::RankingMethod;
  py::enum_<RankingMeasure>(m, "RankingMeasure")
      .value("auroc", RankingMeasure::auroc)
      .value("auprc", RankingMeasure::auprc);
  py::enum_<RankingMethod>(m, "RankingMethod")
      .value("automatic", RankingMethod::automatic)
      .value("influence", RankingMethod::influence)
      .value("jackknife", RankingMethod::jackknife)
      .value("percentile", RankingMethod::percentile)
      .value("bca", RankingMethod::bca);
  using stats::RankingOptions;
  py::class_<RankingOptions>(m, "RankingOptions")
      .def(py::init([](RankingMeasure measure, RankingMethod method, double confidence,
                       std::size_t replicates, std::uint64_t seed, double max_undefined,
                       std::size_t threads) {
             return RankingOptions{measure, method,        confidence, replicates,
                                   seed,    max_undefined, threads};
           }),
           py::arg("measure"), py::arg("method"), py::arg("confidence"), py::arg("replicates"),
           py::arg("seed"), py::arg("max_undefined"), py::arg("threads"));
  m.def(
      "ranking_interval",
      [](const Doubles& scores, const Bytes& labels, const Integers& groups,
         const RankingOptions& options) {
        const py::gil_scoped_release released;
        return stats::ranking_interval(span_of(scores), span_of(labels), span_of(groups), options);
      },
      py::arg("scores"), py::arg("labels"), py::arg("groups"), py::arg("options"),
      "Return AUROC or AUPRC with an interval over clusters.");
  m.def(
      "ranking_difference",
      [](const Doubles& a, const Doubles& b, const Bytes& labels, const Integers& groups,
         const RankingOptions& options) {
        const py::gil_scoped_release released;
        return stats::ranking_difference(span_of(a), span_of(b), span_of(labels), span_of(groups),
                                         options);
      },
      py::arg("scores_a"), py::arg("scores_b"), py::arg("labels"), py::arg("groups"),
      py::arg("options"), "Return the paired difference of AUROC or AUPRC.");

  using stats::Calibration;
  using stats::CalibrationBin;
  py::class_<CalibrationBin>(m, "CalibrationBin", "One bin of a reliability diagram.")
      .def_readonly("mean_probability", &CalibrationBin::mean_probability)
      .def_readonly("frequency", &CalibrationBin::frequency)
      .def_readonly("rows", &CalibrationBin::rows);
  py::class_<Calibration>(m, "Calibration", "How well probabilities fit labels.")
      .def_readonly("ece", &Calibration::ece)
      .def_readonly("brier", &Calibration::brier)
      .def_readonly("log_loss", &Calibration::log_loss)
      .def_readonly("bins", &Calibration::bins);
  m.def(
      "calibration",
      [](const Doubles& probabilities, const Bytes& labels, std::size_t bins) {
        return stats::calibration(span_of(probabilities), span_of(labels), bins);
      },
      py::arg("probabilities"), py::arg("labels"), py::arg("bins") = 10,
      "Measure how well probabilities fit labels.");
}

void bind_trend(py::module_& m) {
  using stats::Trend;
  using stats::TrendMethod;
  py::enum_<TrendMethod>(m, "TrendMethod")
      .value("automatic", TrendMethod::automatic)
      .value("exact", TrendMethod::exact)
      .value("normal", TrendMethod::normal);
  py::class_<Trend>(m, "Trend", "Page's test of a rising trend.")
      .def_readonly("statistic", &Trend::statistic)
      .def_readonly("p", &Trend::p)
      .def_readonly("exact", &Trend::exact);
  m.def(
      "page_trend",
      [](const Doubles& values, std::size_t columns, TrendMethod method) {
        return stats::page_trend(span_of(values), columns, method);
      },
      py::arg("values"), py::arg("columns"), py::arg("method"),
      "Test whether values rise along the columns.");
}

}  // namespace

void bind_stats(py::module_& m) {
  bind_moments(m);
  bind_intervals(m);
  bind_equivalence(m);
  bind_multiplicity(m);
  bind_design(m);
  bind_ranking(m);
  bind_trend(m);
  m.def("proportion_interval", &stats::proportion_interval, py::arg("successes"), py::arg("trials"),
        py::arg("confidence") = 0.95,
        "Interval of a proportion of independent trials (Clopper and Pearson 1934).");
  m.def("student_t_cdf", &stats::student_t_cdf, py::arg("t"), py::arg("df"));
  m.def("student_t_sf", &stats::student_t_sf, py::arg("t"), py::arg("df"));
  m.def("student_t_quantile", &stats::student_t_quantile, py::arg("p"), py::arg("df"));
  m.def("normal_cdf", &stats::normal_cdf, py::arg("z"));
  m.def("normal_quantile", &stats::normal_quantile, py::arg("p"));
}

}  // namespace tierod::bindings
