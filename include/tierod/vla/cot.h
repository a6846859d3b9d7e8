#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"

namespace tierod::vla {

/// Name one meaning and the words that say it, in lower case; a phrase may have several words.
struct TIEROD_API CotTerm {
  std::string id;
  std::vector<std::string> phrases;
};

/// List what a model's chain of thought can speak of. A phrase may stand for a concept and for a
/// decision ("brake" as a braking car and as what to do): the place in the sentence tells.
struct TIEROD_API CotVocabulary {
  std::vector<CotTerm> concepts{};
  std::vector<CotTerm> decisions{};
  std::vector<CotTerm> sides{};
  std::vector<CotTerm> distances{};

  /// Throw unless ids differ within a list, no phrase means two things within a list, and every
  /// phrase is of lower-case letters, digits, single blanks and hyphens.
  /// @throws InvalidArgument that names the list and the phrase.
  void check() const;
};

/// Hold one reason of a chain of thought.
struct TIEROD_API CotMention {
  std::string concept_id{};
  /// Said to be absent ("no pedestrian"): such a concept is not stated.
  bool negated = false;
  std::string side{};      ///< id, empty where none is said
  std::string distance{};  ///< id, empty where none is said
  /// Half-open range of the concept's own words, in bytes of the text.
  std::size_t begin = 0;
  std::size_t end = 0;

  bool operator==(const CotMention&) const = default;
};

/// Hold what a parser read: reasons and decision.
struct TIEROD_API ParsedCot {
  std::vector<CotMention> mentions{};
  /// Id of the decision; absent where none was found.
  std::optional<std::string> decision{};
  std::size_t decision_begin = 0;
  std::size_t decision_end = 0;
  /// What kept the parser from understanding the text; empty where it did.
  std::string problem{};

  bool understood() const noexcept { return problem.empty(); }
  /// Tell whether the concept is said to be present.
  bool states(const std::string& concept_id) const;
};

/// Read reasons and decision out of chains of thought. Python may subclass it.
class TIEROD_API CotParser {
 public:
  virtual ~CotParser() = default;
  CotParser() = default;
  CotParser(const CotParser&) = delete;
  CotParser& operator=(const CotParser&) = delete;

  virtual std::vector<ParsedCot> parse(const std::vector<std::string>& texts) const = 0;
};

/// Read sentences that follow a grammar, word by word, and refuse all others:
///
///     cot     = reasons link decision | decision because reasons | decision | reasons
///     link    = [mark] ("so" | "therefore" | "thus" | "hence") | "." | ";"
///     reasons = "clear" | ["clear of"] reason {("and" | "or" | "nor" | ",") reason}
///     reason  = {negator | filler | side | distance} concept {negator | filler | side | distance}
///
/// A word that it does not know, or a word out of place, is a `problem`, and nothing is read.
///
/// Both parsers take a denial by what it denies: "no pedestrian", "a pedestrian is not present" and
/// "no cyclist, pedestrian or cones" the presence, "a pedestrian, not near" and "a pedestrian is
/// not in our path" the place alone, which then is not read.
class TIEROD_API GrammarParser : public CotParser {
 public:
  /// @throws InvalidArgument as `CotVocabulary::check` does, and on a phrase that begins with a
  ///         word that joins reasons, which could never be read.
  explicit GrammarParser(CotVocabulary vocabulary);
  std::vector<ParsedCot> parse(const std::vector<std::string>& texts) const override;

 private:
  CotVocabulary vocabulary_;
};

/// Look phrases up anywhere in a text, and tell by the words around them whether they are negated,
/// a reason or the decision. Reads any text; words that it does not know are no problem.
class TIEROD_API LexiconParser : public CotParser {
 public:
  /// @throws InvalidArgument as `CotVocabulary::check` does.
  explicit LexiconParser(CotVocabulary vocabulary);
  std::vector<ParsedCot> parse(const std::vector<std::string>& texts) const override;

 private:
  CotVocabulary vocabulary_;
};

/// Count how two parsers judge one concept, over the texts that both understood.
struct TIEROD_API ConceptAgreement {
  std::string concept_id{};
  std::int64_t both = 0;
  std::int64_t first_only = 0;
  std::int64_t second_only = 0;
  std::int64_t neither = 0;
};

/// Hold how far two parsers agree; where they do not, a rate of statements is a range.
struct TIEROD_API ParserAgreement {
  std::int64_t texts = 0;
  std::int64_t understood_by_first = 0;
  std::int64_t understood_by_second = 0;
  std::int64_t understood_by_both = 0;
  std::vector<ConceptAgreement> concepts{};
  /// Texts, of those that both understood, with the same decision (or none by both).
  std::int64_t same_decision = 0;
  /// First texts on which they differ in a concept or the decision, at most 20, as indices.
  std::vector<std::int64_t> differing{};

  /// Return the share of agreeing judgements of concepts, 1 where there is none.
  double concept_share() const;
  /// Return the share of equal decisions, 1 where there is none.
  double decision_share() const;
};

/// Compare two parsers of the same texts, in all concepts of their vocabulary.
/// @throws InvalidArgument if the lengths differ, or a reading states what the vocabulary lacks.
TIEROD_API ParserAgreement parser_agreement(const std::vector<ParsedCot>& first,
                                            const std::vector<ParsedCot>& second,
                                            const CotVocabulary& vocabulary);

}  // namespace tierod::vla
