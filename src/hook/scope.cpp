#include "tierod/hook/scope.h"

#include <exception>

#include "core/text_internal.h"
#include "hook/session_list_internal.h"
#include "hook/session_state_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::thread_state;

PhaseScope::PhaseScope(Phase phase, std::int64_t step,
                       std::optional<std::int64_t> position_offset) {
  if (step < -1 || step > INT32_MAX) {
    throw InvalidArgument(
        internal::cat("[hook.PhaseScope] expected a step >= 0, or -1 for none, got ", step));
  }
  if (position_offset && *position_offset < internal::kUnknownOffset) {
    throw InvalidArgument(
        internal::cat("[hook.PhaseScope] expected position_offset >= 0, or -1 for unknown, got ",
                      *position_offset));
  }
  internal::Context& context = thread_state().context;
  phase_ = context.phase;
  step_ = context.step;
  position_offset_ = context.position_offset;
  context.phase = phase;
  context.step = static_cast<std::int32_t>(step);
  context.position_offset =
      position_offset.value_or(phase == Phase::decode ? internal::kUnknownOffset : 0);
}

PhaseScope::~PhaseScope() {
  internal::Context& context = thread_state().context;
  context.phase = phase_;
  context.step = static_cast<std::int32_t>(step_);
  context.position_offset = position_offset_;
}

BranchScope::BranchScope(std::string_view branch) : branch_(thread_state().context.branch) {
  thread_state().context.branch = internal::branch_id(branch);
}

BranchScope::~BranchScope() { thread_state().context.branch = branch_; }

ModelScope::ModelScope(std::uint32_t model) : model_(thread_state().context.model) {
  thread_state().context.model = model;
}

ModelScope::~ModelScope() { thread_state().context.model = model_; }

void run_started() {
  if (internal::in_backward()) return;
  internal::for_each_session([](SessionState& session) { ++session.runs_started; });
}

void run_completed() {
  if (internal::in_backward()) return;
  internal::for_each_session([](SessionState& session) { ++session.runs_completed; });
}

RunScope::RunScope() : exceptions_(std::uncaught_exceptions()) { run_started(); }

RunScope::~RunScope() {
  if (std::uncaught_exceptions() == exceptions_) run_completed();
}

Suspend::Suspend()
    : hidden_below_(thread_state().hidden_below), in_callback_(thread_state().in_callback) {
  internal::ThreadState& thread = thread_state();
  thread.hidden_below = internal::next_session_order();
  ++thread.suspend_depth;
  thread.in_callback = false;
}

Suspend::~Suspend() {
  internal::ThreadState& thread = thread_state();
  thread.hidden_below = hidden_below_;
  --thread.suspend_depth;
  thread.in_callback = in_callback_;
}

int Suspend::depth() noexcept { return thread_state().suspend_depth; }

}  // namespace tierod
