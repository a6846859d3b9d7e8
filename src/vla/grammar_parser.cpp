#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/vla/cot.h"

namespace tierod::vla {

using internal::cat;

namespace {

struct Token {
  std::string word;
  std::size_t begin, end;
};

// The apostrophe of typeset text, in UTF-8.
constexpr std::string_view kCurled = "\xE2\x80\x99";

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
    std::string word(1, static_cast<char>(std::tolower(c)));
    std::size_t end = i + 1;
    while (std::isalnum(c) != 0 && end < text.size()) {
      const auto next = static_cast<unsigned char>(text[end]);
      if (text.substr(end, kCurled.size()) == kCurled) {
        word += '\'';
        end += kCurled.size();
      } else if (std::isalnum(next) != 0 || next == '-' || next == '\'') {
        word += static_cast<char>(std::tolower(next));
        ++end;
      } else {
        break;
      }
    }
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
constexpr std::array<std::string_view, 12> kNegators = {"no",    "not",    "without", "neither",
                                                        "never", "cannot", "can't",   "don't",
                                                        "isn't", "aren't", "wasn't",  "doesn't"};
// Of what is there or not. Every other filler tells a place.
constexpr std::array<std::string_view, 6> kPresence = {"present", "visible", "detected",
                                                       "seen",    "there",   "any"};
constexpr std::array<std::string_view, 37> kFillers = {
    "there", "is",      "are",     "a",        "an",    "the",      "on",   "to",   "my",   "our",
    "in",    "at",      "from",    "of",       "lane",  "crossing", "road", "path", "side", "i",
    "see",   "present", "visible", "detected", "front", "ego",      "any",  "its",  "with", "it",
    "that",  "who",     "which",   "very",     "can",   "seen",     "way"};
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
  enum class Join : std::uint8_t { comma, both, either };

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
    const bool stop = word() == ";" || word() == ".";
    if (stop || word() == ",") ++at_;
    // "Pedestrian ahead. Brake."
    if (!one_of(word(), kLinks)) return stop;
    ++at_;
    if (word() == ",") ++at_;
    return true;
  }

  bool at_link() const {
    if (one_of(word(), kLinks)) return true;
    if (word() == ";" || word() == ".") return true;
    return word() == "," && at_ + 1 < tokens_.size() && one_of(tokens_[at_ + 1].word, kLinks);
  }

  bool reasons() {
    const std::size_t start = at_;
    while (one_of(word(), kFillers)) ++at_;
    if (word() == "all") ++at_;
    bool denies = false;
    if (word() == "clear") {
      ++at_;
      if (word() != "of") return true;
      ++at_;
      denies = true;  // "clear of pedestrians"
    } else {
      at_ = start;
    }
    joins_.clear();
    if (!reason(denies)) return false;
    while (!ended() && !at_link()) {
      if (!one_of(word(), kJoins)) return false;
      Join join = word() == "," ? Join::comma : (word() == "and" ? Join::both : Join::either);
      ++at_;
      if (word() == "and" || word() == "or" || word() == "nor") {
        join = word() == "and" ? Join::both : Join::either;
        ++at_;
      }
      if (!reason(false)) return false;
      joins_.push_back(join);
    }
    pass_denials_on();
    return true;
  }

  /// "no pedestrian or cyclist" denies both, "no pedestrian and a cyclist" one. In "no pedestrian,
  /// cyclist or cones" it is the "or" at the end that tells of the comma before.
  void pass_denials_on() {
    for (std::size_t last = joins_.size(); last > 0; --last) {
      if (joins_[last - 1] != Join::either) continue;
      std::size_t first = last - 1;
      while (first > 0 && joins_[first - 1] != Join::both) --first;
      bool denied = false;
      for (std::size_t i = first; i <= last; ++i) {
        denied = denied || out_.mentions[i].negated;
        out_.mentions[i].negated = denied;
      }
    }
  }

  /// Skip the place that a "not" before it denies ("not near", "not in our path"). Returns false
  /// where it denies the presence instead: at the end, or before a word of presence.
  bool skip_denied_place() {
    const std::size_t start = at_;
    while (!ended() && !at_link() && !one_of(word(), kJoins)) {
      const auto side = longest(vocabulary_.sides);
      const auto distance = longest(vocabulary_.distances);
      const std::size_t words = std::max(side.first, distance.first);
      if (words == 0 && (!one_of(word(), kFillers) || one_of(word(), kPresence))) break;
      if (longest(vocabulary_.concepts).first > words) break;
      at_ += std::max<std::size_t>(words, 1);
    }
    if (at_ > start && !one_of(word(), kPresence)) return true;
    at_ = start;
    return false;
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
      } else if (one_of(word(), kNegators)) {
        // before the name "not near" is of the place, "no near pedestrian" of the pedestrian
        const bool is_not = word() == "not";
        ++at_;
        const std::size_t place =
            longest(vocabulary_.sides).first + longest(vocabulary_.distances).first;
        const bool of_place = named || (is_not && place > 0);
        if (word() == "absent") {
          ++at_;
        } else if (!of_place || !skip_denied_place()) {
          mention.negated = true;
        }
      } else if (word() == "absent") {
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
  std::vector<Join> joins_;  // between mention i and i + 1
  ParsedCot out_;
};

}  // namespace

GrammarParser::GrammarParser(CotVocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  vocabulary_.check();
  for (const auto* terms : {&vocabulary_.concepts, &vocabulary_.sides, &vocabulary_.distances}) {
    for (const CotTerm& term : *terms) {
      for (const std::string& phrase : term.phrases) {
        const std::string_view first = internal::split(phrase, ' ').front();
        if (!one_of(first, kLinks) && !one_of(first, kJoins)) continue;
        throw InvalidArgument(
            cat("[vla.GrammarParser] expected no phrase that begins with a word "
                "that joins reasons, got '",
                phrase, "' for '", term.id, "'; leave it out"));
      }
    }
  }
}

std::vector<ParsedCot> GrammarParser::parse(const std::vector<std::string>& texts) const {
  std::vector<ParsedCot> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(Reader(vocabulary_, text).read());
  return out;
}

}  // namespace tierod::vla
