#include "tierod/patch/erasure.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <array>
#include <map>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/stats/influence.h"

namespace tierod::patch {

using internal::cat;
using internal::numbers_of;
using internal::SceneLabels;

namespace {

constexpr std::int64_t kStrata = 10;

// Return scenes, ascending, of which as many have the concept as not within strata of what the
// others tell of it (the linear propensity; Rosenbaum & Rubin 1983): what a probe reads among them
// it does not read from the others.
std::vector<std::int64_t> balanced_by(const at::Tensor& others,
                                      std::span<const std::uint8_t> labels, std::uint64_t seed) {
  const std::int64_t n = others.size(0);
  const at::Tensor x = at::cat({at::ones({n, 1}, at::kDouble), others}, 1);
  const at::Tensor z = internal::doubles_of(labels).unsqueeze(1);
  const at::Tensor ridge = at::eye(x.size(1), at::kDouble) * (1e-6 * static_cast<double>(n));
  const at::Tensor score =
      x.matmul(at::linalg_solve(x.t().matmul(x) + ridge, x.t().matmul(z))).select(1, 0);
  // strata of the propensity; equal ones stay together
  const at::Tensor sorted = std::get<0>(score.sort());
  std::map<std::int64_t, std::array<std::vector<std::int64_t>, 2>> strata;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto below = sorted.lt(score[i] - 1e-9).sum().item<std::int64_t>();
    const auto other_class = static_cast<std::size_t>(labels[static_cast<std::size_t>(i)]);
    strata[below * kStrata / n][other_class].push_back(i);
  }
  const CounterRandom random(seed, "patch.verify_ablation");
  std::vector<std::int64_t> kept;
  for (auto& [stratum, classes] : strata) {
    const std::size_t each = std::min(classes[0].size(), classes[1].size());
    for (std::vector<std::int64_t>& members : classes) {
      std::sort(members.begin(), members.end(), [&](std::int64_t a, std::int64_t b) {
        return random.bits(static_cast<std::uint64_t>(a), 0, 0) <
               random.bits(static_cast<std::uint64_t>(b), 0, 0);
      });
      kept.insert(kept.end(), members.begin(), members.begin() + static_cast<std::ptrdiff_t>(each));
    }
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

}  // namespace

JointErasure joint_erasure(PairedRun& run, std::span<const std::uint8_t> labels,
                           std::span<const std::int64_t> groups,
                           const ConceptDirections& directions,
                           const vla::ControlFunctional& functional, Words words,
                           double confidence) {
  constexpr auto* kWhere = "patch.joint_erasure";
  const SceneLabels scenes(kWhere, run, labels, groups);
  if (directions.refits.size() < 2) {
    throw InvalidArgument(cat("[", kWhere, "] expected at least 2 refits of the directions, got ",
                              directions.refits.size(), "; fit with folds = 20"));
  }
  const DirectionEdit edit = DirectionEdit::ablate(directions.places);
  const at::Tensor sign = at::where(internal::doubles_of(labels).gt(0.5), 1.0, -1.0);
  const auto lost = [&](const DirectionEdit& how) {
    return scenes.by_scene(-run.effect(run.edited(how, words), functional));
  };
  // the balanced mean of sign x is half of mean_on - mean_off
  const auto difference = [&](const at::Tensor& values) {
    stats::Influence out =
        stats::balanced_influence(numbers_of((values * sign).contiguous()), labels, groups);
    out.estimate *= 2;
    for (double& contribution : out.contributions) contribution *= 2;
    return out;
  };
  JointErasure out{.words = words, .functional = functional.name()};
  out.scenes = lost(edit);
  for (const std::vector<DirectionPlace>& places : directions.refits) {
    out.refits.push_back(difference(lost(edit.along(places))).estimate);
  }
  const stats::Influence test = difference(out.scenes);
  out.theta = stats::refit_interval(test, out.refits, confidence);
  out.ci90 = stats::refit_interval(test, out.refits, 0.90).interval;
  return out;
}

std::vector<AblationCheck> verify_ablation(PairedRun& run, std::span<const std::uint8_t> labels,
                                           std::span<const std::int64_t> groups,
                                           const std::vector<DirectionPlace>& places,
                                           const at::Tensor& others, Words words,
                                           const probe::VerifyErasureOptions& options) {
  constexpr auto* kWhere = "patch.verify_ablation";
  const SceneLabels scenes(kWhere, run, labels, groups);
  std::vector<std::int64_t> kept;
  if (others.defined() && others.numel() > 0) {
    if (others.dim() != 2 || others.size(0) != internal::length(labels.size())) {
      throw InvalidArgument(
          cat("[", kWhere, "] expected others [", labels.size(), ", q], got ", others.sizes()));
    }
    kept = balanced_by(others.to(at::kCPU, at::kDouble), labels, options.seed);
    if (kept.empty()) {
      throw InvalidArgument(cat("[", kWhere,
                                "] expected scenes with and without the concept that are ",
                                "alike in the others, got none: they tell it entirely"));
    }
  } else {
    for (std::size_t i = 0; i < labels.size(); ++i) kept.push_back(internal::length(i));
  }
  const at::Tensor index = internal::index_of(kept);
  std::vector<std::uint8_t> on;
  std::vector<std::int64_t> units;
  for (const std::int64_t i : kept) {
    on.push_back(labels[static_cast<std::size_t>(i)]);
    units.push_back(groups[static_cast<std::size_t>(i)]);
  }
  const DirectionEdit edit = DirectionEdit::ablate(places);
  const std::vector<at::Tensor> before = run.rows_at(places, /*whole=*/true, words);
  const std::vector<at::Tensor> after = run.rows_at(places, /*whole=*/true, words, &edit);
  std::vector<AblationCheck> out;
  out.reserve(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    out.push_back(
        {.site = places[i].site,
         .width = after[i].size(1),
         .scenes = internal::length(kept.size()),
         .check = probe::verify_erasure(after[i].index_select(0, index),
                                        before[i].index_select(0, index), on, units, options)});
  }
  return out;
}

}  // namespace tierod::patch
