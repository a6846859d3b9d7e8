"""Jackknife and bootstrap over clusters, with refits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from tierod import _core
from tierod.stats.arrays import ArrayLike, binary, choice, identities, numbers, tensor

Floats = npt.NDArray[np.float64]
Method = Literal["percentile", "bca", "studentised"]


def delete_group_refits(
    estimator: Callable[[Floats], float], clusters: int, blocks: int = 20, seed: int = 0
) -> Floats:
    """Return the refits theta_k [blocks] of the delete-group jackknife (Kott 2001).

    `estimator` maps weights of the clusters [G] to the refitted estimate; in refit k the clusters
    of block k weigh 0 and the others 1. Clusters are numbered by ascending group name.
    """
    return _core.delete_group_refits(estimator, clusters, blocks, seed)


def delete_group_variance(refits: ArrayLike) -> float:
    """Return (K - 1) / K sum (theta_k - mean)^2."""
    return _core.delete_group_variance(numbers(refits, "delete_group_variance", "refits"))


def jackknife_interval(
    estimator: Callable[[Floats], float],
    clusters: int,
    blocks: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> _core.Interval:
    """Return the t interval of an estimate from delete-group refits; 0 blocks: delete one a time."""
    return _core.jackknife_interval(estimator, clusters, blocks, confidence, seed)


def refit_interval(
    test: _core.Influence, refits: ArrayLike, confidence: float = 0.95
) -> _core.RefitInterval:
    """Return theta +- t sqrt(V_A + V_C), t with min(K, G) - 1 degrees of freedom.

    `test` is the effect on the G test clusters along the fitted direction, `refits` [K] the same
    effect along the directions that each leave a block of training clusters out. V_C alone takes
    the direction as known, and calls an unused concept used nearly always.
    """
    return _core.refit_interval(test, numbers(refits, "refit_interval", "refits"), confidence)


def _options(
    where: str,
    method: Method,
    replicates: int,
    confidence: float,
    seed: int,
    max_undefined: float,
    batch: int,
) -> _core.BootstrapOptions:
    kind = choice(_core.BootstrapMethod, method, where, "method")
    return _core.BootstrapOptions(kind, replicates, confidence, seed, batch, max_undefined)


def cluster_bootstrap(
    estimator: Callable[[Floats], Any],
    clusters: int,
    *,
    method: Method = "bca",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    vectorised: bool = False,
    batch: int = 256,
    max_undefined: float = 0.0,
) -> _core.BootstrapResult:
    """Bootstrap whole clusters and refit in each replicate.

    `estimator` maps weights of the clusters [G] (how often each was drawn) to the estimate, NaN
    where it is undefined; with `vectorised` it maps weights [R, G] to R estimates; for the
    studentised method it returns (estimate, standard error).
    """
    options = _options(
        "cluster_bootstrap", method, replicates, confidence, seed, max_undefined, batch
    )
    if vectorised and method == "studentised":
        raise _core.InvalidArgument(
            "[stats.cluster_bootstrap] expected an estimator of one row of weights for the studentised "
            "method, got vectorised=True"
        )
    return _core.cluster_bootstrap(estimator, clusters, options, vectorised)


def ratio_of_sums(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: ArrayLike,
    *,
    method: Method = "bca",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    max_undefined: float = 0.0,
) -> _core.BootstrapResult:
    """Return the bootstrap interval of sum(numerator) / sum(denominator), never a mean of ratios."""
    where = "ratio_of_sums"
    options = _options(where, method, replicates, confidence, seed, max_undefined, 256)
    return _core.ratio_of_sums(
        numbers(numerator, where, "numerators"),
        numbers(denominator, where, "denominators"),
        identities(groups, where, "groups"),
        options,
    )


class ClassSums:
    """Sums and counts of rows by cluster and class.

    Every resampled mean-difference direction follows from them without the rows, as a product of
    matrices.
    """

    def __init__(self, rows: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> None:
        """Add up `rows` [n, d] by `labels` (0 or 1) and `groups`."""
        self._sums = _core.ClassSums(
            tensor(rows), binary(labels, "ClassSums"), identities(groups, "ClassSums", "groups")
        )

    @property
    def clusters(self) -> int:
        """The number of clusters G."""
        return self._sums.clusters

    @property
    def width(self) -> int:
        """The number of columns d."""
        return self._sums.width

    def sums(self) -> torch.Tensor:
        """Return the sums [2, G, d], f64; clusters by ascending group name."""
        return self._sums.sums()

    def counts(self) -> torch.Tensor:
        """Return the numbers of rows [2, G], f64."""
        return self._sums.counts()

    def mean_differences(self, weights: ArrayLike) -> torch.Tensor:
        """Return the directions [R, d] for weights of the clusters [R, G]; NaN without a class."""
        return self._sums.mean_differences(tensor(weights))

    def bootstrap(self, replicates: int = 2000, seed: int = 0, first: int = 0) -> torch.Tensor:
        """Return the directions [R, d] of replicates first .. first + R - 1.

        The weights are those of `bootstrap_weights`; any cut of the replicates into calls gives the
        same numbers.
        """
        return self._sums.bootstrap(replicates, seed, first)

    def jackknife(self, blocks: int = 20, seed: int = 0) -> torch.Tensor:
        """Return the directions [blocks, d] that each leave one block of clusters out."""
        return self._sums.jackknife(blocks, seed)
