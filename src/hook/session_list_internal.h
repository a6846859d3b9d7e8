#pragma once

#include <c10/util/SmallVector.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "hook/session_state_internal.h"

namespace tierod::internal {

/// Keep the process-wide sessions. Readers take a snapshot, so that a visit holds no lock.
struct ProcessSessions {
  std::mutex mutex;
  std::shared_ptr<const std::vector<std::shared_ptr<SessionState>>> list;
  std::atomic<int> count = 0;

  static ProcessSessions& instance();
  void add(const std::shared_ptr<SessionState>& session);
  void remove(const SessionState* session);
  std::shared_ptr<const std::vector<std::shared_ptr<SessionState>>> snapshot();
};

/// List the sessions that act on this thread, outer ones first, and keep them alive meanwhile.
class ActiveSessions {
 public:
  ActiveSessions();
  auto begin() const { return sessions_.begin(); }
  auto end() const { return sessions_.end(); }
  bool empty() const { return sessions_.empty(); }

 private:
  std::shared_ptr<const std::vector<std::shared_ptr<SessionState>>> process_;
  c10::SmallVector<SessionState*, 4> sessions_;
};

/// Call `act` on every session that acts on this thread and sees the current model, under its lock
/// where threads share it.
template <typename Act>
void for_each_session(Act&& act) {
  const Context& context = thread_state().context;
  for (SessionState* session : ActiveSessions()) {
    if (!session->sees(context)) continue;
    std::unique_lock<std::mutex> lock(session->mutex, std::defer_lock);
    if (session->process_wide) lock.lock();
    act(*session);
  }
}

}  // namespace tierod::internal
