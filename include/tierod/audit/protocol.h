#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/patch/edit.h"
#include "tierod/vla/model.h"
#include "tierod/vla/scene_source.h"

namespace tierod::audit {

/// Fix what is asked of one concept.
struct TIEROD_API ConceptPlan {
  std::string id;
  std::string definition{};  ///< what counts as present, for whoever reads the record
  /// By name (`vla::ControlFunctional`): the one primary number of the concept.
  std::string functional = "mean_acceleration";
  /// What the words claim: -1 lowers the functional, +1 raises it, 0 nothing (the sign found on B).
  int claimed_sign = 0;
  /// Smallest effect of interest, in the functional's unit; 0: the functional's default.
  double sesoi = 0;

  bool operator==(const ConceptPlan&) const = default;
};

/// Name a set of sites that B may choose, and how they are edited.
struct TIEROD_API CandidateSites {
  std::string name;
  std::vector<std::string> sites;
  std::vector<std::string> spans{};
  /// Inputs of the batch that enter by these sites, for the completeness check; empty: all.
  std::vector<std::string> fields{};
  patch::Over over = patch::Over::pooled;

  bool operator==(const CandidateSites&) const = default;
};

/// Name a nuisance that surely drives control through the edited selection.
struct TIEROD_API PositivePlan {
  std::string nuisance;
  std::string functional;

  bool operator==(const PositivePlan&) const = default;
};

/// Fix everything that an audit does before it looks at anything: frozen, hashed, written down.
/// What is left empty, `complete` fills in from model and scenes.
struct TIEROD_API Protocol {
  std::string model;  ///< as the user named it
  std::vector<ConceptPlan> concepts{};

  // data
  std::uint64_t seed = 0;  ///< of splits, samples, words and noise
  double share_a = 0.5, share_b = 0.2, share_c = 0.3;
  std::string group_level{};  ///< unit of the splits; empty: the highest with 40 units
  /// Largest number of scenes of A that are read; 0: as many as the widest site asks for.
  std::int64_t fit_scenes = 0;
  std::int64_t choose_scenes = 80;    ///< of B, half of them with the concept
  std::int64_t test_scenes = 200;     ///< of C, half of them with the concept
  std::int64_t verify_scenes = 1600;  ///< of C, half of them with the concept: fresh probes
  /// Scenes with the concept that each stratum is filled up to; below 30 a stratum does not decide.
  std::int64_t stratum_scenes = 40;
  std::int64_t batch_size = 100;

  // test
  std::vector<CandidateSites> candidates{};
  /// What directions are residualised on besides the other concepts, by name of the nuisance.
  std::vector<std::string> adjust_for{};
  bool interactions = false;
  std::vector<std::string> stratifications{};
  std::optional<PositivePlan> positive{};
  /// A functional that the concepts have no business with; empty: none.
  std::string wrong_functional{};
  std::vector<double> doses = {-2, -1, -0.5, 0.5, 1, 2};
  std::vector<std::string> framings{};
  double alpha = 0.05;   ///< of intervals, and q
  double margin = 0.05;  ///< "not encoded": AUROC above the better baseline
  std::size_t direct_refits = 20, total_refits = 10, checked_refits = 4;
  std::size_t shams = 40;  ///< over all concepts
  std::vector<double> readers = {1.5, 3};
  std::size_t permuted = 4, matched = 4;  ///< for each concept
  bool sham_totals = true;
  double most_sham_used = 0.15;  ///< upper limit of the empirical false-positive rate

  // budget
  std::int64_t framing_scenes = 48;
  std::int64_t framing_seeds = 2;
  std::int64_t examples = 3;  ///< scenes of each concept that the record shows
  /// Go on with fewer than 100 scenes of a class in C: such concepts are INCONCLUSIVE.
  bool allow_few = false;

  // for the safety case, as the owner of the audit words it
  std::string hazard{}, odd_slice{};

  /// Throw unless everything is set and agrees.
  /// @throws InvalidArgument that names the field, what was expected, what was seen and a remedy.
  void check() const;
  /// Return the canonical JSON (sorted keys, all defaults written out).
  std::string to_json() const;
  /// Read what `to_json` writes; keys that are left out keep their defaults.
  /// @throws InvalidArgument on unknown keys, and values of other kinds.
  static Protocol from_json(const std::string& json);
  /// Return the SHA-256 of the canonical JSON.
  std::string sha256() const;

  /// Return a shorter protocol by the same rules: fewer controls, shams by their direct effect
  /// alone.
  Protocol quick() const;

  bool operator==(const Protocol&) const = default;
};

/// Fill in what a protocol leaves open: all concepts of the scenes, their definitions and claims,
/// SESOIs, the model's input cuts as candidates, strata, framings, the positive control.
/// @throws InvalidArgument on a concept, functional, nuisance, stratification or site that is not
///         there (with the nearest names), a SESOI that has no default, a concept that never or
///         always occurs.
TIEROD_API Protocol complete(Protocol protocol, const vla::Model& model,
                             const vla::SceneSource& source);

}  // namespace tierod::audit
