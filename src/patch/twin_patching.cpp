#include "tierod/patch/twin_patching.h"

#include <ATen/TensorOperators.h>

#include <cmath>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"
#include "tierod/stats/influence.h"

namespace tierod::patch {

using internal::cat;
using internal::numbers_of;
using internal::SceneLabels;

namespace {

/// Hold a functional of the runs that patches between twins are made of, f64 [scenes]: with the
/// concept, without it, and each with some activations of the other.
struct TwinPatch {
  at::Tensor enough;  // m(off <- on) - m_off
  at::Tensor lost;    // m_on - m(on <- off)
};

TwinPatch patch_between(PairedRun& run, const std::string& twin_by, const SceneLabels& scenes,
                        const std::vector<std::string>& sites, const Selection& selection,
                        const vla::ControlFunctional& functional, const at::Tensor& twins) {
  // All as changes from the base run, with the base's road users: the effect is one on control, and
  // not that somebody is no longer there to collide with.
  const at::Tensor into_base =
      run.effect(run.transplanted({.twin_by = twin_by}, sites, selection, Words::held), functional);
  const at::Tensor into_twin =
      run.effect(run.transplanted({}, sites, selection, Words::held, twin_by), functional);
  // scene on: base is on, twin off; scene off: the other way round
  const at::Tensor of_twin = into_twin - twins;
  return {.enough = scenes.where_on(of_twin, into_base),
          .lost = scenes.where_on(-into_base, -of_twin)};
}

stats::BootstrapResult share(const at::Tensor& part, const at::Tensor& whole,
                             const SceneLabels& scenes, const stats::BootstrapOptions& options) {
  return stats::ratio_of_sums(numbers_of(part), numbers_of(whole), scenes.groups(), options);
}

void check_effect(const at::Tensor& whole, const char* where, const std::string& twin_by) {
  if (whole.abs().sum().item<double>() > 0) return;
  throw NumericalError(cat("[", where, "] the twins by '", twin_by,
                           "' have no effect at all, so that no share of it is defined"));
}

stats::Interval mean_interval(const at::Tensor& values, const SceneLabels& scenes,
                              double confidence) {
  return stats::influence_interval(stats::mean_influence(numbers_of(values), scenes.groups()),
                                   confidence);
}

}  // namespace

Restoration twin_restoration(PairedRun& run, const std::string& twin_by,
                             std::span<const std::uint8_t> labels,
                             std::span<const std::int64_t> groups,
                             const std::vector<std::string>& sites, const Selection& selection,
                             const vla::ControlFunctional& functional,
                             const stats::BootstrapOptions& options) {
  constexpr auto* kWhere = "patch.twin_restoration";
  const SceneLabels scenes(kWhere, run, labels, groups);
  const at::Tensor twins = run.effect(run.twins(twin_by, Words::held), functional);
  const at::Tensor whole = scenes.on_minus_off(twins);
  check_effect(whole, kWhere, twin_by);
  const TwinPatch found = patch_between(run, twin_by, scenes, sites, selection, functional, twins);
  return {.denoising = share(found.enough, whole, scenes, options),
          .noising = share(found.lost, whole, scenes, options),
          .twin_effect = whole.mean().item<double>()};
}

PathShares path_shares(PairedRun& run, const std::string& twin_by,
                       std::span<const std::uint8_t> labels, std::span<const std::int64_t> groups,
                       const std::vector<TokenBlock>& blocks,
                       const vla::ControlFunctional& functional, std::vector<std::string> sites,
                       const stats::BootstrapOptions& options) {
  constexpr auto* kWhere = "patch.path_shares";
  const SceneLabels scenes(kWhere, run, labels, groups);
  if (sites.empty()) sites = run.head_inputs();
  if (sites.empty()) {
    throw InvalidArgument(cat("[", kWhere, "] expected sites, or a model that names its head ",
                              "inputs, got neither"));
  }
  for (const TokenBlock& block : blocks) {
    if (!block.spans.empty()) continue;
    throw InvalidArgument(
        cat("[", kWhere, "] expected spans in block '", block.name, "', got none"));
  }
  const at::Tensor held = run.effect(run.twins(twin_by, Words::held), functional);
  const vla::Rollout twin = run.twins(twin_by, Words::regenerated);
  const at::Tensor total = scenes.on_minus_off(run.effect(twin, functional));
  check_effect(total, kWhere, twin_by);
  // off, saying what on says; and on, saying what off says
  const at::Tensor base_says = run.effect(run.with_words(twin), functional);
  const at::Tensor twin_says =
      run.effect(twin, functional) - held;  // twin: its own words less the base's
  PathShares out;
  out.total = mean_interval(total, scenes, options.confidence);
  out.direct = mean_interval(scenes.on_minus_off(held), scenes, options.confidence);
  const at::Tensor by_words = scenes.on_minus_off(base_says);
  out.text = mean_interval(by_words, scenes, options.confidence);
  const at::Tensor words_enough = scenes.where_on(-twin_says, base_says);
  const at::Tensor words_lost = scenes.where_on(-base_says, twin_says);
  out.words = {.name = "words",
               .denoising = share(words_enough, total, scenes, options),
               .noising = share(words_lost, total, scenes, options)};
  for (const TokenBlock& block : blocks) {
    const TwinPatch found = patch_between(run, twin_by, scenes, sites,
                                          {.tokens = Tokens::spans(block.spans)}, functional, held);
    out.blocks.push_back({.name = block.name,
                          .denoising = share(found.enough, total, scenes, options),
                          .noising = share(found.lost, total, scenes, options)});
  }
  return out;
}

Interchange interchange(PairedRun& run, const std::string& twin_by,
                        std::span<const std::uint8_t> labels, std::span<const std::int64_t> groups,
                        std::span<const std::int64_t> sources,
                        const std::vector<DirectionPlace>& places,
                        const vla::ControlFunctional& functional, Words words,
                        const stats::BootstrapOptions& options) {
  constexpr auto* kWhere = "patch.interchange";
  const SceneLabels scenes(kWhere, run, labels, groups);
  const std::size_t count = run.scenes().size();
  if (sources.size() != count) {
    throw InvalidArgument(cat("[", kWhere, "] expected a source for each of ", count,
                              " scenes, got ", sources.size()));
  }
  std::vector<std::int64_t> other;
  for (const std::int64_t source : sources) {
    if (source < 0 || source >= internal::length(count)) {
      throw InvalidArgument(cat("[", kWhere, "] expected sources as numbers of scenes in [0, ",
                                count, "), got ", source));
    }
    other.push_back(source);
  }
  const at::Tensor positions = run.positions(places);  // [places, scenes]
  const at::Tensor targets = positions.index_select(1, internal::index_of(other));
  const at::Tensor edited = scenes.by_scene(
      run.effect(run.edited(DirectionEdit::to(places, targets), words), functional));
  const at::Tensor twins = scenes.by_scene(run.effect(run.twins(twin_by, words), functional));
  const at::Tensor base = scenes.by_scene(run.values(run.base(), functional));
  const at::Tensor z = internal::doubles_of(labels);
  const at::Tensor differs = z.ne(z.index_select(0, internal::index_of(other))).to(at::kDouble);

  Interchange out;
  out.interchanged = base + edited;
  out.counterfactual = base + twins * differs;
  const at::Tensor missed = (out.interchanged - out.counterfactual).square();
  const auto explained = [&](const at::Tensor& spread) {
    const at::Tensor squares = spread.square().contiguous();
    if (!(squares.sum().item<double>() > 0)) {
      throw NumericalError(cat("[", kWhere,
                               "] the counterfactuals do not differ, so that no share ",
                               "of their spread is defined"));
    }
    return stats::ratio_of_sums(numbers_of((squares - missed).contiguous()), numbers_of(squares),
                                groups, options);
  };
  out.r2 = explained(out.counterfactual - out.counterfactual.mean());
  out.r2_of_change = explained(out.counterfactual - base);
  return out;
}

}  // namespace tierod::patch
