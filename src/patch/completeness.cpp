#include <ATen/TensorOperators.h>

#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "tierod/core/error.h"
#include "tierod/patch/twin_patching.h"

namespace tierod::patch {

using internal::cat;

Completeness completeness(PairedRun& run, std::vector<std::int64_t> donors,
                          const std::vector<std::string>& sites, const Selection& selection,
                          std::vector<std::string> fields,
                          const std::vector<vla::ControlFunctional>& functionals, double bound) {
  constexpr auto* kWhere = "patch.completeness";
  if (functionals.empty() || sites.empty()) {
    throw InvalidArgument(cat("[", kWhere, "] expected at least one functional and one site, got ",
                              functionals.size(), " and ", sites.size()));
  }
  if (!(bound > 0)) throw InvalidArgument(cat("[", kWhere, "] expected bound > 0, got ", bound));
  const Donor donor = {.scenes = std::move(donors), .fields = std::move(fields)};
  if (donor.scenes.empty()) {
    throw InvalidArgument(cat("[", kWhere, "] expected donors, other scenes than the run's own"));
  }
  run.check_donor(donor, "completeness");
  PairedRun::Impl& impl = run.impl();
  impl.need_base();
  std::vector<vla::Rollout> theirs, patched;
  impl.each("completeness", [&](std::int64_t b) {
    vla::Rollout whole;
    const ActivationCache cache = impl.donated(b, donor, sites, selection, &whole);
    theirs.push_back(std::move(whole));
    patched.push_back(impl.within(b, std::nullopt, Words::held, [&](Session& session) {
      for (const std::string& site : sites) {
        session.intervene(site, Intervention::restore(cache), {.selection = selection});
      }
    }));
    return patched.back();
  });
  const vla::Rollout of_donor = PairedRun::Impl::join(std::move(theirs));
  const vla::Rollout of_patch = PairedRun::Impl::join(std::move(patched));
  Completeness out;
  double most = -1;
  for (const vla::ControlFunctional& functional : functionals) {
    const at::Tensor there = run.effect(of_donor, functional);
    const at::Tensor here = run.effect(of_patch, functional);
    const auto moved = there.abs().mean().item<double>();
    const double units = moved / functional.sesoi().value_or(1);
    if (units <= most) continue;
    most = units;
    out.functional = functional.name();
    out.moved = moved;
    out.error = (here - there).abs().mean().item<double>();
  }
  if (!(out.moved > 0)) {
    throw NumericalError(cat("[", kWhere,
                             "] the donors move none of the functionals: take other "
                             "scenes, or fields that enter by the site"));
  }
  out.ratio = out.error / out.moved;
  out.complete = out.ratio <= bound;
  if (!out.complete) {
    out.note = cat("of what the donors do, ", out.ratio, " goes past ", internal::list_text(sites),
                   ": a null effect there is no evidence");
  }
  return out;
}

}  // namespace tierod::patch
