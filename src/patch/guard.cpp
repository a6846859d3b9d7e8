#include "tierod/patch/guard.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;
using internal::length;

namespace {

// A place to read from alone: what its direction is does not matter.
DirectionPlace reading_place(const GuardPlace& place) {
  const std::int64_t d = place.manifold.width();
  const at::Tensor unit = at::eye(d, 1, at::kDouble).select(1, 0);
  return {
      .site = place.site,
      .direction = probe::Direction(place.site, unit, unit, at::zeros({d}, at::kDouble), 1, 0, 1),
      .selection = place.selection,
      .over = place.over};
}

// The group is the unit: rows [scenes, k] become means of groups.
at::Tensor by_group(const at::Tensor& rows, const std::vector<std::int64_t>& groups) {
  if (groups.empty()) return rows.contiguous();
  std::map<std::int64_t, std::vector<std::int64_t>> members;
  for (std::size_t i = 0; i < groups.size(); ++i) members[groups[i]].push_back(length(i));
  std::vector<at::Tensor> means;
  means.reserve(members.size());
  for (const auto& [group, of] : members) {
    means.push_back(rows.index_select(0, internal::index_of(of)).mean(0));
  }
  return at::stack(means).contiguous();
}

}  // namespace

GuardReport guard_edit(PairedRun& run, const Edit& edit, Words words,
                       const std::vector<GuardPlace>& places, const Plausible& limits,
                       vla::Rollout* driven_out) {
  GuardReport out;
  const std::int64_t scenes = length(run.scenes().size());
  std::vector<DirectionPlace> readings;
  readings.reserve(places.size());
  for (const GuardPlace& place : places) readings.push_back(reading_place(place));
  vla::Rollout driven;
  if (readings.empty()) {
    driven = run.edited(edit, words);
  } else {
    const std::vector<at::Tensor> rows = run.rows_at(readings, false, words, &edit, &driven);
    for (std::size_t i = 0; i < places.size(); ++i) {
      out.places.push_back(places[i].manifold.check(rows[i]));
    }
  }
  const at::Tensor impossible = implausible(driven, limits).to(at::kCPU);
  out.implausible_share = impossible.to(at::kDouble).mean().item<double>();
  out.off = impossible.view({scenes, -1}).any(1);
  for (const ManifoldCheck& check : out.places) out.off = out.off.logical_or(check.off);
  out.off_share = out.off.to(at::kDouble).mean().item<double>();
  if (driven_out != nullptr) *driven_out = std::move(driven);
  return out;
}

DoseResponse dose_response(PairedRun& run, const std::vector<DirectionPlace>& places,
                           const vla::ControlFunctional& functional, const DoseOptions& options) {
  constexpr auto* kWhere = "patch.dose_response";
  DoseResponse out{.doses = options.doses};
  std::sort(out.doses.begin(), out.doses.end());
  if (out.doses.size() < 3 ||
      std::adjacent_find(out.doses.begin(), out.doses.end()) != out.doses.end()) {
    throw InvalidArgument(cat("[", kWhere, "] expected at least 3 different doses, got ",
                              internal::list_text(options.doses)));
  }
  const std::int64_t scenes = length(run.scenes().size());
  if (!options.groups.empty() && length(options.groups.size()) != scenes) {
    throw InvalidArgument(cat("[", kWhere, "] expected a group for each of ", scenes,
                              " scenes, got ", options.groups.size()));
  }
  std::vector<at::Tensor> effects;
  std::vector<std::int64_t> counted;
  for (std::size_t i = 0; i < out.doses.size(); ++i) {
    vla::Rollout driven;
    const double off = guard_edit(run, DirectionEdit::add(places, out.doses[i]), options.words,
                                  options.guard, options.limits, &driven)
                           .off_share;
    effects.push_back(run.effect(driven, functional).view({scenes, -1}).mean(1));
    out.off_share.push_back(off);
    if (off > options.most_off) continue;
    out.on_manifold.push_back(out.doses[i]);
    counted.push_back(length(i));
  }
  out.effects = at::stack(effects, 1).contiguous();
  if (counted.size() < 3) {
    out.note = cat("only ", counted.size(), " doses stay on the manifold: no trend can be told");
    return out;
  }
  const at::Tensor kept =
      by_group(out.effects.index_select(1, internal::index_of(counted)), options.groups);
  const at::Tensor turned = (-kept).contiguous();
  if (kept.sub(kept.select(1, 0).unsqueeze(1)).abs().max().item<double>() == 0) {
    out.note = "no scene answers to any dose";
    return out;
  }
  out.rising = stats::page_trend(internal::numbers_of(kept), counted.size());
  out.falling = stats::page_trend(internal::numbers_of(turned), counted.size());
  return out;
}

}  // namespace tierod::patch
