#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "hook/activation_cache_internal.h"
#include "tierod/hook/session.h"

namespace tierod {

namespace internal {

constexpr std::int64_t kUnknownOffset = -1;

/// Say where in a rollout the current thread is; set by the scopes.
struct Context {
  Phase phase = Phase::none;
  std::uint16_t branch = 0;
  std::int32_t step = -1;
  std::int64_t position_offset = 0;
};

/// Hold what a thread knows of sessions. One per thread, behind a function of libtierod: an
/// exported thread-local variable would be initialised anew in each library that sees it.
struct ThreadState {
  std::vector<std::shared_ptr<SessionState>> stack;
  Context context;
  int suspended = 0;
  bool in_callback = false;
};
ThreadState& thread_state();

/// Tell whether the caller runs inside a backward pass: then a forward is the recomputation of a
/// checkpoint, not a second event.
bool in_backward();

/// Pack (phase, branch, step) into one number.
std::uint64_t pack(const Context& context);

}  // namespace internal

struct CaptureRequest {
  SitePattern pattern;
  CaptureOptions options;
  std::shared_ptr<const CaptureInfo> info;
};

struct EditRequest {
  SitePattern pattern;
  InterveneOptions options;
  std::optional<Intervention> intervention;
  Callback callback;
};

/// Pair a request with what it did at one site.
template <typename Request>
struct Use {
  const Request* request;
  bool all_events;
  bool whole_tensor;
  std::int64_t done = 0;
};

/// Hold everything that a session does at one site, resolved once when the site first fires.
struct SitePlan {
  Site site;
  bool active = false;
  std::vector<Use<CaptureRequest>> before, after, gradient_captures;
  std::vector<Use<EditRequest>> edits, gradient_edits;
  /// Number of firings at each packed context; the last one is at hand without a look-up.
  std::unordered_map<std::uint64_t, std::int32_t> counts;
  std::uint64_t last_context = ~std::uint64_t{0};
  std::int32_t* last_count = nullptr;
  std::int64_t gradient_events = 0;
  std::unordered_map<const CaptureRequest*, Moments> moments;

  bool wants_gradient() const { return !gradient_captures.empty() || !gradient_edits.empty(); }
};

struct SessionState : std::enable_shared_from_this<SessionState> {
  explicit SessionState(SiteTable sites, bool process)
      : table(std::move(sites)), process_wide(process) {}

  const SiteTable table;
  const bool process_wide;
  // A deque: plans hold pointers to requests while more are added.
  std::deque<CaptureRequest> captures;
  std::deque<EditRequest> edits;
  SpanTable spans;
  ActivationCache cache;

  /// Guards plans and counts; taken in visits only where several threads may come.
  std::mutex mutex;
  /// Guards what backward passes write, which may run on autograd's own threads.
  std::mutex gradient_mutex;
  std::vector<std::unique_ptr<SitePlan>> plans;  // by Site::id()
  std::int64_t runs_started = 0;
  std::int64_t runs_completed = 0;

  std::atomic<bool> open = false;
  std::thread::id owner;
  std::uint64_t order = 0;
  std::exception_ptr pending;

  /// Throw what capture(), intervene() and set_spans() throw, and change nothing.
  void check_capture(const SitePattern& pattern, const CaptureOptions& options) const;
  static void check_sink(const CaptureOptions& options);
  void check_edit(const SitePattern& pattern, const InterveneOptions& options) const;
  static void check_spans(const SpanTable& spans);

  SitePlan& plan(const Site& site);
  void resolve(SitePlan& plan) const;
  /// Forget which sites do what: called when a request is added while the session is open.
  void resolve_again();
  void append(const SitePlan& plan, const internal::Context& context, std::int32_t call,
              const CaptureRequest& request, at::Tensor tensor, const at::Tensor& whole);
  void check_contract() const;
  /// Remove from the thread's or the process's list; never throws.
  void leave() noexcept;
};

namespace internal {

/// Let the open sessions act on `x`; see hook_point(). `where_` is the current context.
at::Tensor visit(const at::Tensor& x, const Site& site, const Context& context);

/// Let sessions act on the gradient that arrives at a site in a backward pass outside of eager
/// autograd (the op's backward in compiled graphs).
at::Tensor visit_gradient(const at::Tensor& gradient, const Site& site, const Context& context);

/// Tell whether any session may act on this thread now.
bool any_session_here();

}  // namespace internal

}  // namespace tierod
