#include "tierod/vla/split_block_model.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <limits>
#include <optional>

namespace tierod::vla {

at::Tensor SplitBlockModel::attend(std::int64_t /*index*/, const at::Tensor& query,
                                   const at::Tensor& key, const at::Tensor& value) {
  const std::int64_t queries = query.size(2), end = key.size(2);
  const bool square = queries == end;
  std::optional<at::Tensor> mask;
  if (!square && queries > 1) {
    mask = at::full({queries, end}, -std::numeric_limits<double>::infinity(), query.options())
               .triu_(end - queries + 1);
  }
  return at::scaled_dot_product_attention(query, key, value, mask, 0.0, square, std::nullopt,
                                          query.size(1) != key.size(1));
}

BlockOutput SplitBlockModel::block(std::int64_t index, const BlockInput& input) {
  const at::Tensor& hidden = input.hidden;
  const std::int64_t rows = hidden.size(0), tokens = hidden.size(1), width = hidden.size(2);
  const std::int64_t kept = input.outputs < 0 ? tokens : input.outputs;
  const at::Tensor positions =
      at::arange(input.begin, input.begin + tokens, hidden.options().dtype(at::kLong));
  const auto flat = [&](std::int64_t count) {  // the last so many tokens of each row
    return hidden.narrow(1, tokens - count, count).reshape({rows * count, width});
  };
  const auto positions_of = [&](std::int64_t count) {
    return positions.narrow(0, tokens - count, count).repeat({rows});
  };
  const auto by_row = [&](const at::Tensor& part) {
    return part.unflatten(0, {rows, part.size(0) / rows}).transpose(1, 2);
  };
  const at::Tensor last = flat(kept);
  const bool all = kept == tokens;
  const Projected own = project(index, flat(tokens), positions_of(tokens),
                                all ? Projection::all : Projection::key_value);
  const at::Tensor query =
      all ? own.query : project(index, last, positions_of(kept), Projection::query).query;
  BlockOutput out{.hidden = {}, .key = by_row(own.key), .value = by_row(own.value)};
  at::Tensor keys = out.key, values = out.value;
  if (input.begin > 0) {
    keys = at::cat({input.past_key.expand({rows, -1, -1, -1}), keys}, 2);
    values = at::cat({input.past_value.expand({rows, -1, -1, -1}), values}, 2);
  }
  const at::Tensor mixed = attend(index, by_row(query), keys, values).transpose(1, 2);
  out.hidden = combine(index, last, mixed.reshape({rows * kept, mixed.size(2) * mixed.size(3)}))
                   .view({rows, kept, width});
  return out;
}

}  // namespace tierod::vla
