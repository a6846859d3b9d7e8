// Note [The op tierod::hook]
//
// The op marks a site in graphs: torch.compile, torch.export and their kin keep it, and sessions
// act when the graph runs. Its schema is a contract with saved programs and never changes; new
// needs get new ops. Its output never aliases its input, as functionalisation demands.
//
// Outside of graphs it behaves like hook_point(), with gradients through every edit. Inside of a
// compiled graph autograd is already laid out when the op runs: an edit changes the value, and the
// gradient passes as through an identity.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "hook/session_state_internal.h"
#include "tierod/core/event.h"
#include "tierod/core/site.h"
#include "tierod/hook/hook_point.h"

namespace tierod {

namespace {

using internal::Context;

using HookSignature = at::Tensor(const at::Tensor&, c10::string_view, c10::string_view,
                                 std::int64_t);

at::Tensor dispatch(const char* name, const at::Tensor& x, c10::string_view site,
                    c10::string_view phase, std::int64_t step) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<HookSignature>().call(
      x, site, phase, step);
}

// The phase in the graph wins over the scopes around its run.
Context context_of(c10::string_view phase, std::int64_t step) {
  Context context = internal::thread_state().context;
  if (!phase.empty()) {
    context.phase = phase_from_name(std::string_view(phase.data(), phase.size()));
    context.step = static_cast<std::int32_t>(step);
  } else if (step >= 0) {
    context.step = static_cast<std::int32_t>(step);
  }
  return context;
}

Site site_of(c10::string_view name) { return Site(std::string_view(name.data(), name.size())); }

at::Tensor fresh(const at::Tensor& y, const at::Tensor& x) { return y.is_same(x) ? x.clone() : y; }

at::Tensor hook_forward(const at::Tensor& x, c10::string_view site, c10::string_view phase,
                        std::int64_t step) {
  if (!internal::any_session_here()) return x.clone();
  return fresh(internal::visit(x, site_of(site), context_of(phase, step)), x);
}

at::Tensor hook_backward(const at::Tensor& gradient, c10::string_view site, c10::string_view phase,
                         std::int64_t step) {
  if (!internal::any_session_here()) return gradient.clone();
  return fresh(internal::visit_gradient(gradient, site_of(site), context_of(phase, step)),
               gradient);
}

// Shapes only: a fake or meta tensor in a trace is no event.
at::Tensor hook_meta(const at::Tensor& x, c10::string_view /*site*/, c10::string_view /*phase*/,
                     std::int64_t /*step*/) {
  return at::empty_like(x);
}

struct HookBackwardFunction : torch::autograd::Function<HookBackwardFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* /*context*/, const at::Tensor& x,
                            const std::string& site, const std::string& phase, std::int64_t step) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return dispatch("tierod::hook_backward", x, site, phase, step);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* /*context*/,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients[0].clone(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct HookFunction : torch::autograd::Function<HookFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::string& site, const std::string& phase, std::int64_t step) {
    context->saved_data["site"] = site;
    context->saved_data["phase"] = phase;
    context->saved_data["step"] = step;
    const at::AutoDispatchBelowADInplaceOrView guard;
    return dispatch("tierod::hook", x, site, phase, step);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const std::string site = context->saved_data["site"].toStringRef();
    const std::string phase = context->saved_data["phase"].toStringRef();
    const std::int64_t step = context->saved_data["step"].toInt();
    return {dispatch("tierod::hook_backward", gradients[0], site, phase, step), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

at::Tensor hook_autograd(const at::Tensor& x, c10::string_view site, c10::string_view phase,
                         std::int64_t step) {
  if (internal::any_session_here() && !detail::is_traced(x)) {
    return fresh(internal::visit(x, site_of(site), context_of(phase, step)), x);
  }
  return HookFunction::apply(x, std::string(site), std::string(phase), step);
}

at::Tensor hook_backward_autograd(const at::Tensor& x, c10::string_view site,
                                  c10::string_view phase, std::int64_t step) {
  return HookBackwardFunction::apply(x, std::string(site), std::string(phase), step);
}

}  // namespace

TORCH_LIBRARY(tierod, m) {
  m.def("hook(Tensor x, str site, str phase=\"\", int step=-1) -> Tensor",
        {at::Tag::pt2_compliant_tag});
  m.def("hook_backward(Tensor grad, str site, str phase=\"\", int step=-1) -> Tensor",
        {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(tierod, CompositeExplicitAutograd, m) {
  m.impl("hook", hook_forward);
  m.impl("hook_backward", hook_backward);
}

TORCH_LIBRARY_IMPL(tierod, Meta, m) {
  m.impl("hook", hook_meta);
  m.impl("hook_backward", hook_meta);
}

TORCH_LIBRARY_IMPL(tierod, Autograd, m) {
  m.impl("hook", hook_autograd);
  m.impl("hook_backward", hook_backward_autograd);
}

}  // namespace tierod
