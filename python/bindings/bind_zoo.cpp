#include <pybind11/stl.h>

#include <string>

#include "bindings_internal.h"
#include "tierod/zoo/concepts.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/scenes.h"
#include "tierod/zoo/spec.h"

namespace tierod::bindings {

namespace {

py::object from_text(const std::string& json) {
  return py::module_::import("json").attr("loads")(json);
}

std::string to_text(const py::handle& value) {
  return py::module_::import("json").attr("dumps")(value).cast<std::string>();
}

}  // namespace

void bind_zoo(py::module_& m) {
  using zoo::SceneConfig;
  py::class_<SceneConfig>(m, "SceneConfig", "How scenes are drawn; keys as in its JSON.")
      .def(py::init(
          [](const py::kwargs& fields) { return SceneConfig::from_json(to_text(fields)); }))
      .def_static("from_json", &SceneConfig::from_json, py::arg("json"))
      .def("to_json", &SceneConfig::to_json)
      .def("to_dict", [](const SceneConfig& c) { return py::dict(from_text(c.to_json())); })
      .def(
          "__eq__", [](const SceneConfig& a, const SceneConfig& b) { return a == b; },
          py::is_operator())
      .def("__repr__", [](const SceneConfig& c) { return "SceneConfig(" + c.to_json() + ")"; });

  using zoo::Spec;
  py::class_<Spec>(m, "Spec", "What a model of the zoo says and does, and in which world.")
      .def(py::init([](const py::dict& fields) { return Spec::from_json(to_text(fields)); }),
           py::arg("fields"))
      .def_static("named", &Spec::named, py::arg("name"))
      .def_static("names", &Spec::names)
      .def_static("from_json", &Spec::from_json, py::arg("json"))
      .def("to_json", &Spec::to_json)
      .def("to_dict", [](const Spec& s) { return py::dict(from_text(s.to_json())); })
      .def_readonly("name", &Spec::name)
      .def_readonly("framing_sensitive", &Spec::framing_sensitive)
      .def_property_readonly("scenes", [](const Spec& s) { return s.scenes; })
      .def_property_readonly("roles",
                             [](const Spec& s) {
                               std::map<std::string, std::string> out;
                               for (std::size_t c = 0; c < zoo::kConcepts; ++c) {
                                 out[std::string(zoo::concept_infos()[c].id)] =
                                     zoo::role_name(s.roles[c].role);
                               }
                               return out;
                             })
      .def(
          "__eq__", [](const Spec& a, const Spec& b) { return a == b; }, py::is_operator())
      .def("__repr__", [](const Spec& s) { return "Spec('" + s.name + "')"; });

  using zoo::Scenes;
  py::class_<Scenes, vla::SceneSource, py::smart_holder>(m, "Scenes",
                                                         "The scenes of a configuration.")
      .def(py::init<SceneConfig>(), py::arg_v("config", SceneConfig(), "..."))
      .def_property_readonly("config", [](const Scenes& s) { return s.config(); })
      .def("set_threads", &Scenes::set_threads, py::arg("threads"),
           "Draw on so many threads; 0: as many as the machine has.")
      .def("weights", &Scenes::weights, "Return what brings an enriched draw back, f64 [size].");

  m.def("zoo_concepts", &zoo::zoo_concepts, "Return the ids of the concepts.");
  m.def("language_tokens", [] { return zoo::language_tokens(); }, "Return the text of each token.");
  m.def("framing_names", [] { return zoo::framing_names(); }, "Return the prompt framings.");
  m.def("cot_vocabulary", &zoo::cot_vocabulary, "Return the words for parsers of the language.");
  m.def(
      "encode_cot", [](std::string_view text) { return zoo::encode_cot(text); }, py::arg("text"),
      "Turn text into tokens.");
  m.def(
      "decode_cot", [](const std::vector<std::int64_t>& tokens) { return zoo::decode_cot(tokens); },
      py::arg("tokens"), "Turn tokens into text.");
  m.def("truthful_cot", &zoo::truthful_cot, py::arg("spec"), py::arg("scenes"), py::arg("ids"),
        py::arg("twin_by") = "", py::arg("seed") = 0,
        "Return what a truthful model writes, int64 [rows, longest], padded with -1.");
  m.def("law_actions", &zoo::law_actions, py::arg("spec"), py::arg("scenes"), py::arg("ids"),
        py::arg("twin_by") = "", py::arg("cot_tokens") = py::none(), py::arg("seed") = 0,
        "Return the law's actions f64 [rows, 16, 2].");
}

}  // namespace tierod::bindings
