#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <atomic>
#include <cstdint>

#include "tierod/core/site.h"
#include "tierod/export.h"

namespace tierod {

namespace detail {

/// Count the open sessions of the process. Zero is the common case that hook_point() tests for.
TIEROD_API extern std::atomic<std::int64_t> open_session_count;

TIEROD_API at::Tensor hook_point_slow(const at::Tensor& x, const Site& site);
TIEROD_API bool is_wanted_slow(const Site& site);

/// Tell whether `x` belongs to a trace (torch.compile, torch.export, make_fx, torch.jit.trace).
inline bool is_traced(const at::Tensor& x) {
  return x.key_set().has_any(
             c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::Functionalize})) ||
         c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Tracer);
}

}  // namespace detail

/// Let open sessions see, and edit, the activation `x` at `site`, and return the value to go on
/// with: `x` itself unless a session edited it.
///
///     x = tierod::hook_point(x, site);     // site: a Site made once, in the module's constructor
///
/// Without an open session it costs a relaxed atomic load and returns `x`. While torch traces or
/// compiles, it leaves the op `tierod::hook` in the graph, so that sessions work in what was
/// traced.
/// @throws whatever a session's check or callback throws; the message names the site.
inline at::Tensor hook_point(const at::Tensor& x, const Site& site) {
  if (detail::open_session_count.load(std::memory_order_relaxed) == 0 && !detail::is_traced(x))
      [[likely]] {
    return x;
  }
  return detail::hook_point_slow(x, site);
}

/// Do the same without touching the reference count: `x = hook_point(std::move(x), site)`.
inline at::Tensor hook_point(at::Tensor&& x, const Site& site) {
  if (detail::open_session_count.load(std::memory_order_relaxed) == 0 && !detail::is_traced(x))
      [[likely]] {
    return std::move(x);
  }
  return detail::hook_point_slow(x, site);
}

/// Tell whether an open session captures or edits at `site`: for values that a model makes only
/// where somebody looks at them, as the weights of a fused attention.
inline bool is_wanted(const Site& site) {
  return detail::open_session_count.load(std::memory_order_relaxed) != 0 &&
         detail::is_wanted_slow(site);
}

}  // namespace tierod
