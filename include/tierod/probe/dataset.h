#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/probe/fold_statistics.h"
#include "tierod/store/labels.h"  // kMissingLabel

namespace tierod {
class ActivationReader;
class FoldMoments;
}  // namespace tierod

namespace tierod::probe {

/// Say how the values of a nuisance enter a design.
enum class NuisanceKind : std::uint8_t {
  numeric,      ///< as it is: what is linear in it is adjusted for
  binned,       ///< cut at quantiles, a column a bin: also what is not linear
  categorical,  ///< a column a value
};

/// Hold what goes together with concepts without being one: speed, command, number of other agents.
struct TIEROD_API Nuisance {
  std::string name;
  NuisanceKind kind = NuisanceKind::numeric;
  std::vector<double> values;        ///< [n]
  std::vector<std::uint32_t> cells;  ///< [n] bin or category; of numeric ones their quartile
  std::uint32_t cell_count = 0;
};

/// Name the three disjoint sets of groups: A fits, B chooses, C tests.
enum class Split : std::uint8_t { a, b, c };
TIEROD_API const char* split_name(Split split) noexcept;

struct TIEROD_API SplitOptions {
  double a = 0.5, b = 0.2, c = 0.3;
  std::uint64_t seed = 0;
  /// Split by the highest level with so many units.
  std::size_t least_units = 40;
  /// C must hold so many.
  std::size_t least_test_units = 12;
};

/// Hold the assignment of rows to A, B and C.
struct TIEROD_API Splits {
  std::vector<Split> of_row;  ///< [n]
  std::string level;          ///< what was split by
  std::size_t units[3] = {};  ///< of that level in A, B, C
  std::string note;           ///< a higher level with too few units; empty otherwise
};

/// Hold, for the same n rows, activations at sites, labels of concepts and everything that keeps
/// evidence honest: groups, twins, nuisances, strata.
///
/// A *group* is the independent unit (scene). Higher *levels* (route, town) hold whole groups.
/// *Twins* are rows that differ in one thing only (a scene and its counterfactual): they stay
/// together whatever their groups. The *units* of a level are its members joined by twins; folds,
/// splits and intervals work on units.
class TIEROD_API ProbeDataset {
 public:
  /// @param groups  the group of each row [n]
  /// @throws InvalidArgument if it is empty.
  explicit ProbeDataset(std::vector<std::int64_t> groups);

  /// Read rows of a stream: sites (empty: all) are loaded one at a time when they are used, so that
  /// memory holds one. Labels come by sample, groups from the row table (the scene, else the
  /// sample, where there is none).
  /// @param rows  int64 [n]; undefined: all
  /// @throws as the reader; InvalidArgument if a concept is unknown.
  static ProbeDataset from_store(std::shared_ptr<const ActivationReader> reader,
                                 const std::string& stream, std::vector<std::string> sites = {},
                                 const std::vector<std::string>& concepts = {},
                                 const at::Tensor& rows = {});

  /// Add activations [n, d] of any floating dtype. They are not copied.
  /// @throws InvalidArgument on another length, shape or dtype, or a name that is there.
  /// @throws NumericalError if a value is not finite; the message names site and row.
  void add_site(const std::string& name, const at::Tensor& rows);
  /// Add a site whose rows are loaded, and checked, each time they are used.
  void add_site(const std::string& name, std::function<at::Tensor()> load);
  /// Add a concept with labels [n] 0, 1 or 255 for unknown.
  /// @throws InvalidArgument on another length, other labels, a name that is there, or a concept
  ///         without both classes.
  void add_concept(const std::string& name, std::vector<std::uint8_t> labels);
  /// Add a real target (acceleration, distance) with values [n] of any unit; NaN is unknown.
  /// @throws InvalidArgument on another length, a name that is there, or a constant target;
  ///         NumericalError if a value is infinite.
  void add_target(const std::string& name, std::vector<double> values);
  /// Add a nuisance with values [n]; `bins` is of a binned one.
  /// @throws InvalidArgument on another length or a name that is there, more than 64 categories, or
  ///         bins < 2; NumericalError if a value is not finite.
  void add_nuisance(const std::string& name, std::vector<double> values,
                    NuisanceKind kind = NuisanceKind::numeric, std::size_t bins = 4);
  /// Add a level above those there; each of its members holds whole members of the level below.
  /// @throws InvalidArgument on another length, or if a lower member is in two (named).
  void add_level(const std::string& name, std::vector<std::int64_t> ids);
  /// Join rows of one twin number, whatever their groups; -1 is a row without twin.
  void set_twins(std::vector<std::int64_t> twins);
  /// Let permuted labels move only within strata; a stratum holds whole groups.
  /// @throws InvalidArgument on another length, or if a group is in two strata (named).
  void set_strata(std::vector<std::int64_t> strata);
  /// Set the recurring type of each row that control labels are keyed on (token id, road type).
  /// Without it a type is the combination of the cells of all nuisances.
  void set_types(std::vector<std::int64_t> types);

  std::size_t rows() const noexcept { return groups_.size(); }
  std::vector<std::string> sites() const;
  std::vector<std::string> concepts() const;
  std::vector<std::string> targets() const;
  const std::vector<Nuisance>& nuisances() const noexcept { return nuisances_; }
  std::span<const std::int64_t> groups() const noexcept { return groups_; }
  std::span<const std::int64_t> strata() const noexcept { return strata_; }
  /// Return the rows [n, d] of a site, checked. @throws SiteError if there is none.
  at::Tensor site(std::string_view name) const;
  /// Return the labels [n] of a concept. @throws InvalidArgument if there is none.
  std::span<const std::uint8_t> labels(std::string_view concept_name) const;
  /// Return the values [n] of a target, NaN where unknown. @throws InvalidArgument if there is
  /// none.
  std::span<const double> target(std::string_view name) const;
  /// Return the type [n] of each row, empty where there is nothing to make one from.
  std::vector<std::int64_t> types() const;

  /// Return the levels, from groups upwards, by name ("group" first).
  std::vector<std::string> levels() const;
  /// Return the highest level with at least `least` units, else the lowest.
  std::string level(std::size_t least = 40) const;
  /// Return the unit [n] of each row at a level, numbered by their smallest group.
  /// @throws InvalidArgument if there is no such level.
  std::vector<std::int64_t> units(std::string_view level) const;

  /// Deal units to folds so that rows, and the positives of each concept, are spread evenly
  /// (greedy, rarest first); ties by `seed`.
  /// @throws InvalidArgument with fewer units than folds, or fewer than 2 folds.
  std::vector<std::uint32_t> folds(std::size_t folds, std::uint64_t seed = 0,
                                   std::string_view level = "group") const;
  /// Split units at random into A, B and C.
  /// @throws InvalidArgument unless the shares are positive and sum to 1, or if C would get fewer
  ///         units than asked.
  Splits split(const SplitOptions& options = {}) const;
  /// Take a split made elsewhere. @throws InvalidArgument on another length, or if a group or a
  /// pair of twins is in two splits (named).
  void check_split(std::span<const Split> of_row) const;
  /// Return the dataset of some rows, int64 [m] without repeats. Sites are views or gathers.
  /// @throws OutOfRange; InvalidArgument if a concept loses a class, or a target its variation.
  ProbeDataset subset(const at::Tensor& rows) const;
  ProbeDataset subset(const Splits& splits, Split which) const;

  /// Return columns [n, q] of nuisances and of other concepts' labels, by name, as a linear model
  /// takes them: numeric ones standardised, cells as indicators (the first left out), unknown
  /// labels in a column of their own; constants are left out, so q may be 0.
  /// @throws InvalidArgument on an unknown name.
  at::Tensor design(const std::vector<std::string>& names) const;
  /// Return the same [m, q] of some rows: standardised among these, without what is constant there.
  /// @throws as above; OutOfRange if there is no such row.
  at::Tensor design(const std::vector<std::string>& names, std::span<const std::size_t> rows) const;
  /// Return the cell [n] of each row under a nuisance or concept (255 for unknown), by name.
  /// @throws InvalidArgument on an unknown name.
  std::vector<std::uint32_t> cells(std::string_view name) const;
  /// Return the names of all nuisances and, with `with_concepts`, of all concepts but one.
  std::vector<std::string> companions(std::string_view concept_name,
                                      bool with_concepts = true) const;

 private:
  struct Site {
    std::string name;
    at::Tensor rows;
    std::function<at::Tensor()> load;
  };
  struct Labelled {
    std::string name;
    std::vector<std::uint8_t> labels;
  };
  struct Target {
    std::string name;
    std::vector<double> values;
  };
  struct Level {
    std::string name;
    std::vector<std::int64_t> ids;
  };
  void check_length(std::size_t got, const std::string& what) const;

  std::vector<std::int64_t> groups_, twins_, strata_, types_;
  std::vector<Site> sites_;
  std::vector<Labelled> concepts_;
  std::vector<Target> targets_;
  std::vector<Nuisance> nuisances_;
  std::vector<Level> levels_;  // groups first
};

/// Return what linear probes need from moments that were streamed by fold, without the rows: of all
/// folds but `held_out`. The concepts are those whose labels were streamed along.
/// @throws SiteError, OutOfRange; StateError without covariance; InvalidArgument if labels are
///         missing for some rows, or a concept has a single class.
TIEROD_API TrainingStatistics
training_statistics(const FoldMoments& moments, std::string_view site,
                    std::optional<std::int64_t> held_out = std::nullopt);

}  // namespace tierod::probe
