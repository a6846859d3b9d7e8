#include "tierod/probe/fold_statistics.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/row_sums_internal.h"
#include "probe/rows_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/labels.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::checked_native_rows;
using tierod::internal::doubles_of;
using tierod::internal::kBlockRows;
using tierod::internal::length;
using tierod::internal::RowSums;
using tierod::internal::ShiftedRows;

namespace {

constexpr auto* kUpdate = "probe.FoldStatistics.update";
constexpr auto* kTraining = "probe.FoldStatistics.training";

using Index = std::vector<std::int64_t>;

/// Call `visit` for pieces of an index that fit a block.
template <typename Visit>
void each_block(const Index& index, const Visit& visit) {
  for (std::size_t begin = 0; begin < index.size(); begin += kBlockRows) {
    visit(std::span(index).subspan(begin, std::min<std::size_t>(kBlockRows, index.size() - begin)));
  }
}

void add_first(RowSums& sums, const at::Tensor& block, double sign) {
  const at::Tensor sum = block.sum(0, false, at::kDouble);
  const auto* value = sum.const_data_ptr<double>();
  for (std::size_t j = 0; j < sums.first.size(); ++j) sums.first[j] += sign * value[j];
  sums.rows += sign * static_cast<double>(block.size(0));
}

/// Hold one batch: targets by concept [C][n], about their centres, 0 where missing.
struct Batch {
  at::Tensor rows;
  std::vector<std::vector<double>> targets;
  /// [C], empty where nothing is missing, else [n]
  std::vector<std::vector<bool>> missing;
  std::vector<Index> of_fold;
};

}  // namespace

// Note [Row sets]
// Concepts are partitioned into sets that have missed the same rows so far; set 0 has missed none.
// For every other set and fold `own` is what has to be added to the sums over all rows to get those
// over the set's known rows: less the missing rows, or, where these are the larger part of a batch,
// plus the known rows less the batch. The batch's sums are then the same numbers in both places, so
// that they cancel to the last digit of f64. A set splits when its concepts begin to differ.
struct FoldStatistics::State {
  struct Part {
    RowSums all;
    std::vector<RowSums> own;                   // by set, from set 1 on
    std::vector<double> cross;                  // [C, d] sum of (y - c_y)(x - c_x)
    std::vector<double> known, total, squares;  // [C]: rows, sums of y - c_y and its square
  };

  std::size_t concepts = 0;
  Targets targets = Targets::labels;
  Precision precision = Precision::automatic;
  double rounding = 0;
  std::vector<double> centre;         // [d], f32 numbers; empty before the first rows
  std::vector<double> target_centre;  // [C]
  std::vector<std::size_t> set_of;    // [C]
  std::size_t sets = 1;
  std::vector<Part> parts;

  std::int64_t width() const { return length(centre.size()); }
  void begin(const at::Tensor& rows);
  void split(const std::vector<std::vector<bool>>& missing);
  void add(const Batch& batch);
  void move_to(const State& other);
  RowSums sums_of(std::size_t set, std::optional<std::size_t> held_out) const;
};

void FoldStatistics::State::begin(const at::Tensor& rows) {
  const std::int64_t some = std::min(rows.size(0), kBlockRows);
  const at::Tensor mean =
      rows.narrow(0, 0, some).mean(0, false, at::kDouble).to(at::kFloat).to(at::kDouble);
  const auto* value = mean.const_data_ptr<double>();
  centre.assign(value, value + mean.numel());
  for (Part& part : parts) {
    part.all = RowSums(width());
    part.cross.resize(concepts * centre.size());
  }
}

void FoldStatistics::State::split(const std::vector<std::vector<bool>>& missing) {
  std::map<std::pair<std::size_t, std::vector<bool>>, std::size_t> renamed;
  std::vector<bool> kept(sets);
  const std::size_t before = sets;
  for (std::size_t c = 0; c < concepts; ++c) {
    const auto key = std::pair(set_of[c], missing[c]);
    auto found = renamed.find(key);
    if (found == renamed.end()) {
      const std::size_t old = set_of[c];
      std::size_t now = old;
      // set 0 stays with those that miss nothing; of another set the first keeps the name
      if (old == 0 ? !missing[c].empty() : kept[old]) {
        now = sets++;
        for (Part& part : parts) {
          part.own.push_back(old == 0 ? RowSums(width()) : part.own[old - 1]);
        }
      } else if (old < before) {
        kept[old] = true;
      }
      found = renamed.emplace(key, now).first;
    }
    set_of[c] = found->second;
  }
}

void FoldStatistics::State::add(const Batch& batch) {
  const bool single = precision == Precision::f32 || (precision == Precision::automatic &&
                                                      batch.rows.scalar_type() != at::kDouble);
  const auto type = single ? at::kFloat : at::kDouble;
  rounding = std::max(
      rounding, single ? tierod::internal::kSingleRounding : tierod::internal::kDoubleRounding);
  split(batch.missing);
  std::vector<const std::vector<bool>*> gaps(sets);
  for (std::size_t c = 0; c < concepts; ++c) {
    if (!batch.missing[c].empty()) gaps[set_of[c]] = &batch.missing[c];
  }
  ShiftedRows shifted(batch.rows, doubles_of(centre), type);
  const auto d = centre.size();
  for (std::size_t f = 0; f < parts.size(); ++f) {
    const Index& index = batch.of_fold[f];
    if (index.empty()) continue;
    Part& part = parts[f];
    std::vector<Index> lacking(sets);
    bool mostly = false;  // some set misses more than half of these rows
    for (std::size_t s = 1; s < sets; ++s) {
      if (gaps[s] == nullptr) continue;
      for (const std::int64_t i : index) {
        if ((*gaps[s])[static_cast<std::size_t>(i)]) lacking[s].push_back(i);
      }
      mostly = mostly || 2 * lacking[s].size() > index.size();
    }
    RowSums batch_sums(mostly ? length(d) : 0);
    RowSums& all = mostly ? batch_sums : part.all;
    each_block(index, [&](std::span<const std::int64_t> piece) {
      const at::Tensor x = shifted.pick(piece);
      all.add_products(x);
      // a row of ones beside the targets gives the sum of the rows
      at::Tensor y = at::empty({length(concepts + 1), length(piece.size())}, at::kDouble);
      auto* to = y.mutable_data_ptr<double>();
      to = std::fill_n(to, piece.size(), 1.0);
      for (const std::vector<double>& target : batch.targets) {
        for (const std::int64_t i : piece) *to++ = target[static_cast<std::size_t>(i)];
      }
      const at::Tensor sums = at::mm(y.to(type), x).to(at::kDouble);
      const auto* from = sums.const_data_ptr<double>();
      for (std::size_t j = 0; j < d; ++j) all.first[j] += from[j];
      for (std::size_t j = 0; j < concepts * d; ++j) part.cross[j] += from[d + j];
      all.rows += static_cast<double>(piece.size());
    });
    if (mostly) part.all.add(batch_sums);
    for (std::size_t s = 1; s < sets; ++s) {
      if (lacking[s].empty()) continue;
      RowSums& own = part.own[s - 1];
      const bool few = 2 * lacking[s].size() <= index.size();
      Index known;
      if (!few) {
        std::set_difference(index.begin(), index.end(), lacking[s].begin(), lacking[s].end(),
                            std::back_inserter(known));
        own.add(batch_sums, -1);
      }
      each_block(few ? lacking[s] : known, [&](std::span<const std::int64_t> piece) {
        const at::Tensor x = shifted.pick(piece);
        if (few)
          own.subtract_products(x);
        else
          own.add_products(x);
        add_first(own, x, few ? -1 : 1);
      });
    }
    for (std::size_t c = 0; c < concepts; ++c) {
      for (const std::int64_t i : index) {
        if (!batch.missing[c].empty() && batch.missing[c][static_cast<std::size_t>(i)]) continue;
        const double y = batch.targets[c][static_cast<std::size_t>(i)];
        part.known[c] += 1;
        part.total[c] += y;
        part.squares[c] += y * y;
      }
    }
  }
}

// Take rows and targets about the centres of `other`.
void FoldStatistics::State::move_to(const State& other) {
  std::vector<double> delta(centre.size());
  for (std::size_t j = 0; j < delta.size(); ++j) delta[j] = centre[j] - other.centre[j];
  const std::size_t d = delta.size();
  for (Part& part : parts) {
    for (std::size_t c = 0; c < concepts; ++c) {
      const double shift = target_centre[c] - other.target_centre[c];
      const RowSums* own = set_of[c] == 0 ? nullptr : &part.own[set_of[c] - 1];
      for (std::size_t j = 0; j < d; ++j) {
        const double first = part.all.first[j] + (own == nullptr ? 0 : own->first[j]);
        part.cross[c * d + j] +=
            part.total[c] * delta[j] + shift * (first + part.known[c] * delta[j]);
      }
      part.squares[c] += shift * (2 * part.total[c] + part.known[c] * shift);
      part.total[c] += part.known[c] * shift;
    }
    part.all.move(delta);
    for (RowSums& own : part.own) own.move(delta);
  }
  centre = other.centre;
  target_centre = other.target_centre;
}

RowSums FoldStatistics::State::sums_of(std::size_t set, std::optional<std::size_t> held_out) const {
  RowSums out;
  for (std::size_t f = 0; f < parts.size(); ++f) {
    if (f == held_out) continue;
    out.add(parts[f].all);
    if (set > 0) out.add(parts[f].own[set - 1]);
  }
  return out;
}

FoldStatistics::FoldStatistics(std::size_t concepts, std::size_t folds, Targets targets,
                               Precision precision)
    : state_(std::make_unique<State>()) {
  if (concepts == 0 || folds == 0) {
    throw InvalidArgument(cat("[probe.FoldStatistics] expected concepts >= 1 and folds >= 1, got ",
                              concepts, " and ", folds));
  }
  state_->concepts = concepts;
  state_->targets = targets;
  state_->precision = precision;
  state_->target_centre.resize(concepts);
  state_->set_of.resize(concepts);
  state_->parts.resize(folds);
  for (State::Part& part : state_->parts) {
    for (auto* list : {&part.known, &part.total, &part.squares}) list->resize(concepts);
  }
}

FoldStatistics::FoldStatistics(const FoldStatistics& other)
    : state_(std::make_unique<State>(*other.state_)) {}
FoldStatistics& FoldStatistics::operator=(const FoldStatistics& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
FoldStatistics::FoldStatistics(FoldStatistics&& other) noexcept = default;
FoldStatistics& FoldStatistics::operator=(FoldStatistics&& other) noexcept = default;
FoldStatistics::~FoldStatistics() = default;

std::size_t FoldStatistics::concepts() const noexcept { return state_->concepts; }
std::size_t FoldStatistics::folds() const noexcept { return state_->parts.size(); }
Targets FoldStatistics::targets() const noexcept { return state_->targets; }
std::int64_t FoldStatistics::width() const noexcept { return state_->width(); }

namespace {

Batch batch_of(const at::Tensor& rows, std::size_t concepts, std::size_t values,
               std::span<const std::uint32_t> folds, std::size_t fold_count, std::int64_t width) {
  Batch batch;
  batch.rows = checked_native_rows(rows, kUpdate, "rows");
  const auto n = static_cast<std::size_t>(batch.rows.size(0));
  if (values != n * concepts || folds.size() != n) {
    throw InvalidArgument(cat("[", kUpdate, "] expected labels [", n, ", ", concepts,
                              "] and folds [", n, "], got ", values, " and ", folds.size()));
  }
  if (width != 0 && batch.rows.size(1) != width) {
    throw InvalidArgument(cat("[", kUpdate, "] expected rows of width ", width, " as before, got ",
                              batch.rows.size(1)));
  }
  batch.of_fold = tierod::internal::rows_by_fold(folds, fold_count, kUpdate);
  batch.targets.assign(concepts, std::vector<double>(n));
  batch.missing.resize(concepts);
  return batch;
}

void set_missing(Batch& batch, std::size_t c, std::size_t i) {
  std::vector<bool>& gaps = batch.missing[c];
  if (gaps.empty()) gaps.resize(batch.targets[c].size());
  gaps[i] = true;
}

}  // namespace

void FoldStatistics::update(const at::Tensor& rows, std::span<const std::uint8_t> labels,
                            std::span<const std::uint32_t> folds) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (state_->targets != Targets::labels) {
    throw InvalidArgument(cat("[", kUpdate, "] expected real targets as a tensor [n, ", concepts(),
                              "], got labels; this accumulator was made for real targets"));
  }
  Batch batch = batch_of(rows, concepts(), labels.size(), folds, this->folds(), width());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::size_t row = i / concepts(), c = i % concepts();
    if (labels[i] == kMissingLabel) {
      set_missing(batch, c, row);
    } else if (labels[i] > 1) {
      throw InvalidArgument(cat("[", kUpdate, "] expected labels 0, 1 or 255 for missing, got ",
                                int{labels[i]}, " in row ", row, ", concept ", c));
    } else {
      batch.targets[c][row] = labels[i];
    }
  }
  if (batch.rows.size(0) == 0) return;
  if (width() == 0) state_->begin(batch.rows);
  state_->add(batch);
}

void FoldStatistics::update(const at::Tensor& rows, const at::Tensor& targets,
                            std::span<const std::uint32_t> folds) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (state_->targets != Targets::reals) {
    throw InvalidArgument(cat("[", kUpdate,
                              "] expected labels 0, 1 or 255, got real targets; make "
                              "the accumulator with Targets::reals"));
  }
  if (!targets.defined() || targets.dim() != 2 || !at::isFloatingType(targets.scalar_type())) {
    throw InvalidArgument(
        cat("[", kUpdate, "] expected floating targets [n, ", concepts(), "], got ",
            targets.defined() ? cat("shape ", targets.sizes(), " of ", targets.scalar_type())
                              : std::string("an undefined tensor"),
            "; a single target is one column"));
  }
  if (rows.defined() && rows.dim() == 2 &&
      (targets.size(0) != rows.size(0) || targets.size(1) != length(concepts()))) {
    throw InvalidArgument(cat("[", kUpdate, "] expected targets [", rows.size(0), ", ", concepts(),
                              "] for rows ", rows.sizes(), ", got ", targets.sizes(),
                              "; one row of targets a row"));
  }
  const at::Tensor y = targets.detach().to(at::kCPU, at::kDouble).contiguous();
  Batch batch = batch_of(rows, concepts(), static_cast<std::size_t>(y.numel()), folds,
                         this->folds(), width());
  const auto* value = y.const_data_ptr<double>();
  const auto n = static_cast<std::size_t>(y.size(0));
  for (std::size_t i = 0; i < n * concepts(); ++i) {
    const std::size_t row = i / concepts(), c = i % concepts();
    if (std::isinf(value[i])) {
      throw NumericalError(cat("[", kUpdate, "] expected finite targets, got infinity in row ", row,
                               ", target ", c));
    }
    if (std::isnan(value[i]))
      set_missing(batch, c, row);
    else
      batch.targets[c][row] = value[i];
  }
  if (n == 0) return;
  if (width() == 0) {
    state_->begin(batch.rows);
    for (std::size_t c = 0; c < concepts(); ++c) {
      double sum = 0, known = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const bool gap = !batch.missing[c].empty() && batch.missing[c][i];
        sum += gap ? 0 : batch.targets[c][i];
        known += gap ? 0 : 1;
      }
      state_->target_centre[c] = known > 0 ? sum / known : 0;
    }
  }
  for (std::size_t c = 0; c < concepts(); ++c) {
    for (std::size_t i = 0; i < n; ++i) {
      const bool gap = !batch.missing[c].empty() && batch.missing[c][i];
      if (!gap) batch.targets[c][i] -= state_->target_centre[c];
    }
  }
  state_->add(batch);
}

void FoldStatistics::merge(const FoldStatistics& other) {
  constexpr auto* where = "probe.FoldStatistics.merge";
  if (other.concepts() != concepts() || other.folds() != folds() || other.targets() != targets()) {
    throw InvalidArgument(cat("[", where, "] expected ", concepts(), " concepts and ", folds(),
                              " folds, got ", other.concepts(), " and ", other.folds(),
                              other.targets() == targets() ? "" : ", of another kind of target"));
  }
  if (other.width() == 0) return;
  if (width() == 0) {
    const Precision precision = state_->precision;
    *this = other;
    state_->precision = precision;
    return;
  }
  if (width() != other.width()) {
    throw InvalidArgument(cat("[", where, "] expected width ", width(), ", got ", other.width()));
  }
  State& to = *state_;
  State from = *other.state_;
  from.move_to(to);
  // a set for each pair of sets that a concept was in
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> named{{{0, 0}, 0}};
  std::vector<std::vector<RowSums>> own(folds());
  for (std::size_t c = 0; c < concepts(); ++c) {
    const auto key = std::pair(to.set_of[c], from.set_of[c]);
    const auto [found, fresh] = named.emplace(key, named.size());
    if (fresh) {
      for (std::size_t f = 0; f < folds(); ++f) {
        RowSums sums(width());
        if (key.first > 0) sums.add(to.parts[f].own[key.first - 1]);
        if (key.second > 0) sums.add(from.parts[f].own[key.second - 1]);
        own[f].push_back(std::move(sums));
      }
    }
    to.set_of[c] = found->second;
  }
  to.sets = named.size();
  to.rounding = std::max(to.rounding, from.rounding);
  const auto add = [](std::vector<double>& a, const std::vector<double>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  };
  for (std::size_t f = 0; f < folds(); ++f) {
    State::Part& part = to.parts[f];
    part.own = std::move(own[f]);
    part.all.add(from.parts[f].all);
    add(part.cross, from.parts[f].cross);
    add(part.known, from.parts[f].known);
    add(part.total, from.parts[f].total);
    add(part.squares, from.parts[f].squares);
  }
}

std::int64_t FoldStatistics::rows(std::size_t fold) const {
  if (fold >= folds()) {
    throw OutOfRange(
        cat("[probe.FoldStatistics.rows] expected a fold below ", folds(), ", got ", fold));
  }
  return std::llround(state_->parts[fold].all.rows);
}

std::int64_t FoldStatistics::known(std::size_t fold, std::size_t concept_index) const {
  if (fold >= folds() || concept_index >= concepts()) {
    throw OutOfRange(cat("[probe.FoldStatistics.known] expected a fold below ", folds(),
                         " and a concept below ", concepts(), ", got ", fold, " and ",
                         concept_index));
  }
  return std::llround(state_->parts[fold].known[concept_index]);
}

TrainingStatistics FoldStatistics::training(std::optional<std::size_t> held_out) const {
  for (std::size_t c = 1; c < concepts(); ++c) {
    if (state_->set_of[c] != state_->set_of[0]) {
      throw InvalidArgument(cat("[", kTraining, "] expected concepts with the same rows, but ", c,
                                " and 0 miss labels of different rows; use training_sets()"));
    }
  }
  std::vector<TrainingStatistics> sets = training_sets(held_out);
  sets.front().which.clear();
  return std::move(sets.front());
}

std::vector<TrainingStatistics> FoldStatistics::training_sets(
    std::optional<std::size_t> held_out) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const State& s = *state_;
  if (held_out && *held_out >= folds()) {
    throw OutOfRange(cat("[", kTraining, "] expected a fold below ", folds(), ", got ", *held_out));
  }
  const std::string without = held_out ? cat(" without fold ", *held_out) : std::string();
  const auto d = s.centre.size();
  std::vector<TrainingStatistics> out;
  for (std::size_t set = 0; set < s.sets; ++set) {
    std::vector<std::int64_t> which;
    for (std::size_t c = 0; c < concepts(); ++c) {
      if (s.set_of[c] == set) which.push_back(length(c));
    }
    if (which.empty()) continue;
    const RowSums sums = s.sums_of(set, held_out);
    if (sums.rows < 2) {
      throw StateError(cat("[", kTraining, "] expected at least 2 training rows of concept ",
                           which.front(), without, ", got ", std::llround(sums.rows),
                           "; call update() first"));
    }
    const double n = sums.rows;
    const auto count = length(which.size());
    TrainingStatistics t{.rows = std::llround(n),
                         .mean = at::empty({length(d)}, at::kDouble),
                         .scatter = tierod::internal::scatter_of(sums),
                         .which = which,
                         .rounding = s.rounding};
    auto* mean = t.mean.mutable_data_ptr<double>();
    for (std::size_t j = 0; j < d; ++j) mean[j] = s.centre[j] + sums.first[j] / n;
    const bool labels = s.targets == Targets::labels;
    at::Tensor& first = labels ? t.ones : t.target_mean;
    at::Tensor& second = labels ? t.means : t.cross;
    first = at::empty({count}, at::kDouble);
    second = labels ? at::empty({2, count, length(d)}, at::kDouble)
                    : at::empty({count, length(d)}, at::kDouble);
    for (std::size_t k = 0; k < which.size(); ++k) {
      const auto c = static_cast<std::size_t>(which[k]);
      double total = 0;
      std::vector<double> cross(d);
      for (std::size_t f = 0; f < folds(); ++f) {
        if (f == held_out) continue;
        total += s.parts[f].total[c];
        const double* from = s.parts[f].cross.data() + c * d;
        for (std::size_t j = 0; j < d; ++j) cross[j] += from[j];
      }
      if (labels && (total == 0 || total == n)) {
        throw InvalidArgument(cat("[", kTraining, "] expected both classes of concept ", c,
                                  " among the ", t.rows, " training rows", without, ", got only ",
                                  total == 0 ? 0 : 1, "; use fewer folds or more groups"));
      }
      auto* to = second.mutable_data_ptr<double>() + k * d;
      if (labels) {
        first.mutable_data_ptr<double>()[k] = total;
        auto* of_ones = to + which.size() * d;
        for (std::size_t j = 0; j < d; ++j) {
          to[j] = s.centre[j] + (sums.first[j] - cross[j]) / (n - total);
          of_ones[j] = s.centre[j] + cross[j] / total;
        }
      } else {
        first.mutable_data_ptr<double>()[k] = s.target_centre[c] + total / n;
        for (std::size_t j = 0; j < d; ++j) to[j] = cross[j] - total / n * sums.first[j];
      }
    }
    out.push_back(std::move(t));
  }
  return out;
}

}  // namespace tierod::probe
