#include <ATen/ops/equal.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/sweep_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

using patch::PatchSource;
using patch::SweepRequest;

void check_layers(const SweepTask& task) {
  std::int64_t before = -1;
  for (const std::int64_t layer : task.layers) {
    if (layer <= before || layer >= task.blocks) {
      throw InvalidArgument(cat("[", kSweep, "] expected layers ascending within the ", task.blocks,
                                " blocks, got ", list_text(task.layers)));
    }
    before = layer;
  }
}

void check_span(const char* what, const Span& span, std::int64_t positions) {
  if (span.begin >= 0 && span.begin < span.end && span.end <= positions) return;
  throw InvalidArgument(cat("[", kSweep, "] expected ", what, " within the ", positions,
                            " positions, got '", span.name, "' [", span.begin, ", ", span.end,
                            ")"));
}

void check_embedded(const char* whose, const at::Tensor& hidden, std::int64_t rows,
                    std::int64_t positions) {
  if (hidden.defined() && hidden.dim() == 3 && hidden.size(0) == rows &&
      hidden.size(1) == positions) {
    return;
  }
  const std::string got = hidden.defined() ? cat(hidden.sizes()) : "nothing";
  throw InvalidArgument(cat("[", kSweep, "] expected the model to embed ", whose, " as [", rows,
                            ", ", positions, ", width], got ", got, "; mend its `embed`"));
}

at::Tensor embed_source(vla::BlockModel& model, const SweepTask& task, const PatchSource& source) {
  if (source.batch.rows() != task.rows) {
    throw InvalidArgument(cat("[", kSweep, "] expected ", task.rows, " rows of source '",
                              source.name, "', as the base has, got ", source.batch.rows()));
  }
  if (const std::int64_t positions = model.positions(source.batch); positions != task.positions) {
    throw InvalidArgument(
        cat("[", kSweep, "] base has ", task.positions, " positions and source '", source.name,
            "' has ", positions,
            "; patching pairs positions one to one: use inputs of equal length, in which the same "
            "thing stands at the same position"));
  }
  at::Tensor hidden = model.embed(source.batch);
  check_embedded(cat("source '", source.name, "'").c_str(), hidden, task.rows, task.positions);
  return hidden;
}

void check_residuals(const SweepTask& task, const PatchSource& source) {
  const at::Tensor& given = source.residuals;
  const bool fits = given.dim() == 4 && given.size(0) == task.blocks &&
                    (given.size(1) == 1 || given.size(1) == task.rows) &&
                    given.size(2) == task.positions && given.size(3) == task.embedded.size(2);
  if (!fits) {
    throw InvalidArgument(cat("[", kSweep, "] expected residuals of source '", source.name,
                              "' as [", task.blocks, ", 1 or ", task.rows, ", ", task.positions,
                              ", ", task.embedded.size(2), "], got ", given.sizes()));
  }
  if (given.scalar_type() != task.embedded.scalar_type() ||
      given.device() != task.embedded.device()) {
    throw InvalidArgument(cat("[", kSweep, "] expected residuals of source '", source.name, "' in ",
                              task.embedded.scalar_type(), " on ", task.embedded.device(), ", got ",
                              given.scalar_type(), " on ", given.device(),
                              "; convert them, so that no rounding is hidden"));
  }
  if (!given.isfinite().all().item<bool>()) {
    throw InvalidArgument(
        cat("[", kSweep, "] expected finite residuals of source '", source.name, "'"));
  }
}

// Where the inputs were said to be equal, their embeddings must be.
void check_differing(const SweepTask& task, const std::vector<Span>& differing) {
  for (const Span& span : differing) check_span("differing spans", span, task.positions);
  for (std::size_t s = 0; s < task.sources.size(); ++s) {
    if (!task.source_embedded[s].defined()) continue;
    const at::Tensor same = task.embedded.eq(task.source_embedded[s]).all(2).all(0).cpu();
    for (std::int64_t p = 0; p < task.positions; ++p) {
      const bool may = std::any_of(differing.begin(), differing.end(), [p](const Span& span) {
        return span.begin <= p && p < span.end;
      });
      if (may || same[p].item<bool>()) continue;
      throw InvalidArgument(cat(
          "[", kSweep, "] base and source '", task.sources[s].name, "' differ at position ", p,
          ", outside of the spans in which they may; are the inputs shifted against each other?"));
    }
  }
}

}  // namespace

std::int64_t SweepTask::cells() const {
  return length(sources.size()) * length(layers.size()) * length(spans.size());
}

namespace {

// What an own intervention makes of each block's input in the base run.
at::Tensor edited_residuals(vla::BlockModel& model, const SweepTask& task,
                            const PatchSource& source) {
  if (source.residuals.defined() || source.batch.rows() > 0) {
    throw InvalidArgument(cat("[", kSweep, "] expected source '", source.name,
                              "' to be inputs, residuals or an edit, got more than one"));
  }
  std::vector<at::Tensor> out;
  at::Tensor hidden = task.embedded;
  for (std::int64_t block = 0; block < task.blocks; ++block) {
    // the edit may write into what it is given
    const at::Tensor made = source.edit(hidden.clone(), block);
    if (!made.defined() || made.sizes() != hidden.sizes()) {
      throw InvalidArgument(cat("[", kSweep, "] expected the edit '", source.name, "' to return ",
                                hidden.sizes(), " at block ", block, ", got ",
                                made.defined() ? cat(made.sizes()) : "nothing"));
    }
    out.push_back(made.to(hidden.options()));
    if (block + 1 < task.blocks) hidden = model.block(block, {.hidden = hidden}).hidden;
  }
  return at::stack(out);
}

}  // namespace

SweepTask make_task(vla::BlockModel& model, const SweepRequest& request) {
  SweepTask task{.sources = request.sources,
                 .layers = request.layers,
                 .spans = request.spans,
                 .metric = request.metric,
                 .rows = request.base.rows(),
                 .blocks = model.blocks(),
                 .positions = 0,
                 .embedded = {},
                 .source_embedded = {},
                 .parts = dynamic_cast<vla::SplitBlockModel*>(&model)};
  if (task.rows < 1) throw InvalidArgument(cat("[", kSweep, "] expected at least one row of base"));
  if (task.sources.empty()) {
    throw InvalidArgument(cat("[", kSweep, "] expected at least one source to patch from"));
  }
  if (!task.metric.value) {
    throw InvalidArgument(
        cat("[", kSweep, "] expected a metric, such as logit_difference(right, wrong)"));
  }
  task.positions = model.positions(request.base);
  if (task.blocks < 1 || task.positions < 1) {
    throw InvalidArgument(cat("[", kSweep, "] expected a model of blocks and positions, got ",
                              task.blocks, " and ", task.positions));
  }
  if (task.metric.tokens < 1 || task.metric.tokens > task.positions) {
    throw InvalidArgument(cat("[", kSweep, "] expected metric.tokens in 1 to ", task.positions,
                              ", got ", task.metric.tokens));
  }
  if (task.layers.empty()) {
    task.layers.resize(static_cast<std::size_t>(task.blocks));
    std::iota(task.layers.begin(), task.layers.end(), std::int64_t{0});
  }
  check_layers(task);
  if (task.spans.empty()) {
    for (std::int64_t p = 0; p < task.positions; ++p) task.spans.push_back({cat(p), p, p + 1});
  }
  for (const Span& span : task.spans) check_span("spans", span, task.positions);
  task.embedded = model.embed(request.base);
  check_embedded("the base", task.embedded, task.rows, task.positions);
  std::set<std::string> names;
  for (PatchSource& source : task.sources) {
    if (source.edit) source.residuals = edited_residuals(model, task, source);
    if (!names.insert(source.name).second) {
      throw InvalidArgument(
          cat("[", kSweep, "] expected sources of different names, got '", source.name, "' twice"));
    }
    if (source.residuals.defined()) {
      check_residuals(task, source);
      task.source_embedded.emplace_back();
    } else {
      task.source_embedded.push_back(embed_source(model, task, source));
    }
  }
  if (request.differing) check_differing(task, *request.differing);
  return task;
}

at::Tensor finish_for(vla::BlockModel& model, const patch::Metric& metric,
                      const at::Tensor& hidden) {
  at::Tensor outputs =
      metric.columns.empty() ? model.finish(hidden) : model.finish_columns(hidden, metric.columns);
  const bool fits = outputs.dim() == 3 && outputs.size(0) == hidden.size(0) &&
                    outputs.size(1) == hidden.size(1) &&
                    (metric.columns.empty() || outputs.size(2) == length(metric.columns.size()));
  if (!fits) {
    throw InvalidArgument(cat("[", kSweep, "] expected the model's outputs as [", hidden.size(0),
                              ", ", hidden.size(1), ", outputs], got ", outputs.sizes(),
                              "; mend its `finish`"));
  }
  return outputs;
}

at::Tensor metric_values(const patch::Metric& metric, const at::Tensor& outputs) {
  const at::Tensor values = metric.value(outputs);
  if (!values.defined() || values.dim() != 1 || values.size(0) != outputs.size(0) ||
      !values.is_floating_point()) {
    const std::string got =
        values.defined() ? cat(values.scalar_type(), " ", values.sizes()) : "nothing";
    throw InvalidArgument(cat("[", kSweep, "] expected metric '", metric.name,
                              "' to give one real number a row, [", outputs.size(0), "], got ", got,
                              "; it gets outputs [rows, tokens, columns] of ", outputs.sizes()));
  }
  return values.to(at::kCPU, at::kDouble);
}

}  // namespace tierod::internal
