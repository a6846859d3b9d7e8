#include "tierod/hook/hook_point.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "hook/session_state_internal.h"
#include "tierod/core/event.h"

namespace tierod::detail {

namespace {

// Leave the op in the graph that is being traced.
at::Tensor call_op(const at::Tensor& x, const Site& site) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("tierod::hook", "")
          .typed<at::Tensor(const at::Tensor&, c10::string_view, c10::string_view, std::int64_t)>();
  const internal::Context& context = internal::thread_state().context;
  const char* phase = context.phase == Phase::none ? "" : phase_name(context.phase);
  return op.call(x, site.name(), phase, context.step);
}

}  // namespace

at::Tensor hook_point_slow(const at::Tensor& x, const Site& site) {
  if (is_traced(x)) return call_op(x, site);
  return internal::visit(x, site, internal::thread_state().context);
}

bool is_wanted_slow(const Site& site) {
  return internal::wants(site, internal::thread_state().context);
}

}  // namespace tierod::detail
