#include <pybind11/functional.h>

#include "arrays_internal.h"
#include "patch/memory_meter_internal.h"
#include "tierod/patch/sweep.h"

namespace tierod::bindings {

namespace {

using patch::Metric;
using patch::PatchSource;
using patch::SweepOptions;
using patch::SweepPlan;
using patch::SweepRequest;
using patch::SweepResult;
using patch::SweepStrategy;

/// Return a Python function of outputs as one that C++ calls from wherever it runs.
Metric metric_of(const py::function& value, std::int64_t tokens, std::vector<std::int64_t> columns,
                 std::string name) {
  const std::shared_ptr<py::function> call(new py::function(value), DropPython());
  return {.name = std::move(name),
          .value =
              [call](const at::Tensor& outputs) {
                const py::gil_scoped_acquire gil;
                const py::object found = (*call)(outputs);
                return py::isinstance<py::none>(found) || !THPVariable_Check(found.ptr())
                           ? at::Tensor()
                           : found.cast<at::Tensor>();
              },
          .tokens = tokens,
          .columns = std::move(columns)};
}

}  // namespace

void bind_patch(py::module_& m) {
  py::class_<Metric>(m, "Metric",
                     "Turns outputs [rows, tokens, columns] into one number a row: value(outputs) "
                     "-> [rows].\n\nIt reads the last `tokens` positions, and the outputs "
                     "`columns` (empty: all); a sweep computes no others.")
      .def(py::init(&metric_of), py::arg("value"), py::arg("tokens") = 1,
           py::arg("columns") = std::vector<std::int64_t>{}, py::arg("name") = "metric")
      .def_readonly("name", &Metric::name)
      .def_readonly("tokens", &Metric::tokens)
      .def_readonly("columns", &Metric::columns)
      .def(
          "__call__",
          [](const Metric& metric, const at::Tensor& outputs) { return metric.value(outputs); },
          py::arg("outputs"))
      .def("__repr__", [](const Metric& metric) { return "Metric(" + metric.name + ")"; });
  m.def("logit_difference", &patch::logit_difference, py::arg("right"), py::arg("wrong"),
        "Return the metric logit `right` - logit `wrong` at the last position (Wang et al. 2022, "
        "2211.00593).\n\nRaises InvalidArgument if they are the same or "
        "negative.");

  py::enum_<SweepStrategy>(m, "SweepStrategy", "How a sweep computes its cells.")
      .value("automatic", SweepStrategy::automatic)
      .value("naive", SweepStrategy::naive)
      .value("batched", SweepStrategy::batched)
      .value("restart", SweepStrategy::restart)
      .value("suffix", SweepStrategy::suffix);

  py::class_<SweepPlan>(m, "SweepPlan", "What a sweep will do.")
      .def(py::init([](SweepStrategy strategy, std::string why, std::int64_t cells,
                       std::int64_t rows_at_once, std::int64_t predicted_peak) {
             return SweepPlan{.strategy = strategy,
                              .why = std::move(why),
                              .cells = cells,
                              .rows_at_once = rows_at_once,
                              .predicted_peak = predicted_peak};
           }),
           py::arg("strategy"), py::arg("why"), py::arg("cells"), py::arg("rows_at_once"),
           py::arg("predicted_peak"))
      .def_readonly("strategy", &SweepPlan::strategy)
      .def_readonly("why", &SweepPlan::why)
      .def_readonly("cells", &SweepPlan::cells)
      .def_readonly("rows_at_once", &SweepPlan::rows_at_once, "Of the largest call.")
      .def_readonly("block_calls", &SweepPlan::block_calls,
                    "Of all cells; base and source runs come on top.")
      .def_readonly("block_tokens", &SweepPlan::block_tokens,
                    "Rows x positions through a block, summed over the calls.")
      .def_readonly("predicted_peak", &SweepPlan::predicted_peak, "Bytes.")
      .def("__repr__", [](const SweepPlan& plan) {
        return "SweepPlan(" + plan.why + "; " + std::to_string(plan.cells) + " cells in " +
               std::to_string(plan.block_calls) + " calls of blocks, " +
               std::to_string(plan.predicted_peak >> 20) + " MiB)";
      });

  py::class_<SweepResult>(m, "_SweepResult", "The metric of every cell.")
      .def(py::init<>())
      .def_readwrite("values", &SweepResult::values)
      .def_readwrite("base", &SweepResult::base)
      .def_readwrite("source", &SweepResult::source)
      .def_readwrite("sources", &SweepResult::sources)
      .def_readwrite("layers", &SweepResult::layers)
      .def_readwrite("spans", &SweepResult::spans)
      .def_readwrite("metric", &SweepResult::metric)
      .def_readwrite("plan", &SweepResult::plan)
      .def_readwrite("peak_bytes", &SweepResult::peak_bytes)
      .def_readwrite("rechecked", &SweepResult::rechecked)
      .def_readwrite("recheck_difference", &SweepResult::recheck_difference)
      .def_readwrite("resumed", &SweepResult::resumed)
      .def_readwrite("complete", &SweepResult::complete)
      .def_readwrite("notes", &SweepResult::notes);

  using internal::MemoryMeter;
  py::class_<MemoryMeter>(m, "_MemoryMeter", "What tensors allocate on this thread.")
      .def(py::init<>())
      .def_property_readonly("peak", &MemoryMeter::peak)
      .def_property_readonly("current", &MemoryMeter::current);

  py::class_<PatchSource>(m, "_PatchSource")
      .def(py::init([](std::string name, const std::optional<vla::Batch>& batch,
                       const std::optional<at::Tensor>& residuals, const py::object& edit) {
             PatchSource out{.name = std::move(name),
                             .batch = batch.value_or(vla::Batch{}),
                             .residuals = residuals.value_or(at::Tensor())};
             if (edit.is_none()) return out;
             const std::shared_ptr<py::function> call(new py::function(edit), DropPython());
             out.edit = [call](const at::Tensor& hidden, std::int64_t block) {
               const py::gil_scoped_acquire gil;
               const py::object found = (*call)(hidden, block);
               return THPVariable_Check(found.ptr()) ? found.cast<at::Tensor>() : at::Tensor();
             };
             return out;
           }),
           py::arg("name"), py::arg("batch"), py::arg("residuals"), py::arg("edit"));

  const auto request_of = [](const vla::Batch& base, std::vector<PatchSource> sources,
                             const Metric& metric, std::vector<std::int64_t> layers,
                             std::vector<Span> spans, std::optional<std::vector<Span>> differing) {
    return SweepRequest{.base = base,
                        .sources = std::move(sources),
                        .metric = metric,
                        .layers = std::move(layers),
                        .spans = std::move(spans),
                        .differing = std::move(differing)};
  };
  py::class_<SweepRequest>(m, "_SweepRequest")
      .def(py::init(request_of), py::arg("base"), py::arg("sources"), py::arg("metric"),
           py::arg("layers"), py::arg("spans"), py::arg("differing"));
  py::class_<SweepOptions>(m, "_SweepOptions")
      .def(py::init([](SweepStrategy strategy, std::int64_t memory_limit, std::int64_t recheck,
                       double tolerance, std::uint64_t seed, double call_cost, std::string file,
                       const py::object& progress) {
             return SweepOptions{.strategy = strategy,
                                 .memory_limit = memory_limit,
                                 .recheck = recheck,
                                 .tolerance = tolerance,
                                 .seed = seed,
                                 .call_cost = call_cost,
                                 .file = std::move(file),
                                 .progress = progress_of(progress)};
           }),
           py::arg("strategy"), py::arg("memory_limit"), py::arg("recheck"), py::arg("tolerance"),
           py::arg("seed"), py::arg("call_cost"), py::arg("file"), py::arg("progress"));
  m.def("_plan_sweep", &patch::plan_sweep, py::arg("model"), py::arg("request"), py::arg("options"),
        py::call_guard<py::gil_scoped_release>());
  m.def("_sweep", &patch::sweep, py::arg("model"), py::arg("request"), py::arg("options"),
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace tierod::bindings
