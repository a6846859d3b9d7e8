#include "tierod/hook/site_table.h"

#include <mutex>
#include <unordered_map>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

struct SiteTable::Data {
  std::vector<SiteSpec> specs;
  std::unordered_map<std::string_view, const SiteSpec*> by_name;
  std::unordered_map<std::uint32_t, const SiteSpec*> by_id;
  /// What each pattern matched before: sessions ask several times for each of theirs.
  mutable std::mutex mutex;
  mutable std::unordered_map<std::string, std::vector<const SiteSpec*>> matches;
};

SiteTable::SiteTable() {
  static const auto empty = std::make_shared<const Data>();
  data_ = empty;
}

SiteTable::SiteTable(std::vector<SiteSpec> specs) {
  auto data = std::make_shared<Data>();
  data->specs = std::move(specs);
  for (const SiteSpec& spec : data->specs) {
    if (!data->by_name.try_emplace(spec.site.name(), &spec).second) {
      throw InvalidArgument(cat("[hook.SiteTable] the site '", spec.site.name(),
                                "' is declared twice; site names are unique"));
    }
    data->by_id.emplace(spec.site.id(), &spec);
    for (const FireCount& fires : spec.fires) {
      if (fires.min < 0 || fires.max < fires.min) {
        throw InvalidArgument(cat("[hook.SiteTable] '", spec.site.name(), "' declares ", fires.min,
                                  " to ", fires.max, " firings; expected 0 <= min <= max"));
      }
    }
  }
  data_ = std::move(data);
}

const std::vector<SiteSpec>& SiteTable::specs() const noexcept { return data_->specs; }

std::vector<std::string> SiteTable::names() const {
  std::vector<std::string> names;
  names.reserve(specs().size());
  for (const SiteSpec& spec : specs()) names.push_back(spec.site.name());
  return names;
}

const SiteSpec* SiteTable::find(std::string_view name) const {
  const auto found = data_->by_name.find(name);
  return found == data_->by_name.end() ? nullptr : found->second;
}

const SiteSpec* SiteTable::find(const Site& site) const {
  const auto found = data_->by_id.find(site.id());
  // A site of the name with another layout is another Site.
  return found == data_->by_id.end() ? find(site.name()) : found->second;
}

const std::vector<const SiteSpec*>& SiteTable::match(const SitePattern& pattern) const {
  const std::scoped_lock lock(data_->mutex);
  const auto known = data_->matches.find(pattern.text());
  if (known != data_->matches.end()) return known->second;
  std::vector<const SiteSpec*> matched;
  if (pattern.is_exact()) {
    if (const SiteSpec* spec = find(pattern.text())) matched.push_back(spec);
  } else {
    for (const SiteSpec& spec : specs()) {
      if (pattern.matches(spec.site.name())) matched.push_back(&spec);
    }
  }
  if (matched.empty()) {
    const std::vector<std::string> near = nearest_names(pattern.text(), names());
    throw SiteError(cat("[hook.SiteTable.match] ",
                        pattern.is_exact() ? "no site is called '" : "no site matches '",
                        pattern.text(), "'; ",
                        near.empty() ? cat("the model declares ", specs().size(),
                                           " sites, such as ", internal::list_text(names(), 3))
                                     : cat("nearest names: ", internal::list_text(near))));
  }
  return data_->matches.emplace(pattern.text(), std::move(matched)).first->second;
}

}  // namespace tierod
