#include "tierod/probe/fold_statistics.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "core/text_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::checked_rows;

namespace {

std::int64_t length(std::size_t n) { return static_cast<std::int64_t>(n); }

}  // namespace

FoldStatistics::FoldStatistics(std::size_t concepts, std::size_t folds)
    : concepts_(concepts), parts_(folds) {
  if (concepts == 0 || folds == 0) {
    throw InvalidArgument(cat("[probe.FoldStatistics] expected concepts >= 1 and folds >= 1, got ",
                              concepts, " and ", folds));
  }
}

void FoldStatistics::update(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                            std::span<const std::uint32_t> folds) {
  constexpr auto* where = "probe.FoldStatistics.update";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor x = checked_rows(rows, where, "rows");
  const auto n = static_cast<std::size_t>(x.size(0));
  if (labels.size() != n * concepts_ || folds.size() != n) {
    throw InvalidArgument(cat("[", where, "] expected labels [", n, ", ", concepts_,
                              "] and folds [", n, "], got ", labels.size(), " and ", folds.size()));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 1) {
      throw InvalidArgument(cat("[", where, "] expected labels 0 or 1, got ", int{labels[i]},
                                " in row ", i / concepts_, ", concept ", i % concepts_,
                                "; give a concept with missing labels an accumulator of its own"));
    }
  }
  std::vector<std::vector<std::int64_t>> rows_of(parts_.size());
  for (std::size_t i = 0; i < n; ++i) {
    if (folds[i] >= parts_.size()) {
      throw InvalidArgument(cat("[", where, "] expected folds below ", parts_.size(), ", got ",
                                folds[i], " in row ", i));
    }
    rows_of[folds[i]].push_back(length(i));
  }
  for (const Part& part : parts_) {
    if (part.sums.defined() && part.sums.size(1) != x.size(1)) {
      throw InvalidArgument(cat("[", where, "] expected rows of width ", part.sums.size(1),
                                " as before, got ", x.size(1)));
    }
  }
  at::Tensor y = at::empty({length(concepts_), length(n)}, x.options());
  auto* to = y.mutable_data_ptr<double>();
  for (std::size_t c = 0; c < concepts_; ++c) {
    for (std::size_t i = 0; i < n; ++i) *to++ = labels[i * concepts_ + c];
  }
  for (std::size_t f = 0; f < parts_.size(); ++f) {
    if (rows_of[f].empty()) continue;
    at::Tensor index = at::empty({length(rows_of[f].size())}, x.options().dtype(at::kLong));
    std::copy(rows_of[f].begin(), rows_of[f].end(), index.mutable_data_ptr<std::int64_t>());
    const at::Tensor part_x = x.index_select(0, index);
    const at::Tensor part_y = y.index_select(1, index);
    Part& part = parts_[f];
    part.moments.update(part_x);
    const at::Tensor sums = at::mm(part_y, part_x);
    const at::Tensor ones = part_y.sum(1);
    // new tensors: a copy of the accumulator must not change with the original
    part.sums = part.sums.defined() ? part.sums.add(sums) : sums;
    part.ones = part.ones.defined() ? part.ones.add(ones) : ones;
  }
}

void FoldStatistics::merge(const FoldStatistics& other) {
  constexpr auto* where = "probe.FoldStatistics.merge";
  if (other.concepts_ != concepts_ || other.folds() != folds()) {
    throw InvalidArgument(cat("[", where, "] expected ", concepts_, " concepts and ", folds(),
                              " folds, got ", other.concepts_, " and ", other.folds()));
  }
  const auto width = [](const FoldStatistics& s) {
    std::int64_t d = 0;
    for (const Part& part : s.parts_) d = std::max(d, part.moments.width());
    return d;
  };
  if (width(*this) > 0 && width(other) > 0 && width(*this) != width(other)) {
    throw InvalidArgument(
        cat("[", where, "] expected width ", width(*this), ", got ", width(other)));
  }
  for (std::size_t f = 0; f < parts_.size(); ++f) {
    const Part& from = other.parts_[f];
    Part& part = parts_[f];
    if (!from.sums.defined()) continue;
    part.moments.merge(from.moments);
    part.sums = part.sums.defined() ? part.sums.add(from.sums) : from.sums;
    part.ones = part.ones.defined() ? part.ones.add(from.ones) : from.ones;
  }
}

std::int64_t FoldStatistics::rows(std::size_t fold) const {
  if (fold >= parts_.size()) {
    throw OutOfRange(
        cat("[probe.FoldStatistics.rows] expected a fold below ", parts_.size(), ", got ", fold));
  }
  return parts_[fold].moments.count();
}

TrainingStatistics FoldStatistics::training(std::optional<std::size_t> held_out) const {
  constexpr auto* where = "probe.FoldStatistics.training";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (held_out && *held_out >= parts_.size()) {
    throw OutOfRange(
        cat("[", where, "] expected a fold below ", parts_.size(), ", got ", *held_out));
  }
  Moments moments(true);
  at::Tensor sums, ones;
  for (std::size_t f = 0; f < parts_.size(); ++f) {
    const Part& part = parts_[f];
    if (f == held_out || !part.sums.defined()) continue;
    moments.merge(part.moments);
    sums = sums.defined() ? sums.add(part.sums) : part.sums;
    ones = ones.defined() ? ones.add(part.ones) : part.ones;
  }
  if (moments.count() < 2) {
    throw StateError(cat("[", where, "] expected at least 2 training rows, got ", moments.count(),
                         "; call update() first"));
  }
  const auto n = static_cast<double>(moments.count());
  const auto* count = ones.const_data_ptr<double>();
  for (std::size_t c = 0; c < concepts_; ++c) {
    if (count[c] == 0 || count[c] == n) {
      throw InvalidArgument(
          cat("[", where, "] expected both classes of concept ", c, " among the ", moments.count(),
              " training rows", held_out ? cat(" without fold ", *held_out) : std::string(),
              ", got only ", count[c] == 0 ? 0 : 1, "; use fewer folds or more groups"));
    }
  }
  TrainingStatistics out{.rows = moments.count(), .mean = moments.mean(), .ones = ones.clone()};
  out.scatter = moments.covariance(0).mul_(n);
  const at::Tensor zeros_sum = out.mean.mul(n).unsqueeze(0).sub(sums);
  out.means =
      at::stack({zeros_sum.div(ones.neg().add(n).unsqueeze(1)), sums.div(ones.unsqueeze(1))});
  return out;
}

}  // namespace tierod::probe
