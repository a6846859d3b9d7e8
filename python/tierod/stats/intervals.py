"""Intervals, equivalence, multiplicity and design effects of clustered numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from tierod import _core
from tierod.stats.arrays import ArrayLike, binary, choice, identities, matrix, numbers

Floats = npt.NDArray[np.float64]


def cluster_t_interval(
    values: ArrayLike, groups: ArrayLike, confidence: float = 0.95
) -> _core.Interval:
    """Return the t interval of the mean of cluster means, G - 1 degrees of freedom.

    `values` [n] one number a row, `groups` [n] its independent unit. Every cluster counts once. It
    keeps its coverage from about 8 clusters on.
    """
    where = "cluster_t_interval"
    return _core.cluster_t_interval(
        numbers(values, where, "values"), identities(groups, where, "groups"), confidence
    )


def mean_influence(
    values: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None
) -> _core.Influence:
    """Return the weighted mean of `values` [n] with what each cluster contributes to it."""
    where = "mean_influence"
    return _core.mean_influence(
        numbers(values, where, "values"),
        identities(groups, where, "groups"),
        numbers(weights, where, "weights"),
    )


def balanced_influence(values: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> _core.Influence:
    """Return the concept-balanced mean of `values` [n]: both labels weigh one half.

    The contributions of the clusters feed `influence_interval` and `refit_interval`.
    """
    where = "balanced_influence"
    return _core.balanced_influence(
        numbers(values, where, "values"),
        binary(labels, where),
        identities(groups, where, "groups"),
    )


def influence_variance(contributions: ArrayLike) -> float:
    """Return the variance s^2 / G of an estimate with these contributions [G]."""
    return _core.influence_variance(numbers(contributions, "influence_variance", "contributions"))


def cluster_tost(
    values: ArrayLike, groups: ArrayLike, margin: float, alpha: float = 0.05
) -> _core.Equivalence:
    """Test equivalence of the mean of cluster means within +-margin by two one-sided t tests."""
    where = "cluster_tost"
    return _core.cluster_tost(
        numbers(values, where, "values"), identities(groups, where, "groups"), margin, alpha
    )


def cluster_design(values: ArrayLike, groups: ArrayLike) -> _core.ClusterDesign:
    """Estimate intraclass correlation, design effect and effective sample size by one-way ANOVA."""
    where = "cluster_design"
    return _core.cluster_design(
        numbers(values, where, "values"), identities(groups, where, "groups")
    )


def holm(p: ArrayLike) -> Floats:
    """Return p values [m] adjusted by Holm (1979): family-wise, under every dependence."""
    return _core.holm(numbers(p, "holm", "p values"))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Return p values [m] adjusted by Benjamini & Hochberg (1995): false discovery rate."""
    return _core.benjamini_hochberg(numbers(p, "benjamini_hochberg", "p values"))


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """Return p values [m] adjusted by Benjamini & Yekutieli (2001): under every dependence."""
    return _core.benjamini_yekutieli(numbers(p, "benjamini_yekutieli", "p values"))


def page_trend(
    values: ArrayLike, method: Literal["automatic", "exact", "normal"] = "automatic"
) -> _core.Trend:
    """Test whether `values` [rows, columns] rise along the columns by Page's L.

    Columns are conditions in their expected order (doses), a row is one scene. Exact where it is
    cheap, ties included.
    """
    array = matrix(values, "page_trend", "values")
    kind = choice(_core.TrendMethod, method, "page_trend", "method")
    return _core.page_trend(array.reshape(-1), array.shape[1], kind)
