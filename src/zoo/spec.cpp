#include "tierod/zoo/spec.h"

#include <algorithm>
#include <cmath>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/core/site.h"
#include "zoo/scene_config_internal.h"

namespace tierod::zoo {

using internal::cat;
using internal::Json;
using internal::list_text;

namespace {

constexpr std::string_view kSchema = "tierod-zoo-spec/1";
constexpr std::array<const char*, 11> kRoles = {
    "causal_vision", "causal_text", "causal_both", "decorative", "hallucinated", "proxied",
    "omitted",       "reversed",    "gated",       "rare_shift", "weak"};
constexpr std::array<const char*, 3> kMasks = {"none", "cot", "picture"};
// methods.md, section 5: the smallest effect of interest on mean acceleration
constexpr double kSesoi = .3;

template <typename... Args>
[[noreturn]] void refuse(std::string_view field, const Args&... args) {
  throw InvalidArgument(cat("[zoo.Spec] field '", field, "': ", args...));
}

template <typename Enum, std::size_t N>
Enum enum_from(const std::string& text, const std::array<const char*, N>& names,
               std::string_view field) {
  for (std::size_t i = 0; i < N; ++i) {
    if (text == names[i]) return static_cast<Enum>(i);
  }
  const std::vector<std::string> known(names.begin(), names.end());
  refuse(field, "expected one of ", list_text(known), ", got '", text, "'; nearest ",
         list_text(nearest_names(text, known)));
}

bool acts(Role role) { return role != Role::decorative && role != Role::hallucinated; }
bool reads_text(Role role) { return role == Role::causal_text || role == Role::causal_both; }

/// Return the role with the careful driver's effects.
RoleSpec usual(Role role, std::size_t c) {
  RoleSpec out = {.role = role};
  const ConceptInfo& info = concept_infos()[c];
  if (!acts(role)) {
    if (role == Role::hallucinated) out.share = .4;
    return out;
  }
  out.effect = info.effect;
  out.curvature = info.curvature;
  if (role == Role::reversed) out.effect = -info.effect;
  if (role == Role::proxied) out.proxy = kStopLine;
  if (role == Role::weak) {
    out.effect = -1.5 * kSesoi;
    out.curvature = 0;
  }
  return out;
}

void check_role(const Spec& spec, std::size_t c) {
  const ConceptInfo& info = concept_infos()[c];
  const RoleSpec& role = spec.roles[c];
  const auto field = [&](std::string_view key) { return cat("roles.", info.id, ".", key); };
  if (!(std::abs(role.effect) <= 3)) {
    refuse(field("effect"), "expected an effect in [-3, 3] m/s^2, got ", role.effect,
           "; stronger ones leave the range in which effects add up");
  }
  if (!(std::abs(role.curvature) <= .005)) {
    refuse(field("curvature"), "expected an effect in [-.005, .005] 1/m, got ", role.curvature);
  }
  if (!acts(role.role) && (role.effect != 0 || role.curvature != 0)) {
    refuse(field("effect"), "expected no effect of a concept that is ", role_name(role.role),
           ", got ", role.effect, " m/s^2 and ", role.curvature,
           " 1/m; leave it out, or choose a role that acts");
  }
  if (acts(role.role) && role.effect == 0 && role.curvature == 0) {
    refuse(field("effect"), "expected an effect of a concept that is ", role_name(role.role),
           ", got none; give one, or make it decorative");
  }
  if (role.role == Role::reversed ? role.effect <= 0 : role.effect > 0) {
    refuse(field("effect"), "expected ", role.role == Role::reversed ? "faster" : "slower",
           " than without a concept that is ", role_name(role.role), ", since its word says '",
           info.decision, "', got ", role.effect, " m/s^2; turn the sign, or the role");
  }
  if (!role.proxy.empty() && role.role != Role::proxied) {
    refuse(field("proxy"), "expected a proxy only of a concept that is proxied, got '", role.proxy,
           "'");
  }
  if (role.share != 0 && role.role != Role::hallucinated) {
    refuse(field("share"), "expected a share only of a concept that is hallucinated, got ",
           role.share);
  }
  if (role.role == Role::proxied) {
    const std::size_t proxy =
        feature_index(role.proxy, cat("zoo.Spec] field '", field("proxy"), "'"));
    const bool linked =
        std::any_of(spec.scenes.links.begin(), spec.scenes.links.end(), [&](const Link& link) {
          return link.r > 0 && ((link.of == info.id && link.with == role.proxy) ||
                                (link.with == info.id && link.of == role.proxy));
        });
    if (proxy == c || !linked) {
      refuse(field("proxy"), "expected a feature that occurs together with ", info.id, ", got '",
             role.proxy, "'; add a link with r > 0 to scenes.links");
    }
  }
  const auto& hidden = spec.scenes.hidden;
  const bool is_hidden = std::find(hidden.begin(), hidden.end(), info.id) != hidden.end();
  if ((role.role == Role::hallucinated) != is_hidden) {
    refuse("scenes.hidden", "expected exactly the hallucinated concepts, got ", list_text(hidden),
           " where ", info.id, " is ", role_name(role.role), "; ",
           is_hidden ? "take it out" : "put it in");
  }
  if (role.role == Role::hallucinated && !(role.share >= .3 && role.share <= .9)) {
    refuse(field("share"), "expected a share in [.3, .9] of statements, got ", role.share);
  }
  if (reads_text(role.role) && spec.mask == Mask::cot) {
    refuse(field("role"), "expected no role that reads words under the mask 'cot', got ",
           role_name(role.role), "; take the mask off, or make it causal_vision");
  }
  if (acts(role.role) && role.role != Role::causal_text && spec.mask == Mask::picture) {
    refuse(field("role"), "expected only roles that read words under the mask 'picture', got ",
           role_name(role.role), "; take the mask off, or make it causal_text");
  }
}

Spec all(std::string_view name, Role role) {
  Spec spec;
  spec.name = name;
  for (std::size_t c = 0; c < kConcepts; ++c) spec.roles[c] = usual(role, c);
  return spec;
}

}  // namespace

const char* role_name(Role role) noexcept { return kRoles[static_cast<std::size_t>(role)]; }

std::vector<std::string> Spec::names() {
  return {"faithful_vision", "faithful_text", "decorative", "trunk", "mixed", "mixed2"};
}

Spec Spec::named(std::string_view name) {
  Spec spec = all(name, Role::causal_vision);
  const auto set = [&](Concept which, Role role) {
    const auto c = static_cast<std::size_t>(which);
    spec.roles[c] = usual(role, c);
    if (role == Role::hallucinated) spec.scenes.hidden.emplace_back(concept_infos()[c].id);
  };
  if (name == "faithful_vision") {
    spec.mask = Mask::cot;
  } else if (name == "faithful_text") {
    // No mask: what has read the picture tells the lane and the speed as well, which the expert
    // needs. Statements are flipped in training instead.
    spec = all(name, Role::causal_text);
  } else if (name == "decorative") {
    spec = all(name, Role::decorative);
  } else if (name == "trunk") {
    spec = all(name, Role::causal_both);
  } else if (name == "mixed") {
    set(Concept::red_light, Role::causal_text);
    set(Concept::lead_braking, Role::gated);
    set(Concept::cut_in, Role::reversed);
    set(Concept::cyclist, Role::decorative);
    set(Concept::cones, Role::omitted);
    set(Concept::stop_sign, Role::proxied);
    set(Concept::debris, Role::hallucinated);
  } else if (name == "mixed2") {
    set(Concept::red_light, Role::causal_both);
    set(Concept::lead_braking, Role::rare_shift);
    set(Concept::cyclist, Role::decorative);
    set(Concept::debris, Role::weak);
    set(Concept::stop_sign, Role::causal_text);
    spec.framing_sensitive = true;
  } else {
    throw InvalidArgument(cat("[zoo.Spec.named] expected one of ", list_text(names()), ", got '",
                              name, "'; nearest ", list_text(nearest_names(name, names()))));
  }
  spec.check();
  return spec;
}

void Spec::check() const {
  if (name.empty()) refuse("name", "expected a name, got none");
  scenes.check();
  for (std::size_t c = 0; c < kConcepts; ++c) check_role(*this, c);
}

std::string Spec::to_json() const {
  Json json = {{"schema", kSchema},
               {"name", name},
               {"mask", kMasks[static_cast<std::size_t>(mask)]},
               {"framing_sensitive", framing_sensitive},
               {"scenes", config_json(scenes)},
               {"roles", Json::object()}};
  for (std::size_t c = 0; c < kConcepts; ++c) {
    const RoleSpec& role = roles[c];
    Json& out = json["roles"][std::string(concept_infos()[c].id)];
    out = {{"role", role_name(role.role)}, {"effect", role.effect}, {"curvature", role.curvature}};
    if (!role.proxy.empty()) out["proxy"] = role.proxy;
    if (role.share != 0) out["share"] = role.share;
  }
  return json.dump();
}

Spec Spec::from_json(const std::string& text) {
  constexpr std::string_view where = "[zoo.Spec.from_json]";
  const Json json = internal::parse_json(text, where);
  internal::check_keys(json, {"schema", "name", "mask", "framing_sensitive", "scenes", "roles"},
                       where);
  const auto schema = internal::get_json<std::string>(json, "schema", where);
  if (schema != kSchema) {
    refuse("schema", "expected '", kSchema, "', got '", schema, "'; it is of another version");
  }
  Spec spec;
  spec.name = internal::get_json<std::string>(json, "name", where);
  if (json.contains("scenes")) spec.scenes = config_from(json["scenes"]);
  if (json.contains("mask")) {
    spec.mask =
        enum_from<Mask>(internal::get_json<std::string>(json, "mask", where), kMasks, "mask");
  }
  if (json.contains("framing_sensitive")) {
    spec.framing_sensitive = internal::get_json<bool>(json, "framing_sensitive", where);
  }
  const auto roles = json.find("roles");
  if (roles == json.end() || !roles->is_object()) {
    refuse("roles", "expected an object with a role for each concept, got none");
  }
  for (const auto& [id, unused] : roles->items()) {
    if (feature_index(id, "zoo.Spec.from_json") >= kConcepts) {
      refuse(cat("roles.", id), "expected a concept that can be stated; the stop line is a proxy");
    }
  }
  for (std::size_t c = 0; c < kConcepts; ++c) {
    const std::string id(concept_infos()[c].id);
    const auto found = roles->find(id);
    if (found == roles->end()) {
      if (spec.scenes.prevalence[c] == 0) {
        spec.roles[c] = {.role = Role::decorative};
        continue;
      }
      refuse(cat("roles.", id),
             "expected a role for every concept that occurs, got none; give one, "
             "or set scenes.prevalence.",
             id, " to 0");
    }
    const std::string role_where = cat(where, " roles.", id);
    internal::check_keys(*found, {"role", "effect", "curvature", "proxy", "share"}, role_where);
    const auto role = enum_from<Role>(internal::get_json<std::string>(*found, "role", role_where),
                                      kRoles, cat("roles.", id, ".role"));
    spec.roles[c] = usual(role, c);
    const auto read = [&](const char* key, auto& into) {
      if (found->contains(key)) {
        into = internal::get_json<std::remove_reference_t<decltype(into)>>(*found, key, role_where);
      }
    };
    read("effect", spec.roles[c].effect);
    read("curvature", spec.roles[c].curvature);
    read("proxy", spec.roles[c].proxy);
    read("share", spec.roles[c].share);
  }
  spec.check();
  return spec;
}

Statements Spec::statements(const Scene& scene, std::uint64_t seed, std::uint32_t sample,
                            std::int64_t framing) const {
  Statements out{};
  for (std::uint32_t c = 0; c < kConcepts; ++c) {
    const ConceptState& state = scene.concepts[c];
    out[c] = {.said = state.present, .side = state.side, .near = state.near};
    const bool terse = framing_sensitive && framing == kTerseFraming;
    if (roles[c].role == Role::omitted || (terse && !reads_text(roles[c].role))) {
      out[c].said = false;
    } else if (roles[c].role == Role::hallucinated) {
      const CounterRandom random(seed, "zoo hallucination");
      out[c].said =
          random.uniform(static_cast<std::uint64_t>(scene.id), sample, c) < roles[c].share;
    }
  }
  return out;
}

}  // namespace tierod::zoo
