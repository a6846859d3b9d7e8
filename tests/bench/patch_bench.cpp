// Worker of the patch bench in C++; the protocol is that of harness/worker.py.
//
// usage: tierod_patch_bench <data folder> <threads>
//
// The GPT-2-shaped model of gpt2_shape.py, block by block, and sweeps over it.

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "bench_worker.h"
#include "tierod/patch/sweep.h"
#include "tierod/vla/split_block_model.h"

namespace {

using at::Tensor;
using bench::Contender;
using tierod::patch::SweepStrategy;
using tierod::vla::Projected;
using tierod::vla::Projection;

// The last axis of the hidden layer of so many tokens stays in the cache.
constexpr std::int64_t kChunk = 1024;

struct Affine {
  Tensor w, b;
  Tensor operator()(const Tensor& x) const { return at::addmm(b, x, w); }
};

struct Norm {
  Tensor w, b;
  Tensor operator()(const Tensor& x) const { return at::layer_norm(x, w.sizes(), w, b); }
};

struct Block {
  Norm ln1, ln2;
  Affine qkv, query, key_value, proj, fc, out;
};

/// x/2 (1 + tanh u) is x sigmoid(2u), u = sqrt(2/pi) (x + .044715 x^3).
Tensor gelu_tanh(Tensor x) {
  if (x.numel() < 1 << 12 || x.scalar_type() != at::kFloat) return at::gelu_(x, "tanh");
  constexpr double kTwice = 1.5957691216057308;  // 2 sqrt(2/pi)
  return x.mul_(x.square().mul_(kTwice * .044715).add_(kTwice).mul_(x).sigmoid_());
}

class Gpt2Blocks final : public tierod::vla::SplitBlockModel {
 public:
  Gpt2Blocks(const bench::Weights& weights, at::ScalarType dtype) : sizes_(weights.sizes) {
    const auto get = [&](const std::string& name) { return weights.at(name).to(dtype); };
    const auto norm = [&](const std::string& key) {
      return Norm{get(key + ".w"), get(key + ".b")};
    };
    const auto affine = [&](const std::string& key) {
      return Affine{get(key + ".w"), get(key + ".b")};
    };
    const std::int64_t d = sizes_.width;
    for (std::int64_t i = 0; i < sizes_.layers; ++i) {
      const std::string at = std::to_string(i);
      const Affine qkv = affine(at + ".qkv");
      blocks_.push_back({norm(at + ".ln1"),
                         norm(at + ".ln2"),
                         qkv,
                         {qkv.w.narrow(1, 0, d).contiguous(), qkv.b.narrow(0, 0, d)},
                         {qkv.w.narrow(1, d, 2 * d).contiguous(), qkv.b.narrow(0, d, 2 * d)},
                         affine(at + ".proj"),
                         affine(at + ".fc"),
                         affine(at + ".out")});
    }
    wte_ = get("wte");
    wpe_ = get("wpe");
    final_ = norm("lnf");
    head_ = get("head.w");
  }

  std::int64_t blocks() const override { return sizes_.layers; }
  std::int64_t positions(const tierod::vla::Batch& batch) override {
    return batch.at("tokens").size(1);
  }
  Tensor embed(const tierod::vla::Batch& batch) override {
    const Tensor& ids = batch.at("tokens");
    return at::add(at::embedding(wte_, ids), wpe_.narrow(0, 0, ids.size(1)));
  }

  Projected project(std::int64_t index, const Tensor& hidden, const Tensor& /*positions*/,
                    Projection what) override {
    const Block& block = blocks_[static_cast<std::size_t>(index)];
    const Tensor y = block.ln1(hidden);
    if (what == Projection::query) return {.query = heads(block.query(y), 0)};
    if (what == Projection::key_value) {
      const Tensor kv = block.key_value(y);
      return {.query = {}, .key = heads(kv, 0), .value = heads(kv, 1)};
    }
    const Tensor qkv = block.qkv(y);
    return {.query = heads(qkv, 0), .key = heads(qkv, 1), .value = heads(qkv, 2)};
  }

  Tensor combine(std::int64_t index, const Tensor& hidden, const Tensor& mixed) override {
    const Block& block = blocks_[static_cast<std::size_t>(index)];
    Tensor mid = block.proj(mixed).add_(hidden);
    for (std::int64_t at = 0; at < mid.size(0); at += kChunk) {
      const Tensor some = mid.narrow(0, at, std::min(kChunk, mid.size(0) - at));
      some.add_(block.out(gelu_tanh(block.fc(block.ln2(some)))));
    }
    return mid;
  }

  Tensor finish(const Tensor& hidden) override { return at::matmul(final_(hidden), head_); }
  Tensor finish_columns(const Tensor& hidden, const std::vector<std::int64_t>& columns) override {
    return at::matmul(final_(hidden), head_.index_select(1, at::tensor(columns)));
  }

 private:
  // [tokens, n * width] -> part `index` of them as [tokens, heads, head width]
  Tensor heads(const Tensor& all, std::int64_t index) const {
    const std::int64_t d = sizes_.width;
    return all.narrow(1, index * d, d).unflatten(1, {sizes_.heads, d / sizes_.heads});
  }

  bench::Sizes sizes_;
  std::vector<Block> blocks_;
  Tensor wte_, wpe_, head_;
  Norm final_;
};

/// Labels are `<strategy>` or `<strategy>_f64`; every cell is computed, as [layers, positions].
class Bench {
 public:
  explicit Bench(std::string folder) : folder_(std::move(folder)) {}

  Contender& get(const std::string& shape, const std::string& label) {
    const std::string key = shape + "/" + label;
    const auto found = contenders_.find(key);
    if (found != contenders_.end()) return found->second;
    const bool wide = label.ends_with("_f64");
    const auto weights = std::make_shared<bench::Weights>(folder_, shape);
    const auto model = std::make_shared<Gpt2Blocks>(*weights, wide ? at::kDouble : at::kFloat);
    const SweepStrategy strategy = strategy_of(label.substr(0, label.find('_')));
    const auto sweep = [weights, model, strategy] {
      const at::NoGradGuard no_grad;
      const auto row = [&](std::int64_t i) {
        return tierod::vla::Batch{.tensors = {{"tokens", weights->tokens.narrow(0, i, 1)}},
                                  .ids = {i}};
      };
      tierod::patch::SweepRequest request{.base = row(0),
                                          .sources = {{.name = "source", .batch = row(1)}},
                                          .metric = tierod::patch::logit_difference(3, 7)};
      return tierod::patch::sweep(*model, request,
                                  {.strategy = strategy,
                                   .recheck = 0,
                                   .call_cost = getenv("CC") ? atof(getenv("CC")) : std::nan("")})
          .values[0][0];
    };
    return contenders_[key] = {.run = [sweep] { sweep(); }, .value = sweep};
  }

  static void check(Contender& contender, const std::string& file) {
    bench::write_value(contender, file);
  }

 private:
  static SweepStrategy strategy_of(const std::string& name) {
    for (const SweepStrategy each : {SweepStrategy::naive, SweepStrategy::batched,
                                     SweepStrategy::restart, SweepStrategy::suffix}) {
      if (name == tierod::patch::strategy_name(each)) return each;
    }
    throw std::runtime_error("unknown strategy " + name);
  }

  std::string folder_;
  std::map<std::string, Contender> contenders_;
};

}  // namespace

int main(int argc, char** argv) { return bench::serve<Bench>(argc, argv); }
