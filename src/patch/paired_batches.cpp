// The batches that base and edited runs share.

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "tierod/core/error.h"
#include "tierod/hook/hook_point.h"

namespace tierod::patch {

using internal::cat;

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

}  // namespace tierod::patch
