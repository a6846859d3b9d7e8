#include "tierod/core/site.h"

#include <deque>
#include <mutex>
#include <unordered_map>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;
using internal::split;

// Sites live as long as the process: a deque never moves its elements, so a Site can hold a plain
// pointer and reading it needs no lock.
struct SiteRegistry {
  std::mutex mutex;
  std::deque<Site::Info> infos;
  std::unordered_map<std::string, const Site::Info*> by_key;

  static SiteRegistry& instance() {
    static auto* registry = new SiteRegistry;  // never destroyed: used by static objects
    return *registry;
  }

  const Site::Info* intern(std::string_view name, std::string_view layout) {
    std::string key = cat(name, '\n', layout);
    std::scoped_lock lock(mutex);
    auto [it, fresh] = by_key.try_emplace(std::move(key), nullptr);
    if (fresh) {
      infos.push_back(
          {std::string(name), std::string(layout), static_cast<std::uint32_t>(infos.size())});
      it->second = &infos.back();
    }
    return it->second;
  }

  static Site find(std::uint32_t id) {
    SiteRegistry& self = instance();
    std::scoped_lock lock(self.mutex);
    if (id >= self.infos.size()) {
      throw OutOfRange(cat("[core.Site.from_id] no site has id ", id, "; ", self.infos.size(),
                           " sites are interned"));
    }
    return Site(&self.infos[id]);
  }
};

namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

void check_layout(std::string_view layout) {
  std::string seen;
  for (const char axis : layout) {
    if (std::string_view("rtshdw.").find(axis) == std::string_view::npos) {
      throw InvalidArgument(
          cat("[core.Site] layout '", layout, "' has the unknown axis '", axis,
              "'; use r (rows), t (tokens), s (source tokens), h (heads), d (head "
              "width), w (width) or '.'"));
    }
    if (axis != '.' && seen.find(axis) != std::string::npos) {
      throw InvalidArgument(cat("[core.Site] layout '", layout, "' names the axis '", axis,
                                "' twice; each letter may stand once"));
    }
    seen.push_back(axis);
  }
}

}  // namespace

void check_site_name(std::string_view name) {
  if (name.empty()) {
    throw InvalidArgument(
        "[core.Site] expected a site name such as 'layers.3.resid_post', got an empty text");
  }
  std::string_view body = name;
  if (name.front() == '@') {
    const std::size_t colon = name.rfind(':');
    const std::string_view end =
        colon == std::string_view::npos ? std::string_view() : name.substr(colon + 1);
    if (end != "in" && end != "out") {
      throw InvalidArgument(
          cat("[core.Site] expected a raw module path to end in ':in' or ':out', "
              "got '",
              name, "'; write for example '@model.layers.3.mlp:out'"));
    }
    body = name.substr(1, colon - 1);
    if (body.empty()) return;  // '@:out' is the module itself
  }
  for (const std::string_view segment : split(body, '.')) {
    if (segment.empty()) {
      throw InvalidArgument(cat("[core.Site] '", name,
                                "' has an empty segment; write dotted words such as "
                                "'layers.3.resid_post'"));
    }
    for (const char c : segment) {
      if (!is_word(c)) {
        throw InvalidArgument(cat("[core.Site] '", name, "' holds the character '", c,
                                  "'; a site name has letters, digits, '_' and '-' between dots "
                                  "(patterns with '*' belong to capture() and intervene())"));
      }
    }
  }
}

Site::Site(std::string_view name, std::string_view layout) {
  check_site_name(name);
  check_layout(layout);
  info_ = SiteRegistry::instance().intern(name, layout);
}

Site Site::from_id(std::uint32_t id) { return SiteRegistry::find(id); }

std::string default_layout(std::string_view name, std::size_t ndim) {
  switch (ndim) {
    case 1:
      return "w";
    case 2:
      return "rw";
    case 3:
      return "rtw";
    case 4: {
      const std::vector<std::string_view> segments = split(name, '.');
      const std::string_view port = segments.back();
      if (port == "pattern") return "rhts";
      if (port == "q" || port == "k" || port == "v") {
        const bool cache = segments.size() >= 3 && segments[segments.size() - 3] == "cache";
        return cache ? "rhtd" : "rthd";
      }
      return "r...";
    }
    default:
      return ndim == 0 ? std::string() : "r" + std::string(ndim - 1, '.');
  }
}

std::string site_alias(std::string_view port, std::int64_t layer, std::string_view tower) {
  if (layer < 0) {
    throw InvalidArgument(cat("[core.site_alias] expected a layer >= 0, got ", layer,
                              "; count layers from the first one"));
  }
  std::string name =
      tower.empty() ? cat("layers.", layer, ".", port) : cat(tower, ".layers.", layer, ".", port);
  check_site_name(name);
  return name;
}

}  // namespace tierod
