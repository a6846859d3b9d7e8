// Capture the residual stream of a small transformer, swap one row's activation with that of
// another run, and print what moved, where, and what did not.

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "tierod/hook/session.h"
#include "tiny_transformer.h"

namespace {

using tierod::example::TinyTransformer;

constexpr std::int64_t kRow = 1;    // the row that is edited
constexpr std::int64_t kToken = 3;  // at this position
constexpr std::int64_t kLayer = 1;  // after this layer

struct Run {
  at::Tensor logits;
  tierod::ActivationCache cache;
};

/// Run the model once, with every resid_post captured and, where given, one edit.
Run run(const TinyTransformer& model, const at::Tensor& tokens,
        const tierod::Intervention* edit = nullptr) {
  tierod::Session session(model.site_table());
  session.capture("**.resid_post");
  if (edit != nullptr) {
    tierod::Selection where;
    where.rows = {{kRow}};
    where.tokens = tierod::Tokens::positions({kToken});
    session.intervene(tierod::site_alias("resid_post", kLayer), *edit, {.selection = where});
  }
  Run result;
  session.run([&] { result.logits = model.forward(tokens); });
  result.cache = session.cache();
  return result;
}

void print_change(const char* title, const TinyTransformer& model, const Run& clean,
                  const Run& edited) {
  std::printf("\n%s\n\nL2 change of the residual stream\n%-8s", title, "layer");
  const std::int64_t rows = clean.logits.size(0);
  const std::int64_t tokens = clean.logits.size(1);
  for (std::int64_t r = 0; r < rows; ++r) std::printf("%9s %lld", "row", static_cast<long long>(r));
  std::printf("\n");
  for (std::int64_t layer = 0; layer < model.config().layers; ++layer) {
    const std::string site = tierod::site_alias("resid_post", layer);
    const at::Tensor change = edited.cache.at(site).sub(clean.cache.at(site));
    std::printf("%-8lld", static_cast<long long>(layer));
    for (std::int64_t r = 0; r < rows; ++r) {
      std::printf("%11.4g", change.select(0, r).norm().item<double>());
    }
    std::printf("\n");
  }
  std::printf("\nLargest change of the logits\n%-8s", "token");
  for (std::int64_t r = 0; r < rows; ++r) std::printf("%9s %lld", "row", static_cast<long long>(r));
  std::printf("\n");
  const at::Tensor largest = edited.logits.sub(clean.logits).abs().amax(-1);
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::printf("%-8lld", static_cast<long long>(t));
    for (std::int64_t r = 0; r < rows; ++r) {
      std::printf("%11.4g", largest.select(0, r).select(0, t).item<double>());
    }
    std::printf("\n");
  }
}

}  // namespace

int main() try {
  const TinyTransformer model({.layers = 4, .width = 32, .heads = 4, .vocab = 64, .seed = 7});
  const at::Tensor tokens =
      at::tensor({5, 17, 42, 8, 23, 61, 5, 17, 42, 8, 23, 61, 9, 9, 30, 2, 11, 50},
                 at::TensorOptions().dtype(at::kLong))
          .view({3, 6});
  at::Tensor other = tokens.clone();
  other.select(1, kToken).fill_(55);  // the donor reads another token at the edited position

  const Run clean = run(model, tokens);
  const Run donor = run(model, other);
  std::printf(
      "captured %zu sites of a %lld-layer transformer; edits touch row %lld, token %lld, "
      "after layer %lld\n",
      clean.cache.size(), static_cast<long long>(model.config().layers),
      static_cast<long long>(kRow), static_cast<long long>(kToken), static_cast<long long>(kLayer));

  const tierod::Intervention zero = tierod::Intervention::zero();
  print_change("1. zero-ablate the residual", model, clean, run(model, tokens, &zero));
  const tierod::Intervention swap = tierod::Intervention::replace(donor.cache);
  print_change("2. swap in the residual of the donor run", model, clean, run(model, tokens, &swap));
  std::printf("\nRows 0 and 2, earlier tokens and earlier layers show exactly 0.\n");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "quickstart: %s\n", error.what());
  return 1;
}
