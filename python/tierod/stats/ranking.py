"""How well scores tell two classes apart, and probabilities fit them."""

from __future__ import annotations

from typing import Literal

from tierod import _core
from tierod.stats.arrays import ArrayLike, binary, choice, identities, numbers

Measure = Literal["auroc", "auprc"]
Method = Literal["automatic", "influence", "jackknife", "percentile", "bca"]


def auroc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve of `scores` [n] for `labels` [n]; ties count half."""
    return _core.auroc(
        numbers(scores, "auroc", "scores"),
        binary(labels, "auroc"),
        numbers(weights, "auroc", "weights"),
    )


def auprc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the average precision of `scores` [n] for `labels` [n]; chance is the prevalence."""
    return _core.auprc(
        numbers(scores, "auprc", "scores"),
        binary(labels, "auprc"),
        numbers(weights, "auprc", "weights"),
    )


def auroc_influence(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> _core.Influence:
    """Return the AUROC with its clusters' contributions (DeLong 1988, Obuchowski 1997)."""
    where = "auroc_influence"
    return _core.auroc_influence(
        numbers(scores, where, "scores"),
        binary(labels, where),
        identities(groups, where, "groups"),
    )


def _options(
    where: str,
    measure: Measure,
    method: Method,
    confidence: float,
    replicates: int,
    seed: int,
    max_undefined: float,
    threads: int,
) -> _core.RankingOptions:
    return _core.RankingOptions(
        choice(_core.RankingMeasure, measure, where, "measure"),
        choice(_core.RankingMethod, method, where, "method"),
        confidence,
        replicates,
        seed,
        max_undefined,
        threads,
    )


def ranking_interval(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    measure: Measure = "auroc",
    method: Method = "automatic",
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    max_undefined: float = 0.0,
    threads: int = 1,
) -> _core.Interval:
    """Return AUROC or AUPRC with an interval that resamples whole clusters.

    `automatic` is a BCa bootstrap from 30 clusters on and a jackknife t interval below. The scores
    must come from a probe that was fitted on other groups.
    """
    where = "ranking_interval"
    options = _options(where, measure, method, confidence, replicates, seed, max_undefined, threads)
    return _core.ranking_interval(
        numbers(scores, where, "scores"),
        binary(labels, where),
        identities(groups, where, "groups"),
        options,
    )


def ranking_difference(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    measure: Measure = "auroc",
    method: Method = "automatic",
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    max_undefined: float = 0.0,
    threads: int = 1,
) -> _core.Interval:
    """Return the paired difference a - b of two scores of the same rows, with its interval."""
    where = "ranking_difference"
    options = _options(where, measure, method, confidence, replicates, seed, max_undefined, threads)
    return _core.ranking_difference(
        numbers(scores_a, where, "scores"),
        numbers(scores_b, where, "scores"),
        binary(labels, where),
        identities(groups, where, "groups"),
        options,
    )


def calibration(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> _core.Calibration:
    """Measure how well probabilities of "1" [n] fit `labels` [n].

    Expected calibration error over bins of equal mass, Brier score, log-loss, and the bins.
    """
    where = "calibration"
    return _core.calibration(
        numbers(probabilities, where, "probabilities"), binary(labels, where), bins
    )
