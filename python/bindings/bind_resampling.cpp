// Jackknife, bootstrap and permutation: what calls back into Python, and what needs no callback.

#include "arrays_internal.h"
#include "tierod/stats/bootstrap.h"
#include "tierod/stats/class_sums.h"
#include "tierod/stats/energy_distance.h"
#include "tierod/stats/jackknife.h"
#include "tierod/stats/max_t.h"
#include "tierod/stats/permutation.h"
#include "tierod/stats/resampling.h"
#include "tierod/stats/site_max_t.h"

namespace tierod::bindings {

namespace {

using stats::Alternative;
using stats::BootstrapMethod;
using stats::BootstrapOptions;
using stats::BootstrapResult;
using stats::PermutationOptions;
using stats::PermutationResult;
using stats::PermutationUnit;

// A callback gets an array of its own: what it keeps or changes is nobody else's.
stats::Estimator estimator_of(const py::function& function) {
  return [function](std::span<const double> weights) {
    return function(array_of(weights)).cast<double>();
  };
}

stats::BatchEstimator batch_estimator_of(const py::function& function) {
  return [function](std::span<const double> weights, std::span<double> estimates) {
    const auto rows = static_cast<py::ssize_t>(estimates.size());
    const auto columns = static_cast<py::ssize_t>(weights.size() / estimates.size());
    const auto got = function(array_of(weights, {rows, columns})).cast<Doubles>();
    if (got.ndim() != 1 || got.size() != rows) {
      throw InvalidArgument(
          "[stats.cluster_bootstrap] expected the vectorised estimator to return " +
          std::to_string(rows) + " numbers for as many rows of weights, got " +
          std::to_string(got.size()));
    }
    const auto values = span_of(got);
    std::copy(values.begin(), values.end(), estimates.begin());
  };
}

stats::LabelStatistic statistic_of(const py::function& function) {
  return [function](std::span<const double> labels) {
    return function(array_of(labels)).cast<double>();
  };
}

void bind_jackknife(py::module_& m) {
  m.def(
      "jackknife_blocks",
      [](std::size_t clusters, std::size_t blocks, std::uint64_t seed) {
        const std::vector<std::uint32_t> block = stats::jackknife_blocks(clusters, blocks, seed);
        return py::array_t<std::int64_t>(
            py::cast(std::vector<std::int64_t>(block.begin(), block.end())));
      },
      py::arg("clusters"), py::arg("blocks"), py::arg("seed") = 0,
      "Return the block of each cluster.");
  m.def(
      "delete_group_refits",
      [](const py::function& estimator, std::size_t clusters, std::size_t blocks,
         std::uint64_t seed) {
        return array_of(
            stats::delete_group_refits(estimator_of(estimator), clusters, blocks, seed));
      },
      py::arg("estimator"), py::arg("clusters"), py::arg("blocks") = 20, py::arg("seed") = 0,
      "Return the refits that each leave one block of clusters out.");
  m.def(
      "delete_group_variance",
      [](const Doubles& refits) { return stats::delete_group_variance(span_of(refits)); },
      py::arg("refits"), "Return (K - 1) / K sum (theta_k - mean)^2.");
  m.def(
      "jackknife_interval",
      [](const py::function& estimator, std::size_t clusters, std::size_t blocks, double confidence,
         std::uint64_t seed) {
        return stats::jackknife_interval(estimator_of(estimator), clusters, blocks, confidence,
                                         seed);
      },
      py::arg("estimator"), py::arg("clusters"), py::arg("blocks") = 0,
      py::arg("confidence") = 0.95, py::arg("seed") = 0,
      "Return the t interval of an estimate from its delete-group refits.");
  using stats::RefitInterval;
  py::class_<RefitInterval>(m, "RefitInterval",
                            "The interval of an effect along a direction that was estimated.")
      .def_readonly("interval", &RefitInterval::interval)
      .def_readonly("refit_variance", &RefitInterval::refit_variance)
      .def_readonly("test_variance", &RefitInterval::test_variance)
      .def_readonly("refits", &RefitInterval::refits);
  m.def(
      "refit_interval",
      [](const stats::Influence& test, const Doubles& refits, double confidence) {
        return stats::refit_interval(test, span_of(refits), confidence);
      },
      py::arg("test"), py::arg("refits"), py::arg("confidence") = 0.95,
      "Return theta +- t sqrt(V_A + V_C).");
}

void bind_bootstrap(py::module_& m) {
  py::enum_<BootstrapMethod>(m, "BootstrapMethod")
      .value("percentile", BootstrapMethod::percentile)
      .value("bca", BootstrapMethod::bca)
      .value("studentised", BootstrapMethod::studentised);
  py::class_<BootstrapOptions>(m, "BootstrapOptions")
      .def(py::init([](BootstrapMethod method, std::size_t replicates, double confidence,
                       std::uint64_t seed, std::size_t batch, double max_undefined) {
             // one thread: the interpreter runs callbacks one after the other anyway
             return BootstrapOptions{.method = method,
                                     .replicates = replicates,
                                     .confidence = confidence,
                                     .seed = seed,
                                     .batch = batch,
                                     .max_undefined = max_undefined};
           }),
           py::arg("method"), py::arg("replicates"), py::arg("confidence"), py::arg("seed"),
           py::arg("batch"), py::arg("max_undefined"));
  py::class_<BootstrapResult>(m, "BootstrapResult", "A bootstrap interval and its replicates.")
      .def_readonly("interval", &BootstrapResult::interval)
      .def_property_readonly("replicates",
                             [](const BootstrapResult& r) { return array_of(r.replicates); })
      .def_readonly("undefined", &BootstrapResult::undefined)
      .def_readonly("bias_correction", &BootstrapResult::bias_correction)
      .def_readonly("acceleration", &BootstrapResult::acceleration)
      .def_readonly("note", &BootstrapResult::note);
  m.def(
      "bootstrap_weights",
      [](std::size_t clusters, std::size_t replicates, std::uint64_t seed, std::size_t first) {
        py::array_t<double> out({replicates, clusters});
        const std::span<double> all(out.mutable_data(), replicates * clusters);
        for (std::size_t r = 0; r < replicates; ++r) {
          stats::bootstrap_weights(seed, first + r, all.subspan(r * clusters, clusters));
        }
        return out;
      },
      py::arg("clusters"), py::arg("replicates"), py::arg("seed") = 0, py::arg("first") = 0,
      "Return the multinomial counts [replicates, clusters].");
  m.def(
      "cluster_bootstrap",
      [](const py::function& estimator, std::size_t clusters, const BootstrapOptions& options,
         bool vectorised) {
        if (options.method == BootstrapMethod::studentised) {
          const stats::StudentisedEstimator pair = [&](std::span<const double> weights) {
            const auto [value, error] =
                estimator(array_of(weights)).cast<std::pair<double, double>>();
            return stats::Estimate{.value = value, .standard_error = error};
          };
          return stats::cluster_bootstrap(pair, clusters, options);
        }
        if (vectorised) {
          return stats::cluster_bootstrap(batch_estimator_of(estimator), clusters, options);
        }
        return stats::cluster_bootstrap(estimator_of(estimator), clusters, options);
      },
      py::arg("estimator"), py::arg("clusters"), py::arg("options"), py::arg("vectorised"),
      "Bootstrap whole clusters and refit.");
  m.def(
      "ratio_of_sums",
      [](const Doubles& numerator, const Doubles& denominator, const Integers& groups,
         const BootstrapOptions& options) {
        const py::gil_scoped_release released;
        return stats::ratio_of_sums(span_of(numerator), span_of(denominator), span_of(groups),
                                    options);
      },
      py::arg("numerator"), py::arg("denominator"), py::arg("groups"), py::arg("options"),
      "Return the bootstrap interval of a ratio of sums.");

  using stats::ClassSums;
  py::class_<ClassSums>(m, "ClassSums",
                        "Sums and counts of rows by cluster and class: every resampled "
                        "mean-difference direction follows from them.")
      .def(py::init([](const at::Tensor& rows, const Bytes& labels, const Integers& groups) {
             return ClassSums(rows, span_of(labels), span_of(groups));
           }),
           py::arg("rows"), py::arg("labels"), py::arg("groups"))
      .def_property_readonly("clusters", &ClassSums::clusters)
      .def_property_readonly("width", &ClassSums::width)
      .def_property_readonly("groups",
                             [](const ClassSums& s) {
                               return py::array_t<std::int64_t>(py::cast(std::vector<std::int64_t>(
                                   s.groups().begin(), s.groups().end())));
                             })
      .def("sums", &ClassSums::sums, "Return the sums [2, G, d], f64.")
      .def("counts", &ClassSums::counts, "Return the numbers of rows [2, G], f64.")
      .def("mean_differences", &ClassSums::mean_differences, py::arg("weights"),
           py::call_guard<py::gil_scoped_release>(),
           "Return the directions [R, d] for weights of the clusters [R, G].")
      .def("bootstrap", &ClassSums::bootstrap, py::arg("replicates"), py::arg("seed") = 0,
           py::arg("first") = 0, py::call_guard<py::gil_scoped_release>(),
           "Return the directions [R, d] of bootstrap replicates.")
      .def("jackknife", &ClassSums::jackknife, py::arg("blocks") = 20, py::arg("seed") = 0,
           py::call_guard<py::gil_scoped_release>(),
           "Return the directions [K, d] of the delete-group jackknife.");
}

void bind_permutation(py::module_& m) {
  py::enum_<PermutationUnit>(m, "PermutationUnit")
      .value("group", PermutationUnit::group)
      .value("track", PermutationUnit::track);
  py::enum_<Alternative>(m, "Alternative")
      .value("greater", Alternative::greater)
      .value("less", Alternative::less)
      .value("two_sided", Alternative::two_sided);
  py::class_<PermutationOptions>(m, "PermutationOptions")
      .def(py::init([](std::size_t permutations, Alternative alternative, PermutationUnit unit,
                       std::uint64_t seed, double alpha) {
             return PermutationOptions{.permutations = permutations,
                                       .alternative = alternative,
                                       .unit = unit,
                                       .seed = seed,
                                       .alpha = alpha};
           }),
           py::arg("permutations"), py::arg("alternative"), py::arg("unit"), py::arg("seed"),
           py::arg("alpha"));
  using stats::GroupPermutation;
  py::class_<GroupPermutation>(m, "GroupPermutation",
                               "Permutations of labels between groups, within strata.")
      .def(py::init([](const Doubles& labels, const Integers& groups, const Integers& strata,
                       PermutationUnit unit) {
             return GroupPermutation(span_of(labels), span_of(groups), span_of(strata), unit);
           }),
           py::arg("labels"), py::arg("groups"), py::arg("strata"), py::arg("unit"))
      .def_property_readonly("rows", &GroupPermutation::rows)
      .def_property_readonly("clusters", &GroupPermutation::clusters)
      .def_property_readonly("movable_clusters", &GroupPermutation::movable_clusters)
      .def_property_readonly("log10_arrangements", &GroupPermutation::log10_arrangements)
      .def("smallest_p", &GroupPermutation::smallest_p, py::arg("permutations"),
           "Return the smallest p that so many permutations can give.")
      .def(
          "permute",
          [](const GroupPermutation& p, std::size_t replicate, std::uint64_t seed) {
            py::array_t<double> out(static_cast<py::ssize_t>(p.rows()));
            p.permute(seed, replicate, std::span(out.mutable_data(), p.rows()));
            return out;
          },
          py::arg("replicate"), py::arg("seed") = 0, "Return the labels of one permutation.");
  py::class_<PermutationResult>(m, "PermutationResult", "A permutation test.")
      .def_readonly("statistic", &PermutationResult::statistic)
      .def_readonly("p", &PermutationResult::p)
      .def_readonly("exceeding", &PermutationResult::exceeding)
      .def_readonly("permutations", &PermutationResult::permutations)
      .def_readonly("smallest_p", &PermutationResult::smallest_p)
      .def_readonly("log10_arrangements", &PermutationResult::log10_arrangements)
      .def_property_readonly("null", [](const PermutationResult& r) { return array_of(r.null); })
      .def_readonly("note", &PermutationResult::note);
  m.def(
      "permutation_test",
      [](const py::function& statistic, const Doubles& labels, const Integers& groups,
         const Integers& strata, const PermutationOptions& options) {
        return stats::permutation_test(statistic_of(statistic), span_of(labels), span_of(groups),
                                       span_of(strata), options);
      },
      py::arg("statistic"), py::arg("labels"), py::arg("groups"), py::arg("strata"),
      py::arg("options"), "Test 'the labels do not matter' by moving whole groups.");
  m.def("permutations_needed", &stats::permutations_needed, py::arg("alpha"), py::arg("tests") = 1,
        "Return the number of permutations that can reach alpha / tests.");
  m.def(
      "energy_distance",
      [](const at::Tensor& rows, const Bytes& labels) {
        return stats::energy_distance(rows, span_of(labels));
      },
      py::arg("rows"), py::arg("labels"), "Return the squared energy distance of two samples.");
  m.def(
      "energy_distance_test",
      [](const at::Tensor& rows, const Bytes& labels, const Integers& groups,
         const Integers& strata, const PermutationOptions& options) {
        const py::gil_scoped_release released;
        return stats::energy_distance_test(rows, span_of(labels), span_of(groups), span_of(strata),
                                           options);
      },
      py::arg("rows"), py::arg("labels"), py::arg("groups"), py::arg("strata"), py::arg("options"),
      "Test equality of two distributions by the energy distance.");
}

void bind_max_t(py::module_& m) {
  using stats::MaxT;
  py::class_<MaxT>(m, "MaxT", "p values adjusted for the search over sites.")
      .def_property_readonly("p", [](const MaxT& r) { return array_of(r.p); })
      .def_property_readonly("single_step", [](const MaxT& r) { return array_of(r.single_step); })
      .def_property_readonly("step_down", [](const MaxT& r) { return array_of(r.step_down); })
      .def_readonly("threshold", &MaxT::threshold)
      .def_readonly("permutations", &MaxT::permutations)
      .def_readonly("smallest_p", &MaxT::smallest_p)
      .def_readonly("note", &MaxT::note);
  m.def(
      "max_t",
      [](const Doubles& observed, const Doubles& permuted, double alpha) {
        return stats::max_t(span_of(observed), span_of(permuted), alpha);
      },
      py::arg("observed"), py::arg("permuted"), py::arg("alpha") = 0.05,
      "Adjust statistics [S] by the maximum over sites of permuted ones [B, S].");

  using stats::SiteMaxT;
  const auto table = [](std::vector<double> SiteMaxT::* list) {
    return [list](const SiteMaxT& r) {
      return array_of(r.*list,
                      {static_cast<py::ssize_t>(r.sites), static_cast<py::ssize_t>(r.concepts)});
    };
  };
  py::class_<SiteMaxT>(m, "SiteMaxT", "A map sites x concepts with adjusted p values.")
      .def_readonly("sites", &SiteMaxT::sites)
      .def_readonly("concepts", &SiteMaxT::concepts)
      .def_property_readonly("statistic", table(&SiteMaxT::statistic))
      .def_property_readonly("p", table(&SiteMaxT::p))
      .def_property_readonly("single_step", table(&SiteMaxT::single_step))
      .def_property_readonly("step_down", table(&SiteMaxT::step_down))
      .def_property_readonly("threshold", [](const SiteMaxT& r) { return array_of(r.threshold); })
      .def_readonly("permutations", &SiteMaxT::permutations)
      .def_readonly("smallest_p", &SiteMaxT::smallest_p)
      .def_readonly("note", &SiteMaxT::note);
  m.def(
      "site_max_t",
      [](const std::vector<at::Tensor>& group_means, const Bytes& labels, const Integers& strata,
         std::size_t permutations, std::size_t folds, std::uint64_t seed, double alpha,
         std::size_t batch) {
        const py::gil_scoped_release released;
        return stats::site_max_t(group_means, span_of(labels), span_of(strata),
                                 {.permutations = permutations,
                                  .folds = folds,
                                  .seed = seed,
                                  .alpha = alpha,
                                  .batch = batch});
      },
      py::arg("group_means"), py::arg("labels"), py::arg("strata"), py::arg("permutations") = 1999,
      py::arg("folds") = 5, py::arg("seed") = 0, py::arg("alpha") = 0.05, py::arg("batch") = 512,
      "Test at every site whether group means tell a concept.");
}

}  // namespace

void bind_resampling(py::module_& m) {
  bind_jackknife(m);
  bind_bootstrap(m);
  bind_permutation(m);
  bind_max_t(m);
}

}  // namespace tierod::bindings
