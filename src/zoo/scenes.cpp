#include "tierod/zoo/scenes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string_view>
#include <thread>

#include "core/text_internal.h"
#include "stats/parallel_internal.h"
#include "tierod/core/error.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "tierod/zoo/render.h"

namespace tierod::zoo {

using internal::cat;

namespace {

// Threads take the scenes in turns of this many.
constexpr std::size_t kTurn = 16;

std::vector<std::int64_t> all_of(std::int64_t size) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(size));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::size_t index_of(std::int64_t row) { return static_cast<std::size_t>(row); }

template <typename T, typename Value>
at::Tensor column(const std::vector<Scene>& scenes, at::ScalarType dtype, const Value& value) {
  at::Tensor out = at::empty({static_cast<std::int64_t>(scenes.size())}, dtype);
  T* data = out.mutable_data_ptr<T>();
  for (const Scene& scene : scenes) *data++ = static_cast<T>(value(scene));
  return out;
}

std::vector<vla::Agent> agents_of(const Scene& scene, std::uint32_t hidden) {
  std::vector<vla::Agent> out;
  const double speed = scene.speed_mm_s * 1e-3;
  const double curvature = scene.curvature_um * 1e-6;
  const auto add = [&](const char* kind, double ahead_mm, double left_mm, double vx, double vy,
                       double radius) {
    const double x = ahead_mm * 1e-3;
    out.push_back({kind, x, left_mm * 1e-3 + curvature * x * x / 2, vx, vy, radius});
  };
  const auto shown = [&](Concept c) {
    return scene[c].present && ((hidden >> static_cast<unsigned>(c)) & 1U) == 0;
  };
  const auto with = [&](Concept c, const char* kind, double vx, double vy, double radius) {
    if (shown(c)) add(kind, scene[c].distance_mm, scene[c].lateral_mm, vx, vy, radius);
  };
  const double to_centre = scene[Concept::pedestrian].side == Side::left ? -1.2 : 1.2;
  with(Concept::pedestrian, "pedestrian", 0, to_centre, .4);
  with(Concept::lead_braking, "car", speed / 2, 0, 1);
  with(Concept::cut_in, "car", .8 * speed, -.8, 1);
  with(Concept::cyclist, "cyclist", 4, 0, .6);
  with(Concept::cones, "cone", 0, 0, .3);
  with(Concept::debris, "debris", 0, 0, .5);
  if (scene.car_ahead && !shown(Concept::lead_braking)) {
    const ConceptState& ahead = scene[Concept::lead_braking];
    add("car", ahead.distance_mm, ahead.lateral_mm, speed, 0, 1);
  }
  if (scene.neighbour) add("car", scene.neighbour_mm, 3550, speed, 0, 1);
  return out;
}

}  // namespace

Scenes::Scenes(SceneConfig config) : generator_(std::move(config)) {
  for (const std::string& id : generator_.config().hidden) {
    hidden_ |= 1U << feature_index(id, "zoo.Scenes");
  }
}

void Scenes::set_threads(std::int64_t threads) {
  if (threads < 0) {
    throw InvalidArgument(cat("[zoo.Scenes.set_threads] expected a number >= 0, got ", threads));
  }
  threads_ = threads > 0 ? static_cast<std::size_t>(threads) : std::thread::hardware_concurrency();
}

std::vector<Scene> Scenes::draw(const std::vector<std::int64_t>& ids, const std::string& twin_by,
                                const std::string& where) const {
  vla::check_scene_ids(ids, size(), where);
  std::vector<Scene> out(ids.size());
  const std::size_t feature = twin_by.empty() ? 0 : feature_index(twin_by, where);
  internal::for_ranges(ids.size(), kTurn, threads_, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      out[i] = generator_.draw(ids[i]);
      if (!twin_by.empty()) out[i] = generator_.twin(out[i], feature);
    }
  });
  return out;
}

Scene Scenes::scene(std::int64_t id, const std::string& twin_by) const {
  return draw({id}, twin_by, "zoo.Scenes.scene").front();
}

vla::Batch Scenes::inputs(const std::vector<std::int64_t>& ids, const std::string& twin_by,
                          const std::string& where) const {
  const std::vector<Scene> scenes = draw(ids, twin_by, where);
  const auto rows = static_cast<std::int64_t>(scenes.size());
  at::Tensor image = at::empty({rows, 3, kImageHeight, kImageWidth}, at::kByte);
  auto* pixels = image.mutable_data_ptr<std::uint8_t>();
  internal::for_ranges(scenes.size(), kTurn, threads_, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      render(scenes[i],
             {pixels + i * static_cast<std::size_t>(kImageBytes),
              static_cast<std::size_t>(kImageBytes)},
             hidden_);
    }
  });
  at::Tensor ego = at::empty({rows, 4, 2}, at::kFloat);
  auto* value = ego.mutable_data_ptr<float>();
  for (const Scene& scene : scenes) {
    for (const double before_s : {.75, .5, .25, 0.0}) {
      const double acceleration = scene.acceleration_mm_s2 * 1e-3;
      *value++ = static_cast<float>(scene.speed_mm_s * 1e-3 - acceleration * before_s);
      *value++ = static_cast<float>(acceleration);
    }
  }
  return {.tensors = {{"image", image},
                      {"ego", ego},
                      {"navigation", column<std::int64_t>(scenes, at::kLong,
                                                          [](const Scene& s) {
                                                            return static_cast<std::int64_t>(
                                                                s.navigation);
                                                          })}},
          .ids = ids};
}

vla::Batch Scenes::batch(const std::vector<std::int64_t>& ids) const {
  return inputs(ids, {}, "zoo.Scenes.batch");
}

std::optional<vla::Batch> Scenes::twin(const std::vector<std::int64_t>& ids,
                                       const std::string& name) const {
  feature_index(name, "zoo.Scenes.twin");
  return inputs(ids, name, "zoo.Scenes.twin");
}

std::vector<std::string> Scenes::group_levels() const { return {"town", "route", "scene"}; }

std::vector<std::int64_t> Scenes::group(const std::string& level,
                                        const std::vector<std::int64_t>& ids) const {
  vla::check_scene_ids(ids, size(), "zoo.Scenes.group");
  if (level == "scene") return ids;
  const std::vector<std::string> known = group_levels();
  if (std::find(known.begin(), known.end(), level) == known.end()) {
    throw InvalidArgument(cat("[zoo.Scenes.group] expected one of ", internal::list_text(known),
                              ", got '", level, "'"));
  }
  std::vector<std::int64_t> out;
  out.reserve(ids.size());
  for (const std::int64_t id : ids) {
    const Scene scene = generator_.draw(id);
    out.push_back(level == "town" ? scene.town : scene.route);
  }
  return out;
}

std::vector<std::string> Scenes::concepts() const {
  std::vector<std::string> out;
  for (std::size_t c = 0; c < kConcepts; ++c) {
    if (config().prevalence[c] > 0) out.emplace_back(concept_infos()[c].id);
  }
  return out;
}

at::Tensor Scenes::labels(const std::string& name) const {
  const std::size_t feature = feature_index(name, "zoo.Scenes.labels");
  return column<std::uint8_t>(draw(all_of(size()), {}, "zoo.Scenes.labels"), at::kByte,
                              [&](const Scene& scene) { return scene.has(feature) ? 1 : 0; });
}

std::vector<vla::SceneNuisance> Scenes::nuisances() const {
  const std::vector<Scene> scenes = draw(all_of(size()), {}, "zoo.Scenes.nuisances");
  std::vector<vla::SceneNuisance> out;
  const auto add = [&](const char* name, const auto& value,
                       const std::vector<std::string>& categories = {}) {
    out.push_back({.name = name,
                   .values = column<double>(scenes, at::kDouble, value),
                   .categorical = !categories.empty(),
                   .categories = categories});
  };
  add("ego_speed", [](const Scene& s) { return s.speed_mm_s * 1e-3; });
  add("ego_acceleration", [](const Scene& s) { return s.acceleration_mm_s2 * 1e-3; });
  add("road_curvature", [](const Scene& s) { return s.curvature_um * 1e-6; });
  add("brightness", [](const Scene& s) { return s.brightness_pm * 1e-3; });
  add("clutter", [](const Scene& s) {
    return std::count_if(s.clutter.begin(), s.clutter.end(),
                         [](const Clutter& item) { return item.present; });
  });
  add("stop_line", [](const Scene& s) { return s.stop_line ? 1 : 0; });
  // road users that are there whatever the concepts are
  add("background_agents", [](const Scene& s) { return int{s.car_ahead} + int{s.neighbour}; });
  add("weather", [](const Scene& s) { return static_cast<double>(s.weather); },
      {"clear", "overcast", "rain", "fog", "night"});
  add("navigation", [](const Scene& s) { return static_cast<double>(s.navigation); },
      {"follow", "keep_left", "keep_right"});
  return out;
}

std::vector<std::string> Scenes::framings() const { return framing_names(); }

at::Tensor Scenes::image(std::int64_t id, const std::string& twin_by) const {
  at::Tensor out = at::empty({3, kImageHeight, kImageWidth}, at::kByte);
  render(draw({id}, twin_by, "zoo.Scenes.image").front(),
         {out.mutable_data_ptr<std::uint8_t>(), static_cast<std::size_t>(kImageBytes)}, hidden_);
  return out;
}

std::vector<std::vector<vla::Agent>> Scenes::agents(const std::vector<std::int64_t>& ids,
                                                    const std::string& twin_by) const {
  std::vector<std::vector<vla::Agent>> out;
  for (const Scene& scene : draw(ids, twin_by, "zoo.Scenes.agents")) {
    out.push_back(agents_of(scene, hidden_));
  }
  return out;
}

std::vector<vla::Lane> Scenes::lane(const std::vector<std::int64_t>& ids) const {
  constexpr std::int64_t kPoints = 41;
  constexpr double kSpacing = 2;  // m
  std::vector<vla::Lane> out;
  for (const Scene& scene : draw(ids, {}, "zoo.Scenes.lane")) {
    const double curvature = scene.curvature_um * 1e-6;
    at::Tensor centre = at::empty({kPoints, 2}, at::kDouble);
    auto* point = centre.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < kPoints; ++i) {
      const double s = static_cast<double>(i) * kSpacing;
      const double angle = curvature * s;
      *point++ = angle == 0 ? s : std::sin(angle) / curvature;
      *point++ = angle == 0 ? 0 : (1 - std::cos(angle)) / curvature;
    }
    out.push_back({.centre = centre, .width_m = 3.5});
  }
  return out;
}

std::vector<vla::Stratification> Scenes::strata() const {
  const std::vector<Scene> scenes = draw(all_of(size()), {}, "zoo.Scenes.strata");
  std::vector<vla::Stratification> out = {
      {.name = "rarity",
       .names = {"common", "uncommon", "rare"},
       .of_scene = column<std::int64_t>(scenes, at::kLong, [](const Scene& scene) {
         return static_cast<std::int64_t>(rarity_of(scene.weather));
       })}};
  for (std::size_t c = 0; c < kConcepts; ++c) {
    if (config().prevalence[c] == 0) continue;
    out.push_back({.name = cat("salience ", concept_infos()[c].id),
                   .names = {"far", "near"},
                   .of_scene = column<std::int64_t>(scenes, at::kLong, [&](const Scene& scene) {
                     const ConceptState& state = scene.concepts[c];
                     return !state.present ? -1 : (state.near ? 1 : 0);
                   })});
  }
  return out;
}

std::vector<vla::ConceptClaim> Scenes::claims() const {
  std::vector<vla::ConceptClaim> out;
  for (const ConceptInfo& info : concept_infos()) {
    out.push_back(
        {.id = std::string(info.id),
         .definition = cat("a ", info.word, " is drawn ", info.nearest_mm / 1000, " to ",
                           info.farthest_mm / 1000,
                           " m ahead; a careful driver says it and decides to ", info.decision),
         .functional = "mean_acceleration",
         .sign = info.effect < 0 ? -1 : 1});
  }
  return out;
}

std::vector<vla::ControlClaim> Scenes::control_claims() const {
  return {{.nuisance = "road_curvature", .functional = "lateral_offset"}};
}

vla::CotVocabulary Scenes::vocabulary() const { return cot_vocabulary(); }

at::Tensor Scenes::weights() const {
  return column<double>(draw(all_of(size()), {}, "zoo.Scenes.weights"), at::kDouble,
                        [&](const Scene& scene) { return generator_.weight(scene); });
}

namespace {

/// Throw unless all tokens are words or padding.
void check_words(const at::Tensor& cot, std::string_view where) {
  const std::int64_t end = framing_tokens(0)[0];  // words of prompts follow
  const auto* token = cot.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < cot.numel(); ++i) {
    if (token[i] >= -1 && token[i] < end) continue;
    throw OutOfRange(cat("[", where, "] expected words of the language in [0, ", end,
                         "), or -1 for padding, got ", token[i], " in row ", i / cot.size(1)));
  }
}

}  // namespace

at::Tensor truthful_cot(const Spec& spec, const Scenes& scenes,
                        const std::vector<std::int64_t>& ids, const std::string& twin_by,
                        std::uint64_t seed) {
  vla::check_scene_ids(ids, scenes.size(), "zoo.truthful_cot");
  std::vector<std::vector<std::int64_t>> rows;
  std::size_t longest = 0;
  for (const std::int64_t id : ids) {
    const Scene scene = scenes.scene(id, twin_by);
    rows.push_back(write_cot(spec.statements(scene, seed), statement_order(seed, id, 0)));
    longest = std::max(longest, rows.back().size());
  }
  at::Tensor out = at::full(
      {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(longest)}, -1, at::kLong);
  auto* token = out.mutable_data_ptr<std::int64_t>();
  for (const auto& row : rows) {
    std::copy(row.begin(), row.end(), token);
    token += longest;
  }
  return out;
}

at::Tensor law_actions(const Spec& spec, const Scenes& scenes, const std::vector<std::int64_t>& ids,
                       const std::string& twin_by, const std::optional<at::Tensor>& cot_tokens,
                       std::uint64_t seed) {
  vla::check_scene_ids(ids, scenes.size(), "zoo.law_actions");
  spec.check();
  const auto rows = static_cast<std::int64_t>(ids.size());
  at::Tensor cot;
  if (cot_tokens) {
    if (!cot_tokens->defined() || cot_tokens->dim() != 2 || cot_tokens->size(0) != rows ||
        cot_tokens->scalar_type() != at::kLong) {
      throw InvalidArgument(cat("[zoo.law_actions] expected cot_tokens int64 [", rows,
                                ", length], got ",
                                cot_tokens->defined() ? cat(cot_tokens->sizes()) : "none"));
    }
    cot = cot_tokens->to(at::kCPU).contiguous();
    check_words(cot, "zoo.law_actions");
  }
  at::Tensor out = at::empty({rows, static_cast<std::int64_t>(kWaypoints), 2}, at::kDouble);
  auto* value = out.mutable_data_ptr<double>();
  for (std::int64_t row = 0; row < rows; ++row) {
    const Scene scene = scenes.scene(ids[index_of(row)], twin_by);
    const Statements stated =
        cot_tokens ? read_cot({cot.const_data_ptr<std::int64_t>() + row * cot.size(1),
                               static_cast<std::size_t>(cot.size(1))})
                   : spec.statements(scene, seed);
    for (const auto& [acceleration, curvature] : law(spec, scene, stated)) {
      *value++ = acceleration;
      *value++ = curvature;
    }
  }
  return out;
}

}  // namespace tierod::zoo
