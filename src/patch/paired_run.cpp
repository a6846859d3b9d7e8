#include "tierod/patch/paired_run.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;
using internal::list_text;

namespace {

constexpr auto* kWhere = "patch.PairedRun";

// Spans that the words cannot move.
SpanTable before_words(const SpanTable& spans) {
  SpanTable out;
  for (const std::vector<Span>& row : spans) {
    std::vector<Span>& kept = out.emplace_back();
    for (const Span& span : row) {
      if (span.name == "prompt" || span.name == "ego" || span.name.starts_with("image ")) {
        kept.push_back(span);
      }
    }
  }
  return out;
}

bool offers(const vla::ModelDescription& about, std::string_view option) {
  return std::find(about.options.begin(), about.options.end(), option) != about.options.end();
}

}  // namespace

struct PairedRun::Impl {
  vla::Model& model;
  const vla::SceneSource& source;
  std::vector<std::int64_t> scenes;
  PairedOptions options;
  vla::ModelDescription about;
  vla::BatchSpec spec;
  std::vector<vla::Rollout> parts;  // of the base, by batch
  vla::Rollout whole;

  std::int64_t count() const { return static_cast<std::int64_t>(scenes.size()); }
  std::int64_t batches() const { return (count() + options.batch_size - 1) / options.batch_size; }
  std::int64_t samples() const { return options.rollout.num_samples; }

  std::int64_t first(std::int64_t number) const { return number * options.batch_size; }
  std::int64_t size(std::int64_t number) const {
    return std::min(options.batch_size, count() - first(number));
  }
  std::vector<std::int64_t> ids(std::int64_t number) const {
    return {scenes.begin() + first(number), scenes.begin() + first(number) + size(number)};
  }
  EditRows edit_rows(std::int64_t number) const {
    EditRows out;
    for (std::int64_t i = first(number); i < first(number) + size(number); ++i) {
      for (std::int64_t j = 0; j < samples(); ++j) {
        out.scenes.push_back(scenes[static_cast<std::size_t>(i)]);
        out.numbers.push_back(static_cast<std::size_t>(i));
      }
    }
    return out;
  }

  vla::Batch inputs(const std::vector<std::int64_t>& of, const std::string& twin_by) const {
    if (twin_by.empty()) return source.batch(of);
    std::optional<vla::Batch> batch = source.twin(of, twin_by);
    if (!batch) {
      throw StateError(cat("[", kWhere, "] the scenes have no twins by '", twin_by,
                           "'; a source offers them by `twin`"));
    }
    return *std::move(batch);
  }

  // Words and noise of one batch.
  vla::RolloutOptions of_batch(std::int64_t number, Words words) const {
    vla::RolloutOptions out = options.rollout;
    const auto cut = [&](std::optional<at::Tensor>& rows) {
      if (rows) rows = rows->narrow(0, first(number) * samples(), size(number) * samples());
    };
    cut(out.noise);
    cut(out.cot_tokens);
    if (words == Words::held) {
      const at::Tensor& said = parts[static_cast<std::size_t>(number)].cot_tokens;
      if (said.size(1) > 0) out.cot_tokens = said;
    }
    return out;
  }

  vla::Rollout drive(const vla::Batch& batch, const vla::RolloutOptions& how) const {
    spec.check(batch);
    vla::Rollout out = model.rollout(batch, how);
    out.check();
    if (out.rows() != batch.rows() * samples()) {
      throw InvalidArgument(cat("[", kWhere, "] expected ", batch.rows() * samples(),
                                " rows (scenes x samples) from the model, got ", out.rows()));
    }
    return out;
  }

  // Run all batches; `run(number)` gives the rollout of one.
  std::vector<vla::Rollout> each(const char* what,
                                 const std::function<vla::Rollout(std::int64_t)>& run) const {
    std::vector<vla::Rollout> out;
    for (std::int64_t b = 0; b < batches(); ++b) {
      if (options.progress && !options.progress(b, batches(), what)) {
        throw StateError(
            cat("[", kWhere, "] stopped after ", b, " of ", batches(), " batches of '", what, "'"));
      }
      out.push_back(run(b));
    }
    if (options.progress) options.progress(batches(), batches(), what);
    return out;
  }

  static vla::Rollout join(std::vector<vla::Rollout> rollouts) {
    return rollouts.size() == 1 ? std::move(rollouts.front()) : concatenate_rollouts(rollouts);
  }

  void need_base() {
    if (!parts.empty()) return;
    parts = each("base", [&](std::int64_t b) {
      return drive(inputs(ids(b), {}), of_batch(b, Words::regenerated));
    });
    whole = join(parts);
  }

  // Drive one batch within a session that `set_up` prepares.
  vla::Rollout within(std::int64_t number, const vla::Batch& batch, const vla::RolloutOptions& how,
                      Words words, const std::function<void(Session&)>& set_up) const {
    Session session(about.sites);
    const SpanTable& spans = parts[static_cast<std::size_t>(number)].spans;
    if (!spans.empty()) session.set_spans(words == Words::held ? spans : before_words(spans));
    set_up(session);
    vla::Rollout out;
    session.run([&] { out = drive(batch, how); });
    return out;
  }
};

PairedRun::PairedRun(vla::Model& model, const vla::SceneSource& source,
                     std::vector<std::int64_t> scenes, PairedOptions options)
    : impl_(std::make_unique<Impl>(model, source, std::move(scenes), std::move(options),
                                   model.describe(), model.batch_spec())) {
  vla::check_scene_ids(impl_->scenes, source.size(), kWhere);
  const std::set<std::int64_t> different(impl_->scenes.begin(), impl_->scenes.end());
  if (different.size() != impl_->scenes.size()) {
    throw InvalidArgument(cat("[", kWhere, "] expected every scene once, got ",
                              impl_->scenes.size() - different.size(), " of ", impl_->scenes.size(),
                              " again; take num_samples for several runs"));
  }
  if (impl_->options.batch_size < 1) {
    throw InvalidArgument(
        cat("[", kWhere, "] expected batch_size >= 1, got ", impl_->options.batch_size));
  }
  vla::RolloutOptions& rollout = impl_->options.rollout;
  if (offers(impl_->about, "pin_action_positions")) rollout.pin_action_positions = true;
  rollout.check(impl_->count());
  vla::check_options(rollout, impl_->about);
}

PairedRun::~PairedRun() = default;

const std::vector<std::int64_t>& PairedRun::scenes() const noexcept { return impl_->scenes; }
std::int64_t PairedRun::rows() const noexcept { return impl_->count() * impl_->samples(); }

bool PairedRun::can(const std::string& option) const { return offers(impl_->about, option); }

const vla::Rollout& PairedRun::base() {
  impl_->need_base();
  return impl_->whole;
}

vla::Rollout PairedRun::again(Words words) {
  impl_->need_base();
  return Impl::join(impl_->each("again", [&](std::int64_t b) {
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), impl_->of_batch(b, words));
  }));
}

vla::Rollout PairedRun::reseeded(std::uint64_t seed) {
  if (impl_->options.rollout.noise) {
    throw InvalidArgument(cat("[", kWhere,
                              ".reseeded] expected noise that is drawn, got one that was given: "
                              "another seed would not change it"));
  }
  return Impl::join(impl_->each("reseeded", [&](std::int64_t b) {
    vla::RolloutOptions how = impl_->of_batch(b, Words::regenerated);
    how.seed = seed;
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), how);
  }));
}

vla::Rollout PairedRun::edited(const Edit& edit, Words words, const std::string& twin_by) {
  impl_->need_base();
  return Impl::join(impl_->each("edited", [&](std::int64_t b) {
    return impl_->within(b, impl_->inputs(impl_->ids(b), twin_by), impl_->of_batch(b, words), words,
                         [&](Session& session) { edit.put_on(session, impl_->edit_rows(b)); });
  }));
}

vla::Rollout PairedRun::with_words(const vla::Rollout& other) {
  impl_->need_base();
  if (other.rows() != rows() || !other.cot_tokens.defined() || other.cot_tokens.dim() != 2) {
    throw InvalidArgument(cat("[", kWhere, ".with_words] expected the words of ", rows(),
                              " rows, got a run of ", other.rows()));
  }
  return Impl::join(impl_->each("other words", [&](std::int64_t b) {
    vla::RolloutOptions how = impl_->of_batch(b, Words::regenerated);
    const std::int64_t begin = impl_->first(b) * impl_->samples();
    const std::int64_t count = impl_->size(b) * impl_->samples();
    // a run joined of several batches is padded to the longest of all
    const auto longest = other.cot_lengths.narrow(0, begin, count).max().item<std::int64_t>();
    if (longest == 0) {
      throw InvalidArgument(cat("[", kWhere, ".with_words] expected a run that says something; a ",
                                "model without words has no text effect"));
    }
    how.cot_tokens = other.cot_tokens.narrow(0, begin, count).narrow(1, 0, longest);
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), how);
  }));
}

vla::Rollout PairedRun::twins(const std::string& by, Words words) {
  if (by.empty()) throw InvalidArgument(cat("[", kWhere, ".twins] expected a concept"));
  impl_->need_base();
  return Impl::join(impl_->each("twins", [&](std::int64_t b) {
    return impl_->drive(impl_->inputs(impl_->ids(b), by), impl_->of_batch(b, words));
  }));
}

vla::Rollout PairedRun::transplanted(const Donor& donor, const std::vector<std::string>& sites,
                                     const Selection& selection, Words words) {
  if (sites.empty()) {
    throw InvalidArgument(cat("[", kWhere, ".transplanted] expected at least one site"));
  }
  if (!donor.scenes.empty() && donor.scenes.size() != impl_->scenes.size()) {
    throw InvalidArgument(cat("[", kWhere, ".transplanted] expected a donor for each of ",
                              impl_->scenes.size(), " scenes, got ", donor.scenes.size()));
  }
  impl_->need_base();
  return Impl::join(impl_->each("transplanted", [&](std::int64_t b) {
    const auto begin = static_cast<std::ptrdiff_t>(impl_->first(b));
    const std::vector<std::int64_t> from =
        donor.scenes.empty()
            ? impl_->ids(b)
            : std::vector<std::int64_t>(donor.scenes.begin() + begin,
                                        donor.scenes.begin() + begin + impl_->size(b));
    // The donor's inputs, with the random numbers and the words of the base: what differs is what
    // the scene itself does.
    vla::Batch inputs = impl_->inputs(from, donor.twin_by);
    inputs.ids = impl_->ids(b);
    ActivationCache cache;
    {
      Session session(impl_->about.sites);
      const SpanTable& spans = impl_->parts[static_cast<std::size_t>(b)].spans;
      if (!spans.empty()) session.set_spans(spans);
      for (const std::string& site : sites) session.capture(site, {.selection = selection});
      session.run([&] { impl_->drive(inputs, impl_->of_batch(b, Words::held)); });
      cache = session.cache();
    }
    return impl_->within(b, impl_->inputs(impl_->ids(b), {}), impl_->of_batch(b, words), words,
                         [&](Session& session) {
                           for (const std::string& site : sites) {
                             session.intervene(site, Intervention::restore(cache),
                                               {.selection = selection});
                           }
                         });
  }));
}

vla::Rollout PairedRun::knocked_out(const std::vector<vla::Knockout>& knockouts, Words words) {
  if (knockouts.empty()) {
    throw InvalidArgument(cat("[", kWhere, ".knocked_out] expected at least one knockout"));
  }
  impl_->need_base();
  vla::RolloutOptions asked = impl_->options.rollout;
  asked.knockouts = knockouts;
  vla::check_options(asked, impl_->about);
  return Impl::join(impl_->each("knocked out", [&](std::int64_t b) {
    vla::RolloutOptions how = impl_->of_batch(b, words);
    how.knockouts.insert(how.knockouts.end(), knockouts.begin(), knockouts.end());
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), how);
  }));
}

RunActivations PairedRun::activations(const std::vector<std::string>& sites,
                                      const CaptureOptions& options, Words words,
                                      const std::string& twin_by) {
  if (sites.empty()) {
    throw InvalidArgument(cat("[", kWhere, ".activations] expected at least one site"));
  }
  impl_->need_base();
  std::vector<std::string> names;
  std::vector<std::vector<at::Tensor>> rows;
  impl_->each("activations", [&](std::int64_t b) {
    Session session(impl_->about.sites);
    const SpanTable& spans = impl_->parts[static_cast<std::size_t>(b)].spans;
    if (!spans.empty()) session.set_spans(spans);
    for (const std::string& site : sites) session.capture(site, options);
    vla::Rollout out;
    session.run([&] {
      out = impl_->drive(impl_->inputs(impl_->ids(b), twin_by), impl_->of_batch(b, words));
    });
    const ActivationCache cache = session.cache();
    if (b == 0) {
      names = cache.sites();
      rows.resize(names.size());
    }
    for (std::size_t s = 0; s < names.size(); ++s) {
      const std::vector<Activation> found = cache.find(names[s], {});
      if (found.size() != 1) {
        throw InvalidArgument(cat("[", kWhere, ".activations] expected one event of '", names[s],
                                  "' a run, got ", found.size(),
                                  "; choose a phase and step in the selection"));
      }
      rows[s].push_back(found.front().tensor);
    }
    return out;
  });
  RunActivations out{.sites = names, .rows = {}};
  for (const std::vector<at::Tensor>& of_site : rows) out.rows.push_back(at::cat(of_site));
  return out;
}

at::Tensor PairedRun::effect(const vla::Rollout& rollout, const vla::ControlFunctional& functional,
                             const std::string& twin_by) {
  if (rollout.rows() != rows()) {
    throw InvalidArgument(
        cat("[", kWhere, ".effect] expected a run of ", rows(), " rows, got ", rollout.rows()));
  }
  const at::Tensor here = functional(rollout, impl_->source, impl_->scenes, twin_by);
  const at::Tensor there = functional(base(), impl_->source, impl_->scenes);
  return here.to(at::kDouble) - there.to(at::kDouble);
}

at::Tensor PairedRun::derivative(const DirectionEdit& edit,
                                 const std::vector<DirectionEdit>& others,
                                 const vla::ControlFunctional& functional) {
  for (const DirectionEdit& other : others) {
    if (other.places().size() == edit.places().size()) continue;
    throw InvalidArgument(cat("[", kWhere, ".derivative] expected directions for ",
                              edit.places().size(), " places, got ", other.places().size()));
  }
  impl_->need_base();
  vla::RolloutOptions asked = impl_->options.rollout;
  asked.differentiable = true;
  vla::check_options(asked, impl_->about);
  // what a place was given, and what it went on with
  struct Seen {
    std::size_t place;
    std::string site;
    at::Tensor part, moved;
  };
  std::vector<at::Tensor> out;
  impl_->each("derivative", [&](std::int64_t b) {
    const at::AutoGradMode with_gradients(true);
    const EditRows rows = impl_->edit_rows(b);
    vla::RolloutOptions how = impl_->of_batch(b, Words::held);
    how.differentiable = true;
    std::vector<Seen> seen;
    vla::Rollout rollout =
        impl_->within(b, impl_->inputs(impl_->ids(b), {}), how, Words::held, [&](Session& session) {
          for (std::size_t i = 0; i < edit.places().size(); ++i) {
            session.intervene(
                edit.places()[i].site,
                [&, i](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
                  at::Tensor moved = edit.moved(i, part, rows, event.site.name());
                  if (!moved.requires_grad()) moved = moved.detach().requires_grad_(true);
                  seen.push_back({i, event.site.name(), part.detach(), moved});
                  return moved;
                },
                {.selection = edit.places()[i].selection});
          }
        });
    const at::Tensor values = functional(rollout, impl_->source, impl_->ids(b));
    if (!values.requires_grad()) {
      throw InvalidArgument(cat("[", kWhere, ".derivative] expected '", functional.name(),
                                "' to depend on the edited activations by a graph that can be ",
                                "differentiated, got none; the model says that it is "
                                "differentiable and cuts the graph"));
    }
    std::vector<at::Tensor> at_sites;
    at_sites.reserve(seen.size());
    for (const Seen& one : seen) at_sites.push_back(one.moved);
    const std::vector<at::Tensor> slopes = torch::autograd::grad(
        {values.sum()}, at_sites, {}, /*retain_graph=*/false, /*create_graph=*/false,
        /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    const auto count = static_cast<std::int64_t>(rows.numbers.size());
    at::Tensor moves = at::zeros({static_cast<std::int64_t>(others.size()), count}, at::kDouble);
    for (std::size_t k = 0; k < others.size(); ++k) {
      for (std::size_t s = 0; s < seen.size(); ++s) {
        if (!slopes[s].defined()) continue;
        const Seen& one = seen[s];
        const at::Tensor there = others[k].moved(one.place, one.part, rows, one.site);
        const at::Tensor product = slopes[s] * (there - one.moved);
        moves[static_cast<std::int64_t>(k)] +=
            product.reshape({count, -1}).sum(1).to(at::kCPU, at::kDouble);
      }
    }
    out.push_back(moves);
    rollout.actions = rollout.actions.detach();
    rollout.trajectory = rollout.trajectory.detach();
    return rollout;
  });
  return at::cat(out, 1);
}

at::Tensor PairedRun::direct(const Edit& edit, const vla::ControlFunctional& functional) {
  return effect(edited(edit, Words::held), functional);
}

at::Tensor PairedRun::total(const Edit& edit, const vla::ControlFunctional& functional) {
  return effect(edited(edit, Words::regenerated), functional);
}

at::Tensor PairedRun::text(const Edit& edit, const vla::ControlFunctional& functional) {
  return effect(with_words(edited(edit, Words::regenerated)), functional);
}

}  // namespace tierod::patch
