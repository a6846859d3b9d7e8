#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <set>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "patch/part_vectors_internal.h"
#include "tierod/core/error.h"
#include "tierod/hook/hook_point.h"

namespace tierod::patch {

using internal::cat;
using internal::list_text;

namespace {

constexpr auto* kWhere = kPairedRun;

// Spans that the words cannot move: all that end before the first of them begins.
SpanTable before_words(const SpanTable& spans) {
  const auto moves = [](const std::string& name) {
    return name == "cot" || name == "decision" || name == "post_cot" || name == "action" ||
           name.starts_with("concept ");
  };
  SpanTable out;
  for (const std::vector<Span>& row : spans) {
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    for (const Span& span : row) {
      if (moves(span.name)) first = std::min(first, span.begin);
    }
    std::vector<Span>& kept = out.emplace_back();
    for (const Span& span : row) {
      if (!moves(span.name) && span.end <= first) kept.push_back(span);
    }
  }
  return out;
}

bool offers(const vla::ModelDescription& about, std::string_view option) {
  return std::find(about.options.begin(), about.options.end(), option) != about.options.end();
}

}  // namespace

PairedRun::Impl::Impl(vla::Model& driven, const vla::SceneSource& from,
                      std::vector<std::int64_t> through, PairedOptions how)
    : model(driven),
      source(from),
      scenes(std::move(through)),
      options(std::move(how)),
      about(model.describe()),
      spec(model.batch_spec()),
      staged(dynamic_cast<vla::StagedModel*>(&model)) {}

SpanTable PairedRun::Impl::spans_of(std::int64_t number, Words words) const {
  const SpanTable& spans = parts[static_cast<std::size_t>(number)].spans;
  return words == Words::held ? spans : before_words(spans);
}

EditRows PairedRun::Impl::edit_rows(std::int64_t number, Words words) const {
  EditRows out;
  for (std::int64_t i = first(number); i < first(number) + size(number); ++i) {
    for (std::int64_t j = 0; j < samples(); ++j) {
      out.scenes.push_back(scenes[static_cast<std::size_t>(i)]);
      out.numbers.push_back(static_cast<std::size_t>(i));
    }
  }
  if (!parts.empty()) out.spans = spans_of(number, words);
  return out;
}

vla::Batch PairedRun::Impl::inputs(const std::vector<std::int64_t>& of,
                                   const std::string& twin_by) const {
  if (twin_by.empty()) return source.batch(of);
  std::optional<vla::Batch> batch = source.twin(of, twin_by);
  if (!batch) {
    throw StateError(cat("[", kWhere, "] the scenes have no twins by '", twin_by,
                         "'; a source offers them by `twin`"));
  }
  return *std::move(batch);
}

vla::Batch PairedRun::Impl::donor_inputs(std::int64_t number, const Donor& donor) const {
  const auto begin = static_cast<std::ptrdiff_t>(first(number));
  const std::vector<std::int64_t> from =
      donor.scenes.empty() ? ids(number)
                           : std::vector<std::int64_t>(donor.scenes.begin() + begin,
                                                       donor.scenes.begin() + begin + size(number));
  vla::Batch out = inputs(from, donor.twin_by);
  if (!donor.fields.empty()) {
    vla::Batch mixed = inputs(ids(number), {});
    for (const std::string& field : donor.fields) mixed.tensors[field] = out.at(field);
    out = std::move(mixed);
  }
  // the random numbers of the scene: what differs is what the donor itself does
  out.ids = ids(number);
  return out;
}

vla::RolloutOptions PairedRun::Impl::of_batch(std::int64_t number, Words words) const {
  vla::RolloutOptions out = as_given(number);
  if (words == Words::held) {
    const at::Tensor& said = parts[static_cast<std::size_t>(number)].cot_tokens;
    if (said.size(1) > 0) out.cot_tokens = said;
  } else {
    // words that were given are those of the base; what is regenerated the model writes itself
    out.cot_tokens.reset();
  }
  return out;
}

vla::RolloutOptions PairedRun::Impl::as_given(std::int64_t number) const {
  vla::RolloutOptions out = options.rollout;
  const auto cut = [&](std::optional<at::Tensor>& rows) {
    if (rows) rows = rows->narrow(0, first(number) * samples(), size(number) * samples());
  };
  cut(out.noise);
  cut(out.cot_tokens);
  return out;
}

vla::RolloutOptions PairedRun::Impl::saying(std::int64_t number, const vla::Rollout& other) const {
  vla::RolloutOptions how = of_batch(number, Words::regenerated);
  const std::int64_t begin = first(number) * samples();
  const std::int64_t rows = size(number) * samples();
  // a run joined of several batches is padded to the longest of all
  const auto longest = other.cot_lengths.narrow(0, begin, rows).max().item<std::int64_t>();
  if (longest == 0) {
    throw InvalidArgument(cat("[", kWhere, ".with_words] expected a run that says something; a ",
                              "model without words has no text effect"));
  }
  how.cot_tokens = other.cot_tokens.narrow(0, begin, rows).narrow(1, 0, longest);
  return how;
}

vla::Rollout PairedRun::Impl::checked(vla::Rollout out, std::int64_t rows) const {
  out.check();
  if (out.rows() != rows) {
    throw InvalidArgument(cat("[", kWhere, "] expected ", rows,
                              " rows (scenes x samples) from the model, got ", out.rows()));
  }
  return out;
}

vla::Rollout PairedRun::Impl::drive(const vla::Batch& batch, const vla::RolloutOptions& how) {
  spec.check(batch);
  ++rollouts;
  return checked(model.rollout(batch, how), batch.rows() * samples());
}

vla::Rollout PairedRun::Impl::act(std::int64_t number,
                                  const std::vector<vla::Knockout>& knockouts) {
  const RunScope run;
  ++acts;
  return checked(staged->act(*thoughts[static_cast<std::size_t>(number)], knockouts),
                 size(number) * samples());
}

std::vector<vla::Rollout> PairedRun::Impl::each(
    const char* what, const std::function<vla::Rollout(std::int64_t)>& run) const {
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

vla::Rollout PairedRun::Impl::join(std::vector<vla::Rollout> rollouts) {
  return rollouts.size() == 1 ? std::move(rollouts.front()) : concatenate_rollouts(rollouts);
}

void PairedRun::Impl::need_base() {
  if (!parts.empty()) return;
  thoughts.clear();
  // An open session of the caller's would edit the thought, or count what an act leaves out.
  bool keep = staged != nullptr && options.thought_memory > 0 && !options.rollout.differentiable &&
              !anybody_looks();
  std::int64_t bytes = 0;
  parts = each("base", [&](std::int64_t b) {
    const vla::Batch batch = inputs(ids(b), {});
    const vla::RolloutOptions how = as_given(b);
    if (!keep) return drive(batch, how);
    spec.check(batch);
    ++rollouts;
    const RunScope run;
    std::shared_ptr<const vla::Thought> thought = staged->think(batch, how);
    vla::Rollout out = checked(staged->act(*thought, {}), batch.rows() * samples());
    bytes += thought->bytes();
    if (bytes > options.thought_memory) {
      keep = false;
      thoughts.clear();
    } else {
      thoughts.push_back(std::move(thought));
    }
    return out;
  });
  whole = join(parts);
}

bool PairedRun::Impl::anybody_looks() noexcept {
  return detail::open_session_count.load(std::memory_order_relaxed) != 0;
}

bool PairedRun::Impl::acts_alone(const Session& session) const {
  const std::vector<std::string> targets = session.targets();
  return !targets.empty() && std::all_of(targets.begin(), targets.end(), [&](const auto& name) {
    const std::vector<FireCount>& fires = about.sites.find(name)->fires;
    return !fires.empty() && std::all_of(fires.begin(), fires.end(), [](const FireCount& count) {
      return count.phase == Phase::head || count.phase == Phase::denoise;
    });
  });
}

vla::Rollout PairedRun::Impl::within(std::int64_t number,
                                     const std::optional<vla::Batch>& inputs_of, Words words,
                                     const std::function<void(Session&)>& set_up) {
  Session session(about.sites);
  const SpanTable spans = spans_of(number, words);
  if (!spans.empty()) session.set_spans(spans);
  set_up(session);
  vla::Rollout out;
  // what is edited once all is said cannot change what was said
  const bool act_only = !inputs_of && can_act(number) && acts_alone(session) && !anybody_looks();
  if (act_only && words == Words::regenerated && !spans.empty()) {
    session.set_spans(spans_of(number, Words::held));
  }
  session.run([&] {
    out = act_only
              ? act(number)
              : drive(inputs_of ? *inputs_of : inputs(ids(number), {}), of_batch(number, words));
  });
  return out;
}

ActivationCache PairedRun::Impl::donated(std::int64_t number, const Donor& donor,
                                         const std::vector<std::string>& sites,
                                         const Selection& selection, vla::Rollout* run) {
  Session session(about.sites);
  const SpanTable spans = spans_of(number, Words::held);
  if (!spans.empty()) session.set_spans(spans);
  // Rows may have spans of different lengths, which no capture can hold: events are chosen here,
  // and rows, tokens and heads where the donor is put in.
  const Selection events = {.phases = selection.phases,
                            .steps = selection.steps,
                            .branches = selection.branches,
                            .calls = selection.calls};
  for (const std::string& site : sites) session.capture(site, {.selection = events});
  session.run([&] {
    vla::Rollout out =
        drive(donor_inputs(number, donor),
              donor.words ? saying(number, *donor.words) : of_batch(number, Words::held));
    if (donor.words) check_aligned(number, out);
    if (run != nullptr) *run = std::move(out);
  });
  return session.cache();
}

void PairedRun::Impl::check_aligned(std::int64_t number, const vla::Rollout& donor) const {
  const at::Tensor& mine = parts[static_cast<std::size_t>(number)].cot_lengths;
  const at::Tensor off = donor.cot_lengths.ne(mine);
  if (!off.any().item<bool>()) return;
  const auto row = off.nonzero()[0].item<std::int64_t>();
  throw InvalidArgument(cat(
      "[", kWhere, "] expected donors whose words are as long as the scene's, since patches pair ",
      "positions one to one, got ", donor.cot_lengths[row].item<std::int64_t>(), " tokens and ",
      mine[row].item<std::int64_t>(), " in row ", row, " of batch ", number,
      "; take words from `resampled_words`, which match them in length"));
}

PairedRun::PairedRun(vla::Model& model, const vla::SceneSource& source,
                     std::vector<std::int64_t> scenes, PairedOptions options)
    : impl_(std::make_unique<Impl>(model, source, std::move(scenes), std::move(options))) {
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
    return impl_->drive(impl_->inputs(impl_->ids(b), {}),
                        words == Words::held ? impl_->of_batch(b, words) : impl_->as_given(b));
  }));
}

vla::Rollout PairedRun::reseeded(std::uint64_t seed) {
  if (seed == impl_->options.rollout.seed) {
    throw InvalidArgument(cat("[", kWhere,
                              ".reseeded] expected another seed than the run's own, got ", seed,
                              "; `again` repeats the run"));
  }
  if (impl_->options.rollout.noise) {
    throw InvalidArgument(cat("[", kWhere,
                              ".reseeded] expected noise that is drawn, got one that was given: "
                              "another seed would not change it"));
  }
  return Impl::join(impl_->each("reseeded", [&](std::int64_t b) {
    vla::RolloutOptions how = impl_->as_given(b);
    how.seed = seed;
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), how);
  }));
}

vla::Rollout PairedRun::edited(const Edit& edit, Words words, const std::string& twin_by) {
  impl_->need_base();
  std::size_t edits = 0;
  std::vector<vla::Rollout> runs = impl_->each("edited", [&](std::int64_t b) {
    std::optional<vla::Batch> twins;
    if (!twin_by.empty()) twins = impl_->inputs(impl_->ids(b), twin_by);
    return impl_->within(b, twins, words, [&](Session& session) {
      edit.put_on(session, impl_->edit_rows(b, words));
      edits += session.edit_count();
    });
  });
  if (edits == 0) {
    throw InvalidArgument(cat("[", kWhere,
                              ".edited] expected an edit that intervenes somewhere, got '",
                              edit.name(), "', whose put_on sets up nothing in any batch"));
  }
  return Impl::join(std::move(runs));
}

vla::Rollout PairedRun::with_words(const vla::Rollout& other) {
  impl_->need_base();
  if (other.rows() != rows() || !other.cot_tokens.defined() || other.cot_tokens.dim() != 2) {
    throw InvalidArgument(cat("[", kWhere, ".with_words] expected the words of ", rows(),
                              " rows, got a run of ", other.rows()));
  }
  return Impl::join(impl_->each("other words", [&](std::int64_t b) {
    return impl_->drive(impl_->inputs(impl_->ids(b), {}), impl_->saying(b, other));
  }));
}

ResampledWords PairedRun::resampled_words(std::uint64_t seed, std::int64_t attempts) {
  if (attempts < 1) {
    throw InvalidArgument(
        cat("[", kWhere, ".resampled_words] expected attempts >= 1, got ", attempts));
  }
  const vla::Rollout& mine = base();
  ResampledWords out{.words = mine, .changed = at::zeros({rows()}, at::kBool)};
  at::Tensor tokens = mine.cot_tokens.clone();
  if (impl_->options.rollout.cot_tokens) {
    throw InvalidArgument(cat("[", kWhere,
                              ".resampled_words] expected a run whose words the model ",
                              "writes, got one with given words"));
  }
  for (std::int64_t i = 0; i < attempts; ++i) {
    const std::uint64_t other_seed = seed + static_cast<std::uint64_t>(i);
    if (other_seed == impl_->options.rollout.seed) continue;
    const vla::Rollout other = reseeded(other_seed);
    for (std::int64_t row = 0; row < rows(); ++row) {
      const auto length = mine.cot_lengths[row].item<std::int64_t>();
      if (out.changed[row].item<bool>() || other.cot_lengths[row].item<std::int64_t>() != length) {
        continue;
      }
      const at::Tensor said = other.cot_tokens[row].narrow(0, 0, length);
      if (said.equal(mine.cot_tokens[row].narrow(0, 0, length))) continue;
      tokens[row].narrow(0, 0, length).copy_(said);
      out.words.cot_text[static_cast<std::size_t>(row)] =
          other.cot_text[static_cast<std::size_t>(row)];
      out.changed[row] = true;
    }
    if (out.changed.all().item<bool>()) break;
  }
  out.words.cot_tokens = tokens;
  return out;
}

NoiseFloor PairedRun::noise_floor(const vla::ControlFunctional& functional,
                                  std::vector<std::uint64_t> seeds) {
  if (seeds.empty()) {
    for (std::uint64_t next = 1; next <= 3; ++next) {
      seeds.push_back(impl_->options.rollout.seed + next);
    }
  }
  NoiseFloor out;
  const vla::Rollout same = again();
  out.same_seed = effect(same, functional).abs().max().item<double>();
  out.deterministic = same.actions.equal(base().actions) && same.cot_text == base().cot_text;
  for (const std::uint64_t seed : seeds) {
    out.other_seeds.push_back(effect(reseeded(seed), functional).abs().mean().item<double>());
  }
  return out;
}

vla::Rollout PairedRun::twins(const std::string& by, Words words) {
  if (by.empty()) throw InvalidArgument(cat("[", kWhere, ".twins] expected a concept"));
  impl_->need_base();
  return Impl::join(impl_->each("twins", [&](std::int64_t b) {
    return impl_->drive(impl_->inputs(impl_->ids(b), by), impl_->of_batch(b, words));
  }));
}

void PairedRun::check_donor(const Donor& donor, const char* where) const {
  if (!donor.scenes.empty() && donor.scenes.size() != impl_->scenes.size()) {
    throw InvalidArgument(cat("[", kWhere, ".", where, "] expected a donor for each of ",
                              impl_->scenes.size(), " scenes, got ", donor.scenes.size()));
  }
  if (!donor.scenes.empty()) vla::check_scene_ids(donor.scenes, impl_->source.size(), kWhere);
  if (donor.words && donor.words->rows() != rows()) {
    throw InvalidArgument(cat("[", kWhere, ".", where, "] expected the donor's words for ", rows(),
                              " rows, got those of ", donor.words->rows()));
  }
}

vla::Rollout PairedRun::transplanted(const Donor& donor, const std::vector<std::string>& sites,
                                     const Selection& selection, Words words,
                                     const std::string& into_twins_by) {
  if (sites.empty()) {
    throw InvalidArgument(cat("[", kWhere, ".transplanted] expected at least one site"));
  }
  check_donor(donor, "transplanted");
  impl_->need_base();
  return Impl::join(impl_->each("transplanted", [&](std::int64_t b) {
    const ActivationCache cache = impl_->donated(b, donor, sites, selection);
    std::optional<vla::Batch> twins;
    if (!into_twins_by.empty()) twins = impl_->inputs(impl_->ids(b), into_twins_by);
    return impl_->within(b, twins, words, [&](Session& session) {
      for (const std::string& site : sites) {
        session.intervene(site, Intervention::restore(cache), {.selection = selection});
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
  const bool of_head = std::all_of(knockouts.begin(), knockouts.end(), [](const auto& knockout) {
    return knockout.readers == "action";
  });
  return Impl::join(impl_->each("knocked out", [&](std::int64_t b) {
    if (of_head && impl_->can_act(b) && !Impl::anybody_looks()) return impl_->act(b, knockouts);
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
    const SpanTable spans = impl_->spans_of(b, words);
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

const std::vector<std::string>& PairedRun::head_inputs() const noexcept {
  return impl_->about.head_inputs;
}

at::Tensor PairedRun::values(const vla::Rollout& rollout, const vla::ControlFunctional& functional,
                             const std::string& twin_by) {
  if (rollout.rows() != rows()) {
    throw InvalidArgument(
        cat("[", kWhere, ".effect] expected a run of ", rows(), " rows, got ", rollout.rows()));
  }
  return functional(rollout, impl_->source, impl_->scenes, twin_by).to(at::kCPU, at::kDouble);
}

at::Tensor PairedRun::effect(const vla::Rollout& rollout, const vla::ControlFunctional& functional,
                             const std::string& twin_by) {
  return values(rollout, functional, twin_by) - values(base(), functional);
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
    Site site;
    EditRows rows;
    at::Tensor part, moved;
  };
  std::vector<at::Tensor> out;
  impl_->each("derivative", [&](std::int64_t b) {
    const at::AutoGradMode with_gradients(true);
    const EditRows rows = impl_->edit_rows(b, Words::held);
    vla::RolloutOptions how = impl_->of_batch(b, Words::held);
    how.differentiable = true;
    std::vector<Seen> seen;
    Session session(impl_->about.sites);
    if (!rows.spans.empty()) session.set_spans(rows.spans);
    for (std::size_t i = 0; i < edit.places().size(); ++i) {
      session.intervene(
          edit.places()[i].site,
          [&, i](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
            const EditRows here = internal::with_part(rows);
            at::Tensor moved = edit.moved(i, part, here, event.site);
            if (!moved.requires_grad()) moved = moved.detach().requires_grad_(true);
            seen.push_back({i, event.site, here, part.detach(), moved});
            return moved;
          },
          {.selection = edit.places()[i].selection, .ragged = true});
    }
    vla::Rollout rollout;
    session.run([&] { rollout = impl_->drive(impl_->inputs(impl_->ids(b), {}), how); });
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
    const std::int64_t count = internal::length(rows.numbers.size());
    at::Tensor moves = at::zeros({static_cast<std::int64_t>(others.size()), count}, at::kDouble);
    for (std::size_t k = 0; k < others.size(); ++k) {
      for (std::size_t s = 0; s < seen.size(); ++s) {
        if (!slopes[s].defined()) continue;
        const Seen& one = seen[s];
        const at::Tensor there = others[k].moved(one.place, one.part, one.rows, one.site);
        const at::Tensor product = slopes[s] * (there - one.moved);
        moves[static_cast<std::int64_t>(k)] += internal::sum_of_rows(product, one.rows);
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
