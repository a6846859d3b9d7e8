// Spans, ragged and equal, and the reductions mean, last_token and moments against plain loops.

#include <ATen/ops/cat.h>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

// Spans of different lengths in different rows; the last row has two of one length elsewhere.
const SpanTable kRagged = {{{"word", 0, 2}}, {{"word", 1, 2}}, {{"word", 2, 6}}, {{"word", 5, 6}}};
const SpanTable kShifted = {{{"word", 0, 2}}, {{"word", 1, 3}}, {{"word", 4, 6}}, {{"word", 3, 5}}};
const SpanTable kShared = {{{"word", 1, 4}, {"other", 5, 6}}};

class ReduceTest : public HookTest {
 protected:
  static constexpr const char* kSite = "layers.1.resid_post";

  ActivationCache capture(const SpanTable& spans, CaptureOptions options) {
    options.selection.tokens = Tokens::spans({"word"});
    Session session(model_.site_table());
    session.set_spans(spans);
    session.capture(kSite, options);
    session.run([&] { model_.forward(tokens_); });
    return session.cache();
  }
  const Span& span(const SpanTable& spans, std::int64_t row) {
    return spans[spans.size() == 1 ? 0 : static_cast<std::size_t>(row)].front();
  }
  double tolerance() const { return dtype() == at::kFloat ? 1e-5 : 0.03; }
  ActivationCache clean_cache_ = capture_all(tokens_);
  at::Tensor whole_ = clean_cache_.at(kSite);
};

TEST_P(ReduceTest, EqualSpansGiveARectangle) {
  for (const SpanTable& spans : {kShifted, kShared}) {
    const at::Tensor got = capture(spans, {}).at(kSite);
    const std::int64_t n = spans[0][0].end - spans[0][0].begin;
    ASSERT_EQ(got.sizes(), at::IntArrayRef({kRows, n, kWidth}));
    for (std::int64_t r = 0; r < kRows; ++r) {
      EXPECT_TRUE(
          same_bits(got.select(0, r), whole_.select(0, r).narrow(0, span(spans, r).begin, n)));
    }
  }
}

TEST_P(ReduceTest, RaggedSpansNeedAReduction) {
  EXPECT_HAS(message_of<InvalidArgument>([&] { capture(kRagged, {}); }), kSite);
}

TEST_P(ReduceTest, MeanAndLastTokenOfEachRowsSpan) {
  for (const SpanTable& spans : {kRagged, kShifted, kShared}) {
    const at::Tensor mean = capture(spans, {.reduce = Reduce::mean}).at(kSite);
    const at::Tensor last = capture(spans, {.reduce = Reduce::last_token}).at(kSite);
    ASSERT_EQ(mean.sizes(), at::IntArrayRef({kRows, kWidth}));
    for (std::int64_t r = 0; r < kRows; ++r) {
      const Span& s = span(spans, r);
      EXPECT_TRUE(same_bits(last.select(0, r), whole_.select(0, r).select(0, s.end - 1)));
      for (std::int64_t j = 0; j < kWidth; ++j) {
        double sum = 0;
        for (std::int64_t t = s.begin; t < s.end; ++t) sum += value_at(whole_, {r, t, j});
        EXPECT_NEAR(value_at(mean, {r, j}), sum / static_cast<double>(s.end - s.begin),
                    tolerance());
      }
    }
  }
}

TEST_P(ReduceTest, MomentsOfTheSelectedPart) {
  for (const SpanTable& spans : {kRagged, kShared}) {
    Session session(model_.site_table());
    session.set_spans(spans);
    session.capture(
        kSite, {.selection = {.tokens = Tokens::spans({"word"})}, .reduce = Reduce::covariance});
    session.run([&] {
      model_.forward(tokens_);
      model_.forward(tokens_);
    });
    EXPECT_EQ(session.cache().size(), 0U);  // no row is kept
    std::vector<at::Tensor> rows;
    for (int run = 0; run < 2; ++run) {
      for (std::int64_t r = 0; r < kRows; ++r) {
        const Span& s = span(spans, r);
        rows.push_back(whole_.select(0, r).narrow(0, s.begin, s.end - s.begin));
      }
    }
    const at::Tensor x = at::cat(rows).to(at::kDouble);
    const Moments m = session.moments(kSite);
    ASSERT_EQ(m.count(), x.size(0));
    const auto n = static_cast<double>(x.size(0));
    const at::Tensor covariance = m.covariance();
    for (std::int64_t i = 0; i < kWidth; ++i) {
      for (std::int64_t j = 0; j < kWidth; ++j) {
        double mi = 0, mj = 0, sum = 0;
        for (std::int64_t t = 0; t < x.size(0); ++t) {
          mi += value_at(x, {t, i}) / n;
          mj += value_at(x, {t, j}) / n;
        }
        for (std::int64_t t = 0; t < x.size(0); ++t) {
          sum += (value_at(x, {t, i}) - mi) * (value_at(x, {t, j}) - mj);
        }
        EXPECT_NEAR(value_at(covariance, {i, j}), sum / (n - 1), 1e-9);
      }
      if (i == 2) break;  // three rows of the matrix are enough for the loops
    }
  }
}

TEST_P(ReduceTest, EditsOfRaggedSpansTouchTheirTokensAlone) {
  Session session(model_.site_table());
  session.set_spans(kRagged);
  session.intervene(kSite, Intervention::zero(),
                    {.selection = {.tokens = Tokens::spans({"word"})}});
  session.capture(kSite);
  session.run([&] { model_.forward(tokens_); });
  const at::Tensor got = session.cache().at(kSite);
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t t = 0; t < kTokens; ++t) {
      const at::Tensor part = got.select(0, r).select(0, t);
      const Span& s = span(kRagged, r);
      if (t >= s.begin && t < s.end) {
        EXPECT_TRUE(part.eq(0).all().item<bool>());
      } else {
        EXPECT_TRUE(same_bits(part, whole_.select(0, r).select(0, t)));
      }
    }
  }
}

TEST_P(ReduceTest, ConvertsTheDtype) {
  const at::Tensor got = capture(kShared, {.dtype = at::kDouble}).at(kSite);
  EXPECT_EQ(got.scalar_type(), at::kDouble);
  EXPECT_TRUE(same_bits(got, whole_.narrow(1, 1, 3).to(at::kDouble)));
}

TEST_P(ReduceTest, BadSpansAreRefused) {
  Session session;
  EXPECT_THROW(session.set_spans({{{"a", 2, 2}}}), InvalidArgument);
  EXPECT_THROW(session.set_spans({{{"a", -1, 2}}}), InvalidArgument);
  EXPECT_THROW(session.set_spans({{{"", 0, 2}}}), InvalidArgument);
  EXPECT_THROW(session.set_spans({{{"a", 0, 2}, {"a", 3, 4}}}), InvalidArgument);
  EXPECT_HAS(message_of<InvalidArgument>([&] { capture({kRagged[0], kRagged[1]}, {}); }), "2 rows");
  EXPECT_HAS(message_of<InvalidArgument>([&] { capture({{{"else", 0, 1}}}, {}); }), "word");
  EXPECT_HAS(message_of<StateError>([&] { capture({}, {}); }), "set_spans");
}

INSTANTIATE_DTYPES(ReduceTest);

}  // namespace
}  // namespace tierod::testing
