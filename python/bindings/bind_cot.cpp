#include <pybind11/stl.h>
#include <pybind11/trampoline_self_life_support.h>

#include <algorithm>
#include <string>

#include "bindings_internal.h"
#include "tierod/core/error.h"
#include "tierod/vla/cot.h"

namespace tierod::bindings {

namespace {

using Texts = std::vector<std::string>;

class PyCotParser : public vla::CotParser, public py::trampoline_self_life_support {
 public:
  using vla::CotParser::CotParser;
  std::vector<vla::ParsedCot> parse(const Texts& texts) const override {
    PYBIND11_OVERRIDE_PURE(std::vector<vla::ParsedCot>, vla::CotParser, parse, texts);
  }
};

// dictionaries keep the order in which they were written
std::vector<vla::CotTerm> terms_of(const py::dict& phrases) {
  std::vector<vla::CotTerm> terms;
  for (const auto& [id, words] : phrases) {
    const bool listed = py::isinstance<py::sequence>(words) && !py::isinstance<py::str>(words);
    const py::sequence list =
        listed ? py::reinterpret_borrow<py::sequence>(words) : py::sequence(py::list());
    const bool texts = std::all_of(list.begin(), list.end(), [](const py::handle& word) {
      return py::isinstance<py::str>(word);
    });
    if (!py::isinstance<py::str>(id) || !listed || !texts) {
      throw InvalidArgument("[vla.CotVocabulary] expected a list of phrases for each id, got " +
                            py::repr(words).cast<std::string>() + " for " +
                            py::repr(id).cast<std::string>() + "; write {'id': ['phrase']}");
    }
    terms.push_back({id.cast<std::string>(), words.cast<Texts>()});
  }
  return terms;
}

py::dict phrases_of(const std::vector<vla::CotTerm>& terms) {
  py::dict phrases;
  for (const vla::CotTerm& term : terms) phrases[py::str(term.id)] = term.phrases;
  return phrases;
}

}  // namespace

void bind_cot(py::module_& m) {
  using vla::CotVocabulary;
  py::class_<CotVocabulary>(m, "CotVocabulary",
                            "What a chain of thought can speak of: id -> phrases.")
      .def(py::init([](const py::dict& concepts, const py::dict& decisions, const py::dict& sides,
                       const py::dict& distances) {
             CotVocabulary out{terms_of(concepts), terms_of(decisions), terms_of(sides),
                               terms_of(distances)};
             out.check();
             return out;
           }),
           py::arg("concepts"), py::arg("decisions") = py::dict(), py::arg("sides") = py::dict(),
           py::arg("distances") = py::dict())
      .def_property_readonly("concepts",
                             [](const CotVocabulary& v) { return phrases_of(v.concepts); })
      .def_property_readonly("decisions",
                             [](const CotVocabulary& v) { return phrases_of(v.decisions); })
      .def_property_readonly("sides", [](const CotVocabulary& v) { return phrases_of(v.sides); })
      .def_property_readonly("distances",
                             [](const CotVocabulary& v) { return phrases_of(v.distances); });
  using vla::CotMention;
  py::class_<CotMention>(m, "CotMention", "One reason of a chain of thought.")
      .def(py::init([](std::string concept_id, bool negated, std::string side, std::string distance,
                       std::size_t begin, std::size_t end) {
             return CotMention{std::move(concept_id), negated, std::move(side),
                               std::move(distance),   begin,   end};
           }),
           py::arg("concept_id"), py::arg("negated") = false, py::arg("side") = "",
           py::arg("distance") = "", py::arg("begin") = 0, py::arg("end") = 0)
      .def_readonly("concept_id", &CotMention::concept_id)
      .def_readonly("negated", &CotMention::negated)
      .def_readonly("side", &CotMention::side)
      .def_readonly("distance", &CotMention::distance)
      .def_readonly("begin", &CotMention::begin)
      .def_readonly("end", &CotMention::end)
      .def("__repr__", [](const CotMention& c) {
        return std::string("CotMention(") + (c.negated ? "not " : "") + c.concept_id +
               (c.side.empty() ? "" : " " + c.side) + (c.distance.empty() ? "" : " " + c.distance) +
               ")";
      });
  using vla::ParsedCot;
  py::class_<ParsedCot>(m, "ParsedCot", "What a parser read: reasons and decision.")
      .def(py::init([](std::vector<CotMention> mentions, std::optional<std::string> decision,
                       std::size_t decision_begin, std::size_t decision_end, std::string problem) {
             return ParsedCot{std::move(mentions), std::move(decision), decision_begin,
                              decision_end, std::move(problem)};
           }),
           py::arg("mentions") = std::vector<CotMention>{}, py::arg("decision") = py::none(),
           py::arg("decision_begin") = 0, py::arg("decision_end") = 0, py::arg("problem") = "")
      .def_readonly("mentions", &ParsedCot::mentions)
      .def_readonly("decision", &ParsedCot::decision)
      .def_readonly("decision_begin", &ParsedCot::decision_begin)
      .def_readonly("decision_end", &ParsedCot::decision_end)
      .def_readonly("problem", &ParsedCot::problem)
      .def_property_readonly("understood", &ParsedCot::understood)
      .def("states", &ParsedCot::states, py::arg("concept_id"),
           "Tell whether the concept is said to be present.");

  py::class_<vla::CotParser, PyCotParser, py::smart_holder>(
      m, "CotParser", "Reads reasons and decision out of chains of thought; subclass it.")
      .def(py::init<>())
      .def("parse", &vla::CotParser::parse, py::arg("texts"));
  py::class_<vla::GrammarParser, vla::CotParser, py::smart_holder>(
      m, "GrammarParser", "Reads sentences that follow a grammar, and refuses all others.")
      .def(py::init<CotVocabulary>(), py::arg("vocabulary"));
  py::class_<vla::LexiconParser, vla::CotParser, py::smart_holder>(
      m, "LexiconParser", "Looks phrases up anywhere in a text, with negation.")
      .def(py::init<CotVocabulary>(), py::arg("vocabulary"));

  using vla::ConceptAgreement;
  py::class_<ConceptAgreement>(m, "ConceptAgreement", "How two parsers judge one concept.")
      .def_readonly("concept_id", &ConceptAgreement::concept_id)
      .def_readonly("both", &ConceptAgreement::both)
      .def_readonly("first_only", &ConceptAgreement::first_only)
      .def_readonly("second_only", &ConceptAgreement::second_only)
      .def_readonly("neither", &ConceptAgreement::neither);
  using vla::ParserAgreement;
  py::class_<ParserAgreement>(m, "ParserAgreement", "How far two parsers agree.")
      .def_readonly("texts", &ParserAgreement::texts)
      .def_readonly("understood_by_first", &ParserAgreement::understood_by_first)
      .def_readonly("understood_by_second", &ParserAgreement::understood_by_second)
      .def_readonly("understood_by_both", &ParserAgreement::understood_by_both)
      .def_readonly("concepts", &ParserAgreement::concepts)
      .def_readonly("same_decision", &ParserAgreement::same_decision)
      .def_readonly("differing", &ParserAgreement::differing)
      .def("concept_share", &ParserAgreement::concept_share)
      .def("decision_share", &ParserAgreement::decision_share);
  m.def("parser_agreement", &vla::parser_agreement, py::arg("first"), py::arg("second"),
        py::arg("vocabulary"),
        "Compare two readings of the same texts, in all concepts of the vocabulary.");
}

}  // namespace tierod::bindings
