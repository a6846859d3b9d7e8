#include "tierod/vla/cot.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::vla {

using internal::cat;

namespace {

bool is_phrase(std::string_view phrase) {
  if (phrase.empty() || phrase.front() == ' ' || phrase.back() == ' ') return false;
  if (phrase.find("  ") != std::string_view::npos) return false;
  return std::all_of(phrase.begin(), phrase.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ' ' || c == '-';
  });
}

void check_terms(const std::vector<CotTerm>& terms, std::string_view list) {
  constexpr std::string_view where = "[vla.CotVocabulary.check]";
  std::set<std::string> ids;
  std::set<std::string> phrases;
  for (const CotTerm& term : terms) {
    if (term.id.empty()) {
      throw InvalidArgument(cat(where, " expected an id for each of the ", list, ", got none"));
    }
    if (!ids.insert(term.id).second) {
      throw InvalidArgument(
          cat(where, " expected ids of their own among the ", list, ", got '", term.id, "' twice"));
    }
    if (term.phrases.empty()) {
      throw InvalidArgument(
          cat(where, " expected a phrase for '", term.id, "' among the ", list, ", got none"));
    }
    for (const std::string& phrase : term.phrases) {
      if (!is_phrase(phrase)) {
        throw InvalidArgument(cat(where, " expected lower-case words among the ", list, ", got '",
                                  phrase, "' for '", term.id, "'"));
      }
      if (!phrases.insert(phrase).second) {
        throw InvalidArgument(cat(where, " expected one meaning a phrase among the ", list,
                                  ", got '", phrase, "' twice, the second time for '", term.id,
                                  "'"));
      }
    }
  }
}

}  // namespace

void CotVocabulary::check() const {
  if (concepts.empty()) {
    throw InvalidArgument("[vla.CotVocabulary.check] expected at least one concept, got none");
  }
  check_terms(concepts, "concepts");
  check_terms(decisions, "decisions");
  check_terms(sides, "sides");
  check_terms(distances, "distances");
}

bool ParsedCot::states(const std::string& concept_id) const {
  return std::any_of(mentions.begin(), mentions.end(), [&](const CotMention& mention) {
    return mention.concept_id == concept_id && !mention.negated;
  });
}

double ParserAgreement::concept_share() const {
  std::int64_t same = 0;
  std::int64_t all = 0;
  for (const ConceptAgreement& c : concepts) {
    same += c.both + c.neither;
    all += c.both + c.neither + c.first_only + c.second_only;
  }
  return all > 0 ? static_cast<double>(same) / static_cast<double>(all) : 1;
}

double ParserAgreement::decision_share() const {
  return understood_by_both > 0
             ? static_cast<double>(same_decision) / static_cast<double>(understood_by_both)
             : 1;
}

ParserAgreement parser_agreement(const std::vector<ParsedCot>& first,
                                 const std::vector<ParsedCot>& second,
                                 const CotVocabulary& vocabulary) {
  vocabulary.check();
  if (first.size() != second.size()) {
    throw InvalidArgument(
        cat("[vla.parser_agreement] expected two readings of the same texts, got ", first.size(),
            " and ", second.size()));
  }
  constexpr std::size_t kExamples = 20;
  ParserAgreement out;
  for (const CotTerm& term : vocabulary.concepts) out.concepts.push_back({.concept_id = term.id});
  for (const auto* readings : {&first, &second}) {
    for (const ParsedCot& reading : *readings) {
      for (const CotMention& mention : reading.mentions) {
        if (std::none_of(out.concepts.begin(), out.concepts.end(), [&](const auto& known) {
              return known.concept_id == mention.concept_id;
            })) {
          throw InvalidArgument(cat("[vla.parser_agreement] expected readings of the vocabulary, ",
                                    "got the concept '", mention.concept_id,
                                    "' that it lacks; give the parsers' own"));
        }
      }
    }
  }
  for (std::size_t i = 0; i < first.size(); ++i) {
    ++out.texts;
    out.understood_by_first += first[i].understood() ? 1 : 0;
    out.understood_by_second += second[i].understood() ? 1 : 0;
    if (!first[i].understood() || !second[i].understood()) continue;
    ++out.understood_by_both;
    bool same = first[i].decision == second[i].decision;
    out.same_decision += same ? 1 : 0;
    for (ConceptAgreement& c : out.concepts) {
      const bool a = first[i].states(c.concept_id);
      const bool b = second[i].states(c.concept_id);
      ++(a ? (b ? c.both : c.first_only) : (b ? c.second_only : c.neither));
      same = same && a == b;
    }
    if (!same && out.differing.size() < kExamples) {
      out.differing.push_back(static_cast<std::int64_t>(i));
    }
  }
  return out;
}

}  // namespace tierod::vla
