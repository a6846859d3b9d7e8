#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/core/site.h"
#include "tierod/export.h"

namespace tierod {

/// Declare how often a site fires in one run: between `min` and `max` times, in `phase` or, where
/// that is absent, in all phases together.
struct FireCount {
  std::optional<Phase> phase{};
  std::int64_t min = 1;
  std::int64_t max = 1;

  bool operator==(const FireCount&) const = default;
};

/// Declare one site of a model.
struct SiteSpec {
  Site site;
  /// Empty: at least once in a session.
  std::vector<FireCount> fires{};
  /// Why the site can be captured but not edited; empty: it can be edited.
  std::string read_only_reason{};
};

/// List the sites that a model declares. A session that has the table refuses unknown names and
/// patterns without a match at once, and checks the counts when it closes. Immutable; copies share
/// their contents.
class TIEROD_API SiteTable {
 public:
  SiteTable();
  /// @throws InvalidArgument if a name stands twice or a count has max < min or min < 0.
  explicit SiteTable(std::vector<SiteSpec> specs);

  const std::vector<SiteSpec>& specs() const noexcept;
  bool empty() const noexcept { return specs().empty(); }
  std::vector<std::string> names() const;
  /// Return the spec called `name`, or nullptr.
  const SiteSpec* find(std::string_view name) const;
  const SiteSpec* find(const Site& site) const;
  /// Return the specs that `pattern` matches, in the order of the table.
  /// @throws SiteError with the nearest names if there is none.
  const std::vector<const SiteSpec*>& match(const SitePattern& pattern) const;

 private:
  struct Data;
  std::shared_ptr<const Data> data_;
};

}  // namespace tierod
