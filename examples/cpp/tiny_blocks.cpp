#include "tiny_blocks.h"

namespace tierod::example {

std::int64_t TinyBlocks::positions(const vla::Batch& batch) { return batch.at("tokens").size(1); }

at::Tensor TinyBlocks::embed(const vla::Batch& batch) { return model_.embed(batch.at("tokens")); }

vla::BlockOutput TinyBlocks::block(std::int64_t index, const vla::BlockInput& input) {
  const std::int64_t rows = input.hidden.size(0);
  // a sweep has [rows, heads, tokens, head_dim], and one row of the past may serve all
  const auto past = [&](const at::Tensor& given) {
    return given.defined() ? given.transpose(1, 2).expand({rows, -1, -1, -1}) : given;
  };
  TinyTransformer::KeyValue cache{past(input.past_key), past(input.past_value)};
  at::Tensor hidden = model_.block(static_cast<std::size_t>(index), input.hidden, cache);
  if (input.outputs >= 0) {
    hidden = hidden.narrow(1, hidden.size(1) - input.outputs, input.outputs);
  }
  const auto own = [&](const at::Tensor& all) {
    return all.narrow(1, input.begin, input.hidden.size(1)).transpose(1, 2);
  };
  return {.hidden = hidden, .key = own(cache.key), .value = own(cache.value)};
}

}  // namespace tierod::example
