#include "tierod/patch/paired_run.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kWhere = kPairedRun;

bool offers(const vla::ModelDescription& about, std::string_view option) {
  return std::find(about.options.begin(), about.options.end(), option) != about.options.end();
}

}  // namespace

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
