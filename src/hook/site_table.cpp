#include "tierod/hook/site_table.h"

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

SiteTable::SiteTable(std::vector<SiteSpec> specs) : specs_(std::move(specs)) {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const SiteSpec& spec = specs_[i];
    if (!index_.try_emplace(spec.site.name(), i).second) {
      throw InvalidArgument(cat("[hook.SiteTable] the site '", spec.site.name(),
                                "' is declared twice; site names are unique"));
    }
    for (const FireCount& fires : spec.fires) {
      if (fires.min < 0 || fires.max < fires.min) {
        throw InvalidArgument(cat("[hook.SiteTable] '", spec.site.name(), "' declares ", fires.min,
                                  " to ", fires.max, " firings; expected 0 <= min <= max"));
      }
    }
  }
}

std::vector<std::string> SiteTable::names() const {
  std::vector<std::string> names;
  names.reserve(specs_.size());
  for (const SiteSpec& spec : specs_) names.push_back(spec.site.name());
  return names;
}

const SiteSpec* SiteTable::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &specs_[found->second];
}

std::vector<const SiteSpec*> SiteTable::match(const SitePattern& pattern) const {
  std::vector<const SiteSpec*> matched;
  if (pattern.is_exact()) {
    if (const SiteSpec* spec = find(pattern.text())) matched.push_back(spec);
  } else {
    for (const SiteSpec& spec : specs_) {
      if (pattern.matches(spec.site.name())) matched.push_back(&spec);
    }
  }
  if (matched.empty()) {
    const std::vector<std::string> near = nearest_names(pattern.text(), names());
    throw SiteError(cat("[hook.SiteTable.match] ",
                        pattern.is_exact() ? "no site is called '" : "no site matches '",
                        pattern.text(), "'; ",
                        near.empty() ? cat("the model declares ", specs_.size(), " sites, such as ",
                                           internal::list_text(names(), 3))
                                     : cat("nearest names: ", internal::list_text(near))));
  }
  return matched;
}

}  // namespace tierod
