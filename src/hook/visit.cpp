// Note [What happens at a site]
//
// A visit runs in three steps over all sessions that act on this thread, outer ones first:
//   1. every session counts the event, and its captures of the raw value (When::before) act;
//   2. every session's edits act, each on what the one before left;
//   3. every session's captures of the final value act.
// So a capture sees the value that the model goes on with, whichever session edited it. Where a
// gradient is asked for, an identity node goes between 2 and 3; its backward does the same three
// steps on the gradient. The node holds the sessions, because backward may run on other threads,
// where this thread's stack is not to be seen.

#include <ATen/SavedTensorHooks.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/SmallVector.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>

#include "core/text_internal.h"
#include "hook/intervention_internal.h"
#include "hook/region_internal.h"
#include "hook/session_list_internal.h"
#include "hook/session_state_internal.h"
#include "hook/sink_internal.h"
#include "tierod/core/error.h"
#include "tierod/hook/buffer_pool.h"
#include "tierod/hook/hook_point.h"

namespace tierod::internal {

namespace {

std::string where_text(const Event& event) { return cat("[hook.visit] at '", event.text(), "':"); }

std::optional<std::int64_t> known_offset(const Context& context) {
  if (context.position_offset == kUnknownOffset) return std::nullopt;
  return context.position_offset;
}

/// One session's part in a visit.
struct Part {
  std::shared_ptr<SessionState> session;
  SitePlan* plan;
  Context context;
  std::int32_t call;

  Event event() const {
    return {plan->site, context.phase, context.step, branch_text(context.branch), call};
  }
};
using Parts = c10::SmallVector<Part, 2>;

template <typename Request>
bool selects(const Use<Request>& use, const Part& part) {
  return use.all_events ||
         use.request->options.selection.selects_event(part.context.phase, part.context.step,
                                                      branch_text(part.context.branch), part.call);
}

template <typename Request>
Region region_of(const Use<Request>& use, const at::Tensor& x, const Part& part) {
  if (use.whole_tensor) {
    Region region;
    region.axes = resolve_axes(part.plan->site, x);
    return region;
  }
  return resolve_region(use.request->options.selection, x, part.plan->site, part.session->spans,
                        known_offset(part.context), where_text(part.event()));
}

// Mean over, or last of, the selected tokens of each row.
at::Tensor reduce_tokens(const Region& region, const at::Tensor& selected, Reduce reduce,
                         const std::string& where) {
  const auto one = [&](const at::Tensor& x, std::int64_t axis) {
    return reduce == Reduce::mean ? x.mean(axis) : x.select(axis, x.size(axis) - 1);
  };
  if (!region.ragged) {
    if (region.axes.tokens < 0) {
      throw InvalidArgument(cat(where, " the reduction ", reduce_name(reduce),
                                " needs a token axis, but the layout is '", region.axes.layout,
                                "'; declare the site's layout"));
    }
    return one(selected, region.axes.tokens);
  }
  if (region.rectangular()) return one(selected, 1);
  std::vector<at::Tensor> rows;
  std::int64_t begin = 0;
  for (const std::int64_t count : region.pairs_in_row) {
    if (count == 0) {
      throw OutOfRange(cat(where, " the reduction ", reduce_name(reduce),
                           " meets a row whose span lies outside of this call; select the phase "
                           "in which every row's span lies"));
    }
    rows.push_back(one(selected.narrow(0, begin, count), 0));
    begin += count;
  }
  return at::stack(rows);
}

void accumulate(Use<CaptureRequest>& use, const Region& region, const at::Tensor& selected,
                const std::string& where) {
  at::Tensor rows = selected;
  const auto& layout = region.axes.layout;
  if (rows.dim() == 0 || (!layout.empty() && layout.back() != 'w' && layout.back() != 'd')) {
    throw InvalidArgument(cat(where, " moments need features on the last axis, but the layout is '",
                              layout, "'; declare the site's layout"));
  }
  rows = rows.reshape({-1, rows.size(-1)});
  if (!use.moments) {
    use.moments = std::make_unique<Moments>(use.request->options.reduce == Reduce::covariance);
  }
  try {
    use.moments->update(rows);
  } catch (const NumericalError& error) {
    throw NumericalError(cat(where, " ", error.what()));
  }
}

at::Tensor kept_whole(const at::Tensor& x, const CaptureOptions& options) {
  if (options.copy) return pooled_copy(x);
  return x.requires_grad() ? x.detach() : x;
}

void capture(Use<CaptureRequest>& use, const Part& part, const at::Tensor& x) {
  if (!selects(use, part)) return;
  const CaptureRequest& request = *use.request;
  const CaptureOptions& options = request.options;
  const bool keep_graph = options.keep_graph;
  if (request.keeps_whole()) {
    part.session->append(*part.plan, part.context, part.call, request, kept_whole(x, options), x);
    ++use.done;
    return;
  }
  // Statistics and copies are normal tensors, whatever mode the model runs in.
  const c10::InferenceMode normal(x.is_inference() && !options.copy && !keep_graph);
  const at::AutoGradMode grad(keep_graph && at::GradMode::is_enabled());
  const at::Tensor source = keep_graph ? x : x.detach();
  const Region region = region_of(use, source, part);
  if (region.empty) return;
  const at::Tensor selected = gather(region, source);
  const auto where = [&] { return where_text(part.event()); };
  if (options.reduce == Reduce::moments || options.reduce == Reduce::covariance) {
    accumulate(use, region, selected, where());
    ++use.done;
    return;
  }
  at::Tensor kept = selected;
  if (options.reduce != Reduce::none) {
    kept = reduce_tokens(region, selected, options.reduce, where());
  } else if (!region.rectangular() && !options.sink) {
    throw InvalidArgument(cat(where(), " the spans have different lengths in different rows: ",
                              list_text(region.pairs_in_row),
                              "; reduce by mean or last_token, or select rows one by one"));
  }
  if (options.dtype || options.device) {
    kept = kept.to(kept.options()
                       .dtype(options.dtype.value_or(kept.scalar_type()))
                       .device(options.device.value_or(kept.device())));
  }
  if (options.sink) {
    deliver(*options.sink, part.event(), x, region, kept, options.reduce,
            known_offset(part.context), where());
    ++use.done;
    return;
  }
  if (options.copy && kept.is_alias_of(x)) {
    kept = keep_graph ? kept.clone(at::MemoryFormat::Contiguous) : pooled_copy(kept);
  }
  part.session->append(*part.plan, part.context, part.call, request, std::move(kept), x);
  ++use.done;
}

/// Marks this thread as being inside of a callback.
class CallbackScope {
 public:
  CallbackScope(const Region& region, const at::Tensor& x) {
    ThreadState& thread = thread_state();
    thread.in_callback = true;
    before_ = thread.region;
    rows_before_ = thread.region_rows;
    thread.region = &region;
    thread.region_rows = region.axes.rows < 0 ? 0 : x.size(region.axes.rows);
  }
  ~CallbackScope() {
    ThreadState& thread = thread_state();
    thread.in_callback = false;
    // a callback may run a model whose sessions call back
    thread.region = before_;
    thread.region_rows = rows_before_;
  }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  const Region* before_ = nullptr;
  std::int64_t rows_before_ = 0;
};

at::Tensor call_back(const EditRequest& request, const at::Tensor& x, const Region& region,
                     const Event& event, const std::string& where) {
  if (region.empty) return x;
  if (!region.rectangular() && !request.options.ragged) {
    throw InvalidArgument(
        cat(where, " a callback got spans of different lengths: ", list_text(region.pairs_in_row),
            "; ask for ragged, which gives it the tokens of all rows one after the "
            "other, or select rows one by one"));
  }
  // A copy: a callback that writes into its argument must not change the model's memory, which
  // other layers may hold, and must not count as an edit unless it is returned.
  const at::Tensor selected = gather(region, x);
  const at::Tensor argument = selected.clone(at::MemoryFormat::Contiguous);
  const bool counted = !argument.is_inference();
  const auto version = counted ? argument._version() : 0;
  std::optional<at::Tensor> answer;
  {
    const CallbackScope scope(region, x);
    answer = request.callback(argument, event);
  }
  if (!answer || !answer->defined()) {
    const bool written = counted ? argument._version() != version : !at::equal(argument, selected);
    if (written) {
      throw StateError(cat(where,
                           " the callback wrote into its argument and returned nothing, which "
                           "means unchanged; return the tensor to edit, or work on a clone"));
    }
    return x;
  }
  check_replacement(*answer, selected, where, "a callback to return a tensor");
  if (answer->device() != x.device()) {
    throw InvalidArgument(cat(where, " expected a callback to return a tensor on ", x.device(),
                              ", got one on ", answer->device(), "; move it with .to(...)"));
  }
  if (!request.options.allow_nonfinite && at::isFloatingType(answer->scalar_type())) {
    check_finite(*answer, where, "the callback's tensor");
  }
  if (!region.whole()) return scatter(region, x, *answer);
  // The argument is ours and fresh; anything else may be held or aliased by the callback.
  return answer->is_same(argument) ? argument : answer->clone(at::MemoryFormat::Contiguous);
}

at::Tensor edit(Use<EditRequest>& use, const Part& part, const at::Tensor& x, bool gradient) {
  if (!selects(use, part)) return x;
  const Region region = region_of(use, x, part);
  if (region.empty) return x;
  const Event event = part.event();
  const std::string where = where_text(event);
  at::Tensor edited = use.request->intervention
                          ? apply(*use.request->intervention, x, region,
                                  use.request->options.selection, event, gradient, where)
                          : call_back(*use.request, x, region, event, where);
  // Edits hold no lock, and threads may share a ProcessSession.
  std::atomic_ref<std::int64_t>(use.done).fetch_add(1, std::memory_order_relaxed);
  return edited;
}

/// Run `act` and remember what it threw: a model may swallow it, close() then throws it again.
template <typename Act>
void guarded(const Part& part, Act&& act) {
  try {
    act();
  } catch (...) {
    if (!part.session->pending) part.session->pending = std::current_exception();
    throw;
  }
}

std::unique_lock<std::mutex> lock_if_shared(SessionState& session) {
  std::unique_lock<std::mutex> lock(session.mutex, std::defer_lock);
  if (session.process_wide) lock.lock();
  return lock;
}

void check_not_reentrant(const Site& site) {
  if (!thread_state().in_callback) return;
  throw StateError(cat("[hook.visit] at '", site.name(),
                       "': a callback runs the model again while its session is open; hold "
                       "suspend() around that forward"));
}

/// A graph that a device records now would replay without the sessions, and silently so.
void check_not_recorded(const at::Tensor& x, const Site& site) {
  const c10::DeviceType type = x.device().type();
  if (type == c10::kCPU || !c10::impl::hasDeviceGuardImpl(type)) return;
  const c10::impl::VirtualGuardImpl guard(type);
  if (!guard.isStreamCapturing(guard.getStream(x.device()))) return;
  throw StateError(cat("[hook.visit] at '", site.name(), "': a graph is being recorded on ",
                       x.device(),
                       " while a session is open; its replays would pass the session "
                       "by. Record it without a session, and run the model eagerly with one"));
}

/// Tell whether `x` is a level of vmap or of torch.func.grad rather than a tensor with values.
bool is_transformed(const at::Tensor& x) {
  return x.key_set().has_any(c10::DispatchKeySet(
      {c10::DispatchKey::FuncTorchBatched, c10::DispatchKey::FuncTorchGradWrapper}));
}

void check_not_transformed(const at::Tensor& x, const Site& site) {
  if (!is_transformed(x)) return;
  throw StateError(
      cat("[hook.visit] at '", site.name(),
          "': the model runs under torch.func (vmap, grad or jvp), where an activation "
          "has no values of its own; run it with a batch and backward() instead"));
}

at::Tensor act_on_gradient(const Parts& parts, at::Tensor gradient) {
  for (const Part& part : parts) {
    if (!part.session->open) continue;
    const std::scoped_lock lock(part.session->gradient_mutex);
    ++part.plan->gradient_events;
    guarded(part, [&] {
      for (auto& use : part.plan->gradient_captures) {
        if (use.request->options.when == When::before) capture(use, part, gradient);
      }
    });
  }
  for (const Part& part : parts) {
    if (!part.session->open) {
      if (part.plan->gradient_edits.empty()) continue;
      throw StateError(
          cat("[hook.visit] at '", part.plan->site.name(),
              "': backward runs after the session that edits this gradient was closed; "
              "run it inside of the session, or the forward outside"));
    }
    guarded(part, [&] {
      for (auto& use : part.plan->gradient_edits) gradient = edit(use, part, gradient, true);
    });
  }
  for (const Part& part : parts) {
    if (!part.session->open) continue;
    const std::scoped_lock lock(part.session->gradient_mutex);
    guarded(part, [&] {
      for (auto& use : part.plan->gradient_captures) {
        if (use.request->options.when == When::after) capture(use, part, gradient);
      }
    });
  }
  return gradient;
}

struct GradientNode : torch::autograd::Function<GradientNode> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            std::shared_ptr<Parts> parts) {
    context->saved_data["parts"] =
        c10::IValue::make_capsule(c10::make_intrusive<Holder>(std::move(parts)));
    return x.clone();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto holder = context->saved_data["parts"].toCapsule();
    const auto& parts = *static_cast<Holder*>(holder.get())->parts;
    return {act_on_gradient(parts, gradients[0]), at::Tensor()};
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<Parts> p) : parts(std::move(p)) {}
    std::shared_ptr<Parts> parts;
  };
};

// Count the event and return its call number. A recomputed forward is the same event again.
std::int32_t count_event(SitePlan& plan, const Context& context, Context& address,
                         bool recomputed) {
  if (!recomputed) {
    plan.last_offset = context.position_offset;
    return plan.counts.add(pack(context));
  }
  const FireCounts::Count* last = plan.counts.last();
  if (last == nullptr) {
    throw StateError(
        cat("[hook.visit] at '", plan.site.name(),
            "': the site first fires within backward, where a forward is taken for the "
            "recomputation of a checkpoint; open the session around the forward too, or "
            "run the forward outside of backward"));
  }
  // Which of several firings is recomputed cannot be told.
  const bool depends_on_event =
      std::any_of(plan.edits.begin(), plan.edits.end(), [](const Use<EditRequest>& use) {
        return !use.all_events || !use.request->intervention ||
               use.request->intervention->kind() == Intervention::Kind::replace_by_event;
      });
  if (depends_on_event && (plan.counts.size() > 1 || last->fired > 1)) {
    throw StateError(cat("[hook.visit] at '", plan.site.name(),
                         "': a checkpoint recomputes a site that fired several times, and an edit "
                         "depends on which (a callback, donors by event, or a selection by phase, "
                         "step or call); turn checkpointing off"));
  }
  ++plan.recomputed;
  address.position_offset = plan.last_offset;
  address.phase = static_cast<Phase>(last->context >> 48);
  address.branch = static_cast<std::uint16_t>(last->context >> 32);
  address.step = static_cast<std::int32_t>(last->context & 0xFFFFFFFF);
  return last->fired - 1;
}

}  // namespace

/// Return the one session that acts here, if it does no more at `site` than keep whole tensors.
static SessionState* simple_session(const at::Tensor& x, const Context& context) {
  const ThreadState& thread = thread_state();
  const bool alone = thread.stack.size() == 1 && thread.hidden_below == 0 && !thread.in_callback &&
                     ProcessSessions::instance().count.load(std::memory_order_acquire) == 0;
  if (!alone || !x.is_cpu() || is_transformed(x)) return nullptr;
  SessionState* session = thread.stack.front().get();
  return session->open && session->sees(context) ? session : nullptr;
}

/// The same as the steps of visit(), for what is most common. In a model every line of memory that
/// a visit touches comes from a cold cache, and this touches few.
static bool visit_simple(const at::Tensor& x, const Site& site, const Context& context) {
  SessionState* session = simple_session(x, context);
  if (session == nullptr) return false;
  SitePlan& plan = session->plan(site);
  if (!plan.simple || in_backward()) return false;
  plan.seen = true;
  if (!plan.active) return true;
  const std::int32_t call = plan.counts.add(pack(context));
  try {
    for (auto& use : plan.after) {
      session->append(plan, context, call, *use.request, kept_whole(x, use.request->options), x);
      ++use.done;
    }
  } catch (...) {  // memory
    if (!session->pending) session->pending = std::current_exception();
    throw;
  }
  return true;
}

bool wants(const Site& site, const Context& context) {
  const ActiveSessions sessions;
  return std::any_of(sessions.begin(), sessions.end(), [&](SessionState* session) {
    if (!session->sees(context)) return false;
    const auto lock = lock_if_shared(*session);
    return session->plan(site).active;
  });
}

at::Tensor visit(const at::Tensor& x, const Site& site, const Context& context) {
  if (visit_simple(x, site, context)) return x;
  const ActiveSessions sessions;
  if (sessions.empty()) return x;
  check_not_reentrant(site);
  const bool recomputed = in_backward();
  Parts parts;
  bool edits = false;
  bool gradients = false;
  for (SessionState* session : sessions) {
    if (!session->sees(context)) continue;
    const auto lock = lock_if_shared(*session);
    SitePlan& plan = session->plan(site);
    if (!plan.active) {
      plan.seen = plan.seen || !recomputed;
      continue;
    }
    check_not_recorded(x, site);
    check_not_transformed(x, site);
    Context address = context;
    std::int32_t call = 0;
    try {
      call = count_event(plan, context, address, recomputed);
    } catch (...) {
      if (!session->pending) session->pending = std::current_exception();
      throw;
    }
    plan.seen = true;
    parts.push_back({session->shared_from_this(), &plan, address, call});
    edits = edits || !plan.edits.empty();
    gradients = gradients || plan.wants_gradient();
    if (recomputed || plan.before.empty()) continue;
    const Part& part = parts.back();
    guarded(part, [&] {
      for (auto& use : plan.before) capture(use, part, x);
    });
  }
  at::Tensor y = x;
  if (edits) {
    // A checkpoint that is not reentrant packs what autograd saves by hooks on saved tensors.
    const bool checkpointed = !recomputed && at::GradMode::is_enabled() &&
                              at::SavedTensorDefaultHooks::get_hooks().has_value();
    for (const Part& part : parts) {
      if (checkpointed && !part.plan->edits.empty()) part.plan->checkpointed = true;
    }
    // Without locks: a callback may wait for Python's lock, which another thread holds.
    for (const Part& part : parts) {
      guarded(part, [&] {
        for (auto& use : part.plan->edits) y = edit(use, part, y, false);
      });
    }
  }
  if (gradients && at::GradMode::is_enabled() && y.requires_grad()) {
    y = GradientNode::apply(y, std::make_shared<Parts>(parts));
  }
  if (recomputed) return y;
  for (const Part& part : parts) {
    if (part.plan->after.empty()) continue;
    const auto lock = lock_if_shared(*part.session);
    guarded(part, [&] {
      for (auto& use : part.plan->after) capture(use, part, y);
    });
  }
  return y;
}

at::Tensor visit_gradient(const at::Tensor& gradient, const Site& site, const Context& context) {
  Parts parts;
  for (SessionState* session : ActiveSessions()) {
    if (!session->sees(context)) continue;
    const auto lock = lock_if_shared(*session);
    SitePlan& plan = session->plan(site);
    if (plan.wants_gradient()) parts.push_back({session->shared_from_this(), &plan, context, 0});
  }
  return parts.empty() ? gradient : act_on_gradient(parts, gradient);
}

}  // namespace tierod::internal
