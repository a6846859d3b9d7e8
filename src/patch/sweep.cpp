#include "tierod/patch/sweep.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/memory_meter_internal.h"
#include "patch/sweep_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::patch {

using internal::cat;
using internal::finish_for;
using internal::kSweep;
using internal::length;
using internal::metric_values;
using internal::SweepCell;
using internal::SweepMemory;
using internal::SweepTask;
using internal::SweepUnit;

const char* strategy_name(SweepStrategy strategy) noexcept {
  switch (strategy) {
    case SweepStrategy::automatic:
      return "automatic";
    case SweepStrategy::naive:
      return "naive";
    case SweepStrategy::batched:
      return "batched";
    case SweepStrategy::restart:
      return "restart";
    case SweepStrategy::suffix:
      return "suffix";
  }
  return "?";
}

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool from_the_patch_on(SweepStrategy strategy) {
  return strategy == SweepStrategy::restart || strategy == SweepStrategy::suffix;
}

std::string bytes_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().cpu().contiguous();
  return sha256_hex(flat.const_data_ptr(), flat.nbytes());
}

double default_tolerance(at::ScalarType dtype) {
  if (dtype == at::kDouble) return 1e-8;
  return dtype == at::kFloat ? 1e-4 : 0.05;
}

/// Hold what the units of one row need.
struct RowState {
  at::Tensor embedded;                          // [1, positions, width]
  std::map<std::int64_t, at::Tensor> base;      // what enters a block, [1, positions, width]
  std::vector<at::Tensor> keys, values;         // by block
  std::vector<internal::SplitBase> parts;       // by block, in place of keys, values and base
  at::Tensor outputs;                           // [1, metric tokens, columns] of the base
  std::vector<std::vector<at::Tensor>> source;  // [sources][layers] [positions, width]
};

class Runner {
 public:
  Runner(vla::BlockModel& model, const SweepRequest& request, const SweepOptions& options)
      : model_(model), options_(options), task_(internal::make_task(model, request)) {
    if (options.recheck < 0) {
      throw InvalidArgument(cat("[", kSweep, "] expected recheck >= 0, got ", options.recheck));
    }
    const bool automatic = options.strategy == SweepStrategy::automatic;
    if (!automatic && options.strategy != SweepStrategy::suffix) task_.parts = nullptr;
    memory_ = internal::measure_memory(model, task_);
    // whole blocks ask for less memory
    if (task_.parts != nullptr && automatic &&
        internal::rows_that_fit(task_, memory_, SweepStrategy::suffix, task_.positions,
                                options.memory_limit) == 0) {
      task_.parts = nullptr;
      memory_ = internal::measure_memory(model, task_);
    }
    plan_ = internal::make_plan(task_, memory_, options);
  }

  const SweepPlan& plan() const { return plan_; }

  SweepResult run() {
    const internal::MemoryMeter meter;
    const std::int64_t sources = length(task_.sources.size());
    for (const PatchSource& source : task_.sources) out_.sources.push_back(source.name);
    out_.layers = task_.layers;
    out_.spans = task_.spans;
    out_.metric = task_.metric.name;
    out_.plan = plan_;
    out_.values =
        at::full({task_.rows, sources, length(task_.layers.size()), length(task_.spans.size())},
                 kNaN, at::kDouble);
    out_.base = at::full({task_.rows}, kNaN, at::kDouble);
    out_.source = at::full({task_.rows, sources}, kNaN, at::kDouble);
    SweepOptions planned = options_;
    planned.strategy = plan_.strategy;
    const std::vector<SweepUnit> units = internal::make_units(task_, memory_, planned);
    RowState state = start(0);
    check_metric(state);
    internal::SweepFile file(options_.file, options_.file.empty() ? "" : question(state),
                             out_.values);
    out_.resumed = file.load();
    try {
      for (std::int64_t row = 0; row < task_.rows && out_.complete; ++row) {
        if (row > 0) {
          state = {};  // the row before must not be held beside this one
          state = start(row);
        }
        cells_of(state, row, units, file);
        if (out_.complete) recheck(state, row);
      }
    } catch (...) {
      file.save();
      throw;
    }
    file.save();
    if (options_.progress && out_.complete) options_.progress(plan_.cells, plan_.cells, "cells");
    out_.peak_bytes = meter.peak();
    judge();
    return std::move(out_);
  }

 private:
  // Run the base and the sources of one row, keeping what the strategy uses.
  RowState start(std::int64_t row) {
    RowState state;
    state.embedded = task_.embedded.narrow(0, row, 1);
    const bool keep = from_the_patch_on(plan_.strategy) && task_.parts == nullptr;
    const at::Tensor positions =
        at::arange(task_.positions, state.embedded.options().dtype(at::kLong));
    at::Tensor hidden = state.embedded;
    for (std::int64_t j = 0; j < task_.blocks; ++j) {
      if (keep && std::binary_search(task_.layers.begin(), task_.layers.end(), j)) {
        state.base[j] = hidden;
      }
      vla::BlockOutput out = checked_block(j, hidden);
      if (task_.parts != nullptr) {
        state.parts.push_back(
            {.hidden = hidden[0],
             .projected = task_.parts->project(j, hidden[0], positions, vla::Projection::all)});
      } else if (plan_.strategy == SweepStrategy::suffix) {
        state.keys.push_back(out.key);
        state.values.push_back(out.value);
      }
      hidden = std::move(out.hidden);
    }
    state.outputs = finish_last(hidden);
    out_.base[row] = metric_values(task_.metric, state.outputs)[0];
    for (std::size_t s = 0; s < task_.sources.size(); ++s) state.source.push_back(source(row, s));
    return state;
  }

  std::vector<at::Tensor> source(std::int64_t row, std::size_t number) {
    std::vector<at::Tensor> kept;
    const PatchSource& from = task_.sources[number];
    if (from.residuals.defined()) {
      const at::Tensor mine = from.residuals.select(1, from.residuals.size(1) == 1 ? 0 : row);
      for (const std::int64_t layer : task_.layers) kept.push_back(mine[layer]);
      return kept;
    }
    at::Tensor hidden = task_.source_embedded[number].narrow(0, row, 1);
    for (std::int64_t j = 0; j < task_.blocks; ++j) {
      if (std::binary_search(task_.layers.begin(), task_.layers.end(), j))
        kept.push_back(hidden[0]);
      hidden = checked_block(j, hidden).hidden;
    }
    const at::Tensor outputs = finish_last(hidden);
    out_.source[row][length(number)] = metric_values(task_.metric, outputs)[0];
    return kept;
  }

  // A block that wrote into its input would spoil what is kept of the base without a word.
  vla::BlockOutput checked_block(std::int64_t index, const at::Tensor& hidden) {
    const auto version = hidden._version();
    vla::BlockOutput out = model_.block(index, {.hidden = hidden});
    if (hidden._version() != version) {
      throw InvalidArgument(
          cat("[", kSweep, "] block ", index, " wrote into its input; let it return a new tensor"));
    }
    const bool keys =
        plan_.strategy != SweepStrategy::suffix ||
        (out.key.defined() && out.key.dim() == 4 && out.value.defined() && out.value.dim() == 4 &&
         out.key.size(2) == hidden.size(1) && out.value.size(2) == hidden.size(1));
    if (!out.hidden.defined() || out.hidden.sizes() != hidden.sizes() || !keys) {
      const std::string got = out.hidden.defined() ? cat(out.hidden.sizes()) : "nothing";
      throw InvalidArgument(cat("[", kSweep, "] expected block ", index, " to return hidden ",
                                hidden.sizes(),
                                " with keys and values [rows, heads, tokens, head width], got ",
                                "hidden ", got, keys ? "" : " and other keys and values"));
    }
    return out;
  }

  at::Tensor finish_last(const at::Tensor& hidden) {
    return finish_for(
        model_, task_.metric,
        hidden.narrow(1, task_.positions - task_.metric.tokens, task_.metric.tokens).contiguous());
  }

  // A metric that gives the same number whatever the outputs would make every cell "no effect".
  void check_metric(const RowState& state) {
    const auto base = out_.base[0].item<double>();
    if (!std::isfinite(base)) {
      throw NumericalError(cat("[", kSweep, "] expected a finite metric '", task_.metric.name,
                               "' of the base, got ", base));
    }
    for (std::int64_t s = 0; s < out_.source.size(1); ++s) {
      if (out_.source[0][s].item<double>() != base && task_.source_embedded[s].defined()) return;
    }
    const at::Tensor& y = state.outputs;
    for (const at::Tensor& other :
         {y.neg(), y.mul(2), at::zeros_like(y), y.roll({1}, {2}), y.flip({1, 2})}) {
      if (metric_values(task_.metric, other)[0].item<double>() != base) return;
    }
    throw InvalidArgument(cat("[", kSweep, "] expected a metric of the model's outputs, and '",
                              task_.metric.name, "' is ", base,
                              " whatever they are; does it use its argument?"));
  }

  // What makes two sweeps the same: the function cannot be hashed, what it gives can.
  std::string question(const RowState& state) const {
    std::string text =
        cat("sweep 1\n", task_.metric.name, '\n', task_.metric.tokens, '\n',
            internal::list_text(task_.metric.columns, 1U << 30), '\n', out_.base[0].item<double>(),
            '\n', internal::list_text(task_.layers, 1U << 30), '\n', bytes_of(task_.embedded), '\n',
            bytes_of(state.outputs), '\n');
    for (const Span& span : task_.spans) text += cat(span.begin, '-', span.end, ' ');
    for (std::size_t s = 0; s < task_.sources.size(); ++s) {
      text += cat('\n', task_.sources[s].name, ' ',
                  bytes_of(task_.source_embedded[s].defined() ? task_.source_embedded[s]
                                                              : task_.sources[s].residuals));
    }
    return text;
  }

  void cells_of(const RowState& state, std::int64_t row, const std::vector<SweepUnit>& units,
                internal::SweepFile& file) {
    const at::Tensor mine = out_.values[row];
    auto value = mine.accessor<double, 3>();
    std::int64_t done = row * task_.cells();
    for (const SweepUnit& unit : units) {
      if (options_.progress && !options_.progress(done, plan_.cells, "cells")) {
        out_.complete = false;
        out_.notes.push_back(cat("stopped after ", done, " of ", plan_.cells, " cells"));
        return;
      }
      done += length(unit.cells.size());
      SweepUnit open{.begin = unit.begin};
      for (const SweepCell& cell : unit.cells) {
        if (std::isnan(value[cell.source][cell.layer][cell.span])) open.cells.push_back(cell);
      }
      if (open.cells.empty()) continue;
      const at::Tensor found = task_.parts == nullptr ? compute(state, open, plan_.strategy)
                                                      : compute_by_parts(state, open);
      const auto* number = found.const_data_ptr<double>();
      for (const SweepCell& cell : open.cells) {
        if (!std::isfinite(*number)) {
          throw NumericalError(cat("[", kSweep, "] expected a finite metric '", task_.metric.name,
                                   "', got ", *number, " at ", cell_text(row, cell)));
        }
        value[cell.source][cell.layer][cell.span] = *number++;
      }
      file.save_sometimes();
    }
  }

  std::string cell_text(std::int64_t row, const SweepCell& cell) const {
    return cat("row ", row, ", source '", task_.sources[static_cast<std::size_t>(cell.source)].name,
               "', layer ", layer_of(cell), ", span '", span_of(cell).name, "'");
  }
  std::int64_t layer_of(const SweepCell& cell) const {
    return task_.layers[static_cast<std::size_t>(cell.layer)];
  }
  const Span& span_of(const SweepCell& cell) const {
    return task_.spans[static_cast<std::size_t>(cell.span)];
  }

  // Rows enter at the block that is patched, or all at the first, and go on together.
  at::Tensor compute(const RowState& state, const SweepUnit& unit, SweepStrategy strategy) {
    const bool late = from_the_patch_on(strategy);
    const std::int64_t begin = unit.begin, tokens = task_.positions - begin;
    const std::int64_t rows = length(unit.cells.size()), last = task_.blocks - 1;
    const std::int64_t deepest = layer_of(unit.cells.back());
    at::Tensor x = at::empty({rows, tokens, state.embedded.size(2)}, state.embedded.options());
    std::int64_t entered = 0;
    for (std::int64_t j = late ? layer_of(unit.cells.front()) : 0; j <= last; ++j) {
      std::int64_t until = late ? entered : rows;
      while (until < rows && layer_of(unit.cells[static_cast<std::size_t>(until)]) == j) ++until;
      if (until > entered) {
        const at::Tensor& from = late ? state.base.at(j) : state.embedded;
        x.narrow(0, entered, until - entered).copy_(from.narrow(1, begin, tokens));
      }
      for (std::int64_t i = late ? entered : 0; i < until; ++i) {
        const SweepCell& cell = unit.cells[static_cast<std::size_t>(i)];
        if (layer_of(cell) != j) continue;
        const Span& span = span_of(cell);
        const std::int64_t size = span.end - span.begin;
        x[i].narrow(0, span.begin - begin, size)
            .copy_(state
                       .source[static_cast<std::size_t>(cell.source)]
                              [static_cast<std::size_t>(cell.layer)]
                       .narrow(0, span.begin, size));
      }
      entered = until;
      vla::BlockInput input{.hidden = x.narrow(0, 0, entered), .begin = begin};
      if (begin > 0) {
        input.past_key = state.keys[static_cast<std::size_t>(j)].narrow(2, 0, begin);
        input.past_value = state.values[static_cast<std::size_t>(j)].narrow(2, 0, begin);
      }
      if (j == last) input.outputs = std::min(tokens, task_.metric.tokens);
      at::Tensor out = model_.block(j, input).hidden;
      if (j >= deepest) {
        x = std::move(out);  // nothing more is written into it
      } else {
        x.narrow(0, 0, entered).copy_(out);
      }
    }
    return read_metric(state, x);
  }

  // The metric of the last positions x [rows, tokens, width].
  at::Tensor read_metric(const RowState& state, const at::Tensor& x) {
    const std::int64_t rows = x.size(0), read = x.size(1);
    at::Tensor outputs = finish_for(model_, task_.metric, x);
    if (read < task_.metric.tokens) {  // the metric reads positions before the patch: the base's
      const at::Tensor before = state.outputs.narrow(1, 0, task_.metric.tokens - read);
      outputs = at::cat({before.expand({rows, -1, -1}), outputs}, 1);
    }
    return metric_values(task_.metric, outputs).contiguous();
  }

  // As `suffix`, with blocks that come apart: see Note [Packed tokens].
  at::Tensor compute_by_parts(const RowState& state, const SweepUnit& unit) {
    const std::int64_t all = task_.positions, rows = length(unit.cells.size());
    const std::int64_t last = task_.blocks - 1, width = state.embedded.size(2);
    const auto on_device = [&](const std::vector<std::int64_t>& numbers) {
      return internal::index_of(numbers).to(state.embedded.device());
    };
    at::Tensor x;  // the tokens of entered rows, from each row's patch on
    for (std::int64_t j = layer_of(unit.cells.front()); j <= last; ++j) {
      const std::int64_t read = std::min(all - unit.begin, task_.metric.tokens);
      const std::int64_t begin = j < last ? unit.begin : all - read;
      std::vector<at::Tensor> fresh;
      if (x.defined()) fresh.push_back(std::move(x));
      std::vector<std::int64_t> place, leaving, positions;
      std::int64_t entered = 0, number = all;
      for (const SweepCell& cell : unit.cells) {
        if (layer_of(cell) > j) break;
        const Span& span = span_of(cell);
        const bool enters = layer_of(cell) == j;
        const std::int64_t end = enters ? span.end : all;  // of its fresh tokens
        for (std::int64_t t = 0; t < all; ++t) {
          const bool is_fresh = span.begin <= t && t < end;
          place.push_back(is_fresh ? number++ : t);
          if (is_fresh) positions.push_back(t);
          if (t >= (j < last ? span.begin : begin)) leaving.push_back(entered * all + t);
        }
        ++entered;
        if (!enters) continue;
        const auto source = static_cast<std::size_t>(cell.source);
        const auto layer = static_cast<std::size_t>(cell.layer);
        fresh.push_back(state.source[source][layer].slice(0, span.begin, span.end));
      }
      const internal::SplitCall call{.fresh = fresh.size() == 1 ? fresh[0] : at::cat(fresh),
                                     .positions = on_device(positions),
                                     .place = on_device(place).view({entered, all}),
                                     .leaving = on_device(leaving),
                                     .begin = begin,
                                     .last = j == last};
      fresh.clear();
      x = call.leave(*task_.parts, j, state.parts[static_cast<std::size_t>(j)]);
    }
    return read_metric(state, x.view({rows, x.size(0) / rows, width}));
  }

  // Compute some cells of the row again as whole forwards.
  void recheck(const RowState& state, std::int64_t row) {
    if (plan_.strategy == SweepStrategy::naive) return;
    const CounterRandom random(options_.seed, "patch.recheck");
    const auto cells = static_cast<std::uint32_t>(task_.cells());
    // rows share them out
    const std::int64_t from = options_.recheck * row / task_.rows;
    const std::int64_t to = options_.recheck * (row + 1) / task_.rows;
    std::set<std::uint32_t> chosen;
    for (std::int64_t i = from; i < to; ++i) {
      chosen.insert(
          random.below(cells, static_cast<std::uint64_t>(row), 0, static_cast<std::uint32_t>(i)));
    }
    const std::int64_t layers = length(task_.layers.size()), spans = length(task_.spans.size());
    for (const std::uint32_t number : chosen) {
      const SweepCell cell{number / (layers * spans), number / spans % layers, number % spans};
      const auto again =
          compute(state, {.begin = 0, .cells = {cell}}, SweepStrategy::naive)[0].item<double>();
      const auto here = out_.values[row][cell.source][cell.layer][cell.span].item<double>();
      ++out_.rechecked;
      if (std::abs(again - here) > worst_) {
        worst_ = std::abs(again - here);
        worst_at_ = cell_text(row, cell);
      }
    }
  }

  // The rechecked cells against the metric's range.
  void judge() {
    if (out_.rechecked == 0) return;
    const at::Tensor known = out_.values.masked_select(out_.values.isnan().logical_not());
    const double range = std::max(known.max().item<double>(), out_.base.max().item<double>()) -
                         std::min(known.min().item<double>(), out_.base.min().item<double>());
    out_.recheck_difference = worst_ == 0 ? 0 : worst_ / range;
    const double tolerance = std::isnan(options_.tolerance)
                                 ? default_tolerance(task_.embedded.scalar_type())
                                 : options_.tolerance;
    if (out_.recheck_difference <= tolerance) return;
    throw NumericalError(
        cat("[", kSweep, "] ", strategy_name(plan_.strategy), " differs from naive by ",
            out_.recheck_difference, " of the metric's range at ", worst_at_, ", expected at most ",
            tolerance,
            "; does a block use positions after its own, the number of rows, or chance? Take "
            "strategy batched, or raise `tolerance` if the dtype is short"));
  }

  vla::BlockModel& model_;
  const SweepOptions& options_;
  SweepTask task_;
  SweepMemory memory_;
  SweepPlan plan_;
  SweepResult out_;
  double worst_ = 0;
  std::string worst_at_;
};

}  // namespace

SweepPlan plan_sweep(vla::BlockModel& model, const SweepRequest& request,
                     const SweepOptions& options) {
  const at::NoGradGuard no_grad;
  return Runner(model, request, options).plan();
}

SweepResult sweep(vla::BlockModel& model, const SweepRequest& request,
                  const SweepOptions& options) {
  const at::NoGradGuard no_grad;
  return Runner(model, request, options).run();
}

}  // namespace tierod::patch
