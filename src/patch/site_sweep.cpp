#include "tierod/patch/site_sweep.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "patch/part_vectors_internal.h"
#include "patch/sweep_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod::patch {

using internal::cat;
using internal::length;

namespace {

constexpr auto* kWhere = "patch.site_sweep";

template <typename Named>
std::vector<std::string> names_of(const std::vector<Named>& list, const char* what) {
  std::vector<std::string> out;
  for (const Named& one : list) {
    if constexpr (std::is_same_v<Named, std::string>) {
      out.push_back(one);
    } else {
      out.push_back(one.name);
    }
  }
  const std::set<std::string> different(out.begin(), out.end());
  if (out.empty() || different.size() != out.size()) {
    throw InvalidArgument(cat("[", kWhere, "] expected at least one of ", what,
                              ", each with a name of its own, got ", internal::list_text(out)));
  }
  return out;
}

/// Say which cells there are, in the order of [donors, sites, parts].
struct Grid {
  std::vector<std::string> donors, sites, parts;

  Grid(PairedRun& run, const SiteSweepRequest& request)
      : sites(names_of(request.sites, "sites")), parts(names_of(request.parts, "parts")) {
    if (request.donors.empty() == !request.edit) {
      throw InvalidArgument(cat("[", kWhere, "] expected donors or an edit, and not both, got ",
                                request.edit ? "both" : "neither"));
    }
    donors = request.edit ? std::vector<std::string>{"edit"} : names_of(request.donors, "donors");
    for (const NamedDonor& donor : request.donors) run.check_donor(donor.donor, "site_sweep");
  }
  std::int64_t cells() const { return length(donors.size() * sites.size() * parts.size()); }
  std::vector<std::int64_t> shape(std::int64_t rows) const {
    return {rows, length(donors.size()), length(sites.size()), length(parts.size())};
  }
  struct Cell {
    std::size_t donor, site, part;
  };
  Cell cell(std::int64_t number) const {
    const auto n = static_cast<std::size_t>(number);
    return {n / (sites.size() * parts.size()), n / parts.size() % sites.size(), n % parts.size()};
  }
};

class Sweeping {
 public:
  Sweeping(PairedRun& run, const SiteSweepRequest& request,
           const vla::ControlFunctional& functional, const SiteSweepOptions& options)
      : run_(run),
        impl_(run.impl()),
        request_(request),
        functional_(functional),
        options_(options),
        grid_(run, request) {
    if (request.edit && !options.file.empty() && request.edit_name.empty()) {
      throw InvalidArgument(cat("[", kWhere,
                                "] expected a name of the own edit, since a file keeps ",
                                "its cells, got none: another edit would go on from them"));
    }
    if (options.recheck < 0) {
      throw InvalidArgument(cat("[", kWhere, "] expected recheck >= 0, got ", options.recheck));
    }
  }

  SiteSweepResult sweep() {
    const std::int64_t rollouts = impl_.rollouts, acts = impl_.acts;
    impl_.need_base();
    SiteSweepResult out;
    out.donors = grid_.donors;
    out.sites = grid_.sites;
    out.parts = grid_.parts;
    out.functional = functional_.name();
    out.unit = functional_.unit();
    out.base = run_.values(run_.base(), functional_);
    const double none = std::numeric_limits<double>::quiet_NaN();
    out.values = at::full(grid_.shape(run_.rows()), none, at::kDouble);
    out.source = at::full({run_.rows(), length(grid_.donors.size())}, none, at::kDouble);
    internal::SweepFile file(options_.file, question(), out.values);
    out.resumed = file.load();
    std::int64_t done = 0;
    const std::int64_t all = impl_.batches() * grid_.cells();
    // batches outside: what a donor has at all sites is held for one batch only
    for (std::int64_t b = 0; b < impl_.batches() && out.complete; ++b) {
      const std::int64_t begin = impl_.first(b) * impl_.samples();
      const std::int64_t rows = impl_.size(b) * impl_.samples();
      std::vector<ActivationCache> caches;
      for (std::size_t d = 0; d < request_.donors.size(); ++d) {
        vla::Rollout theirs;
        const Donor& donor = request_.donors[d].donor;
        caches.push_back(impl_.donated(b, donor, request_.sites, {}, &theirs));
        if (request_.words == Words::regenerated && !donor.words) {
          // where words follow a patch, the way to go is to what the donor says and does itself
          theirs = impl_.drive(impl_.donor_inputs(b, donor), impl_.of_batch(b, request_.words));
        }
        out.source.select(1, length(d)).narrow(0, begin, rows).copy_(values(theirs, b));
      }
      for (std::int64_t c = 0; c < grid_.cells(); ++c) {
        const Grid::Cell cell = grid_.cell(c);
        const at::Tensor into = at_cell(out.values, cell).narrow(0, begin, rows);
        ++done;
        if (!into.isnan().any().item<bool>()) continue;
        if (options_.progress &&
            !options_.progress(done - 1, all,
                               cat(grid_.sites[cell.site], ", ", grid_.parts[cell.part]))) {
          out.complete = false;
          break;
        }
        try {
          into.copy_(values(patched(b, cell, caches, true), b));
        } catch (...) {
          file.save();  // nothing done is lost
          throw;
        }
        file.save_sometimes();
      }
      if (out.complete && b == 0) recheck(out, caches);
    }
    file.save();
    if (options_.progress && out.complete) options_.progress(all, all, "done");
    out.rollouts = impl_.rollouts - rollouts;
    out.acts = impl_.acts - acts;
    return out;
  }

 private:
  static at::Tensor at_cell(const at::Tensor& values, const Grid::Cell& cell) {
    return values.select(3, length(cell.part))
        .select(2, length(cell.site))
        .select(1, length(cell.donor));
  }

  at::Tensor values(const vla::Rollout& rollout, std::int64_t batch) const {
    const at::Tensor out =
        functional_(rollout, impl_.source, impl_.ids(batch)).to(at::kCPU, at::kDouble);
    if (!out.isfinite().all().item<bool>()) {
      throw NumericalError(cat("[", kWhere, "] expected finite '", functional_.name(),
                               "', got NaN or Inf; look at what was patched"));
    }
    return out;
  }

  vla::Rollout patched(std::int64_t b, const Grid::Cell& cell,
                       const std::vector<ActivationCache>& caches, bool may_act) {
    const std::string& site = request_.sites[cell.site];
    const SitePart& part = request_.parts[cell.part];
    // inputs that are given make a whole run of it
    std::optional<vla::Batch> whole;
    if (!may_act) whole = impl_.inputs(impl_.ids(b), {});
    return impl_.within(b, whole, request_.words, [&](Session& session) {
      if (request_.edit) {
        const std::shared_ptr<const Edit> edit = request_.edit(site, part);
        if (!edit) {
          throw InvalidArgument(
              cat("[", kWhere, "] expected an edit for '", site, "', '", part.name, "', got none"));
        }
        edit->put_on(session, impl_.edit_rows(b, request_.words));
      } else {
        session.intervene(site, Intervention::restore(caches[cell.donor]),
                          {.selection = part.selection});
      }
    });
  }

  // Compare some cells of the first batch with whole runs.
  void recheck(SiteSweepResult& out, const std::vector<ActivationCache>& caches) {
    const std::int64_t rows = impl_.size(0) * impl_.samples();
    const CounterRandom random(options_.seed, "patch.site_sweep recheck");
    const at::Tensor first = out.values.narrow(0, 0, rows);
    const auto range = (first.max() - first.min()).item<double>();
    for (std::int64_t i = 0; i < std::min(options_.recheck, grid_.cells()); ++i) {
      const auto number = static_cast<std::int64_t>(
          random.uniform(0, 0, static_cast<std::uint32_t>(i)) * static_cast<double>(grid_.cells()));
      const Grid::Cell cell = grid_.cell(std::min(number, grid_.cells() - 1));
      const at::Tensor again = values(patched(0, cell, caches, false), 0);
      const auto off = (again - at_cell(first, cell)).abs().max().item<double>();
      const double share = range > 0 ? off / range : off;
      out.recheck_difference = std::max(out.recheck_difference, share);
      ++out.rechecked;
      if (share <= options_.tolerance) continue;
      throw NumericalError(cat("[", kWhere, "] cell ('", grid_.sites[cell.site], "', '",
                               grid_.parts[cell.part], "') differs from a whole run by ", share,
                               " of the range; a run of the model is not repeatable, or its `act` "
                               "is not what a rollout does"));
    }
  }

  static std::string digest_of(const at::Tensor& x) {
    const at::Tensor flat = x.detach().to(at::kCPU).contiguous();
    return sha256_hex(flat.const_data_ptr(), flat.nbytes());
  }

  std::string question() const {
    nlohmann::json parts = nlohmann::json::array(), donors = nlohmann::json::array();
    for (const SitePart& part : request_.parts) parts.push_back(part.selection.to_json());
    for (const NamedDonor& donor : request_.donors) {
      donors.push_back({donor.name, donor.donor.scenes, donor.donor.twin_by, donor.donor.fields,
                        donor.donor.words ? digest_of(donor.donor.words->cot_tokens) : ""});
    }
    const vla::Rollout& base = run_.base();
    const vla::RolloutOptions& how = impl_.options.rollout;
    return nlohmann::json({{"kind", "site_sweep"},
                           {"model", impl_.about.name},
                           {"weights", impl_.about.weights_sha256},
                           {"scenes", impl_.scenes},
                           {"seed", how.seed},
                           {"saying", static_cast<int>(request_.words)},
                           {"functional", functional_.name()},
                           {"sites", grid_.sites},
                           {"names", grid_.parts},
                           {"parts", parts},
                           {"donors", donors},
                           {"own", request_.edit_name},
                           // stand for model, scenes, seeds, noise, samples, knockouts
                           {"actions", digest_of(base.actions)},
                           {"words", digest_of(base.cot_tokens)}})
        .dump();
  }

  PairedRun& run_;
  PairedRun::Impl& impl_;
  const SiteSweepRequest& request_;
  const vla::ControlFunctional& functional_;
  const SiteSweepOptions& options_;
  Grid grid_;
};

at::Tensor ranked(const at::Tensor& values, const Grid& grid) {
  const at::Tensor order = values.mean(0).abs().flatten().argsort(-1, /*descending=*/true);
  at::Tensor out = at::zeros({grid.cells(), 3}, at::kLong);
  for (std::int64_t i = 0; i < grid.cells(); ++i) {
    const Grid::Cell cell = grid.cell(order[i].item<std::int64_t>());
    out[i].copy_(at::tensor({length(cell.donor), length(cell.site), length(cell.part)}, at::kLong));
  }
  return out;
}

}  // namespace

SiteSweepResult site_sweep(PairedRun& run, const SiteSweepRequest& request,
                           const vla::ControlFunctional& functional,
                           const SiteSweepOptions& options) {
  return Sweeping(run, request, functional, options).sweep();
}

Attribution attribute_sites(PairedRun& run, const SiteSweepRequest& request,
                            const vla::ControlFunctional& functional) {
  const Grid grid(run, request);
  if (request.edit) {
    throw InvalidArgument(
        "[patch.attribute_sites] expected donors, got an own edit: what it would put in has no "
        "difference to the base that a gradient could be taken along");
  }
  if (!run.can("differentiable")) {
    throw InvalidArgument(
        "[patch.attribute_sites] expected a model with the option 'differentiable'; patch the "
        "cells instead (site_sweep)");
  }
  PairedRun::Impl& impl = run.impl();
  impl.need_base();
  // A change of 0 at each part: its gradient is that of the part, whatever other parts overlap it.
  struct Seen {
    std::size_t site, part;
    Event event;
    at::Tensor base, change;
  };
  Attribution out;
  out.donors = grid.donors;
  out.sites = grid.sites;
  out.parts = grid.parts;
  std::vector<at::Tensor> batches;
  impl.each("attribution", [&](std::int64_t b) {
    const at::AutoGradMode with_gradients(true);
    const EditRows rows = impl.edit_rows(b, Words::held);
    vla::RolloutOptions how = impl.of_batch(b, Words::held);
    how.differentiable = true;
    std::vector<Seen> seen;
    Session session(impl.about.sites);
    if (!rows.spans.empty()) session.set_spans(rows.spans);
    for (std::size_t s = 0; s < request.sites.size(); ++s) {
      for (std::size_t p = 0; p < request.parts.size(); ++p) {
        session.intervene(
            request.sites[s],
            [&, s, p](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
              at::Tensor change = at::zeros_like(part.detach()).requires_grad_(true);
              seen.push_back({s, p, event, part.detach(), change});
              return part + change;
            },
            {.selection = request.parts[p].selection, .ragged = true});
      }
    }
    vla::Rollout rollout;
    session.run([&] { rollout = impl.drive(impl.inputs(impl.ids(b), {}), how); });
    const at::Tensor values = functional(rollout, impl.source, impl.ids(b));
    if (!values.requires_grad()) {
      throw InvalidArgument(cat("[patch.attribute_sites] expected '", functional.name(),
                                "' to depend on the activations by a graph that can be "
                                "differentiated, got none"));
    }
    std::vector<at::Tensor> changes;
    changes.reserve(seen.size());
    for (const Seen& one : seen) changes.push_back(one.change);
    const std::vector<at::Tensor> slopes =
        torch::autograd::grad({values.sum()}, changes, {}, false, false, /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    at::Tensor found = at::zeros(grid.shape(length(rows.numbers.size())), at::kDouble);
    for (std::size_t d = 0; d < request.donors.size(); ++d) {
      // the same parts of the donor, in the same order
      std::size_t next = 0;
      Session donor(impl.about.sites);
      if (!rows.spans.empty()) donor.set_spans(rows.spans);
      for (std::size_t s = 0; s < request.sites.size(); ++s) {
        for (std::size_t p = 0; p < request.parts.size(); ++p) {
          donor.intervene(
              request.sites[s],
              [&, s, p](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
                const Seen& one = seen.at(next);
                if (one.site != s || one.part != p || !(one.event == event) ||
                    one.base.sizes() != part.sizes()) {
                  throw InvalidArgument(cat("[patch.attribute_sites] expected the donor '",
                                            grid.donors[d], "' to fire as the base does at '",
                                            event.site.name(), "', got another event or shape"));
                }
                if (slopes[next].defined()) {
                  const at::Tensor sums = internal::sum_of_rows(slopes[next] * (part - one.base),
                                                                internal::with_part(rows));
                  found.select(3, length(p)).select(2, length(s)).select(1, length(d)).add_(sums);
                }
                ++next;
                return std::nullopt;
              },
              {.selection = request.parts[p].selection, .ragged = true});
        }
      }
      const Donor& who = request.donors[d].donor;
      donor.run([&] {
        const vla::Rollout theirs =
            impl.drive(impl.donor_inputs(b, who),
                       who.words ? impl.saying(b, *who.words) : impl.of_batch(b, Words::held));
        if (who.words) impl.check_aligned(b, theirs);
      });
    }
    batches.push_back(found);
    rollout.actions = rollout.actions.detach();
    rollout.trajectory = rollout.trajectory.detach();
    return rollout;
  });
  out.values = at::cat(batches, 0);
  out.ranking = ranked(out.values, grid);
  return out;
}

}  // namespace tierod::patch
