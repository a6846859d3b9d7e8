"""Worker of the stats bench: each contender resamples the same clusters.

usage: stats_worker.py <threads>

Shapes: `bootstrap` is 400 scenes of 8 rows x 768; `maxt-<sites>` is so many sites x 12 concepts over 400
scenes x 768. A contender is timed as it is, from rows (bootstrap) or scene means (max-T) to its result.
"""

from __future__ import annotations

import importlib.metadata
import resource
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from harness.serve import serve
from sklearn.model_selection import GroupKFold, permutation_test_score
from sklearn.neighbors import NearestCentroid

from tierod import stats

GROUPS, ROWS, WIDTH, REPLICATES = 400, 8, 768, 2000
CONCEPTS, PERMUTATIONS, FOLDS = 12, 1999, 5
# The subset that scikit-learn is timed on: one cell, this many permutations.
PEER_PERMUTATIONS = 9


@cache
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows [n, d], labels [n] (constant within scenes) and scenes [n], sorted by scene."""
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(GROUPS), ROWS)
    y = rng.integers(0, 2, GROUPS)[g]
    x = rng.normal(size=(g.size, WIDTH)) + rng.normal(size=(GROUPS, WIDTH))[g]
    return x + 0.3 * y[:, None], y, g


def class_sums() -> tuple[np.ndarray, ...]:
    """Return sums and counts of the scenes of each class, as a careful NumPy user has them."""
    x, y, g = rows()
    starts = np.flatnonzero(np.r_[True, g[1:] != g[:-1]])
    sums, counts = np.add.reduceat(x, starts), np.diff(np.r_[starts, g.size]).astype(float)
    ones = np.flatnonzero(y[starts] == 1)
    zeros = np.flatnonzero(y[starts] == 0)
    return sums[ones], counts[ones], ones, sums[zeros], counts[zeros], zeros


def tierod_bootstrap() -> torch.Tensor:
    x, y, g = rows()
    return stats.ClassSums(x, y, g).bootstrap(REPLICATES)


def numpy_sums(weights: np.ndarray | None = None) -> np.ndarray:
    """Reduce rows to sums by scene first, then refit one replicate after the other."""
    sums1, n1, ones, sums0, n0, zeros = class_sums()
    rng = np.random.default_rng(1)
    out = np.empty((REPLICATES, WIDTH))
    for r in range(REPLICATES):
        if weights is None:
            drawn = rng.integers(0, GROUPS, GROUPS)
            w = np.bincount(drawn, minlength=GROUPS).astype(float)
        else:
            w = weights[r]
        w1, w0 = w[ones], w[zeros]
        out[r] = (w1 @ sums1) / (w1 @ n1) - (w0 @ sums0) / (w0 @ n0)
    return out


def numpy_weighted_rows() -> np.ndarray:
    """Weigh every row by how often its scene was drawn: one BLAS product a replicate; 1 in 40."""
    x, y, g = rows()
    rng = np.random.default_rng(1)
    out = np.empty((REPLICATES // 40, WIDTH))
    for r in range(len(out)):
        w = np.bincount(rng.integers(0, GROUPS, GROUPS), minlength=GROUPS)[g]
        ones = w @ y
        out[r] = (w * np.where(y == 1, 1 / ones, -1 / (w.sum() - ones))) @ x
    return out


def numpy_drawn_rows() -> np.ndarray:
    """Gather the rows of the drawn scenes and average them; 1 in 40 replicates."""
    x, y, _ = rows()
    by_scene, labels = x.reshape(GROUPS, ROWS, WIDTH), y.reshape(GROUPS, ROWS)
    rng = np.random.default_rng(1)
    out = np.empty((REPLICATES // 40, WIDTH))
    for r in range(len(out)):
        drawn = rng.integers(0, GROUPS, GROUPS)
        picked, of = by_scene[drawn].reshape(-1, WIDTH), labels[drawn].reshape(-1)
        out[r] = picked[of == 1].mean(0) - picked[of == 0].mean(0)
    return out


def numpy_product() -> np.ndarray:
    """Draw all counts at once and refit by two products: the algorithm that tierod uses."""
    sums1, n1, ones, sums0, n0, zeros = class_sums()
    w = np.random.default_rng(1).multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS), REPLICATES)
    w1, w0 = w[:, ones].astype(float), w[:, zeros].astype(float)
    return w1 @ sums1 / (w1 @ n1)[:, None] - w0 @ sums0 / (w0 @ n0)[:, None]


@cache
def _operands() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(REPLICATES, GROUPS, generator=generator, dtype=torch.float64)
    return w, torch.randn(GROUPS, WIDTH, generator=generator, dtype=torch.float64)


def bare_product() -> torch.Tensor:
    w, sums = _operands()
    return w @ sums


@cache
def sites(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return scene means [G, d] a site, and labels [G, C]; half of the concepts show somewhere."""
    rng = np.random.default_rng(2)
    labels = (rng.uniform(size=(GROUPS, CONCEPTS)) < np.linspace(0.2, 0.5, CONCEPTS)).astype(int)
    means = []
    for site in range(count):
        x = rng.normal(size=(GROUPS, WIDTH))
        x[:, : CONCEPTS // 2] += labels[:, ::2] * (site + 1) / count
        means.append(x)
    return means, labels


def tierod_maxt(count: int) -> stats.SiteMaxT:
    means, labels = sites(count)
    return stats.site_max_t(means, labels, permutations=PERMUTATIONS, folds=FOLDS)


def sklearn_cell(count: int) -> float:
    """One site, one concept, a few permutations, by the cheapest mean-difference classifier."""
    means, labels = sites(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, _, p = permutation_test_score(
            NearestCentroid(),
            means[-1],
            labels[:, -1],
            cv=GroupKFold(FOLDS).split(means[-1], groups=np.arange(GROUPS)),
            n_permutations=PEER_PERMUTATIONS,
            scoring="roc_auc",
            n_jobs=1,
        )
    return p


def numpy_cell(count: int) -> np.ndarray:
    """One site, one concept, a few permutations of the same statistic, refitted fold by fold."""
    means, labels = sites(count)
    x, y = means[-1], labels[:, -1]
    rng = np.random.default_rng(3)
    folds = np.array_split(rng.permutation(GROUPS), FOLDS)
    out = np.empty(PEER_PERMUTATIONS + 1)
    for b in range(PEER_PERMUTATIONS + 1):
        z = y if b == 0 else rng.permutation(y)
        scores = np.empty(GROUPS)
        for test in folds:
            train = np.ones(GROUPS, bool)
            train[test] = False
            a = np.where(z == 1, 1 / z[train].sum(), -1 / (1 - z)[train].sum()) * train
            s = x[test] @ (a @ x)
            scores[test] = s - s.mean()
        one, zero = scores[z == 1], scores[z == 0]
        pooled = (one.var() * one.size + zero.var() * zero.size) / (GROUPS - 2)
        out[b] = (one.mean() - zero.mean()) / np.sqrt(pooled * (1 / one.size + 1 / zero.size))
    return out


BOOTSTRAP: dict[str, Callable[[], object]] = {
    "tierod_bootstrap": tierod_bootstrap,
    "numpy_sums": numpy_sums,
    "numpy_weighted_rows": numpy_weighted_rows,
    "numpy_drawn_rows": numpy_drawn_rows,
    "numpy_product": numpy_product,
    "bare_product": bare_product,
}
MAX_T: dict[str, Callable[[int], object]] = {
    "tierod_maxt": tierod_maxt,
    "sklearn_cell": sklearn_cell,
    "numpy_cell": numpy_cell,
}


def call(shape: str, label: str) -> Callable[[], object]:
    if shape == "bootstrap":
        return BOOTSTRAP[label]
    return partial(MAX_T[label], int(shape.removeprefix("maxt-")))


def prepare(shape: str, label: str) -> dict:
    """Make the data; for `memory` run max-T once and tell how far it raised the peak."""
    rows() if shape == "bootstrap" else sites(int(shape.removeprefix("maxt-")))
    if label == "memory":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call(shape, "tierod_maxt")()
        return {"grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}
    names = ("numpy", "scikit-learn", "torch")
    return {"versions": {name: importlib.metadata.version(name) for name in names}}


def check(shape: str, label: str, file: str) -> dict:
    """Compare with the plain loop, given the same resamples; answers the largest difference."""
    if shape != "bootstrap":
        raise ValueError("max-T is held against a refit in every fold by the tests")
    want = numpy_sums(stats.bootstrap_weights(GROUPS, REPLICATES))
    got = tierod_bootstrap().numpy()
    return {"difference": float(np.abs(got - want).max() / np.abs(want).max())}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    serve(prepare, check, call)
