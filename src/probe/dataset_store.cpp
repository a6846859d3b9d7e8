#include <ATen/ops/arange.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/dataset.h"
#include "tierod/store/labels.h"
#include "tierod/store/moments_sink.h"
#include "tierod/store/reader.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::list_text;

namespace {

template <typename T>
std::vector<T> list_of(const at::Tensor& x) {
  const at::Tensor flat = x.contiguous();
  const auto* from = flat.const_data_ptr<T>();
  return {from, from + flat.numel()};
}

}  // namespace

ProbeDataset ProbeDataset::from_store(std::shared_ptr<const ActivationReader> reader,
                                      const std::string& stream, std::vector<std::string> sites,
                                      const std::vector<std::string>& concepts,
                                      const at::Tensor& rows) {
  const at::Tensor index = rows.defined() ? rows.to(at::kCPU, at::kLong).contiguous()
                                          : at::arange(reader->row_count(stream), at::kLong);
  const auto column = [&](RowColumn which) {
    return reader->column(stream, which).index_select(0, index);
  };
  at::Tensor group = column(RowColumn::scene);
  group = at::where(group.lt(0), column(RowColumn::sample), group);
  ProbeDataset out(list_of<std::int64_t>(group));
  const at::Tensor above = column(RowColumn::group);
  if (above.ge(0).all().item<bool>()) out.add_level("store_group", list_of<std::int64_t>(above));
  if (sites.empty()) {
    for (const StreamSpec& spec : reader->streams()) {
      if (spec.name != stream) continue;
      for (const SiteColumn& site : spec.sites) sites.push_back(site.site);
    }
  }
  for (const std::string& site : sites) {
    out.add_site(site,
                 [reader, stream, site, index] { return reader->gather(stream, site, index); });
  }
  const std::vector<std::string> known =
      concepts.empty() ? std::vector<std::string>() : label_concepts(reader->path());
  for (const std::string& name : concepts) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw InvalidArgument(cat("[probe.ProbeDataset.from_store] expected one of the concepts ",
                                list_text(known), ", got ", name, "; set_labels() adds one"));
    }
    out.add_concept(name,
                    list_of<std::uint8_t>(reader->row_labels(stream, name).index_select(0, index)));
  }
  return out;
}

TrainingStatistics training_statistics(const FoldMoments& moments, std::string_view site,
                                       std::optional<std::int64_t> held_out) {
  constexpr auto* where = "probe.training_statistics";
  const Moments rows = moments.moments_without(site, held_out.value_or(-1));
  const CrossMoments cross = moments.cross_without(site, held_out.value_or(-1));
  if (rows.count() < 2) {
    throw StateError(
        cat("[", where, "] expected at least 2 training rows at ", site, ", got ", rows.count()));
  }
  if (cross.empty()) {
    throw InvalidArgument(
        cat("[", where, "] no labels were streamed along with ", site, "; give them to the sink"));
  }
  const auto n = static_cast<double>(rows.count());
  const at::Tensor known = cross.count();
  const at::Tensor share = cross.mean_labels();
  for (std::int64_t c = 0; c < cross.concepts(); ++c) {
    if (known[c].item<std::int64_t>() != rows.count()) {
      throw InvalidArgument(cat("[", where, "] concept ", c, " has labels for ",
                                known[c].item<std::int64_t>(), " of ", rows.count(), " rows at ",
                                site, "; stream the rows of such a concept to a sink of its own"));
    }
    const auto p = share[c].item<double>();
    if (!(p > 0 && p < 1)) {
      throw InvalidArgument(cat("[", where, "] expected both classes of concept ", c, " among ",
                                rows.count(), " training rows, got only ", p > 0 ? 1 : 0));
    }
  }
  TrainingStatistics out{.rows = rows.count(), .mean = rows.mean(), .ones = share.mul(n)};
  out.scatter = rows.covariance(0).mul_(n);
  // Cov(x, z) = p (1 - p) (mean of the ones - mean of the zeros)
  const at::Tensor cov = cross.cross_covariance(0);
  const at::Tensor p = share.unsqueeze(1);
  out.means = at::stack(
      {out.mean.unsqueeze(0).sub(cov.div(p.neg().add(1))), out.mean.unsqueeze(0).add(cov.div(p))});
  return out;
}

}  // namespace tierod::probe
