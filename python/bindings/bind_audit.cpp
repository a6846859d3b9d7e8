#include <pybind11/stl.h>

#include <string>

#include "bindings_internal.h"
#include "tierod/audit/audit.h"
#include "tierod/audit/record.h"
#include "tierod/audit/verdict.h"

namespace tierod::bindings {

namespace {

// Protocols, plans and records travel as JSON; `tierod.audit` makes dictionaries of them.
void bind_protocols(py::module_& m) {
  m.def(
      "audit_protocol",
      [](const std::string& json, const vla::Model& model, const vla::SceneSource& source,
         bool quick) {
        audit::Protocol given = audit::Protocol::from_json(json);
        if (quick) given = given.quick();
        return audit::complete(std::move(given), model, source).to_json();
      },
      py::arg("json"), py::arg("model"), py::arg("scenes"), py::arg("quick") = false,
      "Fill in what a protocol leaves open, and return it as canonical JSON.");
  m.def(
      "audit_protocol_sha256",
      [](const std::string& json) { return audit::Protocol::from_json(json).sha256(); },
      py::arg("json"), "Return the SHA-256 of a protocol's canonical JSON.");
  m.def(
      "audit_plan",
      [](vla::Model& model, const vla::SceneSource& source, const std::string& json) {
        const audit::Protocol protocol = audit::Protocol::from_json(json);
        const py::gil_scoped_release unlocked;
        return audit::plan_audit(model, source, protocol);
      },
      py::arg("model"), py::arg("scenes"), py::arg("protocol"),
      "Say what an audit would do, as JSON.");
}

void bind_runs(py::module_& m) {
  py::enum_<audit::Outcome>(m, "AuditOutcome", "How an audit ended.")
      .value("finished", audit::Outcome::finished)
      .value("self_test_failed", audit::Outcome::self_test_failed);
  m.def(
      "audit_run",
      [](vla::Model& model, const vla::SceneSource& source, const std::string& json,
         const std::string& out, bool resume, const py::object& progress) {
        const audit::Protocol protocol = audit::Protocol::from_json(json);
        const Progress wrapped = progress_of(progress);
        const py::gil_scoped_release unlocked;
        audit::AuditResult result = audit::run_audit(
            model, source, protocol, {.out = out, .resume = resume, .progress = wrapped});
        return std::pair(result.outcome, std::move(result.record));
      },
      py::arg("model"), py::arg("scenes"), py::arg("protocol"), py::arg("out"),
      py::arg("resume") = false, py::arg("progress") = py::none(),
      "Audit a model by a complete protocol (JSON); return how it ended and the record (JSON).");
  m.def("conclude_record", &audit::conclude_record, py::arg("evidence"),
        "Fill in all that follows from what was measured.");
  py::class_<audit::RecordDifference>(m, "RecordDifference",
                                      "One place where a record does not say what follows from it.")
      .def_readonly("where", &audit::RecordDifference::where, "JSON pointer.")
      .def_readonly("recorded", &audit::RecordDifference::recorded)
      .def_readonly("recomputed", &audit::RecordDifference::recomputed)
      .def("__repr__", [](const audit::RecordDifference& d) {
        return "RecordDifference(" + d.where + ": recorded " + d.recorded + ", recomputed " +
               d.recomputed + ")";
      });
  m.def("verify_record", &audit::verify_record, py::arg("record"),
        "Recompute everything from the record alone and return where it differs.");
}

void bind_verdicts(py::module_& m) {
  using audit::Status;
  py::enum_<Status>(m, "Status", "What was shown of a claim.")
      .value("yes", Status::yes)
      .value("no", Status::no)
      .value("open", Status::open)
      .value("unavailable", Status::unavailable);
  using audit::EffectGate;
  py::class_<EffectGate>(m, "EffectGate", "What is known of one effect on control.")
      .def(py::init([](Status status, int sign, double size, bool excludes_zero) {
             return EffectGate{status, sign, size, excludes_zero};
           }),
           py::arg("status"), py::arg("sign") = 0, py::arg("size") = 0.0,
           py::arg("excludes_zero") = false)
      .def_readonly("status", &EffectGate::status)
      .def_readonly("sign", &EffectGate::sign)
      .def_readonly("size", &EffectGate::size)
      .def_readonly("excludes_zero", &EffectGate::excludes_zero);
  using audit::StratumGate;
  py::class_<StratumGate>(m, "StratumGate", "What is known of the effect in one stratum.")
      .def(py::init(
               [](std::string stratification, std::string level, bool decides, EffectGate effect) {
                 return StratumGate{std::move(stratification), std::move(level), decides, effect};
               }),
           py::arg("stratification"), py::arg("level"), py::arg("decides"), py::arg("effect"));
  using audit::InteractionGate;
  py::class_<InteractionGate>(m, "InteractionGate", "Whether the effect differs between strata.")
      .def(py::init([](std::string stratification, bool significant) {
             return InteractionGate{std::move(stratification), significant};
           }),
           py::arg("stratification"), py::arg("significant"));
  using audit::ProxyGate;
  py::class_<ProxyGate>(m, "ProxyGate", "The effect of what goes along with a concept.")
      .def(py::init(
               [](std::string name, Status status) { return ProxyGate{std::move(name), status}; }),
           py::arg("name"), py::arg("status"));
  using audit::GateResults;
  py::class_<GateResults>(m, "GateResults", "All that a verdict follows from.")
      .def(py::init<>())
      .def_readwrite("self_tests_passed", &GateResults::self_tests_passed)
      .def_readwrite("enough_clusters", &GateResults::enough_clusters)
      .def_readwrite("enough_scenes", &GateResults::enough_scenes)
      .def_readwrite("positive_control_heard", &GateResults::positive_control_heard)
      .def_readwrite("complete", &GateResults::complete)
      .def_readwrite("only_off_manifold", &GateResults::only_off_manifold)
      .def_readwrite("stated", &GateResults::stated)
      .def_readwrite("encoded", &GateResults::encoded)
      .def_readwrite("encoded_nonlinearly", &GateResults::encoded_nonlinearly)
      .def_readwrite("direct", &GateResults::direct)
      .def_readwrite("total", &GateResults::total)
      .def_readwrite("naive", &GateResults::naive)
      .def_readwrite("proxies", &GateResults::proxies)
      .def_readwrite("text", &GateResults::text)
      .def_readwrite("twin", &GateResults::twin)
      .def_readwrite("erasure", &GateResults::erasure)
      .def_readwrite("erasure_verified", &GateResults::erasure_verified)
      .def_readwrite("strata", &GateResults::strata)
      .def_readwrite("interactions", &GateResults::interactions);
  using audit::Decision;
  py::class_<Decision>(m, "Decision", "A verdict, and why it is that one.")
      .def_property_readonly("verdict",
                             [](const Decision& d) { return audit::verdict_name(d.verdict); })
      .def_readonly("reason", &Decision::reason)
      .def_readonly("flags", &Decision::flags)
      .def("__repr__", [](const Decision& d) {
        return std::string("Decision(") + audit::verdict_name(d.verdict) +
               (d.reason.empty() ? "" : ": " + d.reason) + ")";
      });
  m.def("decide", &audit::decide, py::arg("gates"),
        "Decide: the first rule that matches (docs/audit.md).");
}

}  // namespace

void bind_audit(py::module_& m) {
  bind_verdicts(m);
  bind_protocols(m);
  bind_runs(m);
}

}  // namespace tierod::bindings
