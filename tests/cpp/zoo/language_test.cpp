#include "tierod/zoo/language.h"

#include <gtest/gtest.h>

#include <set>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/zoo/spec.h"

namespace tierod::zoo {
namespace {

Statements example() {
  Statements out{};
  out[0] = {.said = true, .side = Side::left, .near = true};
  out[1] = {.said = true, .side = Side::right, .near = false};
  return out;
}

constexpr std::array<std::uint8_t, kConcepts> kOrder = {0, 1, 2, 3, 4, 5, 6, 7};

TEST(Language, SaysWhatAPersonReads) {
  EXPECT_EQ(decode_cot(write_cot(example(), kOrder)),
            "pedestrian left near and red light right far so brake");
  constexpr std::array<std::uint8_t, kConcepts> other = {7, 1, 2, 0, 4, 5, 6, 3};
  EXPECT_EQ(decode_cot(write_cot(example(), other)),
            "red light right far and pedestrian left near so brake");
  EXPECT_EQ(decode_cot(write_cot({}, kOrder)), "clear so keep");
  Statements cones{};
  cones[5] = {.said = true, .side = Side::right, .near = true};
  EXPECT_EQ(decode_cot(write_cot(cones, kOrder)), "cones right near so steer left");
}

TEST(Language, WordsAndTokensAreOneToOne) {
  const auto& tokens = language_tokens();
  EXPECT_EQ(encode_cot("pedestrian left near and red light right far so brake <act>"),
            write_cot(example(), kOrder));
  EXPECT_EQ(tokens[static_cast<std::size_t>(navigation_token(Navigation::keep_right))],
            "<keep right>");
  EXPECT_EQ(tokens.size(), static_cast<std::size_t>(navigation_token(Navigation::keep_right)) + 1);
  std::set<std::int64_t> framing;
  for (std::int64_t f = 0; f < kFramings; ++f) {
    for (const std::int64_t token : framing_tokens(f)) framing.insert(token);
  }
  EXPECT_EQ(framing.size(), 12U);
}

TEST(Language, UnknownWordsAreNamed) {
  EXPECT_NE(message_of<InvalidArgument>([] {
              encode_cot("pedestrian left nearby so brake");
            }).find("got 'nearby' at byte 16; nearest [near"),
            std::string::npos);
  EXPECT_NE(message_of<InvalidArgument>([] { encode_cot("red lights"); }).find("got 'red'"),
            std::string::npos);
  const std::vector<std::int64_t> wrong = {3, 99};
  EXPECT_NE(message_of<OutOfRange>([&] { decode_cot(wrong); }).find("got 99"), std::string::npos);
  EXPECT_NE(message_of<OutOfRange>([] { framing_tokens(4); }).find("got 4"), std::string::npos);
}

TEST(Language, WhatIsWrittenIsRead) {
  const CounterRandom random(9, "statements");
  const vla::GrammarParser grammar(cot_vocabulary());
  const vla::LexiconParser lexicon(cot_vocabulary());
  std::vector<std::string> texts;
  std::vector<Statements> written;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    Statements statements{};
    for (std::uint32_t c = 0; c < kConcepts; ++c) {
      const auto bits = random.bits(i, 0, c);
      if (bits % 3 != 0) continue;
      statements[c] = {
          .said = true, .side = static_cast<Side>(bits / 3 % 3), .near = (bits >> 20) % 2 == 0};
    }
    const auto order = statement_order(4, static_cast<std::int64_t>(i), 0);
    EXPECT_EQ(std::set<std::uint8_t>(order.begin(), order.end()).size(), kConcepts);
    const std::vector<std::int64_t> tokens = write_cot(statements, order);
    ASSERT_LE(static_cast<std::int64_t>(tokens.size()), kMaxCot);
    ASSERT_EQ(read_cot(tokens), statements);
    ASSERT_EQ(read_decision(tokens), decision_of(statements));
    ASSERT_EQ(encode_cot(decode_cot(tokens) + " <act>"), tokens);
    texts.push_back(decode_cot(tokens));
    written.push_back(statements);
  }
  // and both parsers of the vla room read the same, from the text alone
  const auto first = grammar.parse(texts);
  const auto second = lexicon.parse(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (const auto* parsed : {&first[i], &second[i]}) {
      ASSERT_TRUE(parsed->understood()) << texts[i] << ": " << parsed->problem;
      ASSERT_EQ(parsed->decision, decision_name(decision_of(written[i]))) << texts[i];
      Statements seen{};
      for (const vla::CotMention& mention : parsed->mentions) {
        Statement& s = seen[feature_index(mention.concept_id, "test")];
        s.said = !mention.negated;
        s.near = mention.distance == "near";
        s.side = mention.side == "left"    ? Side::left
                 : mention.side == "right" ? Side::right
                                           : Side::ahead;
      }
      ASSERT_EQ(seen, written[i]) << texts[i];
    }
  }
  const auto agreement = vla::parser_agreement(first, second, cot_vocabulary());
  EXPECT_EQ(agreement.understood_by_both, 3000);
  EXPECT_EQ(agreement.concept_share(), 1);
  EXPECT_EQ(agreement.decision_share(), 1);
}

TEST(Language, ReadsWhatAModelMayWriteBadly) {
  const auto read = [](std::string_view text) { return read_cot(encode_cot(text)); };
  EXPECT_TRUE(read("pedestrian so brake")[0].said);
  EXPECT_FALSE(read("pedestrian so brake")[0].near);
  EXPECT_TRUE(read("pedestrian near and pedestrian far so brake")[0].near);
  EXPECT_FALSE(read("clear so brake cones")[5].said) << "after 'so' there are no reasons";
  EXPECT_EQ(read_decision(encode_cot("slow pedestrian")), std::nullopt);
  // padding of other rows
  std::vector<std::int64_t> padded = encode_cot("cones near so slow <act>");
  padded.insert(padded.end(), {-1, -1});
  EXPECT_TRUE(read_cot(padded)[5].near);
  EXPECT_EQ(decode_cot(padded), "cones near so slow");
}

}  // namespace
}  // namespace tierod::zoo
