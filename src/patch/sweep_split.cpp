#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/tensor_internal.h"
#include "patch/memory_meter_internal.h"
#include "patch/sweep_internal.h"

namespace tierod::internal {

// Note [Packed tokens]
//
// Of a row only the patched position is new in the block where it enters: queries, keys and values
// of all others are the base run's. One list, `place`, says for each row and position where its
// residual stream, query, key and value stand: behind the base run's come those of the fresh
// tokens, which are all tokens of rows that entered before, and the patched ones of rows that enter
// now. So the fresh tokens of all rows, whatever position they begin at, are projected in one call,
// and all that leave the block are combined in one; only attention needs rows of one length.

at::Tensor SplitCall::leave(vla::SplitBlockModel& model, std::int64_t index,
                            const SplitBase& base) const {
  const std::int64_t all = base.hidden.size(0), dense = all - begin;
  const auto gather = [](const at::Tensor& known, const at::Tensor& added, const at::Tensor& from) {
    return at::cat({known, added}).index_select(0, from);
  };
  const at::Tensor flat = place.view({-1});
  const at::Tensor hidden = gather(base.hidden, fresh, flat.index_select(0, leaving));
  at::Tensor mixed;
  {
    vla::Projected own = model.project(index, fresh, positions,
                                       last ? vla::Projection::key_value : vla::Projection::all);
    const auto by_row = [](const at::Tensor& tokens, std::int64_t rows) {
      return tokens.unflatten(0, {rows, tokens.size(0) / rows}).transpose(1, 2);
    };
    const std::int64_t rows = place.size(0);
    const at::Tensor query =
        last ? model.project(index, hidden, leaving.remainder(all), vla::Projection::query).query
             : gather(base.projected.query, own.query, place.narrow(1, begin, dense).reshape({-1}));
    const at::Tensor key = gather(base.projected.key, own.key, flat);
    const at::Tensor value = gather(base.projected.value, own.value, flat);
    own = {};
    mixed = model.attend(index, by_row(query, rows), by_row(key, rows), by_row(value, rows))
                .transpose(1, 2);
  }
  mixed = mixed.reshape({mixed.size(0) * mixed.size(1), mixed.size(2) * mixed.size(3)});
  if (mixed.size(0) != hidden.size(0)) {
    const at::Tensor row = leaving.div(all, "floor");
    mixed = mixed.index_select(0, leaving.sub(row.add(1).mul(begin)));
  }
  return model.combine(index, hidden, mixed);
}

void measure_parts(SweepMemory& memory, const SweepTask& task) {
  vla::SplitBlockModel& model = *task.parts;
  const std::int64_t all = task.positions;
  const at::Tensor positions = at::arange(all, task.embedded.options().dtype(at::kLong));
  SplitBase base{.hidden = task.embedded[0], .projected = {}};
  {
    const MemoryMeter meter;
    base.projected = model.project(0, base.hidden, positions, vla::Projection::all);
    memory.key_value = meter.current();
  }
  const auto peak = [&](std::int64_t rows, std::int64_t own_rows, bool last) {
    const at::Tensor fresh = base.hidden.repeat({own_rows, 1});
    const at::Tensor tokens = at::arange(rows * all, positions.options()).view({rows, all});
    const std::int64_t begin = last ? all - task.metric.tokens : 0;
    const at::Tensor own = tokens.narrow(0, 0, own_rows).reshape({-1});
    const SplitCall call{
        .fresh = fresh,
        .positions = positions.repeat({own_rows}),
        .place = at::cat({own.add(all), positions.repeat({rows - own_rows})}).view({rows, all}),
        .leaving = last ? tokens.narrow(1, begin, all - begin).reshape({-1}) : own,
        .begin = begin,
        .last = last};
    const MemoryMeter meter;
    const at::Tensor out = call.leave(model, 0, base);
    if (!last) memory.kept = std::max(memory.hidden, meter.current() / own_rows);
    return meter.peak();
  };
  const auto measure = [&](bool last, std::int64_t& fixed, std::int64_t& dense_row,
                           std::int64_t& row) {
    const std::int64_t one = peak(1, 1, last), other = peak(2, 1, last), two = peak(2, 2, last);
    constexpr std::int64_t kIndex = sizeof(std::int64_t);  // of the numbers in a call's lists
    dense_row = std::max<std::int64_t>(other - one, 0) + all * kIndex;
    row = std::max<std::int64_t>(two - other, 0) + 2 * all * kIndex;
    fixed = std::max<std::int64_t>(2 * one - two, 0);
  };
  measure(false, memory.block_fixed, memory.block_dense_row, memory.block_row);
  measure(true, memory.last_fixed, memory.last_dense_row, memory.last_row);
}

}  // namespace tierod::internal
