#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "hook/activation_cache_internal.h"
#include "hook/thread_handle_internal.h"
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
  /// The model whose site fires, where several may; see ModelScope.
  std::uint32_t model = 0;
};

/// Hold what a thread knows of sessions. One per thread, behind a function of libtierod: an
/// exported thread-local variable would be initialised anew in each library that sees it.
struct Region;

struct ThreadState {
  ThreadState() : handle(std::make_shared<ThreadHandle>(this)) {}
  ~ThreadState() { handle->state = nullptr; }
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

  std::shared_ptr<ThreadHandle> handle;
  std::vector<std::shared_ptr<SessionState>> stack;
  Context context;
  /// Sessions of a lower order are hidden from this thread; see Suspend.
  std::uint64_t hidden_below = 0;
  int suspend_depth = 0;
  bool in_callback = false;
  /// What the callback at hand was given a part of; null outside of callbacks.
  const Region* region = nullptr;
  std::int64_t region_rows = 0;
};
ThreadState& thread_state();

/// Return the state whose sessions act on the caller: its own, or, where autograd runs a part of
/// backward on a thread of its own, that of the thread which called backward().
const ThreadState& acting_thread_state();

/// Number sessions in the order in which they are opened, from 1 on.
std::uint64_t take_session_order();
/// Return the number that the next session will get.
std::uint64_t next_session_order();

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
  /// The place in SessionState::captures.
  std::uint32_t number = 0;

  /// Tell whether the activation is kept as it is: the whole of it, at every event.
  bool keeps_whole() const {
    return options.selection.whole_tensor() && options.selection.all_events() &&
           options.reduce == Reduce::none && !options.dtype && !options.device &&
           !options.keep_graph && !options.gradient && !options.sink;
  }
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
  /// Kept by captures that reduce to moments.
  std::unique_ptr<Moments> moments{};
};

/// Count how often a site fired at each packed context.
class FireCounts {
 public:
  explicit FireCounts(std::pmr::memory_resource* memory) : counts_(memory) {}
  struct Count {
    std::uint64_t context;
    std::int32_t fired;
  };

  /// Count one firing and return how many there were before it.
  std::int32_t add(std::uint64_t context);
  /// Return the count of the last firing, or nullptr.
  const Count* last() const { return counts_.empty() ? nullptr : &counts_[last_]; }
  bool empty() const { return counts_.empty(); }
  std::size_t size() const { return counts_.size(); }
  void clear() { counts_.clear(); }
  auto begin() const { return counts_.begin(); }
  auto end() const { return counts_.end(); }

 private:
  // Sorted by context; a generation adds its contexts in order, at the end.
  std::pmr::vector<Count> counts_;
  std::size_t last_ = 0;
};

/// Hold everything that a session does at one site, resolved once when the site first fires.
struct SitePlan {
  SitePlan(Site s, std::pmr::memory_resource* memory)
      : site(s),
        before(memory),
        after(memory),
        gradient_captures(memory),
        edits(memory),
        gradient_edits(memory),
        counts(memory) {}

  Site site;
  /// What the model declares of the site; nullptr: nothing.
  const SiteSpec* spec = nullptr;
  bool active = false;
  bool seen = false;
  /// Absolute position of the first token in the last firing, for recomputation.
  std::int64_t last_offset = 0;
  /// Firings that were recomputations of a checkpoint.
  std::int64_t recomputed = 0;
  /// Edited where backward may have to recompute the edit.
  bool checkpointed = false;
  /// All there is to do is to keep whole tensors.
  bool simple = false;
  std::pmr::vector<Use<CaptureRequest>> before, after, gradient_captures;
  std::pmr::vector<Use<EditRequest>> edits, gradient_edits;
  FireCounts counts;
  std::int64_t gradient_events = 0;

  bool wants_gradient() const { return !gradient_captures.empty() || !gradient_edits.empty(); }
  /// Forget what happened; what is to be done stays.
  void restart();
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
  /// Memory of the plans: a session for one forward makes hundreds, and frees them all at once.
  std::pmr::monotonic_buffer_resource arena{std::size_t{16} << 10};
  struct Destroy {
    void operator()(SitePlan* plan) const { std::destroy_at(plan); }
  };
  std::vector<std::unique_ptr<SitePlan, Destroy>> plans;  // by Site::id()
  std::int64_t runs_started = 0;
  std::int64_t runs_completed = 0;

  std::atomic<bool> open = false;
  std::thread::id owner;
  std::uint64_t order = 0;
  /// The only model whose sites the session sees; 0: every one.
  std::uint32_t model = 0;
  std::exception_ptr pending;

  bool sees(const internal::Context& context) const { return model == 0 || model == context.model; }

  /// Throw what capture(), intervene() and set_spans() throw, and change nothing.
  void check_capture(const SitePattern& pattern, const CaptureOptions& options) const;
  static void check_sink(const CaptureOptions& options);
  void check_edit(const SitePattern& pattern, const InterveneOptions& options) const;
  static void check_spans(const SpanTable& spans);

  SitePlan& plan(const Site& site);
  void resolve(SitePlan& plan) const;
  /// Add a new request to the plans that exist.
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

/// Tell whether a session has something to do at `site`.
bool wants(const Site& site, const Context& context);

/// Let sessions act on the gradient that arrives at a site in a backward pass outside of eager
/// autograd (the op's backward in compiled graphs).
at::Tensor visit_gradient(const at::Tensor& gradient, const Site& site, const Context& context);

/// Tell whether any session may act on this thread now.
bool any_session_here();

/// Tell whether any of them sees the sites of `model`.
TIEROD_API bool any_session_sees(std::uint32_t model);

}  // namespace internal

}  // namespace tierod
