#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/core/selection.h"
#include "tierod/core/span.h"
#include "tierod/export.h"
#include "tierod/hook/activation_cache.h"
#include "tierod/hook/capture.h"
#include "tierod/hook/intervention.h"
#include "tierod/hook/scope.h"
#include "tierod/hook/site_table.h"
#include "tierod/stats/moments.h"

namespace tierod {

struct SessionState;

/// Compute an edit in process. It is given a copy of the selected part, which it may change;
/// returning nothing means unchanged, and a returned tensor must have the same shape, dtype and
/// device. It may run a forward of its own while it holds a `Suspend`.
using Callback = std::function<std::optional<at::Tensor>(const at::Tensor&, const Event&)>;

/// Set up an edit.
struct TIEROD_API InterveneOptions {
  Selection selection{};
  /// Edit the gradient that arrives at the site in backward instead of the activation.
  bool gradient = false;
  /// Let a callback return NaN or Inf.
  bool allow_nonfinite = false;
  /// Give a callback what spans of different lengths select, [tokens of all rows, ...], row by row;
  /// otherwise they are an error.
  bool ragged = false;
};

/// Say how often one site fired in one session at one (phase, step, branch).
struct TIEROD_API FireRecord {
  Event event;  ///< `call` is the number of firings
};

/// Capture and edit activations of the models that run while it is open.
///
///     tierod::Session session;
///     session.capture("**.resid_post");
///     session.intervene("layers.3.resid_post", tierod::Intervention::zero());
///     session.run([&] { model.forward(tokens); });
///     at::Tensor h = session.cache().at("layers.3.resid_post");
///
/// A Session is seen by the thread that opened it and by the backward passes of what ran in it; a
/// ProcessSession by every thread. Sessions nest, outer ones act first. Destroying an open session
/// closes it without its checks (and warns); `close()` makes them.
///
/// close() throws SiteError when a pattern met no site, a selection met no event, or a site fired
/// another number of times than its model declares: nothing is ever silently not done.
class TIEROD_API Session {
 public:
  Session();
  /// Use the sites that a model declares: unknown names are refused at once, and counts checked.
  explicit Session(SiteTable table);
  virtual ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // --- what to do ---------------------------------------------------------------------------

  /// Capture what `pattern` matches.
  /// @throws InvalidArgument, SiteError as the pattern and options deserve.
  void capture(std::string_view pattern, CaptureOptions options = {});
  /// Edit what `pattern` matches, in the order of the calls.
  void intervene(std::string_view pattern, Intervention intervention,
                 InterveneOptions options = {});
  /// Edit by a function.
  void intervene(std::string_view pattern, Callback callback, InterveneOptions options = {});
  /// Return the names of the declared sites that are captured or edited, in the table's order;
  /// none without a table.
  std::vector<std::string> targets() const;
  /// Return how many edits are set up.
  std::size_t edit_count() const;
  /// Take back the edits after the first `count`.
  /// @throws StateError if the session is open.
  void drop_edits(std::size_t count);
  /// Name spans of absolute token positions, for selections by span. One entry serves all rows.
  /// @throws InvalidArgument if a span is empty or negative, or a name stands twice in a row.
  void set_spans(SpanTable spans);

  /// Add what a JSON text asks for: `{"captures": [{"pattern", "selection", "reduce", "when",
  /// "dtype", "copy", "gradient"}], "interventions": [{"pattern", "selection", "gradient",
  /// "intervention"}], "spans": [[{"name", "begin", "end"}]]}`.
  void configure(const std::string& json,
                 const std::optional<std::string>& tensor_dir = std::nullopt);
  /// Write what is set up as the JSON that `configure` reads.
  /// @throws StateError if a callback is set up: a function cannot be written down.
  std::string to_json(const std::optional<std::string>& tensor_dir = std::nullopt) const;

  /// See only the sites that fire within `ModelScope(model)`; 0, the default, is every site.
  /// @throws StateError if the session is open.
  void see_only_model(std::uint32_t model);

  // --- life ---------------------------------------------------------------------------------

  /// @throws StateError if it is open already.
  void open();
  /// Close, then check; throw again what a callback threw, if the model swallowed it.
  /// @throws StateError if not open, or opened on another thread; SiteError if a check fails. The
  ///         session is closed in any case, and its cache kept.
  void close();
  /// Close without checks. Used when the model itself failed.
  void abort() noexcept;
  bool is_open() const noexcept;
  /// Tell whether a check or a callback threw while the session was open: close() throws it again.
  bool failed() const noexcept;

  /// Open, call `body`, close with checks; if `body` throws, close without them and let it pass.
  template <typename Body>
  void run(Body&& body) {
    open();
    try {
      std::forward<Body>(body)();
    } catch (...) {
      abort();
      throw;
    }
    close();
  }

  // --- what was seen ------------------------------------------------------------------------

  /// Return the captured activations. They stay after close().
  ActivationCache cache() const;
  /// Return the moments that captures with Reduce::moments or Reduce::covariance kept at `site`.
  /// @throws SiteError if there are none.
  Moments moments(std::string_view site) const;
  /// Return how often each captured or edited site fired.
  std::vector<FireRecord> fired() const;
  /// Return how many firings were recomputations of a checkpoint in backward.
  std::int64_t recomputations() const;
  /// Return the names of all sites that fired, captured or not.
  std::vector<std::string> sites_seen() const;
  const SiteTable& table() const;

  /// For the hook room's and the bindings' own use.
  const std::shared_ptr<SessionState>& state() const noexcept { return state_; }

 protected:
  Session(SiteTable table, bool process_wide);

 private:
  std::shared_ptr<SessionState> state_;
};

/// Be seen by every thread of the process: data loaders, autograd's device threads, a model server.
/// What it does is fixed before it is opened.
class TIEROD_API ProcessSession : public Session {
 public:
  ProcessSession();
  explicit ProcessSession(SiteTable table);
  ~ProcessSession() override;
};

}  // namespace tierod
