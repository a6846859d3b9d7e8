#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "audit/world_internal.h"
#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::internal {

using probe::Split;

namespace {

constexpr auto* kWhere = "[audit.scenes]";

std::vector<std::int64_t> all_of(std::int64_t size) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(size));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

std::vector<std::uint8_t> bytes_of(const at::Tensor& labels, std::int64_t size,
                                   const std::string& name) {
  const at::Tensor x = labels.to(at::kCPU, at::kByte).contiguous();
  if (x.dim() != 1 || x.size(0) != size) {
    throw InvalidArgument(
        cat(kWhere, " expected labels [", size, "] of '", name, "', got ", x.sizes()));
  }
  const auto* data = x.const_data_ptr<std::uint8_t>();
  return {data, data + size};
}

// Labels of a nuisance that is a feature like any other: there or not.
std::optional<std::vector<std::uint8_t>> binary(const vla::SceneNuisance& nuisance,
                                                std::int64_t size) {
  if (nuisance.categorical) return std::nullopt;
  const at::Tensor x = nuisance.values.to(at::kCPU, at::kDouble).contiguous();
  const auto* value = x.const_data_ptr<double>();
  std::vector<std::uint8_t> out;
  bool both[2] = {false, false};
  for (std::int64_t i = 0; i < size; ++i) {
    if (value[i] != 0 && value[i] != 1) return std::nullopt;
    out.push_back(value[i] == 1 ? 1 : 0);
    both[out.back()] = true;
  }
  if (!both[0] || !both[1]) return std::nullopt;
  return out;
}

}  // namespace

World::World(const vla::SceneSource& source, const audit::Protocol& protocol)
    : source_(source),
      seed_(protocol.seed),
      concepts_(source.concepts()),
      nuisances_(source.nuisances()),
      strata_(source.strata()) {
  const std::int64_t size = source.size();
  const std::vector<std::int64_t> ids = all_of(size);
  for (const std::string& name : concepts_) {
    add(name, bytes_of(source.labels(name), size, name));
    features_.push_back(name);
  }
  for (const vla::SceneNuisance& nuisance : nuisances_) {
    if (labels_.contains(nuisance.name)) continue;
    if (auto found = binary(nuisance, size)) {
      add(nuisance.name, *std::move(found));
      features_.push_back(nuisance.name);
    }
  }
  std::vector<std::string> levels = source.group_levels();
  std::reverse(levels.begin(), levels.end());  // the lowest first
  probe::ProbeDataset data(ids);
  for (const std::string& level : levels) {
    std::vector<std::int64_t> of = source.group(level, ids);
    if (of == ids) continue;
    data.add_level(level, of);
    levels_.push_back(level);
    groups_[level] = std::move(of);
  }
  probe::SplitOptions options{
      .a = protocol.share_a, .b = protocol.share_b, .c = protocol.share_c, .seed = protocol.seed};
  splits_ = data.split(options);
  if (splits_.level == "group") {
    units_ = ids;
  } else {
    units_ = groups_.at(splits_.level);
  }
  for (std::int64_t i = 0; i < size; ++i) {
    of_split_[static_cast<std::size_t>(splits_.of_row[static_cast<std::size_t>(i)])].push_back(i);
  }
}

void World::add(const std::string& feature, std::vector<std::uint8_t> labels) {
  labels_[feature] = std::move(labels);
}

const std::vector<std::uint8_t>& World::labels(const std::string& feature) const {
  const auto found = labels_.find(feature);
  if (found == labels_.end()) {
    throw InvalidArgument(cat(kWhere, " expected a concept or a nuisance of 0 and 1, one of ",
                              list_text(features_, 32), ", got '", feature, "'"));
  }
  return found->second;
}

std::vector<std::uint8_t> World::labels(const std::string& feature,
                                        std::span<const std::int64_t> ids) const {
  const std::vector<std::uint8_t>& all = labels(feature);
  std::vector<std::uint8_t> out;
  out.reserve(ids.size());
  for (const std::int64_t id : ids) out.push_back(all[static_cast<std::size_t>(id)]);
  return out;
}

std::vector<std::int64_t> World::units(std::span<const std::int64_t> ids) const {
  std::vector<std::int64_t> out;
  out.reserve(ids.size());
  for (const std::int64_t id : ids) out.push_back(units_[static_cast<std::size_t>(id)]);
  return out;
}

std::vector<std::int64_t> World::drawn(std::vector<std::int64_t> from, std::int64_t count,
                                       std::string_view purpose) const {
  const CounterRandom random(seed_, purpose);
  const auto rank = [&](std::int64_t id) {
    return random.bits(static_cast<std::uint64_t>(id), 0, 0);
  };
  std::sort(from.begin(), from.end(),
            [&](std::int64_t a, std::int64_t b) { return rank(a) < rank(b); });
  from.resize(std::min(from.size(), static_cast<std::size_t>(count)));
  std::sort(from.begin(), from.end());
  return from;
}

std::vector<std::int64_t> World::balanced(Split split, const std::string& feature,
                                          std::int64_t count, std::string_view purpose,
                                          std::span<const std::int64_t> among) const {
  const std::vector<std::uint8_t>& all = labels(feature);
  std::vector<std::int64_t> classes[2];
  const std::span<const std::int64_t> from = among.empty() ? of(split) : among;
  for (const std::int64_t id : from) {
    const std::uint8_t label = all[static_cast<std::size_t>(id)];
    if (label <= 1) classes[label].push_back(id);
  }
  const auto each = std::min({count / 2, std::ssize(classes[0]), std::ssize(classes[1])});
  std::vector<std::int64_t> out = drawn(std::move(classes[0]), each, purpose);
  const std::vector<std::int64_t> with = drawn(std::move(classes[1]), each, purpose);
  out.insert(out.end(), with.begin(), with.end());
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::int64_t> World::any(Split split, std::int64_t count,
                                     std::string_view purpose) const {
  return drawn(of(split), count, purpose);
}

probe::ProbeDataset World::dataset(std::span<const std::int64_t> ids,
                                   const std::vector<std::string>& nuisances) const {
  probe::ProbeDataset out({ids.begin(), ids.end()});
  for (const std::string& level : levels_) {
    std::vector<std::int64_t> of;
    const std::vector<std::int64_t>& all = groups_.at(level);
    for (const std::int64_t id : ids) of.push_back(all[static_cast<std::size_t>(id)]);
    out.add_level(level, std::move(of));
  }
  for (const auto& [name, all] : labels_) {
    std::vector<std::uint8_t> here = labels(name, ids);
    const bool both =
        std::count(here.begin(), here.end(), 0) > 0 && std::count(here.begin(), here.end(), 1) > 0;
    if (both) out.add_concept(name, std::move(here));
  }
  for (const vla::SceneNuisance& nuisance : nuisances_) {
    if (labels_.contains(nuisance.name)) continue;
    if (std::find(nuisances.begin(), nuisances.end(), nuisance.name) == nuisances.end()) continue;
    const at::Tensor values = nuisance.values.to(at::kCPU, at::kDouble).contiguous();
    std::vector<double> here;
    for (const std::int64_t id : ids) here.push_back(values.const_data_ptr<double>()[id]);
    out.add_nuisance(
        nuisance.name, std::move(here),
        nuisance.categorical ? probe::NuisanceKind::categorical : probe::NuisanceKind::numeric);
  }
  return out;
}

std::int64_t scenes_needed(std::int64_t wanted, double share_of_split, double prevalence) {
  const double rarer = std::min(prevalence, 1 - prevalence);
  // a split by whole units holds more or less than its share
  return static_cast<std::int64_t>(
      std::ceil(1.15 * static_cast<double>(wanted) / (share_of_split * rarer)));
}

}  // namespace tierod::internal
