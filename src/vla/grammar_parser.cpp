#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text_internal.h"
#include "tierod/vla/cot.h"

namespace tierod::vla {

using internal::cat;

namespace {

struct Token {
  std::string word;
  std::size_t begin, end;
};

/// Cut a text into lower-case words and single marks.
std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  std::size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (std::isspace(c) != 0) {
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    if (std::isalnum(c) != 0) {
      while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 ||
                                   text[end] == '-' || text[end] == '\'')) {
        ++end;
      }
    }
    std::string word(text.substr(i, end - i));
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char x) { return static_cast<char>(std::tolower(x)); });
    tokens.push_back({std::move(word), i, end});
    i = end;
  }
  return tokens;
}

template <std::size_t N>
bool one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 4> kLinks = {"so", "therefore", "thus", "hence"};
constexpr std::array<std::string_view, 4> kBecause = {"since", "because", "as", "for"};
constexpr std::array<std::string_view, 4> kJoins = {"and", "or", "nor", ","};
constexpr std::array<std::string_view, 4> kNegators = {"no", "not", "without", "neither"};
constexpr std::array<std::string_view, 34> kFillers = {
    "there", "is",   "are", "a",       "an",      "the",      "on",       "to",   "my",
    "our",   "in",   "at",  "from",    "of",      "lane",     "crossing", "road", "path",
    "side",  "i",    "see", "present", "visible", "detected", "front",    "ego",  "any",
    "its",   "with", "it",  "that",    "who",     "which",    "very"};
constexpr std::array<std::string_view, 12> kLeads = {
    "i", "we", "should", "must", "will", "need", "have", "to", "the", "ego", "vehicle", "now"};
constexpr std::array<std::string_view, 3> kTails = {"now", "gently", "firmly"};

/// Parse one text by recursive descent; each rule moves `at` on and returns false where it does not
/// fit.
class Reader {
 public:
  Reader(const CotVocabulary& vocabulary, std::string_view text)
      : vocabulary_(vocabulary), tokens_(tokens_of(text)) {
    while (!tokens_.empty() && tokens_.back().word == ".") tokens_.pop_back();
  }

  ParsedCot read() {
    if (tokens_.empty()) return {.problem = "the text is empty"};
    if (attempt([&] { return decision() && because() && reasons(); })) return out_;
    if (attempt([&] { return decision(); })) return out_;
    if (attempt([&] { return reasons() && link() && decision(); })) return out_;
    if (attempt([&] { return reasons(); })) return out_;
    if (furthest_ >= tokens_.size()) return {.problem = "the sentence ends too early"};
    const Token& token = tokens_[furthest_];
    return {.problem =
                cat("'", token.word, "' at byte ", token.begin, " is unknown or out of place")};
  }

 private:
  template <typename Rule>
  bool attempt(const Rule& rule) {
    at_ = 0;
    out_ = {};
    if (rule() && at_ == tokens_.size()) return true;
    furthest_ = std::max(furthest_, at_);
    return false;
  }

  std::string_view word() const {
    return at_ < tokens_.size() ? std::string_view(tokens_[at_].word) : std::string_view();
  }
  bool ended() const { return at_ >= tokens_.size(); }

  /// Return the number of tokens of the longest phrase of `terms` that starts here, and its term.
  std::pair<std::size_t, const CotTerm*> longest(const std::vector<CotTerm>& terms) const {
    std::pair<std::size_t, const CotTerm*> best = {0, nullptr};
    for (const CotTerm& term : terms) {
      for (const std::string& phrase : term.phrases) {
        const auto words = internal::split(phrase, ' ');
        if (words.size() <= best.first || at_ + words.size() > tokens_.size()) continue;
        bool same = true;
        for (std::size_t i = 0; i < words.size(); ++i)
          same = same && tokens_[at_ + i].word == words[i];
        if (same) best = {words.size(), &term};
      }
    }
    return best;
  }

  bool decision() {
    std::size_t start = at_;
    auto found = longest(vocabulary_.decisions);
    while (found.second == nullptr && one_of(word(), kLeads)) {
      ++at_;
      found = longest(vocabulary_.decisions);
    }
    if (found.second == nullptr) return false;
    start = at_;
    at_ += found.first;
    out_.decision = found.second->id;
    out_.decision_begin = tokens_[start].begin;
    out_.decision_end = tokens_[at_ - 1].end;
    while (one_of(word(), kTails)) ++at_;
    return true;
  }

  bool because() {
    if (word() == "due" && at_ + 1 < tokens_.size() && tokens_[at_ + 1].word == "to") {
      at_ += 2;
      return true;
    }
    if (!one_of(word(), kBecause)) return false;
    ++at_;
    if (word() == "of") ++at_;
    return true;
  }

  bool link() {
    if (word() == "," || word() == ";" || word() == ".") ++at_;
    if (!one_of(word(), kLinks)) return false;
    ++at_;
    if (word() == ",") ++at_;
    return true;
  }

  bool at_link() const {
    if (one_of(word(), kLinks)) return true;
    const bool mark = word() == "," || word() == ";" || word() == ".";
    return mark && at_ + 1 < tokens_.size() && one_of(tokens_[at_ + 1].word, kLinks);
  }

  bool reasons() {
    const std::size_t start = at_;
    while (one_of(word(), kFillers)) ++at_;
    if (word() == "all") ++at_;
    if (word() == "clear") {
      ++at_;
      return true;
    }
    at_ = start;
    bool inherited = false;
    while (true) {
      if (!reason(inherited)) return false;
      if (ended() || at_link()) return true;
      if (!one_of(word(), kJoins)) return false;
      // "no pedestrian or cyclist" denies both, "no pedestrian and a cyclist" one
      bool passes_on = word() == "or" || word() == "nor";
      ++at_;
      if (word() == "and") ++at_;
      if (word() == "or" || word() == "nor") {
        passes_on = true;
        ++at_;
      }
      inherited = passes_on && out_.mentions.back().negated;
    }
  }

  bool reason(bool inherited) {
    CotMention mention = {.negated = inherited};
    bool named = false;
    while (!ended() && !at_link() && !one_of(word(), kJoins)) {
      const auto thing = longest(vocabulary_.concepts);
      const auto side = longest(vocabulary_.sides);
      const auto distance = longest(vocabulary_.distances);
      if (thing.second != nullptr && thing.first >= std::max(side.first, distance.first)) {
        if (named) return false;
        named = true;
        mention.concept_id = thing.second->id;
        mention.begin = tokens_[at_].begin;
        mention.end = tokens_[at_ + thing.first - 1].end;
        at_ += thing.first;
      } else if (side.second != nullptr && side.first >= distance.first) {
        if (!mention.side.empty() && mention.side != side.second->id) return false;
        mention.side = side.second->id;
        at_ += side.first;
      } else if (distance.second != nullptr) {
        if (!mention.distance.empty() && mention.distance != distance.second->id) return false;
        mention.distance = distance.second->id;
        at_ += distance.first;
      } else if (one_of(word(), kNegators) || word() == "absent") {
        mention.negated = true;
        ++at_;
      } else if (one_of(word(), kFillers)) {
        ++at_;
      } else {
        return false;
      }
    }
    if (!named) return false;
    out_.mentions.push_back(std::move(mention));
    return true;
  }

  const CotVocabulary& vocabulary_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t furthest_ = 0;
  ParsedCot out_;
};

}  // namespace

GrammarParser::GrammarParser(CotVocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  vocabulary_.check();
}

std::vector<ParsedCot> GrammarParser::parse(const std::vector<std::string>& texts) const {
  std::vector<ParsedCot> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(Reader(vocabulary_, text).read());
  return out;
}

}  // namespace tierod::vla
