"""Permutation tests that move whole groups, and the search over sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from tierod import _core
from tierod.stats.arrays import ArrayLike, binary, choice, identities, matrix, numbers, tensor

Floats = npt.NDArray[np.float64]
Alternative = Literal["greater", "less", "two_sided"]
Unit = Literal["group", "track"]


def group_permutation(
    labels: ArrayLike,
    groups: ArrayLike,
    strata: ArrayLike | None = None,
    unit: Unit = "group",
) -> _core.GroupPermutation:
    """Prepare permutations of `labels` [n] between whole groups, within strata.

    Unit `group`: one label a group. Unit `track`: labels change within a group, and groups of equal
    length exchange their whole track, so that its autocorrelation stays.
    """
    where = "group_permutation"
    return _core.GroupPermutation(
        numbers(labels, where, "labels"),
        identities(groups, where, "groups"),
        identities(strata, where, "strata"),
        choice(_core.PermutationUnit, unit, where, "unit"),
    )


def _options(
    where: str, permutations: int, alternative: Alternative, unit: Unit, seed: int, alpha: float
) -> _core.PermutationOptions:
    return _core.PermutationOptions(
        permutations,
        choice(_core.Alternative, alternative, where, "alternative"),
        choice(_core.PermutationUnit, unit, where, "unit"),
        seed,
        alpha,
    )


def permutation_test(
    statistic: Callable[[Floats], float],
    labels: ArrayLike,
    groups: ArrayLike,
    strata: ArrayLike | None = None,
    *,
    permutations: int = 999,
    alternative: Alternative = "greater",
    unit: Unit = "group",
    seed: int = 0,
    alpha: float = 0.05,
) -> _core.PermutationResult:
    """Test "the labels do not matter" by permuting them between whole groups within strata.

    `statistic` maps labels [n] to a number; p = (1 + #{T_b >= T}) / (B + 1). When no p can reach
    `alpha`, with so few permutations or groups, the result's `note` says so.
    """
    where = "permutation_test"
    return _core.permutation_test(
        statistic,
        numbers(labels, where, "labels"),
        identities(groups, where, "groups"),
        identities(strata, where, "strata"),
        _options(where, permutations, alternative, unit, seed, alpha),
    )


def energy_distance(rows: ArrayLike, labels: ArrayLike) -> float:
    """Return the squared energy distance of the rows [n, d] with label 1 and those with 0."""
    return _core.energy_distance(tensor(rows), binary(labels, "energy_distance"))


def energy_distance_test(
    rows: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    strata: ArrayLike | None = None,
    *,
    permutations: int = 999,
    unit: Unit = "group",
    seed: int = 0,
    alpha: float = 0.05,
) -> _core.PermutationResult:
    """Test equality of two distributions by the energy distance, permuting as `permutation_test`.

    To permute labels within each scene, make every row a group and the scene its stratum.
    """
    where = "energy_distance_test"
    return _core.energy_distance_test(
        tensor(rows),
        binary(labels, where),
        identities(groups, where, "groups"),
        identities(strata, where, "strata"),
        _options(where, permutations, "greater", unit, seed, alpha),
    )


def max_t(observed: ArrayLike, permuted: ArrayLike, alpha: float = 0.05) -> _core.MaxT:
    """Adjust statistics [S] by the maximum over sites of their permuted versions [B, S].

    Westfall & Young (1993), single-step and step-down. Larger is more extreme.
    """
    statistics = numbers(observed, "max_t", "statistics")
    rows = matrix(permuted, "max_t", "permuted statistics")
    if rows.shape[1] != statistics.size:
        raise _core.InvalidArgument(
            f"[stats.max_t] expected permuted statistics [B, {statistics.size}], got shape "
            f"{list(rows.shape)}"
        )
    return _core.max_t(statistics, rows, alpha)


def site_max_t(
    group_means: Sequence[ArrayLike],
    labels: ArrayLike,
    strata: ArrayLike | None = None,
    *,
    permutations: int = 1999,
    folds: int = 5,
    seed: int = 0,
    alpha: float = 0.05,
    batch: int = 512,
) -> _core.SiteMaxT:
    """Test at every site whether group means tell a concept, adjusted over the sites.

    `group_means` is an array [G, d] a site, one row a group; `labels` [G, C]. A cell's statistic is
    the t of held-out scores along mean-difference directions, refitted in every fold under every
    permutation of whole groups.
    """
    where = "site_max_t"
    table = binary(labels, where, ndim=2)
    means = [tensor(site) for site in group_means]
    if means and table.shape[0] != means[0].shape[0]:
        raise _core.InvalidArgument(
            f"[stats.{where}] expected labels [{means[0].shape[0]}, concepts], got shape "
            f"{list(table.shape)}"
        )
    return _core.site_max_t(
        means, table, identities(strata, where, "strata"), permutations, folds, seed, alpha, batch
    )
