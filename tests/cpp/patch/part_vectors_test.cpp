#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "message_of.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/scope.h"
#include "tierod/patch/edit.h"

// Edits at keys and values, whose heads and spans differ from row to row, against naive loops.
namespace tierod::patch {
namespace {

constexpr std::int64_t kRows = 3, kHeads = 2, kTokens = 6, kHeadWidth = 4;

at::Tensor normals(std::vector<std::int64_t> shape, std::uint64_t seed) {
  at::Tensor out = at::empty(shape, at::kDouble);
  const CounterRandom random(seed, "test");
  auto* value = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    value[i] = random.normal(static_cast<std::uint64_t>(i), 0, 0);
  }
  return out;
}

probe::Direction direction(std::int64_t width, std::uint64_t seed) {
  const at::Tensor read = normals({width}, seed), write = read + normals({width}, seed + 1) * 0.1;
  return {"", read, write, normals({width}, seed + 2) * 0.1, 0.7, -0.4, 0.6};
}

// words of different lengths in every row
const SpanTable kSpans = {{{"cot", 1, 3}}, {{"cot", 2, 6}}, {{"cot", 0, 1}}};

EditRows rows_of(const SpanTable& spans) {
  return {.scenes = {10, 11, 12}, .numbers = {0, 1, 2}, .spans = spans};
}

at::Tensor edited(const Edit& edit, const Site& site, const at::Tensor& x,
                  const SpanTable& spans = kSpans) {
  Session session;
  session.set_spans(spans);
  edit.put_on(session, rows_of(spans));
  at::Tensor out;
  session.run([&] {
    const PhaseScope phase(Phase::head, -1, 0);
    out = hook_point(x, site);
  });
  return out;
}

// Where a layout has the entry (row, head, token, k).
double& at_entry(at::Tensor& x, bool heads_first, std::int64_t row, std::int64_t head,
                 std::int64_t token, std::int64_t k) {
  const std::int64_t second = heads_first ? head : token, third = heads_first ? token : head;
  return x.mutable_data_ptr<
      double>()[((row * x.size(1) + second) * x.size(2) + third) * kHeadWidth + k];
}

// h + w (t - r'(h - mean)) for each token of the span, heads side by side or each for itself, or
// with the mean over the tokens read.
at::Tensor by_loops(at::Tensor x, bool heads_first, const probe::Direction& d,
                    const std::vector<std::uint8_t>& to_high, bool pooled) {
  const at::Tensor read = d.read(), write = d.write(), mean = d.mean();
  const auto* r = read.const_data_ptr<double>();
  const auto* w = write.const_data_ptr<double>();
  const auto* mu = mean.const_data_ptr<double>();
  const bool side_by_side = d.width() == kHeads * kHeadWidth;
  const std::int64_t groups = side_by_side ? 1 : kHeads, heads = side_by_side ? kHeads : 1;
  const at::Tensor before = x.clone();
  at::Tensor from = before;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const Span& span = kSpans[static_cast<std::size_t>(row)][0];
    const double target = to_high[static_cast<std::size_t>(row)] != 0 ? d.high() : d.low();
    const auto position = [&](std::int64_t group, std::int64_t token) {
      double out = 0;
      for (std::int64_t j = 0; j < d.width(); ++j) {
        const double h =
            at_entry(from, heads_first, row, group + j / kHeadWidth, token, j % kHeadWidth);
        out += r[j] * (h - mu[j]);
      }
      return out;
    };
    double shared = 0;
    for (std::int64_t group = 0; group < groups; ++group) {
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        shared += position(group, t) / static_cast<double>((span.end - span.begin) * groups);
      }
    }
    for (std::int64_t group = 0; group < groups; ++group) {
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        const double a = target - (pooled ? shared : position(group, t));
        for (std::int64_t j = 0; j < heads * kHeadWidth; ++j) {
          at_entry(x, heads_first, row, group + j / kHeadWidth, t, j % kHeadWidth) += a * w[j];
        }
      }
    }
  }
  return x;
}

TEST(PartVectors, SwapAtSpansOfDifferentLengthsIsWhatLoopsDo) {
  const std::vector<std::uint8_t> to_high = {1, 0, 1};
  for (const bool heads_first : {true, false}) {
    const Site site(heads_first ? "vlm.cache.0.k" : "vlm.layers.0.k",
                    heads_first ? "rhtd" : "rthd");
    const at::Tensor x = heads_first ? normals({kRows, kHeads, kTokens, kHeadWidth}, 1)
                                     : normals({kRows, kTokens, kHeads, kHeadWidth}, 1);
    for (const std::int64_t width : {kHeadWidth, kHeads * kHeadWidth}) {
      const probe::Direction d = direction(width, 5);
      for (const Over over : {Over::each, Over::pooled}) {
        const DirectionEdit edit =
            DirectionEdit::swap({{.site = site.name(),
                                  .direction = d,
                                  .selection = {.tokens = Tokens::spans({"cot"})},
                                  .over = over}},
                                to_high);
        const at::Tensor due = by_loops(x.clone(), heads_first, d, to_high, over == Over::pooled);
        const at::Tensor got = edited(edit, site, x);
        EXPECT_LT((got - due).abs().max().item<double>(), 1e-12)
            << heads_first << ' ' << width << ' ' << over_name(over);
        // what is not selected keeps every bit
        EXPECT_TRUE(got.masked_select(due.eq(x)).equal(x.masked_select(due.eq(x))));
        EXPECT_GT((got - x).abs().max().item<double>(), 0.1);
      }
    }
  }
}

TEST(PartVectors, OneHeadOfTwo) {
  const Site site("vlm.cache.0.k", "rhtd");
  const at::Tensor x = normals({kRows, kHeads, kTokens, kHeadWidth}, 1);
  const probe::Direction d = direction(kHeadWidth, 5);
  const DirectionEdit edit = DirectionEdit::ablate(
      {{.site = site.name(),
        .direction = d,
        .selection = {.tokens = Tokens::spans({"cot"}), .heads = std::vector<std::int64_t>{1}}}});
  const at::Tensor got = edited(edit, site, x);
  EXPECT_TRUE(got.select(1, 0).equal(x.select(1, 0)));
  for (std::int64_t row = 0; row < kRows; ++row) {
    const Span& span = kSpans[static_cast<std::size_t>(row)][0];
    const at::Tensor rows = x[row][1].narrow(0, span.begin, span.end - span.begin);
    EXPECT_TRUE(got[row][1].narrow(0, span.begin, span.end - span.begin).allclose(d.ablate(rows)));
  }
}

TEST(PartVectors, SomeRowsOfABatch) {
  const Site site("vlm.image_embeds", "rtw");
  const at::Tensor x = normals({kRows, kTokens, kHeadWidth}, 1);
  const probe::Direction d = direction(kHeadWidth, 5);
  const at::Tensor targets = at::arange(3, at::kDouble).unsqueeze(0);
  const DirectionEdit edit =
      DirectionEdit::to({{.site = site.name(),
                          .direction = d,
                          .selection = {.rows = std::vector<std::int64_t>{-1, 0}}}},
                        targets);
  const at::Tensor got = edited(edit, site, x, {});
  EXPECT_TRUE(got[1].equal(x[1]));
  // each row goes to its own target, whatever the order of the selection
  EXPECT_LT((d.position(got[0]) - 0).abs().max().item<double>(), 1e-10);
  EXPECT_LT((d.position(got[2]) - 2).abs().max().item<double>(), 1e-10);
}

TEST(PartVectors, RefuseWhatDoesNotFit) {
  const Site site("vlm.cache.0.k", "rhtd");
  const at::Tensor x = normals({kRows, kHeads, kTokens, kHeadWidth}, 1);
  const auto refused = [&](std::int64_t width, Over over) {
    const DirectionEdit edit =
        DirectionEdit::ablate({{.site = site.name(),
                                .direction = direction(width, 5),
                                .selection = {.tokens = Tokens::spans({"cot"})},
                                .over = over}});
    return message_of<InvalidArgument>([&] { edited(edit, site, x); });
  };
  EXPECT_NE(refused(5, Over::each).find("expected a part of width 5 for 3 rows, each token"),
            std::string::npos);
  EXPECT_NE(refused(16, Over::concatenated).find("rows with different numbers of tokens"),
            std::string::npos);
  EXPECT_THROW(DirectionEdit::to({{.site = "s", .direction = direction(4, 1)}}, at::zeros({2, 3})),
               InvalidArgument);
  EXPECT_THROW(DirectionEdit::to({{.site = "s", .direction = direction(4, 1)}},
                                 at::zeros({1, 3}) / at::zeros({1, 3})),
               NumericalError);
}

}  // namespace
}  // namespace tierod::patch
