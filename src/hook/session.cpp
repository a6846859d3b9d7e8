#include "tierod/hook/session.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "core/text_internal.h"
#include "hook/session_list_internal.h"
#include "hook/session_state_internal.h"
#include "tierod/core/error.h"
#include "tierod/hook/hook_point.h"

namespace tierod {

using internal::cat;
using internal::list_text;

SitePlan& SessionState::plan(const Site& site) {
  const std::uint32_t id = site.id();
  if (id >= plans.size()) plans.resize(std::max<std::size_t>(id + 1, plans.size() * 2));
  auto& plan = plans[id];
  if (!plan) {
    void* place = arena.allocate(sizeof(SitePlan), alignof(SitePlan));
    plan.reset(new (place) SitePlan(site, &arena));
    plan->spec = table.find(site);
    resolve(*plan);
  }
  return *plan;
}

std::int32_t FireCounts::add(std::uint64_t context) {
  if (counts_.empty() || counts_[last_].context != context) {
    const auto at =
        std::lower_bound(counts_.begin(), counts_.end(), context,
                         [](const Count& count, std::uint64_t c) { return count.context < c; });
    last_ = static_cast<std::size_t>(at - counts_.begin());
    if (at == counts_.end() || at->context != context) counts_.insert(at, {context, 0});
  }
  return counts_[last_].fired++;
}

void SitePlan::restart() {
  const auto forget = [](auto& uses) {
    for (auto& use : uses) {
      use.done = 0;
      use.moments.reset();
    }
  };
  forget(before);
  forget(after);
  forget(gradient_captures);
  forget(edits);
  forget(gradient_edits);
  counts.clear();
  gradient_events = 0;
  recomputed = 0;
  checkpointed = false;
  seen = false;
}

void SessionState::resolve(SitePlan& plan) const {
  const auto add = [](auto& uses, const auto& request) {
    for (const auto& use : uses) {
      if (use.request == &request) return;  // already there, with its count
    }
    const Selection& selection = request.options.selection;
    uses.push_back({&request, selection.all_events(), selection.whole_tensor()});
  };
  for (const CaptureRequest& request : captures) {
    if (!request.pattern.matches(plan.site)) continue;
    if (request.options.gradient) {
      add(plan.gradient_captures, request);
    } else {
      add(request.options.when == When::before ? plan.before : plan.after, request);
    }
  }
  for (const EditRequest& request : edits) {
    if (!request.pattern.matches(plan.site)) continue;
    add(request.options.gradient ? plan.gradient_edits : plan.edits, request);
  }
  const auto keeps_whole = [](const auto& use) { return use.request->keeps_whole(); };
  plan.simple = plan.before.empty() && plan.edits.empty() && !plan.wants_gradient() &&
                std::all_of(plan.after.begin(), plan.after.end(), keeps_whole);
  plan.active =
      !plan.before.empty() || !plan.after.empty() || !plan.edits.empty() || plan.wants_gradient();
}

void SessionState::resolve_again() {
  for (const auto& plan : plans) {
    if (plan) resolve(*plan);
  }
}

void SessionState::append(const SitePlan& plan, const internal::Context& context, std::int32_t call,
                          const CaptureRequest& request, at::Tensor tensor,
                          const at::Tensor& whole) {
  std::unique_ptr<const std::vector<std::int64_t>> shape;
  if (!tensor.sizes().equals(whole.sizes())) {
    shape = std::make_unique<const std::vector<std::int64_t>>(whole.sizes().vec());
  }
  cache.data_->append({plan.site, context.phase, context.branch, context.step, call, request.number,
                       std::move(tensor), std::move(shape)},
                      request.info);
}

void SessionState::leave() noexcept {
  if (!open.exchange(false)) return;
  detail::open_session_count.fetch_sub(1, std::memory_order_relaxed);
  try {
    if (process_wide) {
      internal::ProcessSessions::instance().remove(this);
    } else if (owner == std::this_thread::get_id()) {
      std::erase_if(internal::thread_state().stack,
                    [&](const auto& item) { return item.get() == this; });
    }
  } catch (...) {
    // Only memory can be lacking; a closed session that stays listed does nothing.
  }
}

// --- the contract -------------------------------------------------------------------------------

namespace {

std::string context_text(std::uint64_t packed) {
  const auto phase = static_cast<Phase>(packed >> 48);
  const auto step = static_cast<std::int32_t>(packed & 0xFFFFFFFF);
  const std::string branch = internal::branch_text(static_cast<std::uint16_t>(packed >> 32));
  std::string text = phase_name(phase);
  if (step >= 0) text += cat(" step ", step);
  if (!branch.empty()) text += cat(" branch ", branch);
  return text;
}

std::string counts_text(const SitePlan& plan) {
  std::vector<std::string> parts;
  for (const auto& [packed, count] : plan.counts) {
    parts.push_back(cat(count, " x ", context_text(packed)));
  }
  std::sort(parts.begin(), parts.end());
  return list_text(parts, 6);
}

void check_declared(const SiteSpec& spec, const SitePlan& plan, std::int64_t started,
                    std::int64_t completed) {
  for (const FireCount fires : spec.fires) {
    std::int64_t seen = 0;
    for (const auto& [packed, count] : plan.counts) {
      if (!fires.phase || fires.phase == static_cast<Phase>(packed >> 48)) seen += count;
    }
    const std::int64_t low = fires.min * completed;
    const std::int64_t high = fires.max * started;
    if (seen >= low && seen <= high) continue;
    const std::string phase = fires.phase ? cat(" in phase ", phase_name(*fires.phase)) : "";
    throw SiteError(cat("[hook.Session.close] '", spec.site.name(), "' fired ", seen, " times",
                        phase, ", but the model declares ",
                        low == high ? cat(low) : cat(low, " to ", high), " in ", completed, " of ",
                        started, " runs that were completed; seen: ", counts_text(plan),
                        "; is part of the model compiled, bypassed, or called more than once?"));
  }
}

template <typename Request>
void check_uses(const std::pmr::vector<Use<Request>>& uses, const SitePlan& plan,
                const char* what) {
  for (const Use<Request>& use : uses) {
    if (use.done > 0) continue;
    throw SiteError(cat("[hook.Session.close] ", what, " at '", plan.site.name(), "' (pattern '",
                        use.request->pattern.text(), "', selection ",
                        use.request->options.selection.to_json(),
                        ") never met an event, although the site fired: ", counts_text(plan),
                        "; correct its phases, steps, calls, positions or spans"));
  }
}

}  // namespace

void SessionState::check_contract() const {
  const auto names_seen = [&] {
    std::vector<std::string> names;
    for (const auto& plan : plans) {
      if (plan && plan->seen) names.push_back(plan->site.name());
    }
    return names;
  };
  std::unordered_set<const SiteSpec*> fired_specs;
  if (!table.empty()) {
    for (const auto& plan : plans) {
      if (plan && plan->seen && plan->spec != nullptr) fired_specs.insert(plan->spec);
    }
  }
  const auto check_pattern = [&](const SitePattern& pattern) {
    if (!table.empty()) {
      for (const SiteSpec* spec : table.match(pattern)) {
        const bool fired = fired_specs.contains(spec);
        const bool optional =
            !spec->fires.empty() && std::all_of(spec->fires.begin(), spec->fires.end(),
                                                [](const FireCount& f) { return f.min == 0; });
        if (fired || optional) continue;
        throw SiteError(cat(
            "[hook.Session.close] '", spec->site.name(),
            "' never fired, expected at least once; sites that fired: ", list_text(names_seen(), 6),
            "; was the model run inside of the session, and is this part of it "
            "reached in eager mode?"));
      }
      return;
    }
    for (const auto& plan : plans) {
      if (plan && plan->seen && pattern.matches(plan->site)) return;
    }
    const std::vector<std::string> seen = names_seen();
    const auto near = nearest_names(pattern.text(), seen);
    throw SiteError(cat("[hook.Session.close] no site that fired matches '", pattern.text(), "'; ",
                        seen.empty()   ? std::string("no site fired at all: was the model run "
                                                       "inside of the session, on this thread?")
                        : near.empty() ? cat("sites that fired: ", list_text(seen, 6))
                                       : cat("nearest names: ", list_text(near))));
  };
  for (const CaptureRequest& request : captures) check_pattern(request.pattern);
  for (const EditRequest& request : edits) check_pattern(request.pattern);
  for (const auto& plan : plans) {
    if (!plan || !plan->active || plan->counts.empty()) continue;
    if (plan->spec != nullptr && runs_started > 0) {
      check_declared(*plan->spec, *plan, runs_started, runs_completed);
    }
    check_uses(plan->before, *plan, "a capture");
    check_uses(plan->after, *plan, "a capture");
    check_uses(plan->edits, *plan, "an edit");
    if (plan->checkpointed && plan->recomputed == 0) {
      throw StateError(
          cat("[hook.Session.close] '", plan->site.name(),
              "' was edited inside of a checkpoint, and backward has not run: it would "
              "recompute the unedited model. Run backward() before the session closes, "
              "or the forward under no_grad"));
    }
    if (plan->wants_gradient() && plan->gradient_events == 0) {
      throw SiteError(cat("[hook.Session.close] no gradient arrived at '", plan->site.name(),
                          "'; run backward() before the session closes, with gradients enabled and "
                          "a loss that depends on the site"));
    }
    check_uses(plan->gradient_captures, *plan, "a gradient capture");
    check_uses(plan->gradient_edits, *plan, "a gradient edit");
  }
}

// --- Session
// --------------------------------------------------------------------------------------

Session::Session() : Session(SiteTable(), false) {}
Session::Session(SiteTable table) : Session(std::move(table), false) {}
Session::Session(SiteTable table, bool process_wide)
    : state_(std::make_shared<SessionState>(std::move(table), process_wide)) {}

Session::~Session() {
  if (!state_->open) return;
  state_->leave();
  if (std::uncaught_exceptions() == 0) {
    TORCH_WARN(
        "[hook.Session] a session was destroyed while open: its checks were not made; call "
        "close()");
  }
}

namespace {

void check_may_change(const SessionState& state, const char* function) {
  if (internal::thread_state().in_callback) {
    throw StateError(
        cat("[hook.Session.", function,
            "] a session cannot be changed from a callback; set it up before the run"));
  }
  if (state.process_wide && state.open) {
    throw StateError(
        cat("[hook.ProcessSession.", function,
            "] the session is open and other threads may be using it; set it up before "
            "open()"));
  }
}

// Refuse an unknown site now rather than after an expensive run, where the model declares its
// sites.
void check_known(const SiteTable& table, const SitePattern& pattern, bool edits) {
  if (table.empty()) return;
  for (const SiteSpec* spec : table.match(pattern)) {
    if (edits && !spec->read_only_reason.empty()) {
      throw SiteError(cat("[hook.Session.intervene] '", spec->site.name(),
                          "' can be captured but not edited: ", spec->read_only_reason));
    }
  }
}

}  // namespace

void SessionState::check_capture(const SitePattern& pattern, const CaptureOptions& options) const {
  options.selection.check("[hook.Session.capture]");
  check_sink(options);
  check_known(table, pattern, false);
  if (options.keep_graph && (options.gradient || options.reduce == Reduce::moments ||
                             options.reduce == Reduce::covariance)) {
    throw InvalidArgument(
        "[hook.Session.capture] keep_graph holds for activations, not for gradients or moments");
  }
}

void SessionState::check_sink(const CaptureOptions& options) {
  if (!options.sink) return;
  if (options.keep_graph || options.reduce == Reduce::moments ||
      options.reduce == Reduce::covariance) {
    throw InvalidArgument(
        "[hook.Session.capture] a sink takes rows: keep_graph and the reductions moments and "
        "covariance do not go with it; use a sink that accumulates");
  }
}

void SessionState::check_edit(const SitePattern& pattern, const InterveneOptions& options) const {
  options.selection.check("[hook.Session.intervene]");
  check_known(table, pattern, true);
}

void SessionState::check_spans(const SpanTable& spans) {
  for (std::size_t row = 0; row < spans.size(); ++row) {
    std::set<std::string_view> names;
    for (const Span& span : spans[row]) {
      if (span.name.empty() || span.begin < 0 || span.end <= span.begin) {
        throw InvalidArgument(cat("[hook.Session.set_spans] row ", row,
                                  ": expected a named span with 0 <= begin < end, got '", span.name,
                                  "' [", span.begin, ", ", span.end, ")"));
      }
      if (!names.insert(span.name).second) {
        throw InvalidArgument(cat("[hook.Session.set_spans] row ", row, " names the span '",
                                  span.name, "' twice; number them, as in 'image 0'"));
      }
    }
  }
}

void Session::capture(std::string_view pattern, CaptureOptions options) {
  check_may_change(*state_, "capture");
  SitePattern parsed(pattern);
  state_->check_capture(parsed, options);
  auto info = std::make_shared<CaptureInfo>(
      CaptureInfo{options.selection, options.reduce, options.when, options.gradient});
  const auto number = static_cast<std::uint32_t>(state_->captures.size());
  state_->captures.push_back({std::move(parsed), std::move(options), std::move(info), number});
  state_->resolve_again();
}

void Session::intervene(std::string_view pattern, Intervention intervention,
                        InterveneOptions options) {
  check_may_change(*state_, "intervene");
  SitePattern parsed(pattern);
  state_->check_edit(parsed, options);
  state_->edits.push_back({std::move(parsed), std::move(options), std::move(intervention), {}});
  state_->resolve_again();
}

void Session::intervene(std::string_view pattern, Callback callback, InterveneOptions options) {
  check_may_change(*state_, "intervene");
  SitePattern parsed(pattern);
  state_->check_edit(parsed, options);
  if (!callback) {
    throw InvalidArgument(
        "[hook.Session.intervene] expected a callable callback, got an empty one");
  }
  state_->edits.push_back(
      {std::move(parsed), std::move(options), std::nullopt, std::move(callback)});
  state_->resolve_again();
}

std::vector<std::string> Session::targets() const {
  const auto any = [](const auto& requests, const Site& site) {
    return std::any_of(requests.begin(), requests.end(),
                       [&](const auto& request) { return request.pattern.matches(site.name()); });
  };
  std::vector<std::string> out;
  for (const SiteSpec& spec : state_->table.specs()) {
    if (any(state_->captures, spec.site) || any(state_->edits, spec.site)) {
      out.push_back(spec.site.name());
    }
  }
  return out;
}

std::size_t Session::edit_count() const { return state_->edits.size(); }

void Session::drop_edits(std::size_t count) {
  if (state_->open) {
    throw StateError("[hook.Session.drop_edits] the session is open; close it first");
  }
  if (count >= state_->edits.size()) return;
  const auto dropped = [&](const Use<EditRequest>& use) {
    return std::any_of(state_->edits.begin() + static_cast<std::ptrdiff_t>(count),
                       state_->edits.end(),
                       [&](const EditRequest& request) { return &request == use.request; });
  };
  for (const auto& plan : state_->plans) {
    if (!plan) continue;
    std::erase_if(plan->edits, dropped);
    std::erase_if(plan->gradient_edits, dropped);
    state_->resolve(*plan);
  }
  while (state_->edits.size() > count) state_->edits.pop_back();
}

void Session::set_spans(SpanTable spans) {
  check_may_change(*state_, "set_spans");
  SessionState::check_spans(spans);
  state_->spans = std::move(spans);
}

void Session::see_only_model(std::uint32_t model) {
  if (state_->open) {
    throw StateError(
        "[hook.Session.see_only_model] the session is open already; call it before open()");
  }
  state_->model = model;
}

void Session::open() {
  if (state_->open) {
    throw StateError(
        "[hook.Session.open] the session is open already; close it first, or nest another object");
  }
  if (internal::thread_state().in_callback) {
    throw StateError(
        "[hook.Session.open] a session cannot be opened from a callback without suspend()");
  }
  // A fresh start: counts and captures of an earlier opening do not mix with this one's.
  for (const auto& plan : state_->plans) {
    if (plan) plan->restart();
  }
  state_->cache = ActivationCache();
  state_->runs_started = 0;
  state_->runs_completed = 0;
  state_->pending = nullptr;
  state_->owner = std::this_thread::get_id();
  state_->order = internal::take_session_order();
  if (state_->process_wide) {
    internal::ProcessSessions::instance().add(state_);
  } else {
    internal::thread_state().stack.push_back(state_);
  }
  state_->open = true;
  detail::open_session_count.fetch_add(1, std::memory_order_relaxed);
}

void Session::close() {
  if (!state_->open) {
    throw StateError("[hook.Session.close] the session is not open");
  }
  if (!state_->process_wide && state_->owner != std::this_thread::get_id()) {
    throw StateError(
        "[hook.Session.close] the session was opened on another thread; close it there, or use a "
        "ProcessSession");
  }
  state_->leave();
  if (state_->pending) std::rethrow_exception(std::exchange(state_->pending, nullptr));
  state_->check_contract();
}

void Session::abort() noexcept {
  state_->leave();
  state_->pending = nullptr;
}

bool Session::is_open() const noexcept { return state_->open; }

bool Session::failed() const noexcept { return state_->pending != nullptr; }

ActivationCache Session::cache() const { return state_->cache; }

Moments Session::moments(std::string_view site) const {
  std::vector<std::string> names;
  const Moments* found = nullptr;
  for (const auto& plan : state_->plans) {
    if (!plan) continue;
    for (const auto* uses : {&plan->before, &plan->after, &plan->gradient_captures}) {
      for (const auto& use : *uses) {
        if (!use.moments) continue;
        names.push_back(plan->site.name());
        if (plan->site.name() != site) continue;
        if (found != nullptr) {
          throw SiteError(cat("[hook.Session.moments] several captures keep moments at '", site,
                              "'; use a session of its own for each"));
        }
        found = use.moments.get();
      }
    }
  }
  if (found == nullptr) {
    throw SiteError(cat("[hook.Session.moments] no moments were kept at '", site,
                        "'; sites that have them: ", list_text(names, 6),
                        "; capture with Reduce::moments"));
  }
  return *found;
}

std::vector<FireRecord> Session::fired() const {
  std::vector<FireRecord> records;
  for (const auto& plan : state_->plans) {
    if (!plan) continue;
    for (const auto& [packed, count] : plan->counts) {
      records.push_back(
          {Event{plan->site, static_cast<Phase>(packed >> 48),
                 static_cast<std::int32_t>(packed & 0xFFFFFFFF),
                 internal::branch_text(static_cast<std::uint16_t>(packed >> 32)), count}});
    }
  }
  std::sort(records.begin(), records.end(), [](const FireRecord& a, const FireRecord& b) {
    return std::tuple(a.event.site.id(), a.event.phase, a.event.step, a.event.branch) <
           std::tuple(b.event.site.id(), b.event.phase, b.event.step, b.event.branch);
  });
  return records;
}

std::int64_t Session::recomputations() const {
  std::int64_t total = 0;
  for (const auto& plan : state_->plans) {
    if (plan) total += plan->recomputed;
  }
  return total;
}

std::vector<std::string> Session::sites_seen() const {
  std::vector<std::string> names;
  for (const auto& plan : state_->plans) {
    if (plan && plan->seen) names.push_back(plan->site.name());
  }
  return names;
}

const SiteTable& Session::table() const { return state_->table; }

ProcessSession::ProcessSession() : Session(SiteTable(), true) {}
ProcessSession::ProcessSession(SiteTable table) : Session(std::move(table), true) {}
ProcessSession::~ProcessSession() = default;

}  // namespace tierod
