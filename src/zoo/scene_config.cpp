#include "tierod/zoo/scene_config.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "zoo/scene_config_internal.h"

namespace tierod::zoo {

using internal::cat;
using internal::Json;

namespace {

constexpr std::string_view kWhere = "zoo.SceneConfig";

template <typename... Args>
[[noreturn]] void refuse(std::string_view field, const Args&... args) {
  throw InvalidArgument(cat("[", kWhere, "] field '", field, "': ", args...));
}

void check_prevalence(double p, std::string_view field) {
  if (p == 0 || (p >= .01 && p <= .4)) return;
  refuse(field, "expected 0 or a share in [.01, .4], got ", p,
         "; rarer concepts are studied with 'enrich'");
}

/// Bound phi of two binary variables (Yule 1912): the probabilities of the four cells are >= 0.
std::pair<double, double> phi_range(double p, double q) {
  const double root = std::sqrt(p * (1 - p) * q * (1 - q));
  return {(std::max(0.0, p + q - 1) - p * q) / root, (std::min(p, q) - p * q) / root};
}

double prevalence_of(const SceneConfig& config, std::size_t feature) {
  return feature < kConcepts ? config.prevalence[feature] : config.stop_line_prevalence;
}

std::string_view feature_id(std::size_t feature) {
  return feature < kConcepts ? concept_infos()[feature].id : kStopLine;
}

std::uint64_t threshold(double p) {
  return static_cast<std::uint64_t>(std::llround(std::clamp(p, 0.0, 1.0) * 4294967296.0));
}

void check_links(const SceneConfig& config) {
  std::array<std::size_t, kFeatures> tree;
  for (std::size_t f = 0; f < kFeatures; ++f) tree[f] = f;
  const auto root = [&](std::size_t f) {
    while (tree[f] != f) f = tree[f];
    return f;
  };
  for (const Link& link : config.links) {
    const std::string field = cat("links ", link.of, " with ", link.with);
    const std::size_t a = feature_index(link.of, kWhere);
    const std::size_t b = feature_index(link.with, kWhere);
    if (root(a) == root(b)) {
      refuse(field,
             "expected links without cycles, got a second path between the two; "
             "leave one link out");
    }
    tree[root(a)] = root(b);
    const double p = prevalence_of(config, a);
    const double q = prevalence_of(config, b);
    if (p == 0 || q == 0) {
      if (link.r == 0) continue;
      refuse(field, "expected prevalences above 0 for concepts that occur together, got ", p,
             " and ", q, "; leave the link out, or give both a prevalence");
    }
    if (!(std::abs(link.r) <= .6)) {
      refuse(field, "expected a correlation in [-.6, .6], got ", link.r);
    }
    const auto [low, high] = phi_range(p, q);
    if (link.r < low - 1e-12 || link.r > high + 1e-12) {
      refuse(field, "expected a correlation in [", low, ", ", high, "], all that prevalences of ",
             p, " and ", q, " allow, got ", link.r, "; bring the prevalences nearer to each other");
    }
  }
}

}  // namespace

SceneConfig::SceneConfig() {
  for (std::size_t c = 0; c < kConcepts; ++c) {
    prevalence[c] = concept_infos()[c].prevalence;
    near_share[c] = .5;
  }
}

void SceneConfig::check() const {
  if (scenes < 1) refuse("scenes", "expected at least one scene, got ", scenes);
  if (towns < 1 || routes_per_town < 1) {
    refuse("towns", "expected at least one town and one route in each, got ", towns, " and ",
           routes_per_town);
  }
  for (std::size_t c = 0; c < kConcepts; ++c) {
    const std::string_view id = concept_infos()[c].id;
    check_prevalence(prevalence[c], cat("prevalence.", id));
    if (!(near_share[c] >= 0 && near_share[c] <= 1)) {
      refuse(cat("near_share.", id), "expected a share in [0, 1], got ", near_share[c]);
    }
  }
  check_prevalence(stop_line_prevalence, "prevalence.stop_line");
  check_links(*this);
  double sum = 0;
  for (const double p : weather) {
    if (!(p >= 0)) refuse("weather", "expected shares >= 0, got ", p);
    sum += p;
  }
  if (!(std::abs(sum - 1) < 1e-9)) refuse("weather", "expected shares that sum to 1, got ", sum);
  if (enrich) {
    const std::size_t c = feature_index(enrich->concept_id, kWhere);
    if (prevalence_of(*this, c) == 0) {
      refuse("enrich.concept", "expected a concept that occurs, got '", enrich->concept_id,
             "' with prevalence 0; give it a prevalence");
    }
    if (!(enrich->share > 0 && enrich->share < 1)) {
      refuse("enrich.share", "expected a share inside (0, 1), got ", enrich->share);
    }
  }
  for (const std::string& id : hidden) feature_index(id, kWhere);
}

std::array<PresenceStep, kFeatures> presence_steps(const SceneConfig& config) {
  std::array<PresenceStep, kFeatures> steps;
  std::array<bool, kFeatures> done{};
  std::size_t count = 0;
  const auto add_root = [&](std::size_t f, double p) {
    steps[count++] = {f, kFeatures, threshold(p), threshold(p)};
    done[f] = true;
  };
  const auto add_linked = [&] {
    bool grown = true;
    while (grown) {
      grown = false;
      for (const Link& link : config.links) {
        std::size_t child = feature_index(link.of, kWhere);
        std::size_t parent = feature_index(link.with, kWhere);
        if (done[child] && !done[parent]) std::swap(child, parent);
        if (done[child] || !done[parent]) continue;
        const double p = prevalence_of(config, child);
        const double q = prevalence_of(config, parent);
        const double root = std::sqrt(p * (1 - p) * q * (1 - q));
        steps[count++] = {child, parent, q < 1 ? threshold(p - link.r * root / (1 - q)) : 0,
                          q > 0 ? threshold(p + link.r * root / q) : threshold(p)};
        done[child] = grown = true;
      }
    }
  };
  if (config.enrich) {
    add_root(feature_index(config.enrich->concept_id, kWhere), config.enrich->share);
    add_linked();
  }
  for (std::size_t f = 0; f < kFeatures; ++f) {
    if (done[f]) continue;
    add_root(f, prevalence_of(config, f));
    add_linked();
  }
  return steps;
}

Json config_json(const SceneConfig& config) {
  Json json = {{"seed", config.seed},         {"scenes", config.scenes},
               {"towns", config.towns},       {"routes_per_town", config.routes_per_town},
               {"weather", config.weather},   {"hidden", config.hidden},
               {"links", Json::array()},      {"prevalence", Json::object()},
               {"near_share", Json::object()}};
  for (std::size_t f = 0; f < kFeatures; ++f) {
    json["prevalence"][std::string(feature_id(f))] = prevalence_of(config, f);
  }
  for (std::size_t c = 0; c < kConcepts; ++c) {
    json["near_share"][std::string(feature_id(c))] = config.near_share[c];
  }
  for (const Link& link : config.links) {
    json["links"].push_back({{"of", link.of}, {"with", link.with}, {"r", link.r}});
  }
  if (config.enrich) {
    json["enrich"] = {{"concept", config.enrich->concept_id}, {"share", config.enrich->share}};
  }
  return json;
}

SceneConfig config_from(const Json& json) {
  const std::string where = cat("[", kWhere, ".from_json]");
  internal::check_keys(json,
                       {"seed", "scenes", "towns", "routes_per_town", "weather", "hidden", "links",
                        "prevalence", "near_share", "enrich"},
                       where);
  SceneConfig config;
  const auto read = [&](const char* key, auto& into) {
    if (json.contains(key)) {
      into = internal::get_json<std::remove_reference_t<decltype(into)>>(json, key, where);
    }
  };
  if (json.contains("seed")) {
    if (!json["seed"].is_number_unsigned()) {
      refuse("seed", "expected a whole number >= 0, got ", json["seed"].dump());
    }
    config.seed = json["seed"].get<std::uint64_t>();
  }
  for (const auto& [key, into] : {std::pair<const char*, std::int32_t*>{"towns", &config.towns},
                                  {"routes_per_town", &config.routes_per_town}}) {
    if (!json.contains(key)) continue;
    const auto value = internal::get_json<std::int64_t>(json, key, where);
    if (value < 1 || value > 100000) refuse(key, "expected 1 to 100000, got ", value);
    *into = static_cast<std::int32_t>(value);
  }
  read("scenes", config.scenes);
  read("hidden", config.hidden);
  if (json.contains("weather")) {
    const auto shares = internal::get_json<std::vector<double>>(json, "weather", where);
    if (shares.size() != config.weather.size()) {
      refuse("weather", "expected shares of clear, overcast, rain, fog, night, got ", shares.size(),
             " numbers");
    }
    std::copy(shares.begin(), shares.end(), config.weather.begin());
  }
  const auto by_concept = [&](const char* key, const auto& assign) {
    if (!json.contains(key)) return;
    if (!json[key].is_object()) {
      refuse(key, "expected an object of concepts, got ", json[key].type_name());
    }
    for (const auto& [id, value] : json[key].items()) {
      if (!value.is_number()) refuse(cat(key, ".", id), "expected a number, got ", value.dump());
      assign(feature_index(id, kWhere), value.template get<double>(), id);
    }
  };
  by_concept("prevalence", [&](std::size_t f, double p, const std::string&) {
    (f < kConcepts ? config.prevalence[f] : config.stop_line_prevalence) = p;
  });
  by_concept("near_share", [&](std::size_t f, double p, const std::string& id) {
    if (f >= kConcepts) refuse(cat("near_share.", id), "expected a concept; it has no distance");
    config.near_share[f] = p;
  });
  if (json.contains("links")) {
    if (!json["links"].is_array()) refuse("links", "expected a list, got ", json["links"].dump());
    config.links.clear();
    for (const Json& link : json["links"]) {
      internal::check_keys(link, {"of", "with", "r"}, cat(where, " links"));
      config.links.push_back({internal::get_json<std::string>(link, "of", where),
                              internal::get_json<std::string>(link, "with", where),
                              internal::get_json<double>(link, "r", where)});
    }
  }
  if (json.contains("enrich")) {
    internal::check_keys(json["enrich"], {"concept", "share"}, cat(where, " enrich"));
    config.enrich = {internal::get_json<std::string>(json["enrich"], "concept", where),
                     internal::get_json<double>(json["enrich"], "share", where)};
  }
  config.check();
  return config;
}

std::string SceneConfig::to_json() const { return config_json(*this).dump(); }

SceneConfig SceneConfig::from_json(const std::string& json) {
  return config_from(internal::parse_json(json, cat("[", kWhere, ".from_json]")));
}

}  // namespace tierod::zoo
