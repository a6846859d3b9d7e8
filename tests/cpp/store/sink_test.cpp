#include "tierod/store/sink.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "store/fixture.h"
#include "tierod/store/labels.h"
#include "tierod/store/moments_sink.h"

namespace tierod::testing {
namespace {

class SinkTest : public StoreTest {
 protected:
  TinyTransformer model_ = make_model(at::kFloat);
  std::shared_ptr<ActivationWriter> writer_;
  std::shared_ptr<StoreSink> sink_;

  void open(std::vector<SinkRule> rules = {}) {
    writer_ = ActivationWriter::open(store_, {});
    sink_ = std::make_shared<StoreSink>(writer_, std::move(rules));
  }
};

TEST_F(SinkTest, WhatASessionCapturesIsInTheStoreAndTheCacheStaysEmpty) {
  open();
  Session session(model_.site_table());
  session.capture("**.resid_post", {.sink = sink_});
  std::vector<ActivationCache> caches;
  at::Tensor all_tokens;
  for (std::uint64_t batch = 0; batch < 3; ++batch) {
    const at::Tensor tokens = make_tokens(batch);
    Session plain(model_.site_table());
    plain.capture("**.resid_post");
    plain.run([&] { model_.forward(tokens); });
    caches.push_back(plain.cache());
    const auto first = static_cast<std::int64_t>(10 * batch);
    sink_->begin_batch({.samples = {first, first + 1, first + 2, first + 3},
                        .groups = {1, 1, 2, 2},
                        .token_ids = tokens});
    session.run([&] { model_.forward(tokens); });
    EXPECT_TRUE(session.cache().empty());
    all_tokens = all_tokens.defined() ? at::cat({all_tokens, tokens}) : tokens;
  }
  writer_->close();

  const ActivationReader reader = ActivationReader::open(store_);
  const std::string stream = reader.streams().at(0).name;
  EXPECT_EQ(reader.row_count(stream), 3 * kRows * kTokens);
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    const std::string site = site_alias("resid_post", layer);
    std::vector<at::Tensor> parts;
    for (const ActivationCache& cache : caches)
      parts.push_back(cache.at(site).reshape({-1, kWidth}));
    EXPECT_TRUE(same_bits(reader.read(stream, site), at::cat(parts))) << site;
  }
  const at::Tensor samples = reader.column(stream, RowColumn::sample);
  const at::Tensor token_index = reader.column(stream, RowColumn::token_index);
  const at::Tensor row = reader.column(stream, RowColumn::row);
  const at::Tensor position = reader.column(stream, RowColumn::position_id);
  for (std::int64_t i = 0; i < 3 * kRows * kTokens; ++i) {
    EXPECT_EQ(value_at(samples, {i}), 10 * (i / (kRows * kTokens)) + i / kTokens % kRows);
    EXPECT_EQ(value_at(row, {i}), i / kTokens % kRows);
    EXPECT_EQ(value_at(token_index, {i}), i % kTokens);
    EXPECT_EQ(value_at(position, {i}), i % kTokens);
  }
  EXPECT_TRUE(reader.column(stream, RowColumn::token_id).equal(all_tokens.flatten()));
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(SinkTest, SelectionsAndReductionsSayWhichTokensTheRowsAre) {
  const Site site("layers.0.resid_post", "rtw");
  const at::Tensor x = normal({3, 5, 8}, 1);
  struct Case {
    CaptureOptions options;
    at::Tensor want;
    std::vector<std::int64_t> rows, tokens;
  };
  const SpanTable spans = {{{"w", 1, 3}}, {{"w", 2, 5}}, {{"w", 0, 1}}};
  const auto at_token = [&](std::int64_t r, std::int64_t t) { return x.select(0, r).select(0, t); };
  const std::vector<Case> cases = {
      {{.selection = {.tokens = Tokens::last()}}, x.select(1, 4), {0, 1, 2}, {4, 4, 4}},
      {{.selection = {.rows = {{2, 0}}, .tokens = Tokens::index({1, 3})}},
       at::stack({at_token(2, 1), at_token(2, 3), at_token(0, 1), at_token(0, 3)}),
       {2, 2, 0, 0},
       {1, 3, 1, 3}},
      {{.reduce = Reduce::mean}, x.mean(1), {0, 1, 2}, {-1, -1, -1}},
      {{.reduce = Reduce::last_token}, x.select(1, 4), {0, 1, 2}, {4, 4, 4}},
      {{.selection = {.tokens = Tokens::spans({"w"})}},
       at::stack({at_token(0, 1), at_token(0, 2), at_token(1, 2), at_token(1, 3), at_token(1, 4),
                  at_token(2, 0)}),
       {0, 0, 1, 1, 1, 2},
       {1, 2, 2, 3, 4, 0}},
      {{.selection = {.tokens = Tokens::spans({"w"})}, .reduce = Reduce::last_token},
       at::stack({at_token(0, 2), at_token(1, 4), at_token(2, 0)}),
       {0, 1, 2},
       {2, 4, 0}},
      {{.selection = {.tokens = Tokens::spans({"w"})}, .reduce = Reduce::mean},
       at::stack({x.select(0, 0).narrow(0, 1, 2).mean(0), x.select(0, 1).narrow(0, 2, 3).mean(0),
                  x.select(0, 2).narrow(0, 0, 1).mean(0)}),
       {0, 1, 2},
       {-1, -1, -1}},
  };
  int number = 0;
  for (const Case& c : cases) {
    const std::string path = store_ + std::to_string(number++);
    const auto writer = ActivationWriter::open(path, {});
    const auto sink = std::make_shared<StoreSink>(writer);
    sink->begin_batch({.samples = {7, 8, 9}});
    Session session;
    session.set_spans(spans);
    CaptureOptions options = c.options;
    options.sink = sink;
    session.capture("layers.0.resid_post", options);
    session.run([&] { hook_point(x, site); });
    writer->close();
    const ActivationReader reader = ActivationReader::open(path);
    EXPECT_TRUE(at::allclose(reader.read("main", "layers.0.resid_post"), c.want)) << number;
    const auto column = [&](RowColumn which) {
      const at::Tensor v = reader.column("main", which);
      return std::vector<std::int64_t>(v.const_data_ptr<std::int64_t>(),
                                       v.const_data_ptr<std::int64_t>() + v.numel());
    };
    EXPECT_EQ(column(RowColumn::row), c.rows) << number;
    EXPECT_EQ(column(RowColumn::token_index), c.tokens) << number;
  }
}

TEST_F(SinkTest, HeadsAreFlattenedIntoTheWidthAndOtherAxesMoved) {
  open();
  const Site site("layers.0.cache", "rhtd");
  const at::Tensor x = normal({2, 3, 5, 4}, 1);  // rows, heads, tokens, width
  sink_->begin_batch({.samples = {0, 1}});
  Session session;
  session.capture("layers.0.cache", {.sink = sink_});
  session.run([&] { hook_point(x, site); });
  writer_->close();
  EXPECT_TRUE(same_bits(ActivationReader::open(store_).read("main", "layers.0.cache"),
                        x.permute({0, 2, 1, 3}).reshape({10, 12})));
}

TEST_F(SinkTest, PhasesAreStreamsAndRulesSendElsewhere) {
  open({{SitePattern("expert.**"), std::nullopt, "action"}});
  const Site vlm("vlm.layers.0.resid_post", "rtw");
  const Site expert("expert.layers.0.resid_post", "rtw");
  sink_->begin_batch({.samples = {0, 1}, .token_ids = at::arange(16).view({2, 8})});
  Session session;
  session.capture("**", {.sink = sink_});
  session.run([&] {
    {
      const PhaseScope scope(Phase::prefill);
      hook_point(at::zeros({2, 6, 4}), vlm);
    }
    for (std::int64_t step = 0; step < 2; ++step) {
      const PhaseScope scope(Phase::decode, step, 6 + step);
      hook_point(at::zeros({2, 1, 4}), vlm);
    }
    const PhaseScope scope(Phase::denoise, 0);
    hook_point(at::zeros({2, 3, 5}), expert);
  });
  writer_->close();
  const ActivationReader reader = ActivationReader::open(store_);
  EXPECT_EQ(reader.row_count("prefill"), 12);
  EXPECT_EQ(reader.row_count("decode"), 4);
  EXPECT_EQ(reader.row_count("action"), 6);
  EXPECT_TRUE(reader.column("decode", RowColumn::token_id)
                  .equal(at::tensor({6, 14, 7, 15}, at::TensorOptions().dtype(at::kLong))));
  EXPECT_TRUE(reader.column("decode", RowColumn::step)
                  .equal(at::tensor({0, 0, 1, 1}, at::TensorOptions().dtype(at::kLong))));
  EXPECT_TRUE(
      reader.column("action", RowColumn::token_id)
          .equal(at::tensor({-1, -1, -1, -1, -1, -1}, at::TensorOptions().dtype(at::kLong))));
}

TEST_F(SinkTest, RowsThatDoNotFitTogetherAreRefused) {
  open();
  const Site a("a", "rtw");
  const Site b("b", "rtw");
  const Site c("c", "rtw");
  const auto run = [&](auto&& body) {
    Session session;
    session.capture("**", {.sink = sink_});
    session.run(body);
  };
  EXPECT_HAS(message_of<StateError>([&] { run([&] { hook_point(at::zeros({2, 3, 4}), a); }); }),
             "begin_batch");
  sink_->begin_batch({.samples = {0, 1}});
  EXPECT_HAS(
      message_of<InvalidArgument>([&] { run([&] { hook_point(at::zeros({3, 3, 4}), a); }); }),
      "named 2 samples");
  run([&] {
    hook_point(at::zeros({2, 3, 4}), a);
    hook_point(at::zeros({2, 3, 4}), b);
  });
  sink_->begin_batch({.samples = {2, 3}});
  EXPECT_HAS(message_of<InvalidArgument>([&] {
               run([&] {
                 hook_point(at::zeros({2, 3, 4}), a);
                 hook_point(at::zeros({2, 2, 4}), b);
               });
             }),
             "stream of its own");
  EXPECT_HAS(message_of<StateError>([&] { sink_->finish(); }), "[b]");
  EXPECT_HAS(message_of<StateError>([&] { run([&] { hook_point(at::zeros({2, 3, 4}), c); }); }),
             "'c' did not fire in the first batch");
  EXPECT_THROW(writer_->close(), StateError);
  EXPECT_EQ(ActivationReader::open(store_).row_count("main"), 6);
}

TEST_F(SinkTest, ASinkIsNotWrittenDownAndDoesNotGoWithMoments) {
  open();
  Session session;
  EXPECT_THROW(session.capture("a", {.reduce = Reduce::moments, .sink = sink_}), InvalidArgument);
  EXPECT_THROW(session.capture("a", {.keep_graph = true, .sink = sink_}), InvalidArgument);
  session.capture("a", {.sink = sink_});
  EXPECT_THROW(session.to_json(), StateError);
  writer_->close();
}

// --- moments ------------------------------------------------------------------------------------

TEST_F(SinkTest, MomentsByFoldAreThoseOfTheRowsAndOfAStore) {
  const FoldMomentsOptions options{.folds = 3, .seed = 4};
  MomentsSink* moments = nullptr;
  const auto sink = std::make_shared<MomentsSink>(options);
  moments = sink.get();
  open();
  std::vector<at::Tensor> xs, zs;
  std::vector<std::int64_t> folds;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Site site("a", "rtw");
  std::vector<std::int64_t> samples;
  std::vector<std::uint8_t> labels;
  for (std::int64_t batch = 0; batch < 6; ++batch) {
    const at::Tensor x = normal({4, 3, 5}, static_cast<std::uint64_t>(batch));
    at::Tensor z = at::zeros({4, 1}, at::TensorOptions().dtype(at::kDouble));
    BatchInfo info;
    for (std::int64_t r = 0; r < 4; ++r) {
      info.samples.push_back(4 * batch + r);
      info.groups.push_back(batch);
      const double label = r == 3 ? nan : static_cast<double>((batch + r) % 2);
      z.mutable_data_ptr<double>()[r] = label;
      samples.push_back(4 * batch + r);
      labels.push_back(r == 3 ? kMissingLabel : static_cast<std::uint8_t>(label));
      for (int t = 0; t < 3; ++t) folds.push_back(fold_of_group(batch, 3, 4));
    }
    moments->begin_batch(info, z);
    sink_->begin_batch(info);
    Session session;
    session.capture("a", {.sink = sink});
    session.capture("a", {.sink = sink_});
    session.run([&] { hook_point(x, site); });
    xs.push_back(x.reshape({-1, 5}).to(at::kDouble));
    zs.push_back(z.repeat_interleave(3, 0));
  }
  writer_->close();
  set_labels(store_, "c", samples, labels);
  const ActivationReader reader = ActivationReader::open(store_);
  const FoldMoments stored = accumulate_moments(reader, "main", {}, {"c"}, options);

  const at::Tensor x = at::cat(xs);
  const at::Tensor z = at::cat(zs);
  for (std::int64_t fold = 0; fold < 3; ++fold) {
    // the naive loop
    std::vector<at::Tensor> rows, known_x, known_z;
    for (std::size_t i = 0; i < folds.size(); ++i) {
      if (folds[i] != fold) continue;
      const auto n = static_cast<std::int64_t>(i);
      rows.push_back(x.select(0, n));
      if (!std::isnan(value_at(z, {n, 0}))) {
        known_x.push_back(x.select(0, n));
        known_z.push_back(z.select(0, n));
      }
    }
    if (rows.empty()) continue;
    const at::Tensor block = at::stack(rows);
    const at::Tensor centred = block.sub(block.mean(0));
    const at::Tensor kx = at::stack(known_x);
    const at::Tensor kz = at::stack(known_z);
    const auto n = static_cast<double>(kx.size(0));
    const at::Tensor cross = at::mm(kz.sub(kz.mean(0)).t(), kx.sub(kx.mean(0))).div(n - 1);
    for (const FoldMoments* result : {&moments->result(), &stored}) {
      const Moments& m = result->moments("a", fold);
      EXPECT_EQ(m.count(), block.size(0));
      EXPECT_TRUE(at::allclose(m.mean(), block.mean(0), 1e-9, 1e-12));
      EXPECT_TRUE(at::allclose(
          m.covariance(), at::mm(centred.t(), centred).div(static_cast<double>(rows.size()) - 1),
          1e-9, 1e-12));
      const CrossMoments& c = result->cross("a", fold);
      EXPECT_EQ(value_at(c.count(), {0}), n);
      EXPECT_TRUE(at::allclose(c.cross_covariance(), cross, 1e-9, 1e-12));
      EXPECT_TRUE(at::allclose(c.mean_rows(), kx.mean(0, true), 1e-9, 1e-12));
      EXPECT_TRUE(at::allclose(c.mean_labels(), kz.mean(0), 1e-9, 1e-12));
    }
  }
  EXPECT_EQ(stored.moments_without("a", -1).count(), 72);
  EXPECT_EQ(stored.moments_without("a", 0).count(), 72 - stored.moments("a", 0).count());
  EXPECT_THROW(stored.moments("b", 0), SiteError);
  EXPECT_THROW(stored.moments("a", 3), OutOfRange);
}

}  // namespace
}  // namespace tierod::testing
