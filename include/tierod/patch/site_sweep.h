#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/core/selection.h"
#include "tierod/export.h"
#include "tierod/patch/edit.h"
#include "tierod/patch/paired_run.h"
#include "tierod/vla/functional.h"

namespace tierod::patch {

/// Name one part of a site: tokens, a span, a head, a denoise step.
struct TIEROD_API SitePart {
  std::string name;
  Selection selection{};
};

/// Name where the cells of a sweep take their activations from.
struct TIEROD_API NamedDonor {
  std::string name;
  Donor donor{};
};

/// Ask for every site x part x donor of a driving model.
struct TIEROD_API SiteSweepRequest {
  /// Patterns, each one line of the map; what a pattern matches is patched together.
  std::vector<std::string> sites;
  std::vector<SitePart> parts = {{.name = "all"}};
  std::vector<NamedDonor> donors{};
  /// In place of donors: an edit of one's own for each cell.
  std::function<std::shared_ptr<const Edit>(const std::string& site, const SitePart& part)> edit{};
  /// Names the own edit in a file of cells.
  std::string edit_name{};
  Words words = Words::held;
};

struct TIEROD_API SiteSweepOptions {
  /// Run so many cells again, from the start, and compare.
  std::int64_t recheck = 4;
  /// Largest difference of a checked cell, as a share of the functional's range.
  double tolerance = 5e-6;
  std::uint64_t seed = 0;  ///< of the choice of checked cells
  /// Keep the cells in this file; the same sweep goes on from there.
  std::string file{};
  /// Called with (cells done, cells, site and part); false stops, and what is done is returned.
  Progress progress{};
};

/// Hold the functional of every cell, with what it stands between.
struct TIEROD_API SiteSweepResult {
  at::Tensor values;  ///< f64 [rows, donors, sites, parts]; NaN: not done
  at::Tensor base;    ///< f64 [rows], unpatched
  at::Tensor
      source;  ///< f64 [rows, donors], of the donor's run, words as asked; NaN with an own edit
  std::vector<std::string> donors, sites, parts;
  std::string functional, unit;
  /// Whole runs through the language model, those of base and donors included; and runs of the
  /// control head alone, on what the base had thought.
  std::int64_t rollouts = 0, acts = 0;
  std::int64_t rechecked = 0;
  double recheck_difference = 0;
  std::int64_t resumed = 0;
  bool complete = true;
};

/// Patch each part of each site of a driving model, one cell a run, and read a control functional:
/// a map over layers and tokens, heads, spans or denoise steps. Where a cell is edited after all is
/// said, as in the expert or its inputs, a `vla::StagedModel` runs the expert alone.
///
/// Ctrl-C and a refused `progress` end it after the cell at hand; batch by batch nothing is lost.
/// @throws InvalidArgument without site, part, or exactly one of donors and edit; if a name stands
///         twice; if `file` holds another sweep, or keeps an own edit that has no name.
/// @throws NumericalError if a checked cell differs, or the functional is not finite.
TIEROD_API SiteSweepResult site_sweep(PairedRun& run, const SiteSweepRequest& request,
                                      const vla::ControlFunctional& functional,
                                      const SiteSweepOptions& options = {});

/// Hold first-order estimates of the cells of a sweep.
struct TIEROD_API Attribution {
  at::Tensor values;  ///< f64 [rows, donors, sites, parts]
  std::vector<std::string> donors, sites, parts;
  /// Cells by the absolute value of their mean over the rows, largest first: int64 [cells, 3]
  /// (donor, site, part).
  at::Tensor ranking;
};

/// Estimate every cell of a sweep by one backward pass a batch (attribution patching: Nanda 2023;
/// Syed et al. 2023, arXiv 2310.10348): gradient of the functional at the base run, times donor -
/// base. Positive means that the patch would raise the functional; where that is linear in what is
/// patched the estimate is exact. It serves to **rank** cells only: at saturated heads and
/// attention it can be wrong by any factor, so that what it picks must be patched.
/// @throws as `site_sweep`, and InvalidArgument if the model is not differentiable or an own edit
/// is
///         asked for.
TIEROD_API Attribution attribute_sites(PairedRun& run, const SiteSweepRequest& request,
                                       const vla::ControlFunctional& functional);

}  // namespace tierod::patch
