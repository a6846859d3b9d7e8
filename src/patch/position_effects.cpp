#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include <algorithm>

#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/patch/twin_patching.h"
#include "tierod/stats/influence.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kWhere = "patch.position_effects";
constexpr auto* kWindow = "control window";

/// Return the range that the named spans cover in a row.
/// @throws InvalidArgument if they are not one behind the other.
Span range_of(const std::vector<Span>& row, const std::vector<std::string>& names,
              std::int64_t number) {
  std::vector<Span> found;
  for (const Span& span : row) {
    if (std::find(names.begin(), names.end(), span.name) != names.end()) found.push_back(span);
  }
  std::sort(found.begin(), found.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (i > 0 && found[i].begin != found[i - 1].end) found.clear();
  }
  if (found.empty()) {
    throw InvalidArgument(cat("[", kWhere, "] expected spans ", internal::list_text(names),
                              " that lie one behind the other in row ", number,
                              ", got none or a gap between them"));
  }
  return {.name = kWindow, .begin = found.front().begin, .end = found.back().end};
}

}  // namespace

PositionEffects position_effects(PairedRun& run, const Donor& donor,
                                 std::span<const std::int64_t> groups,
                                 const std::vector<std::string>& sites, const std::string& span,
                                 const std::vector<std::string>& control,
                                 const vla::ControlFunctional& functional, std::int64_t draws,
                                 std::uint64_t seed) {
  if (draws < 1) throw InvalidArgument(cat("[", kWhere, "] expected draws >= 1, got ", draws));
  if (sites.empty()) throw InvalidArgument(cat("[", kWhere, "] expected at least one site"));
  if (groups.size() != run.scenes().size()) {
    throw InvalidArgument(cat("[", kWhere, "] expected a group for each of ", run.scenes().size(),
                              " scenes, got ", groups.size()));
  }
  run.check_donor(donor, "position_effects");
  PairedRun::Impl& impl = run.impl();
  impl.need_base();
  const CounterRandom random(seed, "patch.control window");
  // rows of a batch, patched at the span or at its control window of one draw (-1: the span)
  const auto patched = [&](std::int64_t b, const ActivationCache& cache, std::int64_t draw) {
    SpanTable spans = impl.spans_of(b, Words::held);
    const EditRows rows = impl.edit_rows(b, Words::held);
    if (spans.size() == 1) spans.resize(rows.numbers.size(), spans.front());
    if (draw >= 0) {
      for (std::size_t r = 0; r < spans.size(); ++r) {
        const auto number = static_cast<std::int64_t>(r);
        const Span block = range_of(spans[r], {span}, number);
        Span window = range_of(spans[r], control, number);
        const std::int64_t size = block.end - block.begin;
        const std::int64_t room = window.end - window.begin - size;
        if (room < 0) {
          throw InvalidArgument(cat("[", kWhere, "] expected control spans of at least ", size,
                                    " tokens, as '", span, "' has in row ", r, ", got ",
                                    window.end - window.begin, "; name more of them"));
        }
        const double u = random.uniform(
            static_cast<std::uint64_t>(rows.scenes[r]), static_cast<std::uint32_t>(draw),
            static_cast<std::uint32_t>(r % static_cast<std::size_t>(impl.samples())));
        window.begin +=
            std::min(room, static_cast<std::int64_t>(u * static_cast<double>(room + 1)));
        window.end = window.begin + size;
        spans[r].push_back(window);
      }
    }
    const Selection selection = {.tokens = Tokens::spans({draw < 0 ? span : kWindow})};
    return impl.within(b, std::nullopt, Words::held, [&](Session& session) {
      session.set_spans(spans);
      for (const std::string& site : sites) {
        session.intervene(site, Intervention::restore(cache), {.selection = selection});
      }
    });
  };
  std::vector<std::vector<vla::Rollout>> of_draw(static_cast<std::size_t>(draws) + 1);
  impl.each("positions", [&](std::int64_t b) {
    const ActivationCache cache = impl.donated(b, donor, sites, {});
    for (std::int64_t draw = -1; draw < draws; ++draw) {
      of_draw[static_cast<std::size_t>(draw + 1)].push_back(patched(b, cache, draw));
    }
    return of_draw[0].back();
  });
  PositionEffects out;
  std::vector<at::Tensor> controls;
  for (std::size_t i = 0; i < of_draw.size(); ++i) {
    const at::Tensor effect = run.effect(PairedRun::Impl::join(std::move(of_draw[i])), functional);
    if (i == 0) {
      out.patched = effect;
    } else {
      controls.push_back(effect);
    }
  }
  out.control = at::stack(controls);
  if (out.control.abs().max().item<double>() == 0 && out.patched.abs().max().item<double>() > 0) {
    throw InvalidArgument(cat(
        "[", kWhere,
        "] expected a donor that differs at the control tokens, got one that does not ",
        "change control there at all: tokens before the words cannot know other words. Take other ",
        "scenes as donors too, with words of the same length"));
  }
  const at::Tensor by_scene = (out.patched.abs() - out.control.abs().mean(0))
                                  .view({static_cast<std::int64_t>(groups.size()), -1})
                                  .mean(1)
                                  .contiguous();
  out.difference =
      stats::influence_interval(stats::mean_influence(internal::numbers_of(by_scene), groups));
  return out;
}

std::vector<vla::Knockout> cot_cut(bool to_the_end) {
  if (!to_the_end) return {{.columns = "cot"}};
  // later tokens of the prefix have read the words: one that stays visible hands them on
  return {{.columns = "cot_start"}, {.columns = "cot"}, {.columns = "post_cot"}};
}

}  // namespace tierod::patch
