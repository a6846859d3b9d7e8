#include "tierod/vla/cot.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::vla {
namespace {

// "brake" and "stop" are concepts (a car that brakes, a stop sign) and decisions.
CotVocabulary vocabulary() {
  return {.concepts = {{"pedestrian", {"pedestrian", "pedestrians", "person"}},
                       {"red_light", {"red light", "red"}},
                       {"lead_braking", {"brake", "brake lights", "braking car"}},
                       {"stop_sign", {"stop", "stop sign"}},
                       {"cyclist", {"cyclist"}}},
          .decisions = {{"stop", {"stop"}},
                        {"brake", {"brake", "brake hard"}},
                        {"slow", {"slow", "slow down"}},
                        {"keep", {"keep", "keep lane"}},
                        {"steer_left", {"steer left", "nudge left"}}},
          .sides = {{"left", {"left"}}, {"ahead", {"ahead"}}, {"right", {"right"}}},
          .distances = {{"near", {"near"}}, {"far", {"far"}}}};
}

/// Write a reading as "pedestrian left near, not cyclist -> brake".
std::string shown(const ParsedCot& parsed) {
  if (!parsed.understood()) return "? " + parsed.problem;
  std::string out;
  for (const CotMention& m : parsed.mentions) {
    if (!out.empty()) out += ", ";
    if (m.negated) out += "not ";
    out += m.concept_id;
    if (!m.side.empty()) out += " " + m.side;
    if (!m.distance.empty()) out += " " + m.distance;
  }
  return out + " -> " + parsed.decision.value_or("none");
}

struct Case {
  std::string text;
  std::string reading;
};

// Read by hand.
const std::vector<Case> kBoth = {
    {"pedestrian left near and red light right far so brake",
     "pedestrian left near, red_light right far -> brake"},
    {"clear so keep", " -> keep"},
    {"The road is clear, so keep lane.", " -> keep"},
    // the same word as concept and verb
    {"brake ahead near so brake", "lead_braking ahead near -> brake"},
    {"brake lights ahead so slow down", "lead_braking ahead -> slow"},
    {"stop right far so keep", "stop_sign right far -> keep"},
    {"brake since stop sign near", "stop_sign near -> brake"},
    {"brake since brake ahead", "lead_braking ahead -> brake"},
    {"pedestrian near so stop", "pedestrian near -> stop"},
    {"brake", " -> brake"},
    {"brake ahead near", "lead_braking ahead near -> none"},
    // a side and a decision with a side
    {"cyclist right near so steer left", "cyclist right near -> steer_left"},
    {"Nudge left because of the cyclist on the right", "cyclist right -> steer_left"},
    // the other order
    {"Brake hard because a pedestrian is crossing from the left.", "pedestrian left -> brake"},
    {"Slow down due to red light and brake lights", "red_light, lead_braking -> slow"},
    {"stop for the person ahead", "pedestrian ahead -> stop"},
    // negation
    {"no pedestrian and red light near so brake", "not pedestrian, red_light near -> brake"},
    {"no pedestrian or cyclist so keep", "not pedestrian, not cyclist -> keep"},
    {"There is no pedestrian, a cyclist near, so slow", "not pedestrian, cyclist near -> slow"},
    {"pedestrian is not present and stop sign is near so stop",
     "not pedestrian, stop_sign near -> stop"},
    {"keep lane since pedestrian is absent", "not pedestrian -> keep"},
    {"neither pedestrian nor cyclist so keep", "not pedestrian, not cyclist -> keep"},
    {"RED LIGHT AHEAD SO STOP", "red_light ahead -> stop"},
    {"near pedestrian on the left side so I must brake now", "pedestrian left near -> brake"},
    {"pedestrian, cyclist and red light so brake", "pedestrian, cyclist, red_light -> brake"},
    // a denial of a list
    {"no pedestrian, cyclist or red light so keep",
     "not pedestrian, not cyclist, not red_light -> keep"},
    {"neither pedestrian, cyclist nor stop sign so keep",
     "not pedestrian, not cyclist, not stop_sign -> keep"},
    {"red light near, no pedestrian, cyclist or stop sign so brake",
     "red_light near, not pedestrian, not cyclist, not stop_sign -> brake"},
    {"pedestrian and no cyclist or stop sign so brake",
     "pedestrian, not cyclist, not stop_sign -> brake"},
    // a denial of a place is none of the presence
    {"The pedestrian is not in our path, so keep", "pedestrian -> keep"},
    {"pedestrian not near so slow", "pedestrian -> slow"},
    {"not near pedestrian so slow", "pedestrian -> slow"},
    {"no near pedestrian so keep", "not pedestrian near -> keep"},
    {"pedestrian left not far so brake", "pedestrian left -> brake"},
    {"The pedestrian is not crossing so keep", "pedestrian -> keep"},
    {"cyclist is not there so keep", "not cyclist -> keep"},
    {"cyclist is not absent so slow", "cyclist -> slow"},
    // other words that deny
    {"I cannot see a pedestrian so keep", "not pedestrian -> keep"},
    {"There aren't any pedestrians so keep", "not pedestrian -> keep"},
    {"There isn\xE2\x80\x99t a cyclist so keep", "not cyclist -> keep"},
    {"The road is clear of pedestrians so keep", "not pedestrian -> keep"},
    // blanks and full stops
    {"red   light  near so brake", "red_light near -> brake"},
    {"Pedestrian near. Brake hard now.", "pedestrian near -> brake"},
    {"brake lights ahead near so brake", "lead_braking ahead near -> brake"},
    {"brake because of brake lights", "lead_braking -> brake"},
};

TEST(CotParsers, ReadWhatWasReadByHand) {
  const GrammarParser grammar(vocabulary());
  const LexiconParser lexicon(vocabulary());
  for (const Case& c : kBoth) {
    EXPECT_EQ(shown(grammar.parse({c.text})[0]), c.reading) << c.text;
    EXPECT_EQ(shown(lexicon.parse({c.text})[0]), c.reading) << c.text;
  }
}

TEST(CotParsers, TheGrammarSaysWhatItDoesNotUnderstand) {
  const GrammarParser grammar(vocabulary());
  const LexiconParser lexicon(vocabulary());
  const auto problem = [&](const std::string& text) { return grammar.parse({text})[0].problem; };
  EXPECT_EQ(problem("pedestrian wobbling near so brake"),
            "'wobbling' at byte 11 is unknown or out of place");
  EXPECT_EQ(problem("pedestrian near so"), "the sentence ends too early");
  EXPECT_EQ(problem(""), "the text is empty");
  EXPECT_NE(problem("pedestrian cyclist so brake"), "");
  EXPECT_NE(problem("so brake"), "");
  // the lexicon reads on
  EXPECT_EQ(shown(lexicon.parse({"pedestrian wobbling near so brake"})[0]),
            "pedestrian near -> brake");
  EXPECT_EQ(shown(lexicon.parse({"pedestrian near so do not brake"})[0]),
            "pedestrian near -> none");
  EXPECT_EQ(shown(lexicon.parse({""})[0]), " -> none");
  // a denied decision does not deny the next; the last link is the one that leads to it
  EXPECT_EQ(shown(lexicon.parse({"pedestrian near so do not keep, brake"})[0]),
            "pedestrian near -> brake");
  EXPECT_EQ(shown(lexicon.parse({"pedestrian so near, we should brake"})[0]),
            "pedestrian -> brake");
  EXPECT_EQ(shown(lexicon.parse({"cyclist so near so slow down"})[0]), "cyclist near -> slow");
  EXPECT_EQ(shown(lexicon.parse({"pedestrian wobbling near, slow down"})[0]),
            "pedestrian near -> slow");
  EXPECT_EQ(shown(lexicon.parse({"so many brake lights"})[0]), "lead_braking -> none");
  // a place without a mark is of the concept before it
  EXPECT_EQ(shown(lexicon.parse({"pedestrian left cyclist right so slow"})[0]),
            "pedestrian left, cyclist right -> slow");
  EXPECT_EQ(shown(lexicon.parse({"a pedestrian-free road so keep"})[0]), "not pedestrian -> keep");
  // words inside of words are none
  EXPECT_EQ(shown(lexicon.parse({"infrared brakes, unstoppable"})[0]), " -> none");
}

TEST(CotParsers, TellWhereTheWordsStand) {
  const std::string text = "Brake ahead near, so brake hard now";
  for (const CotParser* parser : std::initializer_list<const CotParser*>{
           new GrammarParser(vocabulary()), new LexiconParser(vocabulary())}) {
    const std::unique_ptr<const CotParser> owned(parser);
    const ParsedCot parsed = parser->parse({text})[0];
    ASSERT_EQ(parsed.mentions.size(), 1U);
    EXPECT_EQ(
        text.substr(parsed.mentions[0].begin, parsed.mentions[0].end - parsed.mentions[0].begin),
        "Brake");
    EXPECT_EQ(parsed.mentions[0].begin, 0U);
    EXPECT_EQ(text.substr(parsed.decision_begin, parsed.decision_end - parsed.decision_begin),
              "brake hard");
  }
}

TEST(CotParsers, NegatedIsNotStated) {
  const ParsedCot parsed = LexiconParser(vocabulary()).parse({"no pedestrian and red light"})[0];
  EXPECT_FALSE(parsed.states("pedestrian"));
  EXPECT_TRUE(parsed.states("red_light"));
  EXPECT_FALSE(parsed.states("cyclist"));
}

// Sentences of the grammar whose meaning is known because they were written from it.
TEST(CotParsers, AgreeOnEverySentenceOfTheGrammar) {
  const CotVocabulary words = vocabulary();
  const CounterRandom random(3, "sentences");
  std::vector<std::string> texts;
  std::vector<std::vector<bool>> said;
  std::vector<std::string> readings;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    std::uint32_t draw = 0;
    const auto below = [&](std::size_t n) {
      return random.below(static_cast<std::uint32_t>(n), i, 0, draw++);
    };
    const auto phrase = [&](const CotTerm& term) {
      return term.phrases[below(term.phrases.size())];
    };
    std::string reasons, reading;
    std::vector<bool> present(words.concepts.size());
    // "no a, b or c", or each reason with its own "no"
    const bool list = below(5) == 0;
    const std::size_t first = below(words.concepts.size());
    const std::uint32_t count = below(4);
    for (std::size_t j = 0; j < count; ++j) {
      const std::size_t c = (first + j) % words.concepts.size();
      const bool negated = list || below(4) == 0;
      if (j > 0) {
        reasons += list ? (j + 1 == count ? " or " : ", ") : (below(3) == 0 ? ", " : " and ");
        reading += ", ";
      }
      if (negated && (!list || j == 0)) reasons += "no ";
      reasons += phrase(words.concepts[c]);
      reading += (negated ? "not " : "") + words.concepts[c].id;
      for (const auto* terms : {&words.sides, &words.distances}) {
        if (below(2) == 0) continue;
        const CotTerm& term = (*terms)[below(terms->size())];
        reasons += " " + phrase(term);
        reading += " " + term.id;
      }
      present[c] = !negated;
    }
    if (count == 0) reasons = "clear";
    const CotTerm& decision = words.decisions[below(words.decisions.size())];
    texts.push_back(below(3) == 0 ? phrase(decision) + " because " + reasons
                                  : reasons + " so " + phrase(decision));
    said.push_back(present);
    readings.push_back(reading + " -> " + decision.id);
  }
  const std::vector<ParsedCot> grammar = GrammarParser(words).parse(texts);
  const std::vector<ParsedCot> lexicon = LexiconParser(words).parse(texts);
  for (const auto* parsed : {&grammar, &lexicon}) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      ASSERT_TRUE((*parsed)[i].understood()) << texts[i] << ": " << (*parsed)[i].problem;
      ASSERT_EQ(shown((*parsed)[i]), readings[i]) << texts[i];
      for (std::size_t c = 0; c < words.concepts.size(); ++c) {
        ASSERT_EQ((*parsed)[i].states(words.concepts[c].id), said[i][c]) << texts[i];
      }
    }
  }
  const ParserAgreement agreement = parser_agreement(grammar, lexicon, words);
  EXPECT_EQ(agreement.understood_by_both, 4000);
  EXPECT_EQ(agreement.concept_share(), 1);
  EXPECT_EQ(agreement.decision_share(), 1);
  EXPECT_TRUE(agreement.differing.empty());
}

TEST(ParserAgreement, CountsByHand) {
  const auto reading = [](std::vector<std::string> concepts, std::optional<std::string> decision) {
    ParsedCot out = {.decision = std::move(decision)};
    for (std::string& c : concepts) out.mentions.push_back({.concept_id = std::move(c)});
    return out;
  };
  const std::vector<ParsedCot> first = {reading({"a"}, "x"), reading({"a", "b"}, "x"),
                                        reading({}, std::nullopt), ParsedCot{.problem = "?"}};
  const std::vector<ParsedCot> second = {reading({"a"}, "x"), reading({"b"}, "y"),
                                         reading({"b"}, std::nullopt), reading({"a"}, "x")};
  const CotVocabulary words = {.concepts = {{"a", {"an a"}}, {"b", {"a b"}}}};
  const ParserAgreement agreement = parser_agreement(first, second, words);
  EXPECT_EQ(agreement.texts, 4);
  EXPECT_EQ(agreement.understood_by_first, 3);
  EXPECT_EQ(agreement.understood_by_second, 4);
  EXPECT_EQ(agreement.understood_by_both, 3);
  EXPECT_EQ(agreement.concepts[0].both, 1);
  EXPECT_EQ(agreement.concepts[0].first_only, 1);
  EXPECT_EQ(agreement.concepts[0].neither, 1);
  EXPECT_EQ(agreement.concepts[1].second_only, 1);
  EXPECT_DOUBLE_EQ(agreement.concept_share(), 4.0 / 6);
  EXPECT_DOUBLE_EQ(agreement.decision_share(), 2.0 / 3);
  EXPECT_EQ(agreement.differing, (std::vector<std::int64_t>{1, 2}));
  EXPECT_NE(
      message_of<InvalidArgument>([&] { parser_agreement(first, {}, words); }).find("4 and 0"),
      std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              parser_agreement(first, second, {.concepts = {{"a", {"an a"}}}});
            }).find("got the concept 'b' that it lacks"),
            std::string::npos);
}

TEST(CotVocabulary, RefusesAmbiguousWords) {
  const auto refusal = [](const auto& change) {
    CotVocabulary words = vocabulary();
    change(words);
    return message_of<InvalidArgument>([&] { GrammarParser parser(words); });
  };
  EXPECT_EQ(refusal([](CotVocabulary&) {}), "");
  EXPECT_NE(refusal([](CotVocabulary& w) {
              w.concepts[1].phrases.emplace_back("cyclist");
            }).find("one meaning a phrase among the concepts, got 'cyclist' twice"),
            std::string::npos);
  EXPECT_NE(refusal([](CotVocabulary& w) {
              w.sides[0].phrases = {"Left"};
            }).find("lower-case words among the sides, got 'Left' for 'left'"),
            std::string::npos);
  EXPECT_NE(refusal([](CotVocabulary& w) {
              w.decisions.push_back({"brake", {"b"}});
            }).find("ids of their own among the decisions, got 'brake' twice"),
            std::string::npos);
  EXPECT_NE(refusal([](CotVocabulary& w) { w.distances[0].phrases.clear(); }).find("got none"),
            std::string::npos);
  EXPECT_NE(refusal([](CotVocabulary& w) {
              w.concepts[4].phrases = {"and bicycle"};
            }).find("begins with a word that joins reasons, got 'and bicycle' for 'cyclist'"),
            std::string::npos);
  EXPECT_NE(refusal([](CotVocabulary& w) { w.concepts.clear(); }).find("at least one concept"),
            std::string::npos);
}

}  // namespace
}  // namespace tierod::vla
