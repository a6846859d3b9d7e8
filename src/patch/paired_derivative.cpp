// By how much control would move along other directions, to first order around an edited run.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "patch/part_vectors_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kWhere = kPairedRun;

}  // namespace

at::Tensor PairedRun::derivative(const DirectionEdit& edit,
                                 const std::vector<DirectionEdit>& others,
                                 const vla::ControlFunctional& functional) {
  for (const DirectionEdit& other : others) {
    if (other.places().size() == edit.places().size()) continue;
    throw InvalidArgument(cat("[", kWhere, ".derivative] expected directions for ",
                              edit.places().size(), " places, got ", other.places().size()));
  }
  impl_->need_base();
  vla::RolloutOptions asked = impl_->options.rollout;
  asked.differentiable = true;
  vla::check_options(asked, impl_->about);
  // what a place was given, and what it went on with
  struct Seen {
    std::size_t place;
    Site site;
    EditRows rows;
    at::Tensor part, moved;
  };
  std::vector<at::Tensor> out;
  impl_->each("derivative", [&](std::int64_t b) {
    const at::AutoGradMode with_gradients(true);
    const EditRows rows = impl_->edit_rows(b, Words::held);
    vla::RolloutOptions how = impl_->of_batch(b, Words::held);
    how.differentiable = true;
    std::vector<Seen> seen;
    Session session(impl_->about.sites);
    if (!rows.spans.empty()) session.set_spans(rows.spans);
    for (std::size_t i = 0; i < edit.places().size(); ++i) {
      session.intervene(
          edit.places()[i].site,
          [&, i](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
            const EditRows here = internal::with_part(rows);
            at::Tensor moved = edit.moved(i, part, here, event.site);
            if (!moved.requires_grad()) moved = moved.detach().requires_grad_(true);
            seen.push_back({i, event.site, here, part.detach(), moved});
            return moved;
          },
          {.selection = edit.places()[i].selection, .ragged = true});
    }
    vla::Rollout rollout;
    session.run([&] { rollout = impl_->drive(impl_->inputs(impl_->ids(b), {}), how); });
    const at::Tensor values = functional(rollout, impl_->source, impl_->ids(b));
    if (!values.requires_grad()) {
      throw InvalidArgument(cat("[", kWhere, ".derivative] expected '", functional.name(),
                                "' to depend on the edited activations by a graph that can be ",
                                "differentiated, got none; the model says that it is "
                                "differentiable and cuts the graph"));
    }
    std::vector<at::Tensor> at_sites;
    at_sites.reserve(seen.size());
    for (const Seen& one : seen) at_sites.push_back(one.moved);
    const std::vector<at::Tensor> slopes = torch::autograd::grad(
        {values.sum()}, at_sites, {}, /*retain_graph=*/false, /*create_graph=*/false,
        /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    const std::int64_t count = internal::length(rows.numbers.size());
    at::Tensor moves = at::zeros({static_cast<std::int64_t>(others.size()), count}, at::kDouble);
    for (std::size_t k = 0; k < others.size(); ++k) {
      for (std::size_t s = 0; s < seen.size(); ++s) {
        if (!slopes[s].defined()) continue;
        const Seen& one = seen[s];
        const at::Tensor there = others[k].moved(one.place, one.part, one.rows, one.site);
        const at::Tensor product = slopes[s] * (there - one.moved);
        moves[static_cast<std::int64_t>(k)] += internal::sum_of_rows(product, one.rows);
      }
    }
    out.push_back(moves);
    rollout.actions = rollout.actions.detach();
    rollout.trajectory = rollout.trajectory.detach();
    return rollout;
  });
  return at::cat(out, 1);
}

}  // namespace tierod::patch
