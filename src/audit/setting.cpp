#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "audit/setting_internal.h"
#include "core/tensor_internal.h"
#include "tierod/hook/session.h"

namespace tierod::internal {

using patch::EditSite;
using patch::Over;
using probe::Split;

namespace {

constexpr std::int64_t kChunk = 1000;  // scenes that are driven before their thoughts are dropped
constexpr std::int64_t kScenesAColumn = 16;   // methods: fewer leave the concept readable
constexpr std::int64_t kEnoughScenes = 2500;  // of A, for a narrow site
constexpr double kConstant = 1e-4;            // standard deviation of a place that tells nothing

std::vector<std::string> expanded(const SiteTable& table,
                                  const std::vector<std::string>& patterns) {
  std::vector<std::string> out;
  for (const std::string& pattern : patterns) {
    for (const SiteSpec* spec : table.match(SitePattern(pattern))) {
      out.push_back(spec->site.name());
    }
  }
  return out;
}

// Numbers of one token (heads side by side), and tokens, of what a site gives.
struct Shape {
  std::int64_t width = 1, tokens = 1;
};

Shape shape_of(const at::Tensor& x, const std::string& layout) {
  Shape out;
  for (std::int64_t axis = 0; axis < x.dim(); ++axis) {
    const char letter = layout[static_cast<std::size_t>(axis)];
    if (letter == 'h' || letter == 'd' || letter == 'w') out.width *= x.size(axis);
    if (letter == 't') out.tokens *= x.size(axis);
  }
  return out;
}

// A direction that is only there to say how wide a place is.
patch::DirectionPlace looking(const EditSite& site, std::int64_t width) {
  at::Tensor unit = at::zeros({width}, at::kDouble);
  unit[0] = 1;
  return {.site = site.site,
          .direction =
              probe::Direction(site.site, unit, unit, at::zeros({width}, at::kDouble), 1, 0, 1),
          .selection = site.selection,
          .over = Over::pooled};
}

/// Drive through scenes, some at a time, and return rows at the places: every number of each where
/// `whole`, else the mean token.
std::vector<at::Tensor> rows_of(const Setting& setting, const std::vector<std::int64_t>& scenes,
                                const std::vector<patch::DirectionPlace>& places, bool whole,
                                const std::function<void(std::int64_t)>& driven) {
  std::vector<std::vector<at::Tensor>> parts(places.size());
  for (std::size_t begin = 0; begin < scenes.size(); begin += kChunk) {
    const std::size_t end = std::min(scenes.size(), begin + kChunk);
    const auto run = setting.runs({scenes.begin() + static_cast<std::ptrdiff_t>(begin),
                                   scenes.begin() + static_cast<std::ptrdiff_t>(end)});
    const std::vector<at::Tensor> rows = run->rows_at(places, whole);
    for (std::size_t i = 0; i < places.size(); ++i) parts[i].push_back(rows[i].to(at::kFloat));
    driven(length(end));
  }
  std::vector<at::Tensor> out;
  out.reserve(parts.size());
  for (const std::vector<at::Tensor>& part : parts) out.push_back(at::cat(part));
  return out;
}

}  // namespace

Setting::Setting(vla::Model& driven, const vla::SceneSource& from, const audit::Protocol& fixed,
                 Progress progress)
    : model(driven),
      source(from),
      protocol(fixed),
      about(driven.describe()),
      world(from, fixed),
      progress_(std::move(progress)) {}

bool Setting::can(const std::string& option) const {
  return std::find(about.options.begin(), about.options.end(), option) != about.options.end();
}

std::unique_ptr<patch::PairedRun> Setting::runs(std::vector<std::int64_t> scenes,
                                                vla::RolloutOptions options) const {
  options.seed = protocol.seed;
  options.pin_action_positions = can("pin_action_positions");
  return std::make_unique<patch::PairedRun>(
      model, source, std::move(scenes),
      patch::PairedOptions{.rollout = std::move(options), .batch_size = protocol.batch_size});
}

bool Setting::talks() {
  if (!talks_) {
    const std::vector<std::int64_t> few = world.any(Split::a, 4, "audit.talks");
    talks_ = runs(few)->base().cot_lengths.max().item<std::int64_t>() > 0 && can("cot_tokens");
  }
  return *talks_;
}

bool Setting::has_twins(const std::string& name) const {
  return source.twin({world.of(Split::c).front()}, name).has_value();
}

void Setting::say(const std::string& what) {
  if (progress_ && !progress_(done_, steps, what)) {
    throw Stopped(cat("[audit.run] stopped at '", what,
                      "'; what is finished is kept, and the same ", "audit goes on with resume"));
  }
}

std::vector<std::string> Setting::adjusted_for(const probe::ProbeDataset& data,
                                               const std::string& feature) const {
  std::vector<std::string> out;
  const std::vector<std::string> known = data.concepts();
  const auto there = [&](const std::string& name) {
    return std::find(known.begin(), known.end(), name) != known.end();
  };
  for (const std::string& name : world.concepts()) {
    if (name != feature && there(name)) out.push_back(name);
  }
  for (const std::string& name : protocol.adjust_for) {
    if (name == feature || std::find(out.begin(), out.end(), name) != out.end()) continue;
    const auto& nuisances = data.nuisances();
    const bool nuisance = std::any_of(nuisances.begin(), nuisances.end(),
                                      [&](const probe::Nuisance& n) { return n.name == name; });
    if (there(name) || nuisance) out.push_back(name);
  }
  return out;
}

probe::ResidualOptions Setting::residual(const probe::ProbeDataset& data,
                                         const std::string& feature, std::size_t folds) const {
  return {.adjust_for = adjusted_for(data, feature),
          .interactions = protocol.interactions,
          .folds = folds,
          .seed = protocol.seed};
}

const FittedSites& Setting::fitted(std::size_t number) {
  if (const auto found = fitted_.find(number); found != fitted_.end()) return *found->second;
  const audit::CandidateSites& candidate = protocol.candidates.at(number);
  say(cat("reading split A at ", candidate.name));
  const at::NoGradGuard no_grad;
  std::vector<EditSite> sites;
  for (const std::string& site : expanded(about.sites, candidate.sites)) {
    sites.push_back({.site = site, .over = candidate.over});
    if (!candidate.spans.empty()) sites.back().selection.tokens = Tokens::spans(candidate.spans);
  }
  // how wide the sites are, of two scenes
  const bool whole = candidate.over == Over::concatenated;
  const auto few = runs(world.any(Split::a, 2, "audit.shape"));
  std::vector<patch::DirectionPlace> places;
  std::int64_t widest = 0;
  for (const EditSite& site : sites) {
    const patch::RunActivations seen = few->activations({site.site}, {});
    const Shape shape = shape_of(seen.rows.front(), about.sites.find(site.site)->site.layout());
    places.push_back(looking(site, shape.width));
  }
  for (const at::Tensor& rows : few->rows_at(places, whole))
    widest = std::max(widest, rows.size(1));
  std::int64_t wanted = std::max(kEnoughScenes, kScenesAColumn * widest);
  if (protocol.fit_scenes > 0) wanted = std::min(wanted, protocol.fit_scenes);
  const std::vector<std::int64_t> scenes = world.any(Split::a, wanted, "audit.fit");
  const std::vector<at::Tensor> rows =
      rows_of(*this, scenes, places, whole, [&](std::int64_t done) {
        say(cat("reading split A at ", candidate.name, ", ", done, " of ", scenes.size()));
      });
  passes += 2 * length(scenes.size());
  std::vector<std::string> nuisances = protocol.adjust_for;
  for (const vla::SceneNuisance& nuisance : world.nuisances()) nuisances.push_back(nuisance.name);
  auto out = std::make_unique<FittedSites>(FittedSites{.candidate = candidate,
                                                       .sites = sites,
                                                       .data = world.dataset(scenes, nuisances),
                                                       .guard = {},
                                                       .widest = widest});
  for (std::size_t i = 0; i < sites.size(); ++i) {
    out->data.add_site(sites[i].site, rows[i]);
    // the guard looks at the mean token, or at all numbers where these are edited
    out->guard.push_back({.site = sites[i].site,
                          .manifold = patch::Manifold::fit(rows[i], out->data.groups()),
                          .selection = sites[i].selection,
                          .over = whole ? Over::concatenated : Over::pooled});
  }
  return *(fitted_[number] = std::move(out));
}

const FittedHead& Setting::head() {
  if (head_) return *head_;
  say("reading split A at the head inputs");
  const at::NoGradGuard no_grad;
  const std::vector<std::int64_t> two = world.any(Split::a, 2, "audit.shape");
  const auto few = runs(two);
  // spans that divide the tokens; those of words within others are left out
  std::vector<std::string> spans;
  for (const Span& span : few->base().spans.empty() ? std::vector<Span>() : few->base().spans[0]) {
    const bool inner =
        span.name == "decision" || span.name == "action" || span.name.starts_with("concept ");
    if (!inner) spans.push_back(span.name);
  }
  std::vector<EditSite> places;
  std::vector<patch::DirectionPlace> looks;
  std::vector<std::string> names;
  for (const std::string& site : about.head_inputs) {
    const patch::RunActivations seen = few->activations({site}, {});
    const Shape shape = shape_of(seen.rows.front(), about.sites.find(site)->site.layout());
    const bool parts = shape.tokens > 1 && !spans.empty();
    for (const std::string& span : parts ? spans : std::vector<std::string>{""}) {
      places.push_back({.site = site, .over = Over::concatenated});
      if (!span.empty()) places.back().selection.tokens = Tokens::spans({span});
      looks.push_back(looking(places.back(), shape.width));
      names.push_back(span.empty() ? site : cat(site, " ", span));
    }
  }
  auto out = std::make_unique<FittedHead>(FittedHead{.data = probe::ProbeDataset({0})});
  // all numbers of a place where every row has as many, else the mean token
  const std::vector<std::int64_t> some = world.any(Split::a, 100, "audit.shape");
  const auto shapes = runs(some);
  const std::vector<at::Tensor> whole = shapes->rows_at(looks, true);
  const std::vector<at::Tensor> means = shapes->rows_at(looks, false);
  const auto most = static_cast<std::int64_t>(world.of(Split::a).size());
  const std::int64_t cap = protocol.fit_scenes > 0 ? std::min(most, protocol.fit_scenes) : most;
  double rarest = 1;  // 4 p (1 - p): 1 where half of the scenes hold the concept
  for (const audit::ConceptPlan& plan : protocol.concepts) {
    const std::vector<std::uint8_t> labels = world.labels(plan.id, world.of(Split::a));
    const double p = static_cast<double>(std::count(labels.begin(), labels.end(), 1)) /
                     static_cast<double>(labels.size());
    rarest = std::min(rarest, 4 * p * (1 - p));
  }
  std::vector<patch::DirectionPlace> kept[2];
  std::vector<std::size_t> order[2];
  for (std::size_t i = 0; i < looks.size(); ++i) {
    if (whole[i].std(0).max().item<double>() < kConstant) continue;  // nothing passes there
    std::int64_t width = whole[i].size(1);
    out->wanted = std::max(
        out->wanted,
        static_cast<std::int64_t>(std::ceil(static_cast<double>(kScenesAColumn * width) / rarest)));
    const bool all = width > means[i].size(1) && kScenesAColumn * width <= cap;
    if (width > means[i].size(1) && !all) {
      out->notes.push_back(cat(names[i], ": ", width, " numbers want ", kScenesAColumn * width,
                               " scenes of A, there are ", cap, "; their mean token is erased"));
      width = means[i].size(1);
    }
    kept[all ? 1 : 0].push_back(looks[i]);
    order[all ? 1 : 0].push_back(i);
  }
  const std::vector<std::int64_t> scenes =
      world.any(Split::a, std::min(cap, std::max(kEnoughScenes, out->wanted)), "audit.fit");
  out->data = world.dataset(scenes, protocol.adjust_for);
  for (const bool all : {false, true}) {
    if (kept[all ? 1 : 0].empty()) continue;
    const std::vector<at::Tensor> rows =
        rows_of(*this, scenes, kept[all ? 1 : 0], all, [&](std::int64_t done) {
          say(cat("reading split A at the head inputs, ", done, " of ", scenes.size()));
        });
    passes += 2 * length(scenes.size());
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const std::size_t i = order[all ? 1 : 0][k];
      EditSite place = places[i];
      place.over = all ? Over::concatenated : Over::pooled;
      out->places.push_back(std::move(place));
      out->names.push_back(names[i]);
      out->data.add_site(names[i], rows[k]);
    }
  }
  head_ = std::move(out);
  return *head_;
}

}  // namespace tierod::internal
