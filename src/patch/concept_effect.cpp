#include "tierod/patch/concept_effect.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"
#include "tierod/stats/influence.h"

namespace tierod::patch {

using internal::cat;
using internal::numbers_of;

namespace {

constexpr auto* kWhere = "patch.concept_effect";
constexpr std::ptrdiff_t kEnoughScenes = 100;

class Measuring {
 public:
  Measuring(PairedRun& run, std::span<const std::uint8_t> labels,
            std::span<const std::int64_t> groups, const ConceptDirections& directions,
            const vla::ControlFunctional& functional, const ConceptEffectOptions& options)
      : run_(run),
        scenes_(kWhere, run, labels, groups),
        labels_(labels),
        groups_(groups),
        functional_(functional),
        options_(options),
        edit_(options.fixed_step
                  ? fixed_step_edit(directions.places, labels)
                  : DirectionEdit::swap(directions.places, internal::opposite(labels))) {
    for (const std::vector<DirectionPlace>& places : directions.refits) {
      refits_.push_back(edit_.along(places));
    }
    if (refits_.size() < 2) {
      throw InvalidArgument(cat("[", kWhere, "] expected at least 2 refits of the direction, got ",
                                refits_.size(), "; fit with folds = 20"));
    }
  }

  ConceptEffect measure() {
    ConceptEffect out{.words = options_.words, .functional = functional_.name()};
    out.scenes = driven(edit_);
    const stats::Influence test =
        stats::balanced_influence(numbers_of(out.scenes), labels_, groups_);
    const bool by_derivative =
        options_.derivative && options_.words == Words::held && run_.can("differentiable");
    if (by_derivative) refits_by_derivative(out);
    if (out.refits.empty()) rerun_all(out);
    out.theta = stats::refit_interval(test, out.refits, options_.confidence);
    if (by_derivative && out.reruns < refits_.size()) check(out);
    note_scenes(out);
    out.removal = side(out.scenes, 1);
    out.addition = side(out.scenes, 0);
    if (!said_.empty()) {
      WordsEffect& text = out.text.emplace();
      text.scenes = said_.front();
      text.refit_scenes = at::stack(at::TensorList(said_).slice(1));
      std::vector<double> thetas;
      thetas.reserve(refits_.size());
      for (std::size_t k = 1; k < said_.size(); ++k) thetas.push_back(balanced(said_[k]));
      text.theta = stats::refit_interval(
          stats::balanced_influence(numbers_of(text.scenes), labels_, groups_), thetas,
          options_.confidence);
    }
    return out;
  }

 private:
  // Class positions differ by 1.
  static DirectionEdit fixed_step_edit(const std::vector<DirectionPlace>& places,
                                       std::span<const std::uint8_t> labels) {
    return DirectionEdit::shift(places, 1 - 2 * internal::doubles_of(labels));
  }

  at::Tensor on_minus_off(const at::Tensor& effect) const { return scenes_.on_minus_off(effect); }

  double balanced(const at::Tensor& scenes) const {
    return stats::balanced_influence(numbers_of(scenes), labels_, groups_).estimate;
  }

  // On - off of each scene along an edit; and of the words that it led to, where they are asked
  // for.
  at::Tensor driven(const DirectionEdit& edit) {
    const vla::Rollout run = run_.edited(edit, options_.words);
    if (options_.text && options_.words == Words::regenerated) {
      said_.push_back(on_minus_off(run_.effect(run_.with_words(run), functional_)));
    }
    return on_minus_off(run_.effect(run, functional_));
  }

  void rerun_all(ConceptEffect& out) {
    std::vector<at::Tensor> scenes;
    scenes.reserve(refits_.size());
    for (const DirectionEdit& edit : refits_) scenes.push_back(driven(edit));
    keep(out, at::stack(scenes));
    out.reruns = refits_.size();
  }

  void keep(ConceptEffect& out, const at::Tensor& refit_scenes) const {
    out.refit_scenes = refit_scenes;
    out.refits.clear();
    for (std::int64_t k = 0; k < refit_scenes.size(0); ++k) {
      out.refits.push_back(balanced(refit_scenes[k].contiguous()));
    }
  }

  void refits_by_derivative(ConceptEffect& out) {
    const at::Tensor moves = run_.derivative(edit_, refits_, functional_);
    std::vector<at::Tensor> scenes;
    scenes.reserve(refits_.size());
    for (std::int64_t k = 0; k < moves.size(0); ++k) {
      scenes.push_back(out.scenes + on_minus_off(moves[k]));
    }
    keep(out, at::stack(scenes));
  }

  // Hold some of what the derivative gave against true runs, spread over the refits.
  void check(ConceptEffect& out) {
    const std::size_t checked = std::min(options_.checked, refits_.size());
    const double error = out.theta.interval.standard_error;
    for (std::size_t i = 0; i < checked; ++i) {
      const std::size_t k = i * refits_.size() / checked;
      const double off = std::abs(balanced(driven(refits_[k])) - out.refits[k]);
      out.derivative_error = std::max(out.derivative_error, error > 0 ? off / error : off);
    }
    out.reruns = checked;
    if (out.derivative_error <= options_.tolerance) return;
    out.note = cat("refits by derivative were off by up to ", out.derivative_error,
                   " standard errors: all were run");
    rerun_all(out);
    out.theta =
        stats::refit_interval(stats::balanced_influence(numbers_of(out.scenes), labels_, groups_),
                              out.refits, options_.confidence);
  }

  void note_scenes(ConceptEffect& out) const {
    const auto on = std::count(labels_.begin(), labels_.end(), 1);
    const auto fewer = std::min(on, std::ssize(labels_) - on);
    if (fewer >= kEnoughScenes) return;
    if (!out.note.empty()) out.note += "; ";
    out.note += cat("only ", fewer, " scenes of the rarer class: ", kEnoughScenes,
                    " of each are needed for a claim, some ", 2 * kEnoughScenes,
                    " scenes where the concept is in half of them");
  }

  stats::Interval side(const at::Tensor& scenes, std::uint8_t which) const {
    std::vector<double> values;
    std::vector<std::int64_t> groups;
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      if (labels_[i] != which) continue;
      values.push_back(numbers_of(scenes)[i]);
      groups.push_back(groups_[i]);
    }
    return stats::influence_interval(stats::mean_influence(values, groups), options_.confidence);
  }

  PairedRun& run_;
  internal::SceneLabels scenes_;
  std::span<const std::uint8_t> labels_;
  std::span<const std::int64_t> groups_;
  const vla::ControlFunctional& functional_;
  const ConceptEffectOptions& options_;
  DirectionEdit edit_;
  std::vector<DirectionEdit> refits_;
  std::vector<at::Tensor> said_;  // text effects of the edit, then of each refit
};

}  // namespace

void ConceptDirections::add(const std::string& site, const probe::ResidualFits& fits,
                            const Selection& selection, Over over) {
  if (!places.empty() && refits.size() != fits.held_out.size()) {
    throw InvalidArgument(cat("[patch.ConceptDirections.add] expected ", refits.size(),
                              " refits, as the places before have, got ", fits.held_out.size()));
  }
  if (!fits.note.empty()) notes.push_back(cat(site, ": ", fits.note));
  places.push_back({site, fits.full.direction, selection, over});
  refits.resize(fits.held_out.size());
  for (std::size_t k = 0; k < refits.size(); ++k) {
    refits[k].push_back({site, fits.held_out[k].direction, selection, over});
  }
}

ConceptEffect concept_effect(PairedRun& run, std::span<const std::uint8_t> labels,
                             std::span<const std::int64_t> groups,
                             const ConceptDirections& directions,
                             const vla::ControlFunctional& functional,
                             const ConceptEffectOptions& options) {
  return Measuring(run, labels, groups, directions, functional, options).measure();
}

}  // namespace tierod::patch
