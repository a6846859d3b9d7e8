#include "tierod/store/moments_sink.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <limits>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "store/batch_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/core/site.h"
#include "tierod/store/labels.h"

namespace tierod {

using internal::cat;

std::int64_t fold_of_group(std::int64_t group, std::int64_t folds, std::uint64_t seed) {
  if (folds < 1 || folds > std::numeric_limits<std::int32_t>::max()) {
    throw InvalidArgument(
        cat("[store.fold_of_group] expected folds from 1 to 2^31 - 1, got ", folds));
  }
  return CounterRandom(seed, "store.fold")
      .below(static_cast<std::uint32_t>(folds), static_cast<std::uint64_t>(group), 0, 0);
}

FoldMoments::FoldMoments(FoldMomentsOptions options) : options_(options) {
  if (options.folds < 1) {
    throw InvalidArgument(cat("[store.FoldMoments] expected folds >= 1, got ", options.folds,
                              "; 1 keeps all rows together"));
  }
}

void FoldMoments::update(const std::string& site, const at::Tensor& rows, const at::Tensor& folds,
                         const at::Tensor& labels) {
  if (!folds.defined() || folds.dim() != 1 || folds.scalar_type() != at::kLong || !rows.defined() ||
      rows.dim() != 2 || folds.size(0) != rows.size(0)) {
    const auto text = [](const at::Tensor& x) {
      return x.defined() ? cat("shape ", x.sizes(), " of ", x.scalar_type())
                         : std::string("an undefined tensor");
    };
    throw InvalidArgument(
        cat("[store.FoldMoments.update] expected rows [n, d] and folds, int64 [n], "
            "got ",
            text(rows), " and ", text(folds), "; give a fold a row"));
  }
  const at::Tensor numbers = folds.to(at::kCPU).contiguous();
  const auto* number = numbers.const_data_ptr<std::int64_t>();
  std::vector<std::vector<std::int64_t>> members(static_cast<std::size_t>(options_.folds));
  for (std::int64_t i = 0; i < numbers.size(0); ++i) {
    if (number[i] < 0 || number[i] >= options_.folds) {
      throw OutOfRange(cat("[store.FoldMoments.update] the fold ", number[i],
                           " does not lie within the ", options_.folds, " folds"));
    }
    members[static_cast<std::size_t>(number[i])].push_back(i);
  }
  auto found = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& entry) { return entry.site == site; });
  if (found == entries_.end()) {
    const auto count = static_cast<std::size_t>(options_.folds);
    entries_.push_back({site, std::vector<Moments>(count, Moments(options_.covariance)),
                        std::vector<CrossMoments>(count)});
    found = entries_.end() - 1;
  }
  for (std::size_t f = 0; f < members.size(); ++f) {
    if (members[f].empty()) continue;
    const at::Tensor index = internal::index_of(members[f]);
    const at::Tensor part = rows.index_select(0, index.to(rows.device()));
    found->moments[f].update(part);
    if (labels.defined()) {
      found->cross[f].update(part, labels.index_select(0, index.to(labels.device())));
    }
  }
}

void FoldMoments::merge(const FoldMoments& other) {
  if (options_.folds != other.options_.folds || options_.seed != other.options_.seed ||
      options_.covariance != other.options_.covariance) {
    throw InvalidArgument(
        cat("[store.FoldMoments.merge] expected ", options_.folds, " folds of seed ", options_.seed,
            options_.covariance ? " with" : " without", " covariance, got ", other.options_.folds,
            " of seed ", other.options_.seed, other.options_.covariance ? " with" : " without",
            "; accumulate both with the same options"));
  }
  for (const Entry& theirs : other.entries_) {
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& entry) { return entry.site == theirs.site; });
    if (found == entries_.end()) {
      entries_.push_back(theirs);
      continue;
    }
    for (std::size_t f = 0; f < theirs.moments.size(); ++f) {
      found->moments[f].merge(theirs.moments[f]);
      found->cross[f].merge(theirs.cross[f]);
    }
  }
}

std::vector<std::string> FoldMoments::sites() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const Entry& entry : entries_) names.push_back(entry.site);
  return names;
}

const FoldMoments::Entry& FoldMoments::entry(std::string_view site) const {
  for (const Entry& entry : entries_) {
    if (entry.site == site) return entry;
  }
  throw SiteError(cat("[store.FoldMoments] no rows of '", site, "' were seen; nearest names: ",
                      internal::list_text(nearest_names(site, sites()))));
}

void FoldMoments::check_fold(std::int64_t fold) const {
  if (fold >= 0 && fold < options_.folds) return;
  throw OutOfRange(cat("[store.FoldMoments] the fold ", fold, " does not lie within the ",
                       options_.folds, " folds"));
}

const Moments& FoldMoments::moments(std::string_view site, std::int64_t fold) const {
  check_fold(fold);
  return entry(site).moments[static_cast<std::size_t>(fold)];
}

const CrossMoments& FoldMoments::cross(std::string_view site, std::int64_t fold) const {
  check_fold(fold);
  return entry(site).cross[static_cast<std::size_t>(fold)];
}

Moments FoldMoments::moments_without(std::string_view site, std::int64_t fold) const {
  if (fold != -1) check_fold(fold);
  Moments sum(options_.covariance);
  const Entry& found = entry(site);
  for (std::int64_t f = 0; f < options_.folds; ++f) {
    if (f != fold) sum.merge(found.moments[static_cast<std::size_t>(f)]);
  }
  return sum;
}

CrossMoments FoldMoments::cross_without(std::string_view site, std::int64_t fold) const {
  if (fold != -1) check_fold(fold);
  CrossMoments sum;
  const Entry& found = entry(site);
  for (std::int64_t f = 0; f < options_.folds; ++f) {
    if (f != fold) sum.merge(found.cross[static_cast<std::size_t>(f)]);
  }
  return sum;
}

// Frames of one scene are no independent rows: whole scenes go to a fold even where nobody grouped
// them.
static std::int64_t independent_unit(std::int64_t group, std::int64_t scene, std::int64_t sample) {
  if (group >= 0) return group;
  return scene >= 0 ? scene : sample;
}

struct MomentsSink::Impl {
  FoldMoments result;
  BatchInfo info;
  at::Tensor labels;                // [samples, concepts], f64
  std::vector<std::int64_t> folds;  // by row of the batch
};

MomentsSink::MomentsSink(FoldMomentsOptions options)
    : impl_(std::make_unique<Impl>(Impl{FoldMoments(options)})) {}
MomentsSink::~MomentsSink() = default;

void MomentsSink::begin_batch(BatchInfo info, const at::Tensor& labels) {
  constexpr const char* kWhere = "store.MomentsSink.begin_batch";
  internal::check_batch(info, kWhere);
  const auto rows = static_cast<std::int64_t>(info.samples.size());
  if (labels.defined() && (labels.dim() != 2 || labels.size(0) != rows)) {
    throw InvalidArgument(
        cat("[", kWhere, "] expected labels [", rows, ", concepts], got shape ", labels.sizes()));
  }
  impl_->labels = labels.defined() ? labels.to(at::kCPU, at::kDouble) : at::Tensor();
  impl_->folds.clear();
  const FoldMomentsOptions& options = impl_->result.options();
  const auto at = [](const std::vector<std::int64_t>& column, std::size_t i) {
    return column.empty() ? -1 : column[i];
  };
  for (std::size_t i = 0; i < info.samples.size(); ++i) {
    impl_->folds.push_back(
        fold_of_group(independent_unit(at(info.groups, i), at(info.scenes, i), info.samples[i]),
                      options.folds, options.seed));
  }
  impl_->info = std::move(info);
}

void MomentsSink::take(const SinkItem& item) {
  internal::check_item(item, impl_->info, "store.MomentsSink.take");
  const std::int64_t count = internal::item_rows(item);
  at::Tensor folds = at::empty({count}, at::TensorOptions().dtype(at::kLong));
  at::Tensor batch_rows = at::empty({count}, at::TensorOptions().dtype(at::kLong));
  auto* fold = folds.mutable_data_ptr<std::int64_t>();
  auto* out = batch_rows.mutable_data_ptr<std::int64_t>();
  const std::size_t each = item.paired ? 1 : item.tokens.size();
  for (const std::int64_t row : item.batch_rows) {
    for (std::size_t t = 0; t < each; ++t) {
      *out++ = row;
      *fold++ = impl_->folds[static_cast<std::size_t>(row)];
    }
  }
  impl_->result.update(
      item.event.site.name(), item.rows, folds,
      impl_->labels.defined() ? impl_->labels.index_select(0, batch_rows) : at::Tensor());
}

const FoldMoments& MomentsSink::result() const noexcept { return impl_->result; }

FoldMoments accumulate_moments(const ActivationReader& reader, std::string_view stream,
                               const std::vector<std::string>& sites,
                               const std::vector<std::string>& concepts,
                               FoldMomentsOptions options) {
  constexpr std::int64_t kBlock = 8192;
  FoldMoments result(options);
  std::vector<std::string> names = sites;
  if (names.empty()) {
    for (const StreamSpec& spec : reader.streams()) {
      if (spec.name != stream) continue;
      for (const SiteColumn& site : spec.sites) names.push_back(site.site);
    }
  }
  const at::Tensor groups = reader.column(stream, RowColumn::group);
  const at::Tensor scenes = reader.column(stream, RowColumn::scene);
  const at::Tensor samples = reader.column(stream, RowColumn::sample);
  const std::int64_t rows = groups.size(0);
  at::Tensor folds = at::empty({rows}, at::TensorOptions().dtype(at::kLong));
  for (std::int64_t i = 0; i < rows; ++i) {
    folds.mutable_data_ptr<std::int64_t>()[i] =
        fold_of_group(independent_unit(groups.const_data_ptr<std::int64_t>()[i],
                                       scenes.const_data_ptr<std::int64_t>()[i],
                                       samples.const_data_ptr<std::int64_t>()[i]),
                      options.folds, options.seed);
  }
  at::Tensor labels;
  if (!concepts.empty()) {
    labels =
        at::full({rows, static_cast<std::int64_t>(concepts.size())},
                 std::numeric_limits<double>::quiet_NaN(), at::TensorOptions().dtype(at::kDouble));
    auto* value = labels.mutable_data_ptr<double>();
    for (std::size_t c = 0; c < concepts.size(); ++c) {
      const at::Tensor column = reader.row_labels(stream, concepts[c]);
      const auto* label = column.const_data_ptr<std::uint8_t>();
      for (std::int64_t i = 0; i < rows; ++i) {
        if (label[i] == kMissingLabel) continue;
        value[static_cast<std::size_t>(i) * concepts.size() + c] = label[i];
      }
    }
  }
  for (const std::string& site : names) {
    for (std::int64_t begin = 0; begin < rows; begin += kBlock) {
      const std::int64_t count = std::min(kBlock, rows - begin);
      result.update(site, reader.read(stream, site, begin, begin + count),
                    folds.narrow(0, begin, count),
                    labels.defined() ? labels.narrow(0, begin, count) : at::Tensor());
    }
  }
  return result;
}

}  // namespace tierod
