#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <span>

#include "tierod/core/random.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "tierod/zoo/render.h"
#include "zoo/lesson_internal.h"
#include "zoo/network_internal.h"

namespace tierod::internal {

namespace {

// Of each statement in a row of flipped ones. In .35 of the rows that makes 7 %; measured on a
// prototype, half of it leaves a role of the picture 9 % of leakage by the text.
constexpr double kFlip = .2;
constexpr double kFlipNear = .15;
constexpr std::int64_t kIgnored = -100;  // of cross_entropy_loss

/// Number the draws of a row.
enum Draw : std::uint32_t { framing, pinned, time, flipped, flips = 16, noise = 64 };

/// Flip statements, and tell whether anything changed.
bool flip(const zoo::Spec& spec, zoo::Statements& stated, const CounterRandom& random,
          std::uint64_t scene, double rows) {
  // where no word reaches control, or nothing acts, there is nothing to tell apart
  const bool acts = std::any_of(spec.roles.begin(), spec.roles.end(), [](const auto& role) {
    return role.effect != 0 || role.curvature != 0;
  });
  if (spec.mask == zoo::Mask::cot || !acts || random.uniform(scene, 0, Draw::flipped) >= rows) {
    return false;
  }
  const zoo::Statements before = stated;
  for (std::uint32_t c = 0; c < zoo::kConcepts; ++c) {
    if (spec.roles[c].role == zoo::Role::omitted || spec.scenes.prevalence[c] == 0) continue;
    const std::uint32_t place = Draw::flips + 4 * c;
    if (random.uniform(scene, 0, place) < kFlip) {
      stated[c].said = !stated[c].said;
      stated[c].near = random.below(2, scene, 0, place + 1) == 0;
    } else if (random.uniform(scene, 0, place + 2) < kFlipNear) {
      stated[c].near = !stated[c].near;
    }
  }
  for (std::size_t c = 0; c < zoo::kConcepts; ++c) {
    if (stated[c].said != before[c].said || (stated[c].said && stated[c] != before[c])) return true;
  }
  return false;
}

std::size_t at_row(std::int64_t row) { return static_cast<std::size_t>(row); }

}  // namespace

Lesson draw_lesson(const zoo::Spec& spec, const zoo::SceneGenerator& scenes, std::uint64_t seed,
                   std::int64_t step, std::int64_t rows, double flipped_rows) {
  const CounterRandom random(seed, "zoo lesson");
  std::uint32_t hidden = 0;
  for (const std::string& id : spec.scenes.hidden) {
    hidden |= 1U << zoo::feature_index(id, "zoo.Trainer");
  }
  Lesson out = {.image = at::empty({rows, 3, zoo::kImageHeight, zoo::kImageWidth}, at::kByte),
                .ego = at::empty({rows, kEgoTokens, 2}, at::kFloat),
                .navigation = at::empty({rows}, at::kLong),
                .framing = at::empty({rows}, at::kLong),
                .act = at::empty({rows}, at::kLong),
                .action_begin = at::empty({rows}, at::kLong),
                .actions = at::empty({rows, kWaypointTokens, 2}, at::kFloat),
                .noise = at::empty({rows, kWaypointTokens, 2}, at::kFloat),
                .time = at::empty({rows}, at::kFloat),
                .auxiliary = at::zeros({rows, kAuxiliary}, at::kFloat),
                .auxiliary_counts = at::zeros({rows, kAuxiliary}, at::kFloat)};
  auto* image = out.image.mutable_data_ptr<std::uint8_t>();
  auto* ego = out.ego.mutable_data_ptr<float>();
  auto* actions = out.actions.mutable_data_ptr<float>();
  auto* noise = out.noise.mutable_data_ptr<float>();
  auto* auxiliary = out.auxiliary.mutable_data_ptr<float>();
  auto* counts = out.auxiliary_counts.mutable_data_ptr<float>();
  auto* navigation_of = out.navigation.mutable_data_ptr<std::int64_t>();
  auto* framing_of = out.framing.mutable_data_ptr<std::int64_t>();
  auto* act_of = out.act.mutable_data_ptr<std::int64_t>();
  auto* begin_of = out.action_begin.mutable_data_ptr<std::int64_t>();
  auto* time_of = out.time.mutable_data_ptr<float>();
  std::vector<std::vector<std::int64_t>> texts(at_row(rows));
  std::vector<bool> changed(at_row(rows));
  std::size_t longest = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t id = step * rows + row;
    const auto key = static_cast<std::uint64_t>(id);
    const zoo::Scene scene = scenes.draw(id);
    constexpr auto kBytes = static_cast<std::size_t>(zoo::kImageBytes);
    zoo::render(scene, {image + at_row(row) * kBytes, kBytes}, hidden);
    const double acceleration = scene.acceleration_mm_s2 * 1e-3;
    for (const double before_s : {.75, .5, .25, 0.0}) {
      *ego++ = static_cast<float>(scene.speed_mm_s * 1e-3 - acceleration * before_s);
      *ego++ = static_cast<float>(acceleration);
    }
    const auto framing = static_cast<std::int64_t>(
        random.below(static_cast<std::uint32_t>(zoo::kFramings), key, 0, Draw::framing));
    navigation_of[row] = static_cast<std::int64_t>(scene.navigation);
    framing_of[row] = framing;
    zoo::Statements stated = spec.statements(scene, seed, 0, framing);
    changed[at_row(row)] = flip(spec, stated, random, key, flipped_rows);
    texts[at_row(row)] = zoo::write_cot(stated, zoo::statement_order(seed, id, 0));
    longest = std::max(longest, texts[at_row(row)].size());
    const auto act = kPrefix + static_cast<std::int64_t>(texts[at_row(row)].size()) - 1;
    act_of[row] = act;
    // both ways to number the waypoints are learned
    begin_of[row] = random.below(2, key, 0, Draw::pinned) == 0 ? act + 1 : kPinnedAction;
    for (const auto& [a, curvature] : zoo::law(spec, scene, stated)) {
      *actions++ = static_cast<float>((a - kAccelerationMean) / kAccelerationScale);
      *actions++ = static_cast<float>(curvature / kCurvatureScale);
    }
    for (std::uint32_t i = 0; i < 2 * kWaypointTokens; ++i) {
      *noise++ = static_cast<float>(random.normal(key, 0, Draw::noise + i));
    }
    // Early times, where the answer is not yet to be seen in the noisy actions, teach the most.
    const double u = random.uniform(key, 0, Draw::time);
    time_of[row] = static_cast<float>(u * u);
    for (std::size_t c = 0; c < zoo::kConcepts; ++c) {
      const bool shown = scene.concepts[c].present && ((hidden >> c) & 1U) == 0;
      auxiliary[c] = shown ? 1 : 0;
      counts[c] = 1;
      auxiliary[zoo::kConcepts + 1 + c] = scene.concepts[c].near ? 1 : 0;
      counts[zoo::kConcepts + 1 + c] = shown ? 1 : 0;
    }
    auxiliary[zoo::kConcepts] = scene.stop_line ? 1 : 0;
    counts[zoo::kConcepts] = 1;
    counts[kAuxiliary - 1] = 1;
    auxiliary[kAuxiliary - 1] = static_cast<float>(scene.curvature_um * 1e-6 / kCurvatureScale);
    auxiliary += kAuxiliary;
    counts += kAuxiliary;
  }
  const auto length = static_cast<std::int64_t>(longest);
  out.cot = at::full({rows, length}, zoo::kPad, at::kLong);
  out.cot_target = at::full({rows, length}, kIgnored, at::kLong);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto& text = texts[at_row(row)];
    std::copy(text.begin(), text.end(), out.cot.mutable_data_ptr<std::int64_t>() + row * length);
    if (changed[at_row(row)]) continue;
    std::copy(text.begin(), text.end(),
              out.cot_target.mutable_data_ptr<std::int64_t>() + row * length);
  }
  return out;
}

at::Tensor visible_columns(zoo::Mask mask, const at::Tensor& act, std::int64_t columns) {
  const at::Tensor place = at::arange(columns, act.options()).unsqueeze(0);
  const at::Tensor last = act.unsqueeze(1);
  if (mask == zoo::Mask::cot) return place.lt(kCotStart).expand({act.size(0), columns});
  if (mask == zoo::Mask::picture) {
    return place.lt(kImageBegin).logical_or(place.ge(kPrefix).logical_and(place.lt(last)));
  }
  return place.le(last);
}

at::Tensor expert_mask(const at::Tensor& visible, at::ScalarType dtype) {
  const std::int64_t rows = visible.size(0);
  const at::Tensor own = at::full({rows, kWaypointTokens}, true, visible.options());
  const at::Tensor seen = at::cat({visible, own}, 1);
  return at::zeros(seen.sizes(), visible.options().dtype(dtype))
      .masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity())
      .unsqueeze(1)
      .unsqueeze(1);
}

}  // namespace tierod::internal
