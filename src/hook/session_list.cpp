#include <torch/csrc/autograd/graph_task.h>

#include <algorithm>

#include "hook/session_list_internal.h"
#include "tierod/hook/hook_point.h"

namespace tierod {

namespace detail {
std::atomic<std::int64_t> open_session_count = 0;
}  // namespace detail

namespace internal {

namespace {
std::atomic<std::uint64_t> session_order = 1;
std::atomic<InheritedHandle> inherited_handle = nullptr;
}  // namespace

ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

std::shared_ptr<ThreadHandle> thread_handle() { return thread_state().handle; }

void set_inherited_handle(InheritedHandle function) { inherited_handle = function; }

const ThreadState& acting_thread_state() {
  const ThreadState& own = thread_state();
  // The thread that called backward() waits for it: its list of sessions does not change meanwhile.
  if (!own.stack.empty() || !in_backward()) return own;
  const InheritedHandle inherited = inherited_handle.load();
  const std::shared_ptr<ThreadHandle> handle = inherited == nullptr ? nullptr : inherited();
  const ThreadState* other = handle ? handle->state.load() : nullptr;
  return other == nullptr ? own : *other;
}

std::uint64_t take_session_order() { return session_order.fetch_add(1); }
std::uint64_t next_session_order() { return session_order.load(); }

bool in_backward() { return torch::autograd::get_current_graph_task_id() != -1; }

std::uint64_t pack(const Context& context) {
  return (static_cast<std::uint64_t>(context.phase) << 48) |
         (static_cast<std::uint64_t>(context.branch) << 32) |
         static_cast<std::uint32_t>(context.step);
}

ProcessSessions& ProcessSessions::instance() {
  static auto* sessions = new ProcessSessions;  // threads may outlive static destruction
  return *sessions;
}

void ProcessSessions::add(const std::shared_ptr<SessionState>& session) {
  const std::scoped_lock lock(mutex);
  auto next = list ? std::make_shared<std::vector<std::shared_ptr<SessionState>>>(*list)
                   : std::make_shared<std::vector<std::shared_ptr<SessionState>>>();
  next->push_back(session);
  count = static_cast<int>(next->size());
  list = std::move(next);
}

void ProcessSessions::remove(const SessionState* session) {
  const std::scoped_lock lock(mutex);
  if (!list) return;
  auto next = std::make_shared<std::vector<std::shared_ptr<SessionState>>>(*list);
  std::erase_if(*next, [&](const auto& item) { return item.get() == session; });
  count = static_cast<int>(next->size());
  list = std::move(next);
}

std::shared_ptr<const std::vector<std::shared_ptr<SessionState>>> ProcessSessions::snapshot() {
  const std::scoped_lock lock(mutex);
  return list;
}

ActiveSessions::ActiveSessions() {
  const ThreadState& thread = acting_thread_state();
  for (const auto& session : thread.stack) {
    if (session->open && session->order >= thread.hidden_below) sessions_.push_back(session.get());
  }
  ProcessSessions& process = ProcessSessions::instance();
  if (process.count.load(std::memory_order_acquire) == 0) return;
  process_ = process.snapshot();
  if (!process_) return;
  for (const auto& session : *process_) {
    if (session->open && session->order >= thread.hidden_below) sessions_.push_back(session.get());
  }
  std::stable_sort(
      sessions_.begin(), sessions_.end(),
      [](const SessionState* a, const SessionState* b) { return a->order < b->order; });
}

bool any_session_sees(std::uint32_t model) {
  const ThreadState& own = thread_state();
  if (own.hidden_below == 0) {  // the common case, without a list of who acts
    for (const auto& session : own.stack) {
      if (session->open && (session->model == 0 || session->model == model)) return true;
    }
  }
  for (const SessionState* session : ActiveSessions()) {
    if (session->model == 0 || session->model == model) return true;
  }
  return false;
}

bool any_session_here() {
  const ThreadState& thread = acting_thread_state();
  if (thread.stack.empty() && ProcessSessions::instance().count.load() == 0) return false;
  return thread.hidden_below == 0 || !ActiveSessions().empty();
}

}  // namespace internal

}  // namespace tierod
