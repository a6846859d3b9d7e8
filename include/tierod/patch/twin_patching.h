#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tierod/core/selection.h"
#include "tierod/export.h"
#include "tierod/patch/edit.h"
#include "tierod/patch/paired_run.h"
#include "tierod/stats/bootstrap.h"
#include "tierod/stats/interval.h"
#include "tierod/vla/functional.h"

// Experiments on exact twins: a scene with and one without the concept, all else equal. Each pair
// has one that is *on* and one that is *off*, so that every pair gives both directions. Functionals
// that look at other road users take those of the scene for both: what is measured is control.
namespace tierod::patch {

/// Hold how much of a twin effect some activations carry, as ratios of sums over the scenes.
struct TIEROD_API Restoration {
  /// sum(m(off <- on) - m_off) / sum(m_on - m_off): the activations of the run with the concept,
  /// put into the run without it, are enough for so much of the effect (denoising).
  stats::BootstrapResult denoising;
  /// sum(m_on - m(on <- off)) / sum(m_on - m_off): without them so much of the effect is lost
  /// (noising). High denoising with low noising: they are redundant.
  stats::BootstrapResult noising;
  double twin_effect = 0;  ///< mean m_on - m_off, in the functional's unit
};

/// Patch between scenes and their twins, both ways, words held (Heimersheim & Nanda 2024, arXiv
/// 2404.15255).
/// @param labels  [scenes of the run] 0 or 1, whether the scene itself has the concept
/// @param groups  [scenes of the run] the independent unit of each
/// @throws InvalidArgument on other lengths or labels; StateError without twins; NumericalError if
///         the twins have no effect at all.
TIEROD_API Restoration twin_restoration(PairedRun& run, const std::string& twin_by,
                                        std::span<const std::uint8_t> labels,
                                        std::span<const std::int64_t> groups,
                                        const std::vector<std::string>& sites,
                                        const Selection& selection,
                                        const vla::ControlFunctional& functional,
                                        const stats::BootstrapOptions& options = {});

/// Name tokens that a path goes through.
struct TIEROD_API TokenBlock {
  std::string name;
  std::vector<std::string> spans;
};

/// Hold the share of a concept's whole effect that takes one path.
struct TIEROD_API PathShare {
  std::string name;
  stats::BootstrapResult denoising, noising;
};

/// Hold the paths of a concept's effect to control.
struct TIEROD_API PathShares {
  std::vector<PathShare> blocks;  ///< states at the tokens of each block, words held
  PathShare words;                ///< what is said, and nothing else
  stats::Interval total;          ///< mean m_on - m_off, words regenerated
  stats::Interval direct;         ///< the same with the words held
  stats::Interval text;           ///< the same by the words alone
};

/// Patch the path from a concept through the tokens of each block to the control head, and through
/// the words (path patching: Goldowsky-Dill et al. 2023, arXiv 2304.05969). The head reads through
/// `sites` alone, so that what it reads at the tokens of a block is the whole of that path; blocks
/// that hold all tokens leave no other. Shares are of the total effect, words regenerated: of a
/// concept that acts by words, all blocks have a small share and `words` a large one. Shares of
/// different paths sum to 1 where the head is linear.
/// @param sites  empty: the model's head inputs
/// @throws as `twin_restoration`; InvalidArgument if the model names no head inputs, or a block has
///         no span.
TIEROD_API PathShares path_shares(PairedRun& run, const std::string& twin_by,
                                  std::span<const std::uint8_t> labels,
                                  std::span<const std::int64_t> groups,
                                  const std::vector<TokenBlock>& blocks,
                                  const vla::ControlFunctional& functional,
                                  std::vector<std::string> sites = {},
                                  const stats::BootstrapOptions& options = {});

/// Hold how well an edit of the concept alone foretells the counterfactual.
struct TIEROD_API Interchange {
  /// 1 - sum(m_int - m_cf)^2 / sum(m_cf - mean)^2
  stats::BootstrapResult r2;
  /// 1 - sum(m_int - m_cf)^2 / sum(m_base - m_cf)^2: the same of the change alone. Scenes differ in
  /// much besides the concept, which `r2` counts as explained.
  stats::BootstrapResult r2_of_change;
  at::Tensor interchanged, counterfactual;  ///< f64 [scenes], m_int and m_cf
};

/// Set the concept's position in each scene to that of another and compare control with what the
/// exact counterfactual does: the scene itself where both agree in the concept, else its twin
/// (interchange intervention: Geiger et al. 2024, arXiv 2303.02536).
/// @param sources  [scenes of the run] number, among the scenes of the run, of the scene that each
///                 takes the position from
/// @throws as `twin_restoration`, and InvalidArgument on other sources.
TIEROD_API Interchange
interchange(PairedRun& run, const std::string& twin_by, std::span<const std::uint8_t> labels,
            std::span<const std::int64_t> groups, std::span<const std::int64_t> sources,
            const std::vector<DirectionPlace>& places, const vla::ControlFunctional& functional,
            Words words = Words::held, const stats::BootstrapOptions& options = {});

/// Say whether a site holds all that its inputs do to control.
struct TIEROD_API Completeness {
  std::string functional;  ///< the one that the donors move most, in units of its SESOI
  double error = 0;        ///< mean |m(patched) - m(donor)|
  double moved = 0;        ///< mean |m(donor) - m(base)|
  double ratio = 0;        ///< error / moved
  bool complete = false;
  std::string note;
};

/// Patch everything at a site from other scenes: if control does not become theirs, something goes
/// past the site, and no null there means anything. "Theirs" is with the inputs that do not enter
/// by the site held at the scene's own, and the words held.
/// @param donors  other scenes' ids, one for each scene of the run
/// @param fields  inputs of the batch that enter by the site ("image"); empty: all. Where a donor's
///                speed enters the trajectory past the control head, take functionals of the
///                actions
/// @param bound   complete up to this share of the change
/// @throws InvalidArgument on other donors, no functional, or unknown fields; NumericalError if the
///         donors move no functional.
TIEROD_API Completeness completeness(PairedRun& run, std::vector<std::int64_t> donors,
                                     const std::vector<std::string>& sites,
                                     const Selection& selection, std::vector<std::string> fields,
                                     const std::vector<vla::ControlFunctional>& functionals,
                                     double bound = 0.10);

/// Hold what the states at some tokens do, beside as many others.
struct TIEROD_API PositionEffects {
  at::Tensor patched;          ///< f64 [rows], change of the functional by the block
  at::Tensor control;          ///< f64 [draws, rows], by as many neighbouring tokens elsewhere
  stats::Interval difference;  ///< mean |patched| - mean |control|
};

/// Patch keys and values (or any states) at the tokens of a span from a donor, and at as many
/// tokens elsewhere: do the words' positions carry more than any positions do? Control tokens are a
/// window of the same length, drawn for each row and draw from the `control` span.
/// @param donor  other scenes, since tokens before the words cannot know other words; where these
///               are to differ too, of the same length: `PairedRun::resampled_words`
/// @throws InvalidArgument if a row has no such span, or one longer than its control span, or if
/// the
///         donor changes nothing at the control tokens.
TIEROD_API PositionEffects position_effects(PairedRun& run, const Donor& donor,
                                            std::span<const std::int64_t> groups,
                                            const std::vector<std::string>& sites,
                                            const std::string& span,
                                            const std::vector<std::string>& control,
                                            const vla::ControlFunctional& functional,
                                            std::int64_t draws = 4, std::uint64_t seed = 0);

/// Return the knockouts that hide the chain of thought from control: the words alone, or, with
/// `to_the_end`, everything from its start onward, after which no text can matter (a known null).
TIEROD_API std::vector<vla::Knockout> cot_cut(bool to_the_end = true);

}  // namespace tierod::patch
