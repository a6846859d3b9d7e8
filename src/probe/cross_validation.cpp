#include "tierod/probe/cross_validation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/quick_auroc_internal.h"
#include "probe/row_sums_internal.h"
#include "probe/rows_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/labels.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::index_of;
using tierod::internal::kBlockRows;
using tierod::internal::length;
using tierod::internal::rows_by_fold;

namespace {

// The index of a fold whose rows stand together needs no scattering.
bool together(const std::vector<std::int64_t>& index) {
  return index.back() - index.front() == length(index.size()) - 1;
}

}  // namespace

LinearFits fit(const LinearFitter& fitter, const FoldStatistics& statistics,
               std::optional<std::size_t> held_out) {
  const std::vector<TrainingStatistics> sets = statistics.training_sets(held_out);
  if (sets.size() == 1) return fitter.fit(sets.front());
  LinearFits out;
  for (const TrainingStatistics& set : sets) {
    const LinearFits part = fitter.fit(set);
    if (!out.weights.defined()) {
      const std::int64_t p = part.settings(), c = length(statistics.concepts());
      out.weights = at::empty({p, c, part.width()}, part.weights.options());
      out.intercepts = at::empty({p, c}, part.weights.options());
      out.reports.resize(static_cast<std::size_t>(p * c));
    }
    for (std::size_t k = 0; k < set.which.size(); ++k) {
      const std::int64_t c = set.which[k];
      out.weights.select(1, c).copy_(part.weights.select(1, length(k)));
      out.intercepts.select(1, c).copy_(part.intercepts.select(1, length(k)));
      for (std::int64_t p = 0; p < out.settings(); ++p) {
        out.reports[static_cast<std::size_t>(p * out.concepts() + c)] = part.report(p, length(k));
      }
    }
  }
  return out;
}

at::Tensor held_out_scores(const at::Tensor& rows, std::span<const std::uint32_t> folds,
                           std::span<const LinearFits> fits) {
  constexpr auto* where = "probe.held_out_scores";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = tierod::internal::checked_native_rows(rows, where, "rows");
  if (fits.empty() || length(folds.size()) != x.size(0)) {
    throw InvalidArgument(cat("[", where, "] expected a fit for each fold and folds [", x.size(0),
                              "], got ", fits.size(), " fits and ", folds.size(), " folds"));
  }
  for (const LinearFits& f : fits) {
    if (f.width() != x.size(1) || f.weights.sizes() != fits.front().weights.sizes()) {
      throw InvalidArgument(cat("[", where, "] expected fits of one shape and of width ", x.size(1),
                                ", got ", f.weights.sizes()));
    }
  }
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const std::int64_t p = fits[0].settings(), c = fits[0].concepts(), n = x.size(0);
  at::Tensor out = at::empty({p * c, n}, at::TensorOptions().dtype(type));
  const auto index = rows_by_fold(folds, fits.size(), where);
  // about a point among the rows: in f32 a large mean would swallow the digits of a score
  const at::Tensor centre =
      x.narrow(0, 0, std::min(n, kBlockRows)).mean(0, false, at::kDouble).to(type).to(at::kDouble);
  tierod::internal::ShiftedRows shifted(x, centre, type);
  for (std::size_t k = 0; k < fits.size(); ++k) {
    const at::Tensor flat = fits[k].weights.reshape({p * c, x.size(1)});
    const at::Tensor offset =
        fits[k].intercepts.reshape({p * c}).add(at::mv(flat, centre)).to(type).unsqueeze(1);
    const at::Tensor w = flat.to(type).contiguous();
    for (std::size_t begin = 0; begin < index[k].size(); begin += kBlockRows) {
      const auto piece = std::span(index[k]).subspan(
          begin, std::min<std::size_t>(kBlockRows, index[k].size() - begin));
      const at::Tensor block = shifted.pick(piece);
      if (together(index[k])) {
        at::Tensor to = out.narrow(1, piece.front(), length(piece.size()));
        at::addmm_out(to, offset, w, block.t());
      } else {
        const at::Tensor scores = at::addmm(offset, w, block.t());
        out.index_copy_(1, index_of(piece), scores);
      }
    }
  }
  return out.reshape({p, c, n});
}

at::Tensor fold_auroc(const at::Tensor& scores, std::span<const std::uint8_t> labels,
                      std::span<const std::uint32_t> folds, std::size_t fold_count) {
  constexpr auto* where = "probe.fold_auroc";
  const at::NoGradGuard no_grad;
  if (!scores.defined() || scores.dim() != 3 || !at::isFloatingType(scores.scalar_type())) {
    throw InvalidArgument(
        cat("[", where, "] expected floating scores [settings, concepts, rows], got ",
            scores.defined() ? cat("shape ", scores.sizes(), " of ", scores.scalar_type())
                             : std::string("an undefined tensor"),
            "; held_out_scores() gives them"));
  }
  const auto settings = static_cast<std::size_t>(scores.size(0)),
             concepts = static_cast<std::size_t>(scores.size(1)),
             n = static_cast<std::size_t>(scores.size(2));
  if (labels.size() != n * concepts || folds.size() != n) {
    throw InvalidArgument(cat("[", where, "] expected labels [", n, ", ", concepts, "] and folds [",
                              n, "], got ", labels.size(), " and ", folds.size()));
  }
  const at::Tensor flat = scores.detach().to(at::kCPU, at::kFloat).contiguous();
  const auto* score = flat.const_data_ptr<float>();
  const auto index = rows_by_fold(folds, fold_count, where);
  at::Tensor out =
      at::full({length(fold_count), scores.size(0), scores.size(1)},
               std::numeric_limits<double>::quiet_NaN(), at::TensorOptions().dtype(at::kDouble));
  auto* to = out.mutable_data_ptr<double>();
  tierod::internal::QuickAuroc auroc;
  std::vector<float> picked;
  std::vector<std::uint8_t> known;
  std::vector<std::int64_t> where_known;
  for (std::size_t k = 0; k < fold_count; ++k) {
    for (std::size_t c = 0; c < concepts; ++c) {
      known.clear();
      where_known.clear();
      for (const std::int64_t i : index[k]) {
        const std::uint8_t label = labels[static_cast<std::size_t>(i) * concepts + c];
        if (label == kMissingLabel) continue;
        if (label > 1) {
          throw InvalidArgument(cat("[", where, "] expected labels 0, 1 or 255, got ", int{label},
                                    " in row ", i, ", concept ", c));
        }
        known.push_back(label);
        where_known.push_back(i);
      }
      picked.resize(known.size());
      for (std::size_t p = 0; p < settings; ++p) {
        const float* row = score + (p * concepts + c) * n;
        for (std::size_t i = 0; i < picked.size(); ++i) picked[i] = row[where_known[i]];
        to[(k * settings + p) * concepts + c] = auroc(picked, known);
      }
    }
  }
  return out;
}

CrossValidation cross_validate(const LinearFitter& fitter, const at::Tensor& rows,
                               std::span<const std::uint8_t> labels,
                               std::span<const std::uint32_t> folds, std::size_t fold_count,
                               Precision precision) {
  const std::size_t concepts =
      folds.empty() ? 0 : std::max<std::size_t>(1, labels.size() / folds.size());
  FoldStatistics statistics(concepts, fold_count, Targets::labels, precision);
  statistics.update(rows, labels, folds);
  CrossValidation out;
  for (std::size_t k = 0; k < fold_count; ++k) out.fits.push_back(fit(fitter, statistics, k));
  out.scores = held_out_scores(rows, folds, out.fits);
  out.auroc = fold_auroc(out.scores, labels, folds, fold_count);
  return out;
}

}  // namespace tierod::probe
