#include "tierod/probe/dataset.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "stats/check_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::length;
using tierod::internal::list_text;

namespace {

constexpr std::size_t kMostCategories = 64;

// Rows whose sum is finite hold no NaN and, short of overflow, no infinity: one cheap pass.
void check_site(const std::string& name, const at::Tensor& rows, std::size_t want) {
  constexpr auto* where = "probe.ProbeDataset.add_site";
  if (!rows.defined() || rows.dim() != 2 || !at::isFloatingType(rows.scalar_type()) ||
      rows.size(1) == 0) {
    throw InvalidArgument(
        cat("[", where, "] expected floating rows [", want, ", d] at ", name, ", got ",
            rows.defined() ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                           : std::string("an undefined tensor"),
            "; flatten tokens into rows first"));
  }
  if (rows.size(0) != length(want)) {
    throw InvalidArgument(cat("[", where, "] expected ", want, " rows at ", name,
                              ", as many as groups, got ", rows.size(0)));
  }
  const at::NoGradGuard no_grad;
  if (at::isfinite(rows.sum(1, false, at::kDouble)).all().item<bool>()) return;
  const at::Tensor bad = at::isfinite(rows).all(1).logical_not();
  if (!bad.any().item<bool>()) return;
  throw NumericalError(
      cat("[", where, "] expected finite activations, got NaN or infinity at site ", name, ", row ",
          bad.to(at::kByte).argmax().item<std::int64_t>(), " (", bad.sum().item<std::int64_t>(),
          " such rows); drop the rows, or find what made them"));
}

template <typename List>
bool has_name(const List& list, std::string_view name) {
  return std::any_of(list.begin(), list.end(), [&](const auto& x) { return x.name == name; });
}

template <typename List>
std::vector<std::string> names_of(const List& list) {
  std::vector<std::string> names;
  names.reserve(list.size());
  for (const auto& item : list) names.push_back(item.name);
  return names;
}

// Bins at quantiles: equal values stay together, so that there may be fewer than asked for.
void cut(const std::vector<double>& values, std::size_t bins, Nuisance& out) {
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> edges;
  for (std::size_t b = 1; b < bins; ++b) {
    const double edge = sorted[b * sorted.size() / bins];
    if (edge > sorted.front() && (edges.empty() || edge > edges.back())) edges.push_back(edge);
  }
  out.cell_count = static_cast<std::uint32_t>(edges.size() + 1);
  for (const double v : values) {
    out.cells.push_back(static_cast<std::uint32_t>(std::upper_bound(edges.begin(), edges.end(), v) -
                                                   edges.begin()));
  }
}

}  // namespace

const char* split_name(Split split) noexcept {
  switch (split) {
    case Split::a:
      return "A";
    case Split::b:
      return "B";
    case Split::c:
      return "C";
  }
  return "?";
}

ProbeDataset::ProbeDataset(std::vector<std::int64_t> groups) : groups_(std::move(groups)) {
  if (groups_.empty()) {
    throw InvalidArgument("[probe.ProbeDataset] expected the group of each row, got no row");
  }
  levels_.push_back({"group", groups_});
}

void ProbeDataset::check_length(std::size_t got, const std::string& what) const {
  if (got != rows()) {
    throw InvalidArgument(cat("[probe.ProbeDataset] expected ", rows(), " values of ", what,
                              ", as many as groups, got ", got));
  }
}

void ProbeDataset::add_site(const std::string& name, const at::Tensor& rows) {
  if (has_name(sites_, name)) {
    throw InvalidArgument(
        cat("[probe.ProbeDataset.add_site] the site ", name, " is there already"));
  }
  check_site(name, rows, this->rows());
  sites_.push_back({name, rows.detach(), nullptr});
}

void ProbeDataset::add_site(const std::string& name, std::function<at::Tensor()> load) {
  if (has_name(sites_, name)) {
    throw InvalidArgument(
        cat("[probe.ProbeDataset.add_site] the site ", name, " is there already"));
  }
  if (!load) throw InvalidArgument("[probe.ProbeDataset.add_site] expected a function that loads");
  sites_.push_back({name, {}, std::move(load)});
}

void ProbeDataset::add_concept(const std::string& name, std::vector<std::uint8_t> labels) {
  constexpr auto* where = "probe.ProbeDataset.add_concept";
  check_length(labels.size(), cat("the concept ", name));
  if (has_name(concepts_, name)) {
    throw InvalidArgument(cat("[", where, "] the concept ", name, " is there already"));
  }
  std::size_t count[2] = {};
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 1 && labels[i] != kMissingLabel) {
      throw InvalidArgument(cat("[", where, "] expected labels 0, 1 or 255 (unknown) of ", name,
                                ", got ", int{labels[i]}, " in row ", i));
    }
    if (labels[i] <= 1) ++count[labels[i]];
  }
  if (count[0] == 0 || count[1] == 0) {
    throw InvalidArgument(cat("[", where, "] expected both classes of ", name, ", got ", count[1],
                              " ones and ", count[0], " zeros among ", labels.size(),
                              " rows; a constant label cannot be probed"));
  }
  concepts_.push_back({name, std::move(labels)});
}

void ProbeDataset::add_target(const std::string& name, std::vector<double> values) {
  constexpr auto* where = "probe.ProbeDataset.add_target";
  check_length(values.size(), cat("the target ", name));
  if (has_name(targets_, name)) {
    throw InvalidArgument(cat("[", where, "] the target ", name, " is there already"));
  }
  std::optional<double> first;
  bool varies = false;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    if (std::isinf(values[i])) {
      throw NumericalError(cat("[", where, "] expected finite values of ", name,
                               ", or NaN for "
                               "unknown, got ",
                               values[i], " in row ", i, "; drop the row, or find what made it"));
    }
    if (!first) first = values[i];
    varies = varies || values[i] != *first;
  }
  if (!varies) {
    throw InvalidArgument(cat("[", where, "] expected different values of ", name, ", got ",
                              first ? cat("only ", *first) : std::string("none that is known"),
                              " among ", values.size(), " rows; a constant cannot be probed"));
  }
  targets_.push_back({name, std::move(values)});
}

void ProbeDataset::add_nuisance(const std::string& name, std::vector<double> values,
                                NuisanceKind kind, std::size_t bins) {
  constexpr auto* where = "probe.ProbeDataset.add_nuisance";
  check_length(values.size(), cat("the nuisance ", name));
  if (has_name(nuisances_, name)) {
    throw InvalidArgument(cat("[", where, "] the nuisance ", name, " is there already"));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      throw NumericalError(cat("[", where, "] expected finite values of ", name, ", got ",
                               values[i], " in row ", i));
    }
  }
  if (bins < 2) throw InvalidArgument(cat("[", where, "] expected bins >= 2, got ", bins));
  Nuisance out{.name = name, .kind = kind, .values = {}, .cells = {}, .cell_count = 0};
  if (kind == NuisanceKind::categorical) {
    std::map<double, std::uint32_t> index;
    for (const double v : values) index.emplace(v, 0);
    if (index.size() > kMostCategories) {
      throw InvalidArgument(cat("[", where, "] expected at most ", kMostCategories,
                                " categories of ", name, ", got ", index.size(),
                                "; merge rare ones, or give it as types"));
    }
    for (auto& [value, cell] : index) cell = out.cell_count++;
    for (const double v : values) out.cells.push_back(index[v]);
  } else {
    cut(values, kind == NuisanceKind::binned ? bins : 4, out);
  }
  out.values = std::move(values);
  nuisances_.push_back(std::move(out));
}

void ProbeDataset::add_level(const std::string& name, std::vector<std::int64_t> ids) {
  constexpr auto* where = "probe.ProbeDataset.add_level";
  check_length(ids.size(), cat("the level ", name));
  if (has_name(levels_, name)) {
    throw InvalidArgument(cat("[", where, "] the level ", name, " is there already"));
  }
  const Level& below = levels_.back();
  std::map<std::int64_t, std::int64_t> above;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto [at, fresh] = above.emplace(below.ids[i], ids[i]);
    if (!fresh && at->second != ids[i]) {
      throw InvalidArgument(cat("[", where, "] ", below.name, " ", below.ids[i], " lies in ", name,
                                " ", at->second, " and in ", ids[i], " (row ", i,
                                "); give levels from low to high"));
    }
  }
  levels_.push_back({name, std::move(ids)});
}

void ProbeDataset::set_twins(std::vector<std::int64_t> twins) {
  check_length(twins.size(), "twins");
  twins_ = std::move(twins);
}

void ProbeDataset::set_strata(std::vector<std::int64_t> strata) {
  check_length(strata.size(), "strata");
  std::map<std::int64_t, std::int64_t> of_group;
  for (std::size_t i = 0; i < strata.size(); ++i) {
    const auto [at, fresh] = of_group.emplace(groups_[i], strata[i]);
    if (!fresh && at->second != strata[i]) {
      throw InvalidArgument(cat("[probe.ProbeDataset.set_strata] group ", groups_[i],
                                " lies in strata ", at->second, " and ", strata[i], " (row ", i,
                                "); a stratum holds whole groups"));
    }
  }
  strata_ = std::move(strata);
}

void ProbeDataset::set_types(std::vector<std::int64_t> types) {
  check_length(types.size(), "types");
  types_ = std::move(types);
}

std::vector<std::string> ProbeDataset::sites() const { return names_of(sites_); }
std::vector<std::string> ProbeDataset::concepts() const { return names_of(concepts_); }
std::vector<std::string> ProbeDataset::targets() const { return names_of(targets_); }
std::vector<std::string> ProbeDataset::levels() const { return names_of(levels_); }

at::Tensor ProbeDataset::site(std::string_view name) const {
  for (const Site& site : sites_) {
    if (site.name != name) continue;
    if (site.rows.defined()) return site.rows;
    at::Tensor rows = site.load();
    check_site(site.name, rows, this->rows());
    return rows;
  }
  throw SiteError(
      cat("[probe.ProbeDataset.site] expected one of ", list_text(sites()), ", got ", name));
}

std::span<const std::uint8_t> ProbeDataset::labels(std::string_view concept_name) const {
  for (const Labelled& c : concepts_) {
    if (c.name == concept_name) return c.labels;
  }
  throw InvalidArgument(cat("[probe.ProbeDataset.labels] expected one of ", list_text(concepts()),
                            ", got ", concept_name));
}

std::span<const double> ProbeDataset::target(std::string_view name) const {
  for (const Target& t : targets_) {
    if (t.name == name) return t.values;
  }
  throw InvalidArgument(
      cat("[probe.ProbeDataset.target] expected one of ", list_text(targets()), ", got ", name));
}

std::vector<std::int64_t> ProbeDataset::types() const {
  if (!types_.empty() || nuisances_.empty()) return types_;
  std::map<std::vector<std::uint32_t>, std::int64_t> index;
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < rows(); ++i) {
    std::vector<std::uint32_t> key;
    key.reserve(nuisances_.size());
    for (const Nuisance& n : nuisances_) key.push_back(n.cells[i]);
    index.emplace(std::move(key), 0);
  }
  // numbered by their cells, so that the order of the rows plays no part in control tasks
  std::int64_t next = 0;
  for (auto& [key, number] : index) number = next++;
  for (std::size_t i = 0; i < rows(); ++i) {
    std::vector<std::uint32_t> key;
    key.reserve(nuisances_.size());
    for (const Nuisance& n : nuisances_) key.push_back(n.cells[i]);
    out.push_back(index[key]);
  }
  return out;
}

ProbeDataset ProbeDataset::subset(const at::Tensor& rows) const {
  constexpr auto* where = "probe.ProbeDataset.subset";
  if (!rows.defined() || rows.dim() != 1 || rows.scalar_type() != at::kLong) {
    throw InvalidArgument(cat("[", where, "] expected row numbers int64 [m], got ",
                              rows.defined()
                                  ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                                  : std::string("an undefined tensor"),
                              "; turn a mask into numbers with nonzero()"));
  }
  const at::Tensor index = rows.to(at::kCPU).contiguous();
  const std::span picked(index.const_data_ptr<std::int64_t>(),
                         static_cast<std::size_t>(index.numel()));
  std::vector<bool> taken(this->rows());
  for (const std::int64_t i : picked) {
    if (i < 0 || i >= length(this->rows())) {
      throw OutOfRange(cat("[", where, "] expected rows in [0, ", this->rows(), "), got ", i));
    }
    if (taken[static_cast<std::size_t>(i)]) {
      throw InvalidArgument(cat("[", where, "] expected each row once, got row ", i, " twice"));
    }
    taken[static_cast<std::size_t>(i)] = true;
  }
  const auto pick = [&](const auto& values) {
    std::decay_t<decltype(values)> out;
    if (values.empty()) return out;
    for (const std::int64_t i : picked) out.push_back(values[static_cast<std::size_t>(i)]);
    return out;
  };
  ProbeDataset out(pick(groups_));
  for (std::size_t l = 1; l < levels_.size(); ++l) {
    out.levels_.push_back({levels_[l].name, pick(levels_[l].ids)});
  }
  out.twins_ = pick(twins_);
  out.strata_ = pick(strata_);
  out.types_ = pick(types_);
  for (const Nuisance& n : nuisances_) {  // cells keep their meaning
    out.nuisances_.push_back({n.name, n.kind, pick(n.values), pick(n.cells), n.cell_count});
  }
  for (const Labelled& c : concepts_) out.add_concept(c.name, pick(c.labels));
  for (const Target& t : targets_) out.add_target(t.name, pick(t.values));
  for (const Site& site : sites_) {
    if (site.rows.defined()) {
      out.sites_.push_back(
          {site.name, site.rows.index_select(0, index.to(site.rows.device())), {}});
    } else {
      out.sites_.push_back({site.name, {}, [load = site.load, index] {
                              const at::Tensor all = load();
                              return all.index_select(0, index.to(all.device()));
                            }});
    }
  }
  return out;
}

ProbeDataset ProbeDataset::subset(const Splits& splits, Split which) const {
  check_length(splits.of_row.size(), "the split");
  std::vector<std::int64_t> index;
  for (std::size_t i = 0; i < rows(); ++i) {
    if (splits.of_row[i] == which) index.push_back(length(i));
  }
  return subset(internal::index_of(index));
}

std::vector<std::string> ProbeDataset::companions(std::string_view concept_name,
                                                  bool with_concepts) const {
  std::vector<std::string> names = names_of(nuisances_);
  for (const Labelled& c : concepts_) {
    if (with_concepts && c.name != concept_name) names.push_back(c.name);
  }
  return names;
}

std::vector<std::uint32_t> ProbeDataset::cells(std::string_view name) const {
  for (const Nuisance& n : nuisances_) {
    if (n.name == name) return n.cells;
  }
  const std::span<const std::uint8_t> labels = this->labels(name);
  return {labels.begin(), labels.end()};
}

at::Tensor ProbeDataset::design(const std::vector<std::string>& names) const {
  std::vector<std::size_t> all(rows());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return design(names, all);
}

at::Tensor ProbeDataset::design(const std::vector<std::string>& names,
                                std::span<const std::size_t> rows) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  for (const std::size_t i : rows) {
    if (i >= this->rows()) {
      throw OutOfRange(
          cat("[probe.ProbeDataset.design] expected rows below ", this->rows(), ", got ", i));
    }
  }
  const auto count = static_cast<double>(rows.size());
  std::vector<at::Tensor> columns;
  // constants explain nothing
  const auto column = [&](const auto& value, bool standardise = false) {
    at::Tensor out = at::empty({length(rows.size())}, at::kDouble);
    auto* to = out.mutable_data_ptr<double>();
    for (std::size_t r = 0; r < rows.size(); ++r) to[r] = value(rows[r]);
    const auto [low, high] = std::minmax_element(to, to + rows.size());
    if (rows.empty() || *low == *high) return;
    if (standardise) {
      double sum = 0, squares = 0;
      for (std::size_t r = 0; r < rows.size(); ++r) sum += to[r];
      const double mean = sum / count;
      for (std::size_t r = 0; r < rows.size(); ++r) squares += (to[r] - mean) * (to[r] - mean);
      const double sd = std::sqrt(squares / count);
      if (!(sd > 0)) return;
      for (std::size_t r = 0; r < rows.size(); ++r) to[r] = (to[r] - mean) / sd;
    }
    columns.push_back(out);
  };
  for (const std::string& name : names) {
    const auto found = std::find_if(nuisances_.begin(), nuisances_.end(),
                                    [&](const Nuisance& n) { return n.name == name; });
    if (found == nuisances_.end()) {
      const std::span<const std::uint8_t> labels = this->labels(name);
      column([&](std::size_t i) { return labels[i] == 1 ? 1.0 : 0.0; });
      column([&](std::size_t i) { return labels[i] == kMissingLabel ? 1.0 : 0.0; });
    } else if (found->kind == NuisanceKind::numeric) {
      column([&](std::size_t i) { return found->values[i]; }, true);
    } else {
      for (std::uint32_t cell = 1; cell < found->cell_count; ++cell) {
        column([&](std::size_t i) { return found->cells[i] == cell ? 1.0 : 0.0; });
      }
    }
  }
  if (columns.empty()) return at::empty({length(rows.size()), 0}, at::kDouble);
  return at::stack(columns, 1);
}

}  // namespace tierod::probe
