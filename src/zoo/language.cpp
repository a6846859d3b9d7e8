#include "tierod/zoo/language.h"

#include <algorithm>
#include <numeric>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/core/site.h"

namespace tierod::zoo {

using internal::cat;

namespace {

constexpr std::int64_t kAnd = 3;
constexpr std::int64_t kSo = 4;
constexpr std::int64_t kClear = 5;
constexpr std::int64_t kFirstConcept = 6;
constexpr std::int64_t kFirstSide = kFirstConcept + static_cast<std::int64_t>(kConcepts);
constexpr std::int64_t kNear = kFirstSide + 3;
constexpr std::int64_t kFar = kNear + 1;
constexpr std::int64_t kFirstDecision = kFar + 1;
constexpr std::int64_t kFirstFraming = kFirstDecision + 4;
constexpr std::int64_t kFirstNavigation = kFirstFraming + kFramings * kFramingTokens;

constexpr std::array<std::string_view, 4> kDecisionWords = {"brake", "slow", "steer left", "keep"};

std::int64_t number(std::size_t i) { return static_cast<std::int64_t>(i); }

bool ends(std::int64_t token) { return token < 0 || token == kPad || token == kAct; }

}  // namespace

const char* decision_name(Decision decision) noexcept {
  constexpr std::array<const char*, 4> names = {"brake", "slow", "steer_left", "keep"};
  return names[static_cast<std::size_t>(decision)];
}

const std::vector<std::string>& framing_names() {
  static const std::vector<std::string> names = {"plain", "formal", "brief", "question"};
  return names;
}

const std::vector<std::string>& language_tokens() {
  static const std::vector<std::string> tokens = [] {
    std::vector<std::string> out = {"<pad>", "<cot>", "<act>", "and", "so", "clear"};
    for (const ConceptInfo& info : concept_infos()) out.emplace_back(info.word);
    for (const Side side : {Side::left, Side::ahead, Side::right})
      out.emplace_back(side_name(side));
    out.insert(out.end(), {"near", "far"});
    for (const std::string_view word : kDecisionWords) out.emplace_back(word);
    out.insert(out.end(), {"drive", "on", "safely",     //
                           "state", "your", "reasons",  //
                           "reasons", "then", "act",    //
                           "what", "comes", "next"});
    out.insert(out.end(), {"<follow road>", "<keep left>", "<keep right>"});
    return out;
  }();
  return tokens;
}

std::array<std::int64_t, 3> framing_tokens(std::int64_t index) {
  if (index < 0 || index >= kFramings) {
    throw OutOfRange(
        cat("[zoo.framing_tokens] expected a framing in [0, ", kFramings, "), got ", index));
  }
  const std::int64_t first = kFirstFraming + index * kFramingTokens;
  return {first, first + 1, first + 2};
}

std::int64_t navigation_token(Navigation navigation) noexcept {
  return kFirstNavigation + static_cast<std::int64_t>(navigation);
}

std::int64_t concept_token(std::size_t concept_index) noexcept {
  return kFirstConcept + number(concept_index);
}

Decision decision_of(const Statements& statements) noexcept {
  std::size_t strongest = kDecisionWords.size() - 1;
  for (std::size_t c = 0; c < kConcepts; ++c) {
    if (!statements[c].said) continue;
    const auto* const found =
        std::find(kDecisionWords.begin(), kDecisionWords.end(), concept_infos()[c].decision);
    strongest = std::min(strongest, static_cast<std::size_t>(found - kDecisionWords.begin()));
  }
  return static_cast<Decision>(strongest);
}

std::vector<std::int64_t> write_cot(const Statements& statements,
                                    std::span<const std::uint8_t, kConcepts> order) {
  std::vector<std::int64_t> out;
  for (const std::uint8_t c : order) {
    const Statement& statement = statements[c];
    if (!statement.said) continue;
    if (!out.empty()) out.push_back(kAnd);
    out.push_back(concept_token(c));
    out.push_back(kFirstSide + static_cast<std::int64_t>(statement.side));
    out.push_back(statement.near ? kNear : kFar);
  }
  if (out.empty()) out.push_back(kClear);
  out.push_back(kSo);
  out.push_back(kFirstDecision + static_cast<std::int64_t>(decision_of(statements)));
  out.push_back(kAct);
  return out;
}

std::array<std::uint8_t, kConcepts> statement_order(std::uint64_t seed, std::int64_t scene,
                                                    std::uint32_t sample) {
  const CounterRandom random(seed, "zoo order");
  std::array<std::uint8_t, kConcepts> order{};
  std::iota(order.begin(), order.end(), std::uint8_t{0});
  for (std::uint32_t i = kConcepts - 1; i > 0; --i) {
    std::swap(order[i], order[random.below(i + 1, static_cast<std::uint64_t>(scene), sample, i)]);
  }
  return order;
}

Statements read_cot(std::span<const std::int64_t> tokens) {
  Statements out{};
  Statement* current = nullptr;
  Statement repeated;
  for (const std::int64_t token : tokens) {
    if (ends(token) || token == kSo) break;
    if (token >= kFirstConcept && token < kFirstSide) {
      Statement& named = out[static_cast<std::size_t>(token - kFirstConcept)];
      current = named.said ? &repeated : &named;
      current->said = true;
    } else if (current != nullptr && token >= kFirstSide && token < kNear) {
      current->side = static_cast<Side>(token - kFirstSide);
    } else if (current != nullptr && (token == kNear || token == kFar)) {
      current->near = token == kNear;
    }
  }
  return out;
}

std::optional<Decision> read_decision(std::span<const std::int64_t> tokens) {
  bool concluded = false;
  for (const std::int64_t token : tokens) {
    if (ends(token)) break;
    if (token == kSo) concluded = true;
    if (concluded && token >= kFirstDecision && token < kFirstFraming) {
      return static_cast<Decision>(token - kFirstDecision);
    }
  }
  return std::nullopt;
}

std::vector<std::int64_t> encode_cot(std::string_view text) {
  const std::vector<std::string>& tokens = language_tokens();
  std::vector<std::int64_t> out;
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] == ' ') {
      ++at;
      continue;
    }
    std::size_t best = 0;
    std::int64_t found = -1;
    // words of framings repeat, and are not for chains of thought
    for (std::int64_t t = kCot; t < kFirstFraming; ++t) {
      const std::string& word = tokens[static_cast<std::size_t>(t)];
      const std::size_t end = at + word.size();
      if (word.size() > best && text.substr(at, word.size()) == word &&
          (end == text.size() || text[end] == ' ')) {
        best = word.size();
        found = t;
      }
    }
    if (found < 0) {
      const std::string word(text.substr(at, text.find(' ', at) - at));
      const std::vector<std::string> known(tokens.begin() + kAnd, tokens.begin() + kFirstFraming);
      throw InvalidArgument(cat("[zoo.encode_cot] expected words of the zoo's language, got '",
                                word, "' at byte ", at, "; nearest ",
                                internal::list_text(nearest_names(word, known)), ", all words are ",
                                internal::list_text(known, known.size())));
    }
    out.push_back(found);
    at += best;
  }
  return out;
}

std::string decode_cot(std::span<const std::int64_t> tokens) {
  const std::vector<std::string>& words = language_tokens();
  std::string out;
  for (const std::int64_t token : tokens) {
    if (ends(token)) break;
    if (token >= number(words.size())) {
      throw OutOfRange(
          cat("[zoo.decode_cot] expected tokens in [0, ", words.size(), "), got ", token));
    }
    if (token == kCot) continue;
    if (!out.empty()) out += ' ';
    out += words[static_cast<std::size_t>(token)];
  }
  return out;
}

vla::CotVocabulary cot_vocabulary() {
  vla::CotVocabulary out;
  for (const ConceptInfo& info : concept_infos()) {
    out.concepts.push_back({std::string(info.id), {std::string(info.word)}});
  }
  for (std::size_t i = 0; i < kDecisionWords.size(); ++i) {
    out.decisions.push_back(
        {decision_name(static_cast<Decision>(i)), {std::string(kDecisionWords[i])}});
  }
  for (const Side side : {Side::left, Side::ahead, Side::right}) {
    out.sides.push_back({side_name(side), {side_name(side)}});
  }
  out.distances = {{"near", {"near"}}, {"far", {"far"}}};
  return out;
}

}  // namespace tierod::zoo
