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

const Words kDenials = {"no",    "not",   "without", "neither", "never",    "cannot",  "can't",
                        "don't", "isn't", "aren't",  "wasn't",  "clear of", "free of", "doesn't"};
const Words kJoins = {"and", "but", "or", "nor"};
const Words kLinks = {"so", "therefore", "thus", "hence"};
// What may stand around a decision without a word that links it to its reasons.
const Words kBeside = {"i",  "we",  "should", "must",    "will", "need",   "have",  "to",
                       "do", "the", "ego",    "vehicle", "now",  "gently", "firmly"};

struct Hit {
  const CotTerm* term = nullptr;
  std::size_t begin = 0, end = 0;
};

struct Part {
  std::size_t begin, end;
};

/// Say where a text gives its reasons and where its decision.
struct Parts {
  Part reasons, decision;
};

bool letter(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '\''; }
bool mark(char c) { return c == ',' || c == '.' || c == ';'; }

/// Return the first place at or after `from` where `phrase` stands as whole words.
std::size_t find_word(const std::string& text, std::string_view phrase, std::size_t from) {
  for (std::size_t at = text.find(phrase, from); at != std::string::npos;
       at = text.find(phrase, at + 1)) {
    const std::size_t end = at + phrase.size();
    if ((at == 0 || !letter(text[at - 1])) && (end == text.size() || !letter(text[end]))) return at;
  }
  return std::string::npos;
}

/// Return the first place of any of the words inside of a part, and its end; npos where there is
/// none.
Part first_of(const std::string& text, Part part, Words words) {
  Part best = {std::string::npos, std::string::npos};
  for (const std::string_view word : words) {
    const std::size_t at = find_word(text, word, part.begin);
    if (at < best.begin && at + word.size() <= part.end) best = {at, at + word.size()};
  }
  return best;
}

bool has_word(const std::string& text, Part part, Words words) {
  return first_of(text, part, words).begin != std::string::npos;
}

/// Return all phrases of `terms` inside of a part, where they overlap only the longest, in order of
/// place.
std::vector<Hit> hits(const std::string& text, const std::vector<CotTerm>& terms, Part part) {
  std::vector<Hit> found;
  for (const CotTerm& term : terms) {
    for (const std::string& phrase : term.phrases) {
      std::size_t at = find_word(text, phrase, part.begin);
      while (at != std::string::npos && at + phrase.size() <= part.end) {
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

/// Return the decisions in a part, without those inside of a longer concept ("brake" in "brake
/// lights").
std::vector<Hit> deeds(const std::string& text, const CotVocabulary& vocabulary, Part part) {
  std::vector<Hit> found = hits(text, vocabulary.decisions, part);
  const std::vector<Hit> things = hits(text, vocabulary.concepts, part);
  std::erase_if(found, [&](const Hit& deed) {
    return std::any_of(things.begin(), things.end(), [&](const Hit& thing) {
      return thing.begin < deed.end && deed.begin < thing.end &&
             thing.end - thing.begin > deed.end - deed.begin;
    });
  });
  return found;
}

/// Hold a text in lower case, with single blanks and straight apostrophes, and where each of its
/// characters came from.
struct Plain {
  std::string text;
  std::vector<std::size_t> from;

  explicit Plain(std::string_view original) {
    constexpr std::string_view curled = "\xE2\x80\x99";
    for (std::size_t i = 0; i < original.size(); ++i) {
      const auto u = static_cast<unsigned char>(original[i]);
      const bool blank = std::isspace(u) != 0;
      if (blank && !text.empty() && text.back() == ' ') continue;
      from.push_back(i);
      if (original.substr(i, curled.size()) == curled) {
        text += '\'';
        i += curled.size() - 1;
      } else {
        text += blank ? ' ' : static_cast<char>(std::tolower(u));
      }
    }
    from.push_back(original.size());
  }
};

/// Return where the clause before a place begins: behind the nearest mark or joining word.
std::size_t clause_begin(const std::string& text, Part before) {
  std::size_t begin = before.begin;
  for (std::size_t i = before.begin; i < before.end; ++i) {
    if (mark(text[i])) begin = i + 1;
  }
  for (const std::string_view join : kJoins) {
    for (std::size_t at = find_word(text, join, before.begin);
         at != std::string::npos && at < before.end; at = find_word(text, join, at + 1)) {
      begin = std::max(begin, at + join.size());
    }
  }
  return begin;
}

std::size_t clause_end(const std::string& text, Part after) {
  std::size_t end = after.end;
  for (std::size_t i = after.begin; i < end; ++i) {
    if (mark(text[i])) end = i;
  }
  const Part join = first_of(text, after, kJoins);
  return std::min(end, join.begin);
}

/// Tell whether nothing but words that may stand beside a decision is in a part.
bool only_beside(const std::string& text, Part part) {
  std::size_t i = part.begin;
  while (i < part.end) {
    if (!letter(text[i])) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < part.end && letter(text[end])) ++end;
    const std::string_view word = std::string_view(text).substr(i, end - i);
    if (std::find(kBeside.begin(), kBeside.end(), word) == kBeside.end()) return false;
    i = end;
  }
  return true;
}

/// Return where a clause begins that does nothing but decide, at the end of the text; npos where
/// there is none. After a comma a word that also names a concept is one more reason.
std::size_t closing_decision(const std::string& text, const CotVocabulary& vocabulary) {
  const std::vector<Hit> found = deeds(text, vocabulary, {0, text.size()});
  if (found.empty() || !only_beside(text, {found.back().end, text.size()})) {
    return std::string::npos;
  }
  const Hit& deed = found.back();
  std::size_t begin = 0;
  for (std::size_t i = 0; i < deed.begin; ++i) {
    if (mark(text[i])) begin = i;
  }
  if (begin == 0 || !only_beside(text, {begin, deed.begin})) return std::string::npos;
  const std::vector<Hit> things = hits(text, vocabulary.concepts, {deed.begin, deed.end});
  return things.empty() || text[begin] != ',' ? begin : std::string::npos;
}

Parts parts_of(const std::string& text, const CotVocabulary& vocabulary) {
  const std::size_t size = text.size();
  // the last link that a decision follows: "a pedestrian so near, so brake"
  Part link = {0, 0};
  for (const std::string_view word : kLinks) {
    for (std::size_t at = find_word(text, word, 0); at != std::string::npos;
         at = find_word(text, word, at + 1)) {
      const Part after = {at + word.size(), size};
      if (at >= link.begin && !deeds(text, vocabulary, after).empty()) {
        link = {at, at + word.size()};
      }
    }
  }
  if (link.end > 0) return {{0, link.begin}, {link.end, size}};
  Part split = {std::string::npos, 0};
  for (const std::string_view word : {"since", "because", "due to", "as", "for"}) {
    const std::size_t at = find_word(text, word, 0);
    if (at < split.begin && !deeds(text, vocabulary, {0, at}).empty()) {
      split = {at, at + word.size()};
    }
  }
  if (split.end > 0) return {{split.end, size}, {0, split.begin}};
  const std::size_t closing = closing_decision(text, vocabulary);
  if (closing != std::string::npos) return {{0, closing}, {closing, size}};
  // one clause: a decision where nothing is named but what to do, else reasons
  const std::vector<Hit> things = hits(text, vocabulary.concepts, {0, size});
  const std::vector<Hit> found = deeds(text, vocabulary, {0, size});
  const bool only_deed = things.size() == 1 && found.size() == 1 &&
                         things[0].begin == found[0].begin && things[0].end == found[0].end &&
                         hits(text, vocabulary.sides, {0, size}).empty() &&
                         hits(text, vocabulary.distances, {0, size}).empty();
  if (things.empty() || only_deed) return {{0, 0}, {0, size}};
  return {{0, size}, {0, 0}};
}

/// Return the first decision of a part that its own clause does not deny.
Hit first_decision(const std::string& text, const CotVocabulary& vocabulary, Part part) {
  std::size_t floor = part.begin;
  for (const Hit& hit : deeds(text, vocabulary, part)) {
    if (!has_word(text, {clause_begin(text, {floor, hit.begin}), hit.begin}, kDenials)) return hit;
    floor = hit.end;
  }
  return {};
}

std::string term_in(const std::string& text, const std::vector<CotTerm>& terms, Part clause) {
  if (clause.begin >= clause.end) return {};
  const std::vector<Hit> found = hits(text, terms, clause);
  return found.empty() ? std::string() : found.front().term->id;
}

/// Tell what a "not" denies: the place where words of a place follow it, else the presence.
bool denies_presence(const std::string& text, Part after) {
  constexpr std::string_view blanks = " ,.;";
  const std::size_t at = text.find_first_not_of(blanks, after.begin);
  if (at == std::string::npos || at >= after.end) return true;
  const Words presence = {"present", "visible", "detected", "seen", "there", "any", "here"};
  return std::any_of(presence.begin(), presence.end(),
                     [&](std::string_view word) { return find_word(text, word, at) == at; });
}

class Reader {
 public:
  Reader(const std::string& text, const CotVocabulary& vocabulary)
      : text_(text), vocabulary_(vocabulary), parts_(parts_of(text, vocabulary)) {}

  ParsedCot read() {
    ParsedCot out;
    const Hit decision = first_decision(text_, vocabulary_, parts_.decision);
    if (decision.term != nullptr) {
      out.decision = decision.term->id;
      out.decision_begin = decision.begin;
      out.decision_end = decision.end;
    }
    const std::vector<Hit> things = hits(text_, vocabulary_.concepts, parts_.reasons);
    for (std::size_t i = 0; i < things.size(); ++i) {
      const std::size_t floor = i == 0 ? parts_.reasons.begin : things[i - 1].end;
      const std::size_t roof = i + 1 < things.size() ? things[i + 1].begin : parts_.reasons.end;
      out.mentions.push_back(mention(things[i], floor, roof, i == 0));
    }
    // "no a, b or c" denies all three: what follows by commas up to an "or" goes by the first
    for (std::size_t i = things.size(); i > 1; --i) {
      if (!has_word(text_, {things[i - 2].end, things[i - 1].begin}, {"or", "nor"})) continue;
      std::size_t first = i - 2;
      while (first > 0 && listed(things[first - 1].end, things[first].begin)) --first;
      for (std::size_t k = first + 1; k < i; ++k) {
        if (out.mentions[k - 1].negated) out.mentions[k].negated = true;
      }
    }
    return out;
  }

 private:
  /// Tell whether a comma, "or" or "nor", and no "and" or full stop, is between two concepts.
  bool listed(std::size_t begin, std::size_t end) const {
    const std::string between = text_.substr(begin, end - begin);
    if (has_word(between, {0, between.size()}, {"and", "but"})) return false;
    if (between.find('.') != std::string::npos) return false;
    return between.find(',') != std::string::npos ||
           has_word(between, {0, between.size()}, {"or", "nor"});
  }

  CotMention mention(const Hit& thing, std::size_t floor, std::size_t roof, bool first) const {
    CotMention out = {.concept_id = thing.term->id, .begin = thing.begin, .end = thing.end};
    const std::size_t begin = clause_begin(text_, {floor, thing.begin});
    // what stands between two concepts without a mark belongs to the one before
    Part before = {begin > floor || first ? begin : thing.begin, thing.begin};
    Part after = {thing.end, clause_end(text_, {thing.end, roof})};
    const Part denial = first_of(text_, {begin, thing.begin}, kDenials);
    if (denial.begin != std::string::npos) {
      const std::string_view word(text_.data() + denial.begin, denial.end - denial.begin);
      if (word == "not" && place_follows(denial.end, thing.begin)) {
        before.end = denial.begin;  // "not near"
      } else {
        out.negated = true;
      }
    }
    const Part later = first_of(text_, after, {"not", "isn't", "aren't", "wasn't", "doesn't"});
    if (later.begin != std::string::npos) {
      if (find_word(text_, "absent", later.end) == later.end + 1) {
        // "not absent" is there
      } else if (denies_presence(text_, {later.end, after.end})) {
        out.negated = true;
      } else {
        after.end = later.begin;
      }
    } else if (has_word(text_, after, {"absent"})) {
      out.negated = true;
    }
    const std::string_view rest = std::string_view(text_).substr(thing.end);
    if (rest.starts_with("-free") || rest.starts_with(" free")) out.negated = true;
    out.side = term_in(text_, vocabulary_.sides, before);
    if (out.side.empty()) out.side = term_in(text_, vocabulary_.sides, after);
    out.distance = term_in(text_, vocabulary_.distances, before);
    if (out.distance.empty()) out.distance = term_in(text_, vocabulary_.distances, after);
    return out;
  }

  /// Tell whether the next words are a side or a distance.
  bool place_follows(std::size_t begin, std::size_t end) const {
    const std::size_t at = text_.find_first_not_of(' ', begin);
    for (const auto* terms : {&vocabulary_.sides, &vocabulary_.distances}) {
      const std::vector<Hit> found = hits(text_, *terms, {begin, end});
      if (!found.empty() && found.front().begin == at) return true;
    }
    return false;
  }

  const std::string& text_;
  const CotVocabulary& vocabulary_;
  Parts parts_;
};

ParsedCot read(const std::string& original, const CotVocabulary& vocabulary) {
  const Plain plain(original);
  ParsedCot out = Reader(plain.text, vocabulary).read();
  // places are of the text that was given
  const auto back = [&](std::size_t& begin, std::size_t& end) {
    if (end == 0) return;
    begin = plain.from[begin];
    end = plain.from[end - 1] + 1;
  };
  for (CotMention& mention : out.mentions) back(mention.begin, mention.end);
  back(out.decision_begin, out.decision_end);
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
