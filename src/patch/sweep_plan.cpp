#include <algorithm>
#include <cmath>
#include <map>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/memory_meter_internal.h"
#include "patch/sweep_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

using patch::SweepPlan;
using patch::SweepStrategy;

bool from_the_patch_on(SweepStrategy strategy) {
  return strategy == SweepStrategy::restart || strategy == SweepStrategy::suffix;
}

std::int64_t bytes(const at::Tensor& tensor) { return static_cast<std::int64_t>(tensor.nbytes()); }

// Rows x positions that all the blocks together compute.
std::int64_t work(const SweepTask& task, SweepStrategy strategy) {
  std::int64_t sum = 0;
  for (const std::int64_t layer : task.layers) {
    const std::int64_t depth = task.blocks - (from_the_patch_on(strategy) ? layer : 0);
    for (const Span& span : task.spans) {
      sum += depth * (task.positions - (strategy == SweepStrategy::suffix ? span.begin : 0));
    }
  }
  return sum * length(task.sources.size()) * task.rows;
}

// What a row of so many positions needs beside what is held: its place in the buffer, and its share
// of what a block or the metric allocates. Attention scores, where a model stores them, go by the
// computed positions as well: the ones before come from the base and ask nothing.
double row_bytes(const SweepTask& task, const SweepMemory& memory, std::int64_t tokens) {
  const double share = static_cast<double>(tokens) / static_cast<double>(task.positions);
  const double block =
      share * static_cast<double>(memory.block_row) + static_cast<double>(memory.block_dense_row);
  return share * static_cast<double>(memory.hidden) +
         std::max(block, static_cast<double>(memory.finish_row));
}

// The same in the last block of those that are run by their parts, with so many fresh tokens.
double last_row_bytes(const SweepTask& task, const SweepMemory& memory, std::int64_t tokens) {
  const double share = static_cast<double>(tokens) / static_cast<double>(task.positions);
  return share * static_cast<double>(memory.hidden + memory.last_row) +
         static_cast<double>(memory.last_dense_row);
}

double largest_row_bytes(const SweepTask& task, const SweepMemory& memory, std::int64_t tokens) {
  return std::max(row_bytes(task, memory, tokens), last_row_bytes(task, memory, tokens));
}

std::int64_t fixed_bytes(const SweepMemory& memory) {
  return std::max({memory.block_fixed, memory.finish_fixed, memory.last_fixed});
}

// From which position on the cells are computed that patch from a given one on. A first position
// joins an earlier one as long as the positions that its cells then compute in vain cost less than
// calls of its own.
std::map<std::int64_t, std::int64_t> shared_begins(const SweepTask& task,
                                                   const patch::SweepOptions& options) {
  const auto width = static_cast<double>(task.embedded.size(2));
  const double call =
      std::isnan(options.call_cost) ? 10 + 100000 / (width * width) : options.call_cost;
  // by parts, positions computed in vain pass attention alone
  const double vain_cost = task.parts != nullptr ? 0.25 : 1;
  double depth = 0;  // blocks that the cells of one span and source pass
  for (const std::int64_t layer : task.layers) depth += static_cast<double>(task.blocks - layer);
  const auto calls = static_cast<double>(task.blocks - task.layers.front());
  std::map<std::int64_t, std::int64_t> spans_at;
  for (const Span& span : task.spans) ++spans_at[span.begin];
  std::map<std::int64_t, std::int64_t> shared;
  std::int64_t first = 0;
  for (const auto& [begin, spans] : spans_at) {
    const auto cells = static_cast<double>(spans * length(task.sources.size()));
    const double in_vain = static_cast<double>(begin - first) * depth * cells * vain_cost;
    if (shared.empty() || in_vain > call * calls) first = begin;
    shared[begin] = first;
  }
  return shared;
}

}  // namespace

std::int64_t held_bytes(const SweepTask& task, const SweepMemory& memory, SweepStrategy strategy) {
  std::int64_t runs = 0;
  for (const patch::PatchSource& source : task.sources) runs += source.residuals.defined() ? 0 : 1;
  std::int64_t held = runs * length(task.layers.size()) * memory.kept;
  if (from_the_patch_on(strategy)) {
    // by parts, also what enters blocks that nobody patches
    held += (task.parts != nullptr ? task.blocks : length(task.layers.size())) * memory.kept;
  }
  if (strategy == SweepStrategy::suffix) held += task.blocks * memory.key_value;
  return held;
}

SweepMemory measure_memory(vla::BlockModel& model, const SweepTask& task) {
  SweepMemory memory;
  const at::Tensor one = task.embedded.narrow(0, 0, 1).contiguous();
  const at::Tensor two = one.expand({2, one.size(1), one.size(2)}).contiguous();
  memory.hidden = bytes(one);
  const auto finish_peak = [&](const at::Tensor& hidden) {
    const at::Tensor last =
        hidden.narrow(1, task.positions - task.metric.tokens, task.metric.tokens).contiguous();
    MemoryMeter meter;
    const at::Tensor values = metric_values(task.metric, finish_for(model, task.metric, last));
    return meter.peak();
  };
  const std::int64_t finish_one = finish_peak(one), finish_two = finish_peak(two);
  memory.finish_row = std::max<std::int64_t>(finish_two - finish_one, 0);
  memory.finish_fixed = std::max<std::int64_t>(finish_one - memory.finish_row, 0);
  // the first call may set up what stays
  model.block(0, {.hidden = one.narrow(1, 0, 1).contiguous()});
  if (task.parts != nullptr) {
    measure_parts(memory, task);
    return memory;
  }
  const auto block_peak = [&](const at::Tensor& hidden, bool keep) {
    MemoryMeter meter;
    vla::BlockOutput out = model.block(0, {.hidden = hidden});
    if (keep) {
      const std::int64_t all = meter.current();
      out.hidden.reset();
      memory.key_value = meter.current();
      memory.kept = std::max(memory.hidden, all - memory.key_value);
    }
    return meter.peak();
  };
  const std::int64_t block_one = block_peak(one, true), block_two = block_peak(two, false);
  memory.block_row = std::max<std::int64_t>(block_two - block_one, 0);
  memory.block_fixed = std::max<std::int64_t>(block_one - memory.block_row, 0);
  return memory;
}

std::int64_t rows_that_fit(const SweepTask& task, const SweepMemory& memory, SweepStrategy strategy,
                           std::int64_t tokens, std::int64_t limit) {
  const std::int64_t left = limit - held_bytes(task, memory, strategy) - fixed_bytes(memory);
  if (left <= 0) return 0;
  return static_cast<std::int64_t>(static_cast<double>(left) /
                                   largest_row_bytes(task, memory, tokens));
}

std::vector<SweepUnit> make_units(const SweepTask& task, const SweepMemory& memory,
                                  const patch::SweepOptions& options) {
  const SweepStrategy strategy = options.strategy;
  const std::map<std::int64_t, std::int64_t> shared = shared_begins(task, options);
  // Rows of one call share the first position that they compute, and the block they enter at
  // unless they may enter one after the other.
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<SweepCell>> groups;
  for (std::int64_t l = 0; l < length(task.layers.size()); ++l) {
    for (std::int64_t p = 0; p < length(task.spans.size()); ++p) {
      const std::int64_t begin = strategy == SweepStrategy::suffix
                                     ? shared.at(task.spans[static_cast<std::size_t>(p)].begin)
                                     : 0;
      for (std::int64_t s = 0; s < length(task.sources.size()); ++s) {
        groups[{begin, strategy == SweepStrategy::suffix ? 0 : l}].push_back({s, l, p});
      }
    }
  }
  std::vector<SweepUnit> units;
  for (const auto& [key, cells] : groups) {
    const std::int64_t tokens = task.positions - key.first;
    const std::int64_t fit =
        strategy == SweepStrategy::naive
            ? 1
            : rows_that_fit(task, memory, strategy, tokens, options.memory_limit);
    const auto size = static_cast<std::size_t>(std::max<std::int64_t>(fit, 1));
    // equal parts: a small rest would waste a call
    const std::size_t parts = (cells.size() + size - 1) / size;
    for (std::size_t i = 0; i < parts; ++i) {
      const std::size_t from = cells.size() * i / parts, to = cells.size() * (i + 1) / parts;
      units.push_back({key.first,
                       {cells.begin() + static_cast<std::ptrdiff_t>(from),
                        cells.begin() + static_cast<std::ptrdiff_t>(to)}});
    }
  }
  return units;
}

SweepPlan make_plan(const SweepTask& task, const SweepMemory& memory,
                    const patch::SweepOptions& options) {
  if (options.call_cost < 0) {
    throw InvalidArgument(
        cat("[", kSweep, "] expected call_cost >= 0 or NaN, got ", options.call_cost));
  }
  SweepPlan plan{.cells = task.cells() * task.rows};
  const auto fits = [&](SweepStrategy strategy) {
    return rows_that_fit(task, memory, strategy, task.positions, options.memory_limit) > 0;
  };
  plan.strategy = options.strategy;
  if (plan.strategy == SweepStrategy::automatic) {
    for (const SweepStrategy strategy : {SweepStrategy::suffix, SweepStrategy::restart,
                                         SweepStrategy::batched, SweepStrategy::naive}) {
      if (!fits(strategy)) continue;
      plan.strategy = strategy;
      break;
    }
    if (plan.strategy != SweepStrategy::automatic) {
      const double share = static_cast<double>(work(task, plan.strategy)) /
                           static_cast<double>(work(task, SweepStrategy::naive));
      plan.why = cat(strategy_name(plan.strategy), ": ", std::min(100.0, 100 * share),
                     " % of the positions that whole forwards compute");
      if (plan.strategy != SweepStrategy::suffix) {
        plan.why += cat("; what a cheaper one holds does not fit ", options.memory_limit, " bytes");
      }
    }
  } else {
    plan.why = cat(strategy_name(plan.strategy), ": asked for");
  }
  const SweepStrategy tried =
      plan.strategy == SweepStrategy::automatic ? SweepStrategy::naive : plan.strategy;
  if (!fits(tried)) {
    const std::int64_t need =
        held_bytes(task, memory, tried) + fixed_bytes(memory) +
        static_cast<std::int64_t>(largest_row_bytes(task, memory, task.positions)) + 1;
    throw InvalidArgument(cat("[", kSweep, "] expected memory_limit of at least ", need,
                              " bytes, which one row of ", task.positions, " positions needs with ",
                              strategy_name(tried), ", got ", options.memory_limit,
                              "; raise it, shorten the inputs, or take fewer sources"));
  }
  double peak = 0;
  patch::SweepOptions planned = options;
  planned.strategy = plan.strategy;
  for (const SweepUnit& unit : make_units(task, memory, planned)) {
    const std::int64_t tokens = task.positions - unit.begin, rows = length(unit.cells.size());
    plan.rows_at_once = std::max(plan.rows_at_once, rows);
    const std::int64_t first = from_the_patch_on(plan.strategy)
                                   ? task.layers[static_cast<std::size_t>(unit.cells.front().layer)]
                                   : 0;
    plan.block_calls += (task.blocks - first) * task.rows;
    double inner = 0,
           last = 0;  // bytes of the rows at once in the block before the last, and there
    for (const SweepCell& cell : unit.cells) {
      const std::int64_t enters =
          from_the_patch_on(plan.strategy) ? task.layers[static_cast<std::size_t>(cell.layer)] : 0;
      const Span& span = task.spans[static_cast<std::size_t>(cell.span)];
      const bool parts = task.parts != nullptr, late = parts && enters == task.blocks - 1;
      const std::int64_t own = parts ? task.positions - span.begin : tokens;
      plan.block_tokens += (task.blocks - enters) * own * task.rows;
      if (!late) inner += row_bytes(task, memory, own);
      if (parts) last += last_row_bytes(task, memory, late ? span.end - span.begin : own);
    }
    peak = std::max({peak, inner, last});
  }
  plan.predicted_peak = held_bytes(task, memory, plan.strategy) + fixed_bytes(memory) +
                        static_cast<std::int64_t>(peak);
  return plan;
}

}  // namespace tierod::internal
