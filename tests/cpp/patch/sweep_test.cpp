#include "tierod/patch/sweep.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "message_of.h"
#include "patch/memory_meter_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/hook/intervention.h"
#include "tierod/hook/session.h"
#include "tierod/vla/split_block_model.h"
#include "tiny_blocks.h"

namespace tierod::patch {
namespace {

using example::TinyBlocks;
using example::TinyTransformer;

constexpr std::int64_t kLayers = 3, kTokens = 7, kRight = 5, kWrong = 11;

at::Tensor tokens(std::int64_t rows, std::uint64_t seed, std::int64_t length = kTokens) {
  const CounterRandom random(seed, "test.tokens");
  at::Tensor out = at::empty({rows, length}, at::kLong);
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    out.mutable_data_ptr<std::int64_t>()[i] = random.below(32, static_cast<std::uint64_t>(i), 0, 0);
  }
  return out;
}

vla::Batch batch(const at::Tensor& ids) {
  vla::Batch out{.tensors = {{"tokens", ids}}};
  for (std::int64_t i = 0; i < ids.size(0); ++i) out.ids.push_back(i);
  return out;
}

TinyTransformer transformer(at::ScalarType dtype = at::kDouble) {
  return TinyTransformer(
      {.layers = kLayers, .width = 16, .heads = 2, .vocab = 32, .seed = 3, .dtype = dtype});
}

SweepRequest request(std::int64_t rows = 2) {
  return {.base = batch(tokens(rows, 1)),
          .sources = {{.name = "other", .batch = batch(tokens(rows, 2))}},
          .metric = logit_difference(kRight, kWrong)};
}

double metric_of(const at::Tensor& logits, std::int64_t row) {
  const at::Tensor last = logits[row][logits.size(1) - 1];
  return last[kRight].item<double>() - last[kWrong].item<double>();
}

std::vector<Span> each_position() {
  std::vector<Span> out;
  for (std::int64_t p = 0; p < kTokens; ++p) out.push_back({std::to_string(p), p, p + 1});
  return out;
}

/// Patch by a session around whole forwards, knowing nothing of blocks.
at::Tensor by_session(const TinyTransformer& model, const SweepRequest& asked,
                      const std::vector<Span>& spans) {
  const at::Tensor base = asked.base.at("tokens");
  at::Tensor out = at::empty({base.size(0), static_cast<std::int64_t>(asked.sources.size()),
                              kLayers, static_cast<std::int64_t>(spans.size())},
                             at::kDouble);
  for (std::size_t s = 0; s < asked.sources.size(); ++s) {
    Session clean;
    clean.capture("layers.*.resid_pre");
    clean.run([&] { model.forward(asked.sources[s].batch.at("tokens")); });
    for (std::int64_t l = 0; l < kLayers; ++l) {
      const std::string site = "layers." + std::to_string(l) + ".resid_pre";
      for (std::size_t p = 0; p < spans.size(); ++p) {
        std::vector<std::int64_t> positions;
        for (std::int64_t i = spans[p].begin; i < spans[p].end; ++i) positions.push_back(i);
        Session patched;
        patched.intervene(site, Intervention::restore(clean.cache()),
                          {.selection = {.tokens = Tokens::positions(positions)}});
        at::Tensor logits;
        patched.run([&] { logits = model.forward(base); });
        for (std::int64_t r = 0; r < base.size(0); ++r) {
          out[r][static_cast<std::int64_t>(s)][l][static_cast<std::int64_t>(p)] =
              metric_of(logits, r);
        }
      }
    }
  }
  return out;
}

double largest(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

double range_of(const at::Tensor& a) { return (a.max() - a.min()).item<double>(); }

constexpr SweepStrategy kAll[] = {SweepStrategy::naive, SweepStrategy::batched,
                                  SweepStrategy::restart, SweepStrategy::suffix};

TEST(Sweep, EveryStrategyIsWhatSessionsAroundWholeForwardsGive) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const TinyTransformer model = transformer(dtype);
    TinyBlocks blocks(model);
    SweepRequest asked = request();
    asked.sources.push_back({.name = "third", .batch = batch(tokens(2, 9))});
    const at::Tensor expected = by_session(model, asked, each_position());
    ASSERT_GT(range_of(expected), 0.5);
    for (const SweepStrategy strategy : kAll) {
      for (const double call_cost : {0.0, 4.0}) {
        const SweepResult found =
            sweep(blocks, asked, {.strategy = strategy, .call_cost = call_cost});
        EXPECT_EQ(found.plan.strategy, strategy);
        EXPECT_LE(largest(found.values, expected),
                  (dtype == at::kDouble ? 5e-14 : 5e-6) * range_of(expected))
            << strategy_name(strategy);
        const at::Tensor logits = model.forward(asked.base.at("tokens"));
        EXPECT_NEAR(found.base[1].item<double>(), metric_of(logits, 1), 1e-5);
        const at::Tensor other = model.forward(asked.sources[1].batch.at("tokens"));
        EXPECT_NEAR(found.source[1][1].item<double>(), metric_of(other, 1), 1e-5);
      }
    }
  }
}

TEST(Sweep, PatchesSpansAndChosenLayers) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  SweepRequest asked = request(1);
  asked.spans = {{"all", 0, kTokens}, {"middle", 2, 5}, {"last", kTokens - 1, kTokens}};
  const at::Tensor expected = by_session(model, asked, asked.spans).select(2, 2).unsqueeze(2);
  asked.layers = {2};
  for (const SweepStrategy strategy : kAll) {
    const SweepResult found = sweep(blocks, asked, {.strategy = strategy, .call_cost = 0});
    ASSERT_EQ(found.values.sizes(), (std::vector<std::int64_t>{1, 1, 1, 3}));
    EXPECT_LE(largest(found.values, expected), 1e-13) << strategy_name(strategy);
    // all positions of one layer patched is the source run itself
    EXPECT_NEAR(found.values[0][0][0][0].item<double>(), found.source[0][0].item<double>(), 1e-12);
  }
}

TEST(Sweep, FromTheBaseItselfChangesNothing) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  SweepRequest asked = request();
  asked.sources = {{.name = "itself", .batch = asked.base}};
  for (const SweepStrategy strategy : kAll) {
    const SweepResult found = sweep(blocks, asked, {.strategy = strategy});
    EXPECT_LE(largest(found.values, found.base.view({2, 1, 1, 1})), 1e-13);
  }
}

TEST(Sweep, TakesResidualsInPlaceOfInputs) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  SweepRequest asked = request();
  const at::Tensor given = by_session(model, asked, each_position());
  Session clean;
  clean.capture("layers.*.resid_pre");
  clean.run([&] { model.forward(asked.sources[0].batch.at("tokens")); });
  std::vector<at::Tensor> residuals;
  for (std::int64_t l = 0; l < kLayers; ++l) {
    residuals.push_back(clean.cache().at("layers." + std::to_string(l) + ".resid_pre"));
  }
  asked.sources = {{.name = "given", .residuals = at::stack(residuals)}};
  const SweepResult found = sweep(blocks, asked);
  EXPECT_LE(largest(found.values, given), 1e-13);
  EXPECT_TRUE(std::isnan(found.source[0][0].item<double>()));
}

TEST(Sweep, MetricsMayReadSeveralPositions) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  SweepRequest asked = request();
  asked.metric = {.name = "sum over the last three",
                  .value = [](const at::Tensor& y) { return y.select(2, 3).sum(1); },
                  .tokens = 3};
  const SweepResult whole = sweep(blocks, asked, {.strategy = SweepStrategy::naive});
  const SweepResult suffix =
      sweep(blocks, asked, {.strategy = SweepStrategy::suffix, .call_cost = 0});
  EXPECT_LE(largest(whole.values, suffix.values), 1e-13);
  const at::Tensor logits = model.forward(asked.base.at("tokens"));
  const double by_hand =
      (logits[0][kTokens - 1][3] + logits[0][kTokens - 2][3] + logits[0][kTokens - 3][3])
          .item<double>();
  EXPECT_NEAR(whole.base[0].item<double>(), by_hand, 1e-12);
}

TEST(Sweep, ComputesOnlyWhatTheStrategySays) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  // by hand, 3 blocks and 7 positions: naive 21 cells x 3 blocks x 7; restart 7 x 7 x (3 + 2 + 1);
  // suffix (7 + 6 + ... + 1) x (3 + 2 + 1)
  EXPECT_EQ(plan_sweep(blocks, request(1), {.strategy = SweepStrategy::naive}).block_tokens, 441);
  EXPECT_EQ(plan_sweep(blocks, request(1), {.strategy = SweepStrategy::batched}).block_tokens, 441);
  EXPECT_EQ(plan_sweep(blocks, request(1), {.strategy = SweepStrategy::restart}).block_tokens, 294);
  const SweepPlan plan = plan_sweep(blocks, request(1), {.call_cost = 0});
  EXPECT_EQ(plan.strategy, SweepStrategy::suffix);
  EXPECT_EQ(plan.block_tokens, 168);
  EXPECT_EQ(plan.block_calls, 21);
  EXPECT_EQ(plan.cells, 21);
  // a position's cells pass 6 blocks in 3 calls: at a cost of 4 they may compute 2 positions more.
  // Calls begin at 0, 3 and 6, for 3, 3 and 1 positions: 6 x (3 x 7 + 3 x 4 + 1)
  const SweepPlan joined = plan_sweep(blocks, request(1), {.call_cost = 4});
  EXPECT_EQ(joined.block_calls, 9);
  EXPECT_EQ(joined.block_tokens, 204);
}

/// Count what passes a block.
class Counted final : public vla::BlockModel {
 public:
  explicit Counted(vla::BlockModel& model) : model_(model) {}
  std::int64_t blocks() const override { return model_.blocks(); }
  std::int64_t positions(const vla::Batch& batch) override { return model_.positions(batch); }
  at::Tensor embed(const vla::Batch& batch) override { return model_.embed(batch); }
  vla::BlockOutput block(std::int64_t index, const vla::BlockInput& input) override {
    ++calls;
    passed += input.hidden.size(0) * input.hidden.size(1);
    largest = std::max(largest, input.hidden.size(0));
    if (spoil && input.begin > 0) {
      vla::BlockInput other = input;
      other.past_key = input.past_key + 1;
      return model_.block(index, other);
    }
    return model_.block(index, input);
  }
  at::Tensor finish(const at::Tensor& hidden) override { return model_.finish(hidden); }

  std::int64_t calls = 0, passed = 0, largest = 0;
  bool spoil = false;

 private:
  vla::BlockModel& model_;
};

TEST(Sweep, DoesWhatItPlans) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  Counted counted(blocks);
  for (const SweepStrategy strategy : kAll) {
    const SweepOptions options{.strategy = strategy, .recheck = 0, .call_cost = 0};
    const SweepPlan plan = plan_sweep(counted, request(1), options);
    counted.calls = counted.passed = counted.largest = 0;
    sweep(counted, request(1), options);
    // beside the plan: measuring (calls of one token, of one row, of two), base and source
    EXPECT_EQ(counted.calls - 3 - 2 * kLayers, plan.block_calls) << strategy_name(strategy);
    EXPECT_EQ(counted.passed - 1 - 3 * kTokens - 2 * kLayers * kTokens, plan.block_tokens);
    EXPECT_EQ(counted.largest, std::max<std::int64_t>(2, plan.rows_at_once));
  }
}

TEST(Sweep, KeepsToTheMemoryThatItPredicts) {
  const TinyTransformer model = TinyTransformer(
      {.layers = 4, .width = 64, .heads = 4, .vocab = 200, .max_tokens = 64, .seed = 3});
  TinyBlocks blocks(model);
  SweepRequest asked{.base = batch(tokens(2, 1, 40)),
                     .sources = {{.name = "other", .batch = batch(tokens(2, 2, 40))}},
                     .metric = logit_difference(kRight, kWrong)};
  for (const SweepStrategy strategy : kAll) {
    for (const std::int64_t limit : {std::int64_t{6} << 20, std::int64_t{1} << 30}) {
      const SweepResult found =
          sweep(blocks, asked, {.strategy = strategy, .memory_limit = limit, .recheck = 0});
      const auto peak = static_cast<double>(found.peak_bytes);
      EXPECT_LE(found.plan.predicted_peak, limit);
      EXPECT_NEAR(static_cast<double>(found.plan.predicted_peak), peak, 0.15 * peak)
          << strategy_name(strategy) << " within " << limit;
    }
  }
}

/// Blocks that come apart: heads share keys, and projections depend on the position.
class Parts final : public vla::SplitBlockModel {
 public:
  explicit Parts(std::int64_t width = 16, at::ScalarType dtype = at::kDouble) : width_(width) {
    std::uint64_t seed = 0;
    const auto weight = [&](std::int64_t in, std::int64_t out) {
      const CounterRandom random(++seed, "test.parts");
      at::Tensor w = at::empty({in, out}, at::kDouble);
      for (std::int64_t i = 0; i < w.numel(); ++i) {
        w.mutable_data_ptr<double>()[i] =
            random.normal(static_cast<std::uint64_t>(i), 0, 0) / std::sqrt(double(in));
      }
      return w.to(dtype);
    };
    embedding_ = weight(32, width) * 4;
    for (std::int64_t i = 0; i < kLayers; ++i) {
      layers_.push_back({weight(width, width), weight(width, width / 2), weight(width, width / 2),
                         weight(width, width), weight(width, 4 * width), weight(4 * width, width)});
    }
    head_ = weight(width, 32);
  }

  std::int64_t blocks() const override { return kLayers; }
  std::int64_t positions(const vla::Batch& batch) override { return batch.at("tokens").size(1); }
  at::Tensor embed(const vla::Batch& batch) override {
    const at::Tensor ids = batch.at("tokens");
    return embedding_.index_select(0, ids.view({-1})).view({ids.size(0), ids.size(1), width_});
  }
  vla::Projected project(std::int64_t index, const at::Tensor& hidden, const at::Tensor& positions,
                         vla::Projection what) override {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    projected += what == vla::Projection::query ? 0 : hidden.size(0);
    const at::Tensor turn = positions.to(hidden.scalar_type()).mul(0.3).cos().unsqueeze(1);
    const auto heads = [&](const at::Tensor& w, std::int64_t count) {
      return (hidden.matmul(w) * turn).view({hidden.size(0), count, width_ / 4});
    };
    vla::Projected out;
    if (what != vla::Projection::key_value) out.query = heads(layer.query, 4);
    if (what == vla::Projection::query) return out;
    out.key = heads(layer.key, 2);
    out.value = heads(layer.value, 2);
    return out;
  }
  at::Tensor combine(std::int64_t index, const at::Tensor& hidden,
                     const at::Tensor& mixed) override {
    const Layer& layer = layers_[static_cast<std::size_t>(index)];
    combined += hidden.size(0);
    const at::Tensor mid = hidden + mixed.matmul(layer.out);
    return mid + mid.matmul(layer.up).tanh().matmul(layer.down);
  }
  at::Tensor finish(const at::Tensor& hidden) override { return hidden.tanh().matmul(head_); }

  std::int64_t projected = 0, combined = 0;

 private:
  struct Layer {
    at::Tensor query, key, value, out, up, down;
  };
  std::int64_t width_;
  at::Tensor embedding_, head_;
  std::vector<Layer> layers_;
};

TEST(Sweep, RunsBlocksByTheirParts) {
  Parts model;
  SweepRequest asked = request();
  asked.sources.push_back({.name = "third", .batch = batch(tokens(2, 9))});
  asked.spans = {{"first", 0, 1}, {"middle", 2, 5}, {"one", 4, 5}, {"last", 6, 7}};
  const Metric two_positions = {.name = "last two",
                                .value = [](const at::Tensor& y) { return y.select(2, 3).sum(1); },
                                .tokens = 2};
  for (const Metric& metric : {logit_difference(kRight, kWrong), two_positions}) {
    asked.metric = metric;
    for (const std::vector<std::int64_t>& layers :
         {std::vector<std::int64_t>{}, std::vector<std::int64_t>{0, 2}}) {
      asked.layers = layers;
      const SweepResult naive = sweep(model, asked, {.strategy = SweepStrategy::naive});
      ASSERT_GT(range_of(naive.values), 0.5);
      for (const double call_cost : {0.0, 1.0, 100.0}) {
        const SweepResult found = sweep(model, asked, {.recheck = 0, .call_cost = call_cost});
        EXPECT_EQ(found.plan.strategy, SweepStrategy::suffix);
        EXPECT_LE(largest(found.values, naive.values), 5e-14 * range_of(naive.values));
      }
    }
  }
}

TEST(Sweep, ProjectsOnlyWhatIsNotTheBases) {
  Parts model;
  const SweepOptions options{.recheck = 0};
  plan_sweep(model, request(1), options);
  const std::int64_t projected = model.projected, combined = model.combined;
  model.projected = model.combined = 0;
  sweep(model, request(1), options);
  // by hand, 28 tokens from a position on, 7 rows a layer: blocks 1 and 2 project what entered
  // before (28, 56) and each block the 7 patched ones. Blocks 0 and 1 combine 28 and 56 tokens, the
  // last block one of each of 21 rows. Base and source run beside that; the base projects twice.
  EXPECT_EQ(model.projected - projected, 28 + 56 + 3 * 7 + 3 * kLayers * kTokens);
  EXPECT_EQ(model.combined - combined, 28 + 56 + 21 + 2 * kLayers * kTokens);
}

TEST(Sweep, PredictsTheMemoryOfPartsToo) {
  Parts model(64, at::kFloat);
  SweepRequest asked{.base = batch(tokens(1, 1, 40)),
                     .sources = {{.name = "other", .batch = batch(tokens(1, 2, 40))}},
                     .metric = logit_difference(kRight, kWrong)};
  const at::Tensor wide = sweep(model, asked).values;
  for (const std::int64_t limit : {std::int64_t{2} << 20, std::int64_t{1} << 30}) {
    for (const double call_cost : {0.0, 10.0, 1000.0}) {
      const SweepResult found =
          sweep(model, asked, {.memory_limit = limit, .recheck = 0, .call_cost = call_cost});
      const auto peak = static_cast<double>(found.peak_bytes);
      EXPECT_LE(found.plan.predicted_peak, limit);
      EXPECT_NEAR(static_cast<double>(found.plan.predicted_peak), peak, 0.15 * peak)
          << "within " << limit << " at " << call_cost;
      EXPECT_LE(largest(found.values, wide), 5e-6 * range_of(wide));
    }
  }
}

TEST(Sweep, TakesWhatFitsTheMemory) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  const SweepResult wide = sweep(blocks, request(1));
  bool others = false;
  std::int64_t least = 0;
  for (std::int64_t limit = wide.plan.predicted_peak;; limit = limit * 9 / 10) {
    const std::string message = message_of<InvalidArgument>([&] {
      const SweepResult found = sweep(blocks, request(1), {.memory_limit = limit});
      EXPECT_LE(found.plan.predicted_peak, limit);
      EXPECT_LE(largest(found.values, wide.values), 1e-13);
      others = others || found.plan.strategy != SweepStrategy::suffix;
    });
    if (message.empty()) continue;
    EXPECT_NE(message.find("expected memory_limit of at least "), std::string::npos) << message;
    least = std::stoll(message.substr(message.find("at least ") + 9));
    break;
  }
  EXPECT_TRUE(others);
  EXPECT_NO_THROW(sweep(blocks, request(1), {.memory_limit = least}));
}

TEST(Sweep, FindsABlockThatDoesNotKeepItsWord) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  Counted counted(blocks);
  counted.spoil = true;
  const std::string message = message_of<NumericalError>(
      [&] { sweep(counted, request(1), {.recheck = 20, .call_cost = 0}); });
  EXPECT_NE(message.find("suffix differs from naive by"), std::string::npos) << message;
  EXPECT_NO_THROW(sweep(counted, request(1), {.strategy = SweepStrategy::restart, .recheck = 20}));
}

/// A file of its own that is gone afterwards.
class File {
 public:
  explicit File(const std::string& name)
      : path(std::filesystem::temp_directory_path() / ("tierod_" + name)) {
    std::filesystem::remove(path);
  }
  ~File() { std::filesystem::remove(path); }
  std::filesystem::path path;
};

TEST(Sweep, GoesOnWhereItWasStopped) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  const SweepResult whole = sweep(blocks, request(), {.call_cost = 0});
  const File file("sweep_resume.json");
  SweepOptions options{.call_cost = 0, .file = file.path.string()};
  options.progress = [](std::int64_t done, std::int64_t /*total*/, std::string_view /*what*/) {
    return done < 12;
  };
  const SweepResult part = sweep(blocks, request(), options);
  EXPECT_FALSE(part.complete);
  ASSERT_EQ(part.notes.size(), 1U);
  const std::int64_t known = part.values.isnan().logical_not().sum().item<std::int64_t>();
  EXPECT_GT(known, 0);
  EXPECT_LT(known, part.values.numel());
  Counted counted(blocks);
  options.progress = {};
  const SweepResult rest = sweep(counted, request(), options);
  EXPECT_EQ(rest.resumed, known);
  EXPECT_TRUE(rest.complete);
  EXPECT_TRUE(rest.values.equal(whole.values));
  counted.calls = 0;
  const SweepResult again = sweep(counted, request(), options);
  EXPECT_EQ(again.resumed, whole.values.numel());
  EXPECT_TRUE(again.values.equal(whole.values));
  SweepRequest other = request();
  other.spans = each_position();
  other.spans.back() = {"two", kTokens - 2, kTokens};
  EXPECT_NE(message_of<InvalidArgument>([&] {
              sweep(blocks, other, options);
            }).find("holds the sweep of another"),
            std::string::npos);
  std::ofstream(file.path) << "{\"format\": \"tierod.sweep\", \"version\": 1, \"values\": 3}";
  EXPECT_NE(message_of<InvalidArgument>([&] {
              sweep(blocks, request(), options);
            }).find("holds no sweep"),
            std::string::npos);
}

TEST(Sweep, KeepsWhatIsDoneWhenTheMetricFails) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  const File file("sweep_nan.json");
  SweepRequest asked = request(1);
  const double base = sweep(blocks, asked).base[0].item<double>();
  int calls = 0;
  asked.metric.value = [&](const at::Tensor& y) {
    at::Tensor out = y.select(1, 0).select(1, 0) - y.select(1, 0).select(1, 1);
    if (++calls > 8) out.fill_(std::nan(""));
    return out;
  };
  const std::string message = message_of<NumericalError>(
      [&] { sweep(blocks, asked, {.recheck = 0, .call_cost = 0, .file = file.path.string()}); });
  EXPECT_NE(message.find("expected a finite metric"), std::string::npos) << message;
  EXPECT_NE(message.find("layer "), std::string::npos) << message;
  const SweepResult rest = sweep(blocks, request(1), {.file = file.path.string()});
  EXPECT_GT(rest.resumed, 0);
  EXPECT_EQ(rest.base[0].item<double>(), base);
}

TEST(Sweep, RefusesWhatItCannotMean) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  const auto refuses = [&](const SweepRequest& asked, const char* why,
                           const SweepOptions& options = {}) {
    const std::string message = message_of<InvalidArgument>([&] { sweep(blocks, asked, options); });
    EXPECT_NE(message.find(why), std::string::npos) << "expected '" << why << "' in " << message;
  };
  SweepRequest asked = request();
  asked.sources[0].batch = batch(tokens(2, 2, kTokens - 1));
  refuses(asked, "base has 7 positions and source 'other' has 6");
  asked = request();
  asked.sources[0].batch = batch(tokens(1, 2));
  refuses(asked, "expected 2 rows of source 'other'");
  asked = request();
  asked.sources.clear();
  refuses(asked, "at least one source");
  asked = request();
  asked.sources.push_back(asked.sources[0]);
  refuses(asked, "'other' twice");
  asked = request();
  asked.layers = {0, 3};
  refuses(asked, "layers ascending within the 3 blocks, got [0, 3]");
  asked.layers = {1, 1};
  refuses(asked, "layers ascending");
  asked = request();
  asked.spans = {{"beyond", 5, 8}};
  refuses(asked, "'beyond' [5, 8)");
  asked = request();
  asked.metric.tokens = 8;
  refuses(asked, "metric.tokens in 1 to 7, got 8");
  asked = request();
  asked.metric.value = {};
  refuses(asked, "expected a metric");
  asked.metric.value = [](const at::Tensor& y) { return y.select(1, 0); };
  refuses(asked, "one real number a row, [1], got Double [1, 2]");
  asked.metric.value = [](const at::Tensor& y) { return y.mean(); };
  refuses(asked, "one real number a row");
  asked.metric.value = [](const at::Tensor& y) { return at::full({y.size(0)}, 3.0); };
  refuses(asked, "is 3 whatever they are");
  asked = request();
  asked.sources[0].residuals = at::zeros({kLayers, 1, kTokens, 15}, at::kDouble);
  refuses(asked, "as [3, 1 or 2, 7, 16], got [3, 1, 7, 15]");
  asked.sources[0].residuals = at::zeros({kLayers, 1, kTokens, 16}, at::kFloat);
  refuses(asked, "in Double on cpu, got Float");
  asked.sources[0].residuals = at::full({kLayers, 1, kTokens, 16}, std::nan(""), at::kDouble);
  refuses(asked, "finite residuals");
  refuses(request(), "recheck >= 0", {.recheck = -1});
  refuses(request(), "call_cost >= 0", {.call_cost = -1});
  EXPECT_NE(message_of<InvalidArgument>([] { logit_difference(3, 3); }).find("two different"),
            std::string::npos);
}

TEST(Sweep, SeesInputsThatAreShiftedAgainstEachOther) {
  const TinyTransformer model = transformer();
  TinyBlocks blocks(model);
  SweepRequest asked = request(1);
  at::Tensor changed = asked.base.at("tokens").clone();
  changed[0][3] = (changed[0][3] + 1) % 32;
  asked.sources[0].batch = batch(changed);
  asked.differing = {{"object", 3, 4}};
  EXPECT_NO_THROW(sweep(blocks, asked));
  asked.differing = {{"object", 2, 3}};
  EXPECT_NE(message_of<InvalidArgument>([&] { sweep(blocks, asked); }).find("differ at position 3"),
            std::string::npos);
}

TEST(MemoryMeter, CountsWhatTensorsHold) {
  const internal::MemoryMeter meter;
  {
    const at::Tensor a = at::zeros({1000}, at::kDouble);
    const at::Tensor b = at::zeros({500}, at::kDouble);
    EXPECT_EQ(meter.current(), 12000);
  }
  const at::Tensor c = at::zeros({100}, at::kDouble);
  EXPECT_EQ(meter.current(), 800);
  EXPECT_EQ(meter.peak(), 12000);
}

}  // namespace
}  // namespace tierod::patch
