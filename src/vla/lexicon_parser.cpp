#include <algorithm>
#include <cctype>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tierod/vla/cot.h"

// Note [Two parsers]
// Two parsers that share code share mistakes. This one knows no grammar: it finds phrases in the
// text as a search would, and decides by what stands around them.

namespace tierod::vla {

namespace {

using Words = std::initializer_list<std::string_view>;

struct Hit {
  const CotTerm* term = nullptr;
  std::size_t begin = 0, end = 0;
};

bool letter(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '\''; }

/// Return the first place at or after `from` where `phrase` stands as whole words.
std::size_t find_word(const std::string& text, std::string_view phrase, std::size_t from) {
  for (std::size_t at = text.find(phrase, from); at != std::string::npos;
       at = text.find(phrase, at + 1)) {
    const std::size_t end = at + phrase.size();
    if ((at == 0 || !letter(text[at - 1])) && (end == text.size() || !letter(text[end]))) return at;
  }
  return std::string::npos;
}

bool has_word(const std::string& text, std::size_t begin, std::size_t end, Words words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
    const std::size_t at = find_word(text, word, begin);
    return at != std::string::npos && at + word.size() <= end;
  });
}

/// Return all phrases of `terms` inside of [begin, end), where they overlap only the longest, in
/// order of place.
std::vector<Hit> hits(const std::string& text, const std::vector<CotTerm>& terms, std::size_t begin,
                      std::size_t end) {
  std::vector<Hit> found;
  for (const CotTerm& term : terms) {
    for (const std::string& phrase : term.phrases) {
      std::size_t at = find_word(text, phrase, begin);
      while (at != std::string::npos && at + phrase.size() <= end) {
        found.push_back({&term, at, at + phrase.size()});
        at = find_word(text, phrase, at + 1);
      }
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Hit& a, const Hit& b) { return a.end - a.begin > b.end - b.begin; });
  std::vector<Hit> kept;
  for (const Hit& hit : found) {
    if (std::none_of(kept.begin(), kept.end(), [&](const Hit& other) {
          return hit.begin < other.end && other.begin < hit.end;
        })) {
      kept.push_back(hit);
    }
  }
  std::sort(kept.begin(), kept.end(), [](const Hit& a, const Hit& b) { return a.begin < b.begin; });
  return kept;
}

/// Return the text in lower case, with single blanks where there is any white space: places stay.
std::string plain(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto u = static_cast<unsigned char>(c);
    c = std::isspace(u) != 0 ? ' ' : static_cast<char>(std::tolower(u));
  }
  return out;
}

struct Part {
  std::size_t begin, end;
};

/// Say where a text gives its reasons and where its decision.
struct Parts {
  Part reasons, decision;
};

bool denied(const std::string& text, std::size_t begin, std::size_t end) {
  return has_word(text, begin, end, {"no", "not", "without", "neither", "never", "don't", "isn't"});
}

/// Return the first decision of a part that is not denied.
Hit first_decision(const std::string& text, const CotVocabulary& vocabulary, Part part) {
  for (const Hit& hit : hits(text, vocabulary.decisions, part.begin, part.end)) {
    const std::size_t near = hit.begin > part.begin + 12 ? hit.begin - 12 : part.begin;
    if (!denied(text, near, hit.begin)) return hit;
  }
  return {};
}

Parts parts_of(const std::string& text, const CotVocabulary& vocabulary) {
  const std::size_t size = text.size();
  for (const std::string_view link : {"so", "therefore", "thus", "hence"}) {
    for (std::size_t at = find_word(text, link, 0); at != std::string::npos;
         at = find_word(text, link, at + 1)) {
      const Part after = {at + link.size(), size};
      if (!hits(text, vocabulary.decisions, after.begin, after.end).empty()) {
        return {{0, at}, after};
      }
    }
  }
  std::size_t split = std::string::npos;
  std::size_t after = 0;
  for (const std::string_view word : {"since", "because", "due to", "as", "for"}) {
    const std::size_t at = find_word(text, word, 0);
    if (at < split && !hits(text, vocabulary.decisions, 0, at).empty()) {
      split = at;
      after = at + word.size();
    }
  }
  if (split != std::string::npos) return {{after, size}, {0, split}};
  // one clause: a decision where nothing is named but what to do, else reasons
  const std::vector<Hit> things = hits(text, vocabulary.concepts, 0, size);
  const std::vector<Hit> deeds = hits(text, vocabulary.decisions, 0, size);
  const bool only_deed = things.size() == 1 && deeds.size() == 1 &&
                         things[0].begin == deeds[0].begin && things[0].end == deeds[0].end &&
                         hits(text, vocabulary.sides, 0, size).empty() &&
                         hits(text, vocabulary.distances, 0, size).empty();
  if (things.empty() || only_deed) return {{0, 0}, {0, size}};
  return {{0, size}, {0, 0}};
}

/// Return where the clause around a concept begins or ends: at the nearest mark, joining word, or
/// other concept.
std::size_t clause_begin(const std::string& text, std::size_t from, std::size_t to) {
  std::size_t begin = from;
  for (std::size_t i = from; i < to; ++i) {
    if (text[i] == ',' || text[i] == '.' || text[i] == ';') begin = i + 1;
  }
  for (const std::string_view join : {"and", "but", "or", "nor"}) {
    for (std::size_t at = find_word(text, join, from); at != std::string::npos && at < to;
         at = find_word(text, join, at + 1)) {
      begin = std::max(begin, at + join.size());
    }
  }
  return begin;
}

std::size_t clause_end(const std::string& text, std::size_t from, std::size_t to) {
  std::size_t end = to;
  for (std::size_t i = from; i < end; ++i) {
    if (text[i] == ',' || text[i] == '.' || text[i] == ';') end = i;
  }
  for (const std::string_view join : {"and", "but", "or", "nor"}) {
    const std::size_t at = find_word(text, join, from);
    if (at != std::string::npos) end = std::min(end, at);
  }
  return end;
}

std::string term_in(const std::string& text, const std::vector<CotTerm>& terms, Part clause) {
  const std::vector<Hit> found = hits(text, terms, clause.begin, clause.end);
  return found.empty() ? std::string() : found.front().term->id;
}

ParsedCot read(const std::string& original, const CotVocabulary& vocabulary) {
  const std::string text = plain(original);
  const Parts parts = parts_of(text, vocabulary);
  ParsedCot out;
  const Hit decision = first_decision(text, vocabulary, parts.decision);
  if (decision.term != nullptr) {
    out.decision = decision.term->id;
    out.decision_begin = decision.begin;
    out.decision_end = decision.end;
  }
  const std::vector<Hit> things =
      hits(text, vocabulary.concepts, parts.reasons.begin, parts.reasons.end);
  for (std::size_t i = 0; i < things.size(); ++i) {
    const Hit& thing = things[i];
    const std::size_t floor = i == 0 ? parts.reasons.begin : things[i - 1].end;
    const std::size_t roof = i + 1 < things.size() ? things[i + 1].begin : parts.reasons.end;
    const Part clause = {clause_begin(text, floor, thing.begin), clause_end(text, thing.end, roof)};
    CotMention mention = {.concept_id = thing.term->id, .begin = thing.begin, .end = thing.end};
    const bool carried =
        i > 0 && out.mentions.back().negated && has_word(text, floor, thing.begin, {"or", "nor"});
    mention.negated = carried || denied(text, clause.begin, thing.begin) ||
                      has_word(text, thing.end, clause.end, {"not", "absent", "isn't"});
    mention.side = term_in(text, vocabulary.sides, clause);
    mention.distance = term_in(text, vocabulary.distances, clause);
    out.mentions.push_back(std::move(mention));
  }
  return out;
}

}  // namespace

LexiconParser::LexiconParser(CotVocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  vocabulary_.check();
}

std::vector<ParsedCot> LexiconParser::parse(const std::vector<std::string>& texts) const {
  std::vector<ParsedCot> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(read(text, vocabulary_));
  return out;
}

}  // namespace tierod::vla
