#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tierod/export.h"

namespace tierod::probe {

/// Return the labels [n] of a control task (Hewitt & Liang 2019, "Designing and interpreting probes
/// with control tasks"): a random but fixed label for each key, with about the share of ones that
/// `labels` has. Rows with an unknown label keep it.
///
/// Keyed on a type that recurs in other groups, it asks how much a probe reads from the type alone.
/// Keyed on the group, it is chance under grouped folds by construction, and under row-wise folds
/// the probe's capacity to memorise groups.
///
/// Keys are ranked by the counters of (seed, draw, key) and become ones, in this order, until their
/// rows come closest to the wanted share; at least one key stays in each class.
///
/// @param keys    [n]
/// @param labels  [n], 0, 1 or 255
/// @throws InvalidArgument on differing lengths, other labels, or fewer than 2 keys among the rows
///         with a known label.
TIEROD_API std::vector<std::uint8_t> control_labels(std::span<const std::int64_t> keys,
                                                    std::span<const std::uint8_t> labels,
                                                    std::uint64_t seed = 0, std::size_t draw = 0);

/// Return the targets [n] of a control task for a real target: each key keeps the target of a known
/// row drawn at random, so that rows have about the distribution of `targets`. NaN stays.
///
/// Draws are the counters of (seed, draw, key) among the sorted targets: the order of rows plays no
/// part.
///
/// @param keys     [n]
/// @param targets  [n], NaN for unknown
/// @throws InvalidArgument on differing lengths, or fewer than 2 keys among the rows with a known
///         target.
TIEROD_API std::vector<double> control_targets(std::span<const std::int64_t> keys,
                                               std::span<const double> targets,
                                               std::uint64_t seed = 0, std::size_t draw = 0);

}  // namespace tierod::probe
