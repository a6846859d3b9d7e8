// Worker of the hook bench in C++; the protocol is that of harness/worker.py.
//
// usage: tierod_hook_bench <data folder> <threads>
//
// The GPT-2-shaped model is compiled twice, with and without hook points, so that a ratio compares
// two programs that differ in nothing else.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/InferenceMode.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench_worker.h"
#include "tierod/hook/hook_point.h"
#include "tierod/hook/session.h"

namespace {

using at::Tensor;
using bench::fence;

/// x w + b. Where PyTorch has MKL, a large w is brought into the order that MKL's product reads
/// once, for inputs of `rows` rows, as torch.compile does with frozen weights.
class Linear {
 public:
  Linear(const Tensor& w, std::optional<Tensor> b, std::int64_t rows)
      : w_(w), b_(std::move(b)), rows_(rows) {
    if (w.numel() < 1 << 16 || !find("mkl::_mkl_linear")) return;
    transposed_ = w.t().contiguous();
    packed_ = c10::Dispatcher::singleton()
                  .findSchemaOrThrow("mkl::_mkl_reorder_linear_weight", "")
                  .typed<Tensor(const Tensor&, std::int64_t)>()
                  .call(transposed_, rows);
  }

  Tensor operator()(const Tensor& x) const {
    if (!packed_.defined()) return b_ ? at::addmm(*b_, x, w_) : at::mm(x, w_);
    static const auto product = c10::Dispatcher::singleton()
                                    .findSchemaOrThrow("mkl::_mkl_linear", "")
                                    .typed<Tensor(const Tensor&, const Tensor&, const Tensor&,
                                                  const std::optional<Tensor>&, std::int64_t)>();
    return product.call(x, packed_, transposed_, b_, rows_);
  }

 private:
  static bool find(const char* op) {
    return c10::Dispatcher::singleton().findSchema({op, ""}).has_value();
  }

  Tensor w_, transposed_, packed_;
  std::optional<Tensor> b_;
  std::int64_t rows_;
};

struct Norm {
  Tensor w, b;
  Tensor operator()(const Tensor& x) const { return at::layer_norm(x, w.sizes(), w, b); }
};

struct Block {
  Norm ln1, ln2;
  Linear qkv, proj, fc, out;
  tierod::Site resid_post;
};

struct Output {
  Tensor logits;
  /// What was captured: by the floor of a capture, and by tierod.
  std::vector<Tensor> captures;
  tierod::ActivationCache cache;
};

/// The function of gpt2_shape.py, with the stream of rows kept in two dimensions.
class Model {
 public:
  Model(const std::string& folder, const std::string& shape) {
    const bench::Weights weights(folder, shape);
    sizes_ = weights.sizes;
    tokens_ = weights.tokens;
    const bench::Sizes& s = sizes_;
    const auto linear = [&](const std::string& key) {
      return Linear(weights.at(key + ".w"), weights.at(key + ".b"), s.batch * s.tokens);
    };
    const auto norm = [&](const std::string& key) {
      return Norm{weights.at(key + ".w"), weights.at(key + ".b")};
    };
    for (std::int64_t i = 0; i < s.layers; ++i) {
      const std::string at = std::to_string(i);
      blocks_.push_back({norm(at + ".ln1"), norm(at + ".ln2"), linear(at + ".qkv"),
                         linear(at + ".proj"), linear(at + ".fc"), linear(at + ".out"),
                         tierod::Site("layers." + at + ".resid_post")});
    }
    wte_ = weights.at("wte");
    wpe_ = weights.at("wpe");
    final_ = norm("lnf");
    head_.emplace(weights.at("head.w"), std::nullopt, s.batch * s.tokens);
  }

  std::int64_t layers() const { return sizes_.layers; }

  /// Run the model; `at_block(x, site)` stands where a block's output goes into the next.
  template <typename AtBlock>
  Tensor forward(AtBlock&& at_block) const {
    const bench::Sizes& s = sizes_;
    const std::int64_t rows = s.batch * s.tokens;
    Tensor x = at::embedding(wte_, tokens_).add_(wpe_);
    for (const Block& block : blocks_) x = at_block(run(block, x), block.resid_post);
    return (*head_)(final_(x.view({rows, s.width}))).view({s.batch, s.tokens, s.vocab});
  }

 private:
  // In-place adds fall on the product's own fresh tensor, never on the stream that a session may
  // have kept without a copy.
  Tensor run(const Block& block, const Tensor& stream) const {
    const bench::Sizes& s = sizes_;
    const std::int64_t rows = s.batch * s.tokens, d = s.width / s.heads, row = 3 * s.width;
    const Tensor x = stream.view({rows, s.width});
    const Tensor qkv = block.qkv(block.ln1(x));
    const auto part = [&](std::int64_t index) {
      return qkv.as_strided({s.batch, s.heads, s.tokens, d}, {s.tokens * row, d, row, 1},
                            index * s.width);
    };
    const Tensor z = at::scaled_dot_product_attention(part(0), part(1), part(2), {}, 0.0, true);
    // Attention on the CPU answers in [batch, token, head, d] order: no copy.
    const Tensor mixed = z.transpose(1, 2).reshape({rows, s.width});
    const Tensor mid = block.proj(mixed).add_(x);
    return block.out(gelu(block.fc(block.ln2(mid)))).add_(mid).view(stream.sizes());
  }

  // x/2 (1 + tanh u) is x sigmoid(2u), u = sqrt(2/pi) (x + .044715 x^3). The tanh of ATen takes
  // 10 ns a number, an eighth of the whole forward at width 512; few numbers are not worth the
  // five calls.
  static Tensor gelu(Tensor x) {
    if (x.numel() < 1 << 15) return at::gelu_(x, "tanh");
    constexpr double kTwice = 1.5957691216057308;  // 2 sqrt(2/pi)
    Tensor gate = x.square().mul_(kTwice * .044715).add_(kTwice).mul_(x).sigmoid_();
    return gate.mul_(x);
  }

  bench::Sizes sizes_{};
  Tensor tokens_, wte_, wpe_;
  std::optional<Linear> head_;
  Norm final_;
  std::vector<Block> blocks_;
};

/// One thing to time. A session that stays open lives from the first to the last run of a slice.
struct Contender {
  std::function<Output()> run;
  std::function<void()> before = [] {};
  std::function<void()> after = [] {};
  /// Runs of `run` that count as one, for what is too short to be called through a pointer.
  std::function<void(std::int64_t)> run_many;
};

struct NoHook {
  Tensor operator()(Tensor x, const tierod::Site&) const { return x; }
};

struct Hook {
  Tensor operator()(Tensor x, const tierod::Site& site) const {
    return tierod::hook_point(std::move(x), site);
  }
};

class Bench {
 public:
  explicit Bench(std::string folder) : folder_(std::move(folder)) {}

  Contender& get(const std::string& shape, const std::string& label) {
    const std::string key = shape + "/" + label;
    const auto found = contenders_.find(key);
    if (found != contenders_.end()) return found->second;
    return contenders_[key] = make(shape, label);
  }

  static void check(Contender& contender, const std::string& file) {
    contender.before();
    const Output output = contender.run();
    contender.after();
    std::ofstream out(file, std::ios::binary);
    const auto write = [&](const Tensor& x) {
      const Tensor flat = x.contiguous();
      out.write(static_cast<const char*>(flat.const_data_ptr()),
                static_cast<std::streamsize>(flat.nbytes()));
    };
    write(output.logits);
    for (const Tensor& kept : output.captures) write(kept);
    for (const tierod::Activation& kept : output.cache.entries()) write(kept.tensor);
  }

 private:
  Contender make(const std::string& shape, const std::string& label) {
    if (shape == "-") {
      if (label == "idle_hook") return idle_hook();
      if (label == "idle_hook_moved") return idle_hook_moved();
      if (label == "handle_copy") return handle_copy();
      if (label == "handle_move") return handle_move();
      if (label == "copy") return copies();
      if (label == "memcpy") return plain_copies();
      if (label.starts_with("sites_")) return sites(label);
    } else {
      const Model& m = model(shape);
      if (label == "bare") {
        return {.run = [&m] { return Output{m.forward(NoHook()), {}, {}}; }};
      }
      if (label == "idle") {
        return {.run = [&m] { return Output{m.forward(Hook()), {}, {}}; }};
      }
      if (label == "keep") return keep(m);
      if (label == "capture") return capture(m, false);
      if (label == "capture_copy") return capture(m, true);
      if (label == "capture_open") return capture_open(m);
    }
    throw std::runtime_error("unknown contender " + shape + "/" + label);
  }

  const Model& model(const std::string& shape) {
    auto& slot = models_[shape];
    if (!slot) slot = std::make_unique<Model>(folder_, shape);
    return *slot;
  }

  // --- whole models

  /// The floor of a capture without copy: a handle into a vector.
  static Contender keep(const Model& m) {
    return {.run = [&m] {
      Output output;
      output.captures.reserve(static_cast<std::size_t>(m.layers()));
      output.logits = m.forward([&](Tensor x, const tierod::Site&) {
        output.captures.push_back(x);
        return x;
      });
      return output;
    }};
  }

  /// What a user writes: a session for this one forward.
  static Contender capture(const Model& m, bool copy) {
    return {.run = [&m, copy] {
      tierod::Session session;
      session.capture("**.resid_post", {.copy = copy});
      session.open();
      Tensor logits = m.forward(Hook());
      session.close();
      return Output{std::move(logits), {}, session.cache()};
    }};
  }

  /// A session that stays open over many forwards: the cost of the hooks alone.
  static Contender capture_open(const Model& m) {
    auto session = std::make_shared<tierod::Session>();
    session->capture("**.resid_post", {.copy = false});
    return {.run =
                [&m, session] {
                  session->cache().clear();
                  return Output{m.forward(Hook()), {}, {}};
                },
            .before = [session] { session->open(); },
            .after = [session] { session->close(); }};
  }

  // --- parts

  /// The floor of `x = f(std::move(x))`: a handle moved there and back.
  static Contender handle_move() {
    return {.run_many = [x = at::empty({1})](std::int64_t count) mutable {
      for (std::int64_t i = 0; i < count; ++i) {
        Tensor y = std::move(x);
        fence();
        x = std::move(y);
        fence();
      }
    }};
  }

  static Contender idle_hook() {
    return {.run_many = [x = at::empty({1}),
                         site = tierod::Site("layers.0.resid_post")](std::int64_t count) mutable {
      for (std::int64_t i = 0; i < count; ++i) {
        x = tierod::hook_point(x, site);
        fence();
      }
    }};
  }

  static Contender idle_hook_moved() {
    return {.run_many = [x = at::empty({1}),
                         site = tierod::Site("layers.0.resid_post")](std::int64_t count) mutable {
      for (std::int64_t i = 0; i < count; ++i) {
        x = tierod::hook_point(std::move(x), site);
        fence();
      }
    }};
  }

  /// The floor of `x = f(x)` by value: one reference taken and one dropped.
  static Contender handle_copy() {
    return {.run_many = [x = at::empty({1})](std::int64_t count) mutable {
      for (std::int64_t i = 0; i < count; ++i) {
        Tensor y = x;
        fence();
        x = std::move(y);
        fence();
      }
    }};
  }

  static constexpr int kCopies = 32;
  static constexpr std::size_t kCopyBytes = std::size_t{4} << 20;

  const std::vector<Tensor>& sources() {
    if (sources_.empty()) {
      for (int i = 0; i < kCopies; ++i) sources_.push_back(at::randn({1, 512, 2048}));
    }
    return sources_;
  }

  /// Copies of 32 activations that are all held until the session opens again.
  Contender copies() {
    auto session = std::make_shared<tierod::Session>();
    session->capture("**.resid_post");
    std::vector<tierod::Site> at;
    for (int i = 0; i < kCopies; ++i) {
      at.emplace_back("layers." + std::to_string(i) + ".resid_post");
    }
    return {.run = [session, at, &from = sources()] {
      session->open();
      for (std::size_t i = 0; i < at.size(); ++i) tierod::hook_point(from[i], at[i]);
      session->close();
      return Output{};
    }};
  }

  Contender plain_copies() {
    struct Buffers {
      std::vector<void*> data;
      ~Buffers() {
        for (void* p : data) std::free(p);
      }
    };
    auto to = std::make_shared<Buffers>();
    for (int i = 0; i < kCopies; ++i) {
      void* p = std::aligned_alloc(4096, kCopyBytes);
      if (p == nullptr) throw std::bad_alloc();
      to->data.push_back(std::memset(p, 1, kCopyBytes));
    }
    return {.run = [to, &from = sources()] {
      for (int i = 0; i < kCopies; ++i) {
        char* target = static_cast<char*>(to->data[i]);
        const char* source = static_cast<const char*>(from[i].const_data_ptr());
        at::parallel_for(0, static_cast<std::int64_t>(kCopyBytes), std::int64_t{1} << 20,
                         [&](std::int64_t begin, std::int64_t end) {
                           std::memcpy(target + begin, source + begin,
                                       static_cast<std::size_t>(end - begin));
                         });
      }
      fence();
      return Output{};
    }};
  }

  /// 200 sites that fire once a run: in a session made for the run (`fresh`), in one object opened
  /// and closed each time (`reopened`), in one that stays open (`open`), and without one (`idle`).
  static Contender sites(const std::string& label) {
    constexpr int kSites = 200;
    auto at = std::make_shared<std::vector<tierod::Site>>();
    for (int i = 0; i < kSites; ++i)
      at->emplace_back("layers." + std::to_string(i) + ".resid_post");
    const auto fire = [at, x = at::empty({1, 1, 8})] {
      for (const tierod::Site& site : *at) {
        tierod::hook_point(x, site);
        fence();
      }
    };
    const tierod::CaptureOptions options{.copy = false};
    auto session = std::make_shared<tierod::Session>();
    session->capture("**.resid_post", options);
    if (label == "sites_fresh") {
      return {.run = [fire, options] {
        tierod::Session fresh;
        fresh.capture("**.resid_post", options);
        fresh.run(fire);
        return Output{};
      }};
    }
    if (label == "sites_reopened") {
      return {.run = [fire, session] {
        session->run(fire);
        return Output{};
      }};
    }
    if (label == "sites_open") {
      return {.run =
                  [fire, session] {
                    session->cache().clear();
                    fire();
                    return Output{};
                  },
              .before = [session] { session->open(); },
              .after = [session] { session->close(); }};
    }
    if (label == "sites_idle") {
      return {.run = [fire] {
        fire();
        return Output{};
      }};
    }
    if (label == "sites_map") {
      // The floor of remembering 200 sites by name: a hash map made, filled and dropped.
      return {.run = [at] {
        std::unordered_map<std::string, int> map;
        for (const tierod::Site& site : *at) map.try_emplace(site.name(), 0);
        fence();
        return Output{};
      }};
    }
    throw std::runtime_error("unknown contender " + label);
  }

  std::string folder_;
  std::map<std::string, Contender> contenders_;
  std::map<std::string, std::unique_ptr<Model>> models_;
  std::vector<Tensor> sources_;
};

}  // namespace

int main(int argc, char** argv) {
  const c10::InferenceMode inference;
  return bench::serve<Bench>(argc, argv);
}
