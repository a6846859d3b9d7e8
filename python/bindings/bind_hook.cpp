#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings_internal.h"
#include "tierod/core/selection.h"
#include "tierod/hook/activation_cache.h"
#include "tierod/hook/buffer_pool.h"
#include "tierod/hook/callback.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/intervention.h"
#include "tierod/hook/scope.h"
#include "tierod/hook/session.h"
#include "tierod/hook/sink.h"
#include "tierod/hook/site_table.h"

namespace tierod::bindings {

namespace {

using OptionalText = std::optional<std::string>;

When when_of(const std::string& when) {
  if (when == "after") return When::after;
  if (when == "before") return When::before;
  throw InvalidArgument("[hook.capture] expected when = 'after' or 'before', got '" + when + "'");
}

EventFilter filter_of(const OptionalText& phase, std::optional<std::int64_t> step,
                      OptionalText branch, std::optional<std::int64_t> call,
                      const OptionalText& when, std::optional<bool> gradient) {
  EventFilter filter;
  if (phase) filter.phase = phase_from_name(*phase);
  filter.step = step;
  filter.branch = std::move(branch);
  filter.call = call;
  if (when) filter.when = when_of(*when);
  filter.gradient = gradient;
  return filter;
}

/// Wrap a Python function. It may be called and destroyed on threads that do not hold the GIL.
Callback make_callback(const py::function& function) {
  const std::shared_ptr<py::function> holder(new py::function(function), DropPython());
  return [holder](const at::Tensor& x, const Event& event) -> std::optional<at::Tensor> {
    const py::gil_scoped_acquire gil;
    py::object answer;
    try {
      answer = (*holder)(x, event);
    } catch (const py::error_already_set& error) {
      throw PythonError(error);
    }
    if (answer.is_none()) return std::nullopt;
    if (!THPVariable_Check(answer.ptr())) {
      const auto type = py::str(py::type::of(answer).attr("__name__")).cast<std::string>();
      throw py::type_error("[hook.visit] at '" + event.text() +
                           "': expected a callback to return a tensor or None, got " + type);
    }
    return answer.cast<at::Tensor>();
  };
}

/// Make a context manager of a scope: the object exists between __enter__ and __exit__.
template <typename Scope>
class ScopeManager {
 public:
  explicit ScopeManager(std::function<std::unique_ptr<Scope>()> make) : make_(std::move(make)) {}
  void enter() {
    if (scope_) throw StateError("[hook.scope] the scope is entered already; make another one");
    scope_ = make_();
  }
  void exit(const py::args& /*exception*/) { scope_.reset(); }

 private:
  std::function<std::unique_ptr<Scope>()> make_;
  std::unique_ptr<Scope> scope_;
};

template <typename Scope>
py::class_<ScopeManager<Scope>> bind_scope(py::module_& m, const char* name, const char* doc) {
  using Manager = ScopeManager<Scope>;
  return py::class_<Manager>(m, name, doc)
      .def("__enter__",
           [](const py::object& self) {
             self.cast<Manager&>().enter();
             return self;
           })
      .def("__exit__", &Manager::exit);
}

void bind_scopes(py::module_& m) {
  bind_scope<PhaseScope>(m, "PhaseScope", "Say in which phase and step the model is.")
      .def(py::init(
               [](const std::string& phase, std::int64_t step, std::optional<std::int64_t> offset) {
                 const Phase parsed = phase_from_name(phase);
                 return ScopeManager<PhaseScope>(
                     [=] { return std::make_unique<PhaseScope>(parsed, step, offset); });
               }),
           py::arg("phase"), py::arg("step") = -1, py::arg("position_offset") = py::none());
  bind_scope<BranchScope>(m, "BranchScope", "Name a parallel pass of the same phase.")
      .def(
          py::init([](const std::string& branch) {
            return ScopeManager<BranchScope>([=] { return std::make_unique<BranchScope>(branch); });
          }),
          py::arg("branch"));
  bind_scope<Suspend>(m, "Suspend", "Hide every session from this thread's hook points.")
      .def(py::init(
          [] { return ScopeManager<Suspend>([] { return std::make_unique<Suspend>(); }); }));
  py::class_<CallbackPart>(m, "CallbackPart", "Which part of an activation a callback was given.")
      .def_readonly("rows", &CallbackPart::rows,
                    "Row of the batch of each entry of the part's first axis.")
      .def_readonly("tokens_first", &CallbackPart::tokens_first,
                    "Spans lie differently in the rows: tokens come before the other axes.");
  m.def("callback_part", &callback_part,
        "Return what the callback at hand was given: with `ragged`, of which rows its tokens "
        "are.\n\nRaises StateError outside of a callback.");
  m.def("suspend_depth", &Suspend::depth, "Return how many Suspend surround the caller.");
  m.def(
      "run_started",
      [](std::uint32_t model) {
        const ModelScope scope(model);
        run_started();
      },
      py::arg("model") = 0, "Count the start of a run of the model.");
  m.def(
      "run_completed",
      [](std::uint32_t model) {
        const ModelScope scope(model);
        run_completed();
      },
      py::arg("model") = 0, "Count the end of a run of the model.");
}

void bind_cache(py::module_& m) {
  py::class_<Activation>(m, "Activation", "One captured tensor and where it came from.")
      .def_readonly("event", &Activation::event)
      .def_readonly("tensor", &Activation::tensor)
      .def_readonly("layout", &Activation::layout)
      .def_readonly("site_shape", &Activation::site_shape)
      .def_property_readonly("selection", [](const Activation& a) { return a.selection.to_json(); })
      .def_property_readonly("reduce", [](const Activation& a) { return reduce_name(a.reduce); })
      .def_property_readonly(
          "when", [](const Activation& a) { return a.when == When::after ? "after" : "before"; })
      .def_readonly("gradient", &Activation::gradient)
      .def("__repr__", [](const Activation& a) { return "Activation(" + a.event.text() + ")"; });

  py::class_<ActivationCache>(m, "ActivationCache", "Captured activations, by site and event.")
      .def(py::init<>())
      .def("__len__", &ActivationCache::size)
      .def("sites", &ActivationCache::sites)
      .def("entries", &ActivationCache::entries)
      .def("_find",
           [](const ActivationCache& c, std::string_view name, const OptionalText& phase,
              std::optional<std::int64_t> step, OptionalText branch,
              std::optional<std::int64_t> call, const OptionalText& when,
              std::optional<bool> gradient) {
             return c.find(name, filter_of(phase, step, std::move(branch), call, when, gradient));
           })
      .def("_at",
           [](const ActivationCache& c, std::string_view name, const OptionalText& phase,
              std::optional<std::int64_t> step, OptionalText branch,
              std::optional<std::int64_t> call, const OptionalText& when,
              std::optional<bool> gradient) {
             return c.at(name, filter_of(phase, step, std::move(branch), call, when, gradient));
           })
      .def("_concat_tokens",
           [](const ActivationCache& c, std::string_view name, const OptionalText& phase,
              std::optional<std::int64_t> step, OptionalText branch,
              std::optional<std::int64_t> call, const OptionalText& when,
              std::optional<bool> gradient) {
             return c.concat_tokens(
                 name, filter_of(phase, step, std::move(branch), call, when, gradient));
           })
      .def("__contains__", &ActivationCache::contains)
      .def("to", &ActivationCache::to, py::arg("device") = py::none(),
           py::arg("dtype") = py::none(), "Return a cache on device and in dtype.")
      .def("clear", &ActivationCache::clear);
}

/// Return the cache behind tierod.ActivationCache, the dict-like face of it.
const ActivationCache& cache_of(const py::object& face, const char* function) {
  if (!py::hasattr(face, "core") || !py::isinstance<ActivationCache>(face.attr("core"))) {
    throw InvalidArgument(std::string("[hook.Intervention.") + function +
                          "] expected a tensor or an ActivationCache, got " +
                          py::str(py::type::of(face).attr("__name__")).cast<std::string>());
  }
  return face.attr("core").cast<const ActivationCache&>();
}

void bind_intervention(py::module_& m) {
  using Vector = const at::Tensor&;
  py::class_<Intervention>(m, "Intervention", "An edit as data: replace, affine or gather_rows.")
      .def_static("replace", py::overload_cast<const at::Tensor&, bool>(&Intervention::replace),
                  py::arg("source"), py::arg("allow_nonfinite") = false)
      .def_static("replace",
                  py::overload_cast<const ActivationCache&, bool>(&Intervention::replace),
                  py::arg("donors"), py::arg("allow_nonfinite") = false)
      .def_static(
          "replace",
          [](const py::object& donors, bool allow_nonfinite) {
            return Intervention::replace(cache_of(donors, "replace"), allow_nonfinite);
          },
          py::arg("donors"), py::arg("allow_nonfinite") = false)
      .def_static("replace_broadcast", &Intervention::replace_broadcast, py::arg("source"),
                  py::arg("allow_nonfinite") = false)
      .def_static(
          "affine",
          [](Vector write, const std::optional<at::Tensor>& read,
             const std::optional<at::Tensor>& target, const std::optional<at::Tensor>& mean,
             double scale) {
            return Intervention::affine({.read = read.value_or(at::Tensor()),
                                         .write = write,
                                         .target = target.value_or(at::Tensor()),
                                         .mean = mean.value_or(at::Tensor()),
                                         .scale = scale});
          },
          py::arg("write"), py::arg("read") = py::none(), py::arg("target") = py::none(),
          py::arg("mean") = py::none(), py::arg("scale") = 1.0, "Return h + W (t - a R'(h - mu)).")
      .def_static("gather_rows", &Intervention::gather_rows, py::arg("permutation"))
      .def_static("zero", &Intervention::zero)
      .def_static("mean_ablate", &Intervention::mean_ablate, py::arg("mean"))
      .def_static("ablate", &Intervention::ablate, py::arg("read"), py::arg("write"),
                  py::arg("mean"))
      .def_static("swap", &Intervention::swap, py::arg("read"), py::arg("write"), py::arg("target"))
      .def_static("add", &Intervention::add, py::arg("write"), py::arg("dose"))
      .def_static("erase", &Intervention::erase, py::arg("read"), py::arg("write"), py::arg("mean"))
      .def_static("resample", &Intervention::resample, py::arg("permutation"))
      .def_static("restore", &Intervention::restore, py::arg("clean"))
      .def_static(
          "restore",
          [](const py::object& clean) { return Intervention::restore(cache_of(clean, "restore")); },
          py::arg("clean"))
      .def("to_json", &Intervention::to_json, py::arg("tensor_dir") = py::none())
      .def_static("from_json", &Intervention::from_json, py::arg("json"),
                  py::arg("tensor_dir") = py::none());
}

void bind_session(py::module_& m) {
  const py::class_<CaptureSink, std::shared_ptr<CaptureSink>> capture_sink(
      m, "CaptureSink", "Receives what a session captures while the model runs.");
  py::class_<SiteTable>(m, "SiteTable", "The sites that a model declares.")
      .def(py::init([](const std::vector<std::tuple<Site, std::int64_t, std::int64_t, std::string>>&
                           sites) {
             std::vector<SiteSpec> specs;
             for (const auto& [site, min, max, reason] : sites) {
               SiteSpec spec{.site = site, .fires = {}, .read_only_reason = reason};
               if (max >= 0) spec.fires.push_back({std::nullopt, min, max});
               specs.push_back(std::move(spec));
             }
             return SiteTable(std::move(specs));
           }),
           py::arg("sites"),
           "Declare (site, min, max, read_only_reason) firings a run; max < 0: at least once.")
      .def(py::init(
               [](const std::vector<std::pair<
                      Site, std::map<std::string, std::pair<std::int64_t, std::int64_t>>>>& sites) {
                 std::vector<SiteSpec> specs;
                 for (const auto& [site, fires] : sites) {
                   SiteSpec spec{.site = site, .fires = {}, .read_only_reason = {}};
                   for (const auto& [phase, range] : fires) {
                     spec.fires.push_back({phase_from_name(phase), range.first, range.second});
                   }
                   specs.push_back(std::move(spec));
                 }
                 return SiteTable(std::move(specs));
               }),
           py::arg("sites"), "Declare (site, {phase: (min, max)}) firings a run.")
      .def("names", &SiteTable::names)
      .def(
          "match",
          [](const SiteTable& table, std::string_view pattern) {
            std::vector<std::string> names;
            for (const SiteSpec* spec : table.match(SitePattern(pattern))) {
              names.push_back(spec->site.name());
            }
            return names;
          },
          py::arg("pattern"));

  py::class_<Session>(m, "Session", "Captures and edits while it is open.")
      .def(py::init<>())
      .def(py::init<SiteTable>(), py::arg("table"))
      .def("_capture",
           [](Session& s, std::string_view pattern, const std::string& selection,
              const std::string& reduce, const std::string& when,
              std::optional<at::ScalarType> dtype, std::optional<c10::Device> device, bool copy,
              bool gradient, bool keep_graph,
              const std::optional<std::shared_ptr<CaptureSink>>& sink) {
             s.capture(pattern, {.selection = Selection::from_json(selection),
                                 .reduce = reduce_from_name(reduce),
                                 .when = when_of(when),
                                 .dtype = dtype,
                                 .device = device,
                                 .copy = copy,
                                 .gradient = gradient,
                                 .keep_graph = keep_graph,
                                 .sink = sink.value_or(nullptr)});
           })
      .def("_intervene",
           [](Session& s, std::string_view pattern, const Intervention& intervention,
              const std::string& selection, bool gradient) {
             s.intervene(pattern, intervention,
                         {.selection = Selection::from_json(selection), .gradient = gradient});
           })
      .def("_callback",
           [](Session& s, std::string_view pattern, const py::function& function,
              const std::string& selection, bool gradient, bool allow_nonfinite, bool ragged) {
             s.intervene(pattern, make_callback(function),
                         {.selection = Selection::from_json(selection),
                          .gradient = gradient,
                          .allow_nonfinite = allow_nonfinite,
                          .ragged = ragged});
           })
      .def("_set_spans",
           [](Session& s,
              const std::vector<std::vector<std::tuple<std::string, std::int64_t, std::int64_t>>>&
                  rows) {
             SpanTable table;
             for (const auto& row : rows) {
               table.emplace_back();
               for (const auto& [name, begin, end] : row)
                 table.back().push_back({name, begin, end});
             }
             s.set_spans(std::move(table));
           })
      .def("_configure", &Session::configure, py::arg("json"), py::arg("tensor_dir") = py::none())
      .def("to_json", &Session::to_json, py::arg("tensor_dir") = py::none())
      .def("_see_only_model", &Session::see_only_model)
      .def("_edit_count", &Session::edit_count)
      .def("_drop_edits", &Session::drop_edits, py::arg("count"))
      .def("_recomputations", &Session::recomputations)
      .def("_open",
           [](Session& s) {
             hand_on_sessions();
             s.open();
           })
      .def("_close", &Session::close)
      .def("_abort", &Session::abort)
      .def_property_readonly("is_open", &Session::is_open)
      .def_property_readonly("failed", &Session::failed)
      .def("_cache", &Session::cache)
      .def("moments", &Session::moments, py::arg("site"),
           "Return the Moments kept at a site by reduce='moments' or 'covariance'.")
      .def(
          "fired",
          [](const Session& s) {
            std::vector<Event> events;
            for (const FireRecord& record : s.fired()) events.push_back(record.event);
            return events;
          },
          "Return an Event for each address that fired; its call is the number of firings.")
      .def("sites_seen", &Session::sites_seen);

  py::class_<ProcessSession, Session>(m, "ProcessSession", "A session that every thread sees.")
      .def(py::init<>())
      .def(py::init<SiteTable>(), py::arg("table"));
}

}  // namespace

void bind_hook(py::module_& m) {
  m.def(
      "open_session_count", [] { return detail::open_session_count.load(); },
      "Return how many sessions are open in the process.");
  m.def(
      "hook_point",
      [](const at::Tensor& x, const Site& site) {
        return travelling([&] { return hook_point(x, site); });
      },
      py::arg("x"), py::arg("site"), "Let open sessions act on x, and return what to go on with.");
  m.def("pooled_copy", &pooled_copy, py::arg("x"), "Copy into memory of the buffer pool.");
  m.def("buffer_pool_idle_bytes", &buffer_pool_idle_bytes);
  m.def("set_buffer_pool_limit", &set_buffer_pool_limit, py::arg("bytes"));
  bind_autograd_threads();
  bind_scopes(m);
  bind_cache(m);
  bind_intervention(m);
  bind_session(m);
}

}  // namespace tierod::bindings
