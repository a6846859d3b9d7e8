"""Print coverage and false-positive rates by simulation: of the methods, and of what traps give.

usage: stats_tables.py [--quick] [--record]

Every table is Markdown, with the standard error of a rate in its caption. The worlds are those of
`tests/python/simulate.py` and the ones below.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.neighbors import NearestCentroid

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import simulate

from tierod import stats

TABLES = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "stats_tables.md"
PAGE = ["# Error rates of the statistics", ""]


def say(text: str) -> None:
    PAGE.append(text)
    print(text, flush=True)


def table(title: str, head: list[str], rows: list[list[object]]) -> None:
    say(f"\n## {title}\n")
    say("| " + " | ".join(head) + " |")
    say("|" + "---|" * len(head))
    for row in rows:
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        say("| " + " | ".join(cells) + " |")


def isotropic_null(trials: int, correlation: float, n: int = 400, width: int = 64, seed: int = 0):
    """Share of unused concepts called used: against isotropic directions, and by the interval.

    The head reads concept z along one axis of an activation with a decaying spectrum; c is unused,
    and co-occurs with z. The direction of c is a mean difference, or that difference with z held
    fixed (within its strata). The interval is that of delete-group refits.
    """
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(width)) ** -0.5
    called = {"isotropic": 0, "plain": 0, "residualised": 0}
    for _ in range(trials):
        basis = np.linalg.qr(rng.normal(size=(width, width)))[0]  # rows: principal axes
        u_c, u_z, head = 0.4 * basis[0], basis[1], basis[1] + 0.5 * basis[2]
        z = rng.integers(0, 2, n)
        c = np.where(rng.uniform(size=n) < correlation, z, rng.integers(0, 2, n))
        x = rng.normal(size=(n, width)) * spectrum @ basis + np.outer(c, u_c) + np.outer(z, u_z)

        def direction(w, x=x, c=c, z=z, strata=True):
            # equal weight to both values of z where it is held fixed
            parts = [z == 0, z == 1] if strata else [np.ones(n, bool)]
            means = [
                [(w * part * (c == k)) @ x / (w * part * (c == k)).sum() for k in (0, 1)]
                for part in parts
            ]
            return np.mean([one - zero for zero, one in means], axis=0)

        w = direction(np.ones(n), strata=False)
        random = rng.normal(size=(200, width))
        random *= np.linalg.norm(w) / np.linalg.norm(random, axis=1, keepdims=True)
        called["isotropic"] += abs(head @ w) > np.quantile(np.abs(random @ head), 0.95)
        for name, strata in (("plain", False), ("residualised", True)):

            def effect(w, strata=strata, head=head, direction=direction):
                return head @ direction(w, strata=strata)

            interval = stats.jackknife_interval(effect, n, blocks=20)
            called[name] += interval.excludes(0)
    return [called[name] / trials for name in called]


def scene_constant_labels(seed: int = 0, scenes: int = 60, frames: int = 20, width: int = 512):
    """AUROC of labels that are random but constant within scenes: frame folds, grouped folds."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(scenes), frames)
    y = rng.permutation(np.arange(scenes) % 2)[g]
    x = rng.normal(size=(scenes, width))[g] + rng.normal(size=(g.size, width))
    out = []
    for folds in (KFold(5, shuffle=True, random_state=0), GroupKFold(5)):
        splits = folds.split(x, y, g if isinstance(folds, GroupKFold) else None)
        scores = cross_val_predict(
            NearestCentroid(), x, y, cv=list(splits), method="decision_function"
        )
        scores = scores[:, 1] if scores.ndim == 2 else scores
        out.append(stats.auroc(scores, y))
    return out


def erased_auroc(n: int, width: int, seed: int = 0, test: int = 2000, separation: float = 3.0):
    """AUROC of a fresh probe on held-out data, after rank-1 erasure (LEACE) fitted on n rows."""
    rng = np.random.default_rng(seed)

    def draw(rows):
        y = np.arange(rows) % 2
        x = rng.normal(size=(rows, width))
        x[:, 0] += separation * y
        return x, y

    x, y = draw(n)
    mean, s = x.mean(0), np.cov(x.T, y)[:-1, -1]
    covariance = np.cov(x.T) + 1e-3 * np.eye(width)
    read = np.linalg.solve(covariance, s)
    read /= read @ s

    def erase(rows):
        return rows - np.outer((rows - mean) @ read, s)

    fresh, labels = draw(test)
    probe = LogisticRegression(C=0.1, max_iter=500).fit(erase(fresh), labels)
    held, labels = draw(test)
    return stats.auroc(probe.decision_function(erase(held)), labels)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    parser.add_argument("--record", action="store_true", help=f"write {TABLES.name}")
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0

    def trials(full: int) -> int:
        return max(20, int(scale * full))

    say(
        "Printed by `tests/bench/stats.py --tables`; the worlds are in `tests/python/simulate.py` and in "
        "the script."
    )
    say(f"A rate near .05 has a standard error of {math.sqrt(0.0475 / trials(2000)):.3f} or so.")
    n = trials(1000)
    table(
        "Unused concept called used (want .05)",
        [
            "co-occurrence",
            "beyond isotropic directions",
            "interval, plain",
            "interval, residualised",
        ],
        [[rho, *isotropic_null(n, rho)] for rho in (0.0, 0.3, 0.6)],
    )
    n = trials(2000)
    rows = []
    for width in (64, 512):
        for fit in (400, 1000):
            fixed, refit = simulate.false_used(n if width == 64 else n // 2, n_fit=fit, width=width)
            rows.append([width, fit, fixed, refit])
    table(
        "Unused concept called used along an estimated direction (want .05)",
        ["width", "scenes of the fit", "direction taken as fixed", "delete-group jackknife"],
        rows,
    )
    frame, grouped = scene_constant_labels()
    table(
        "AUROC of random labels that are constant within scenes (want .5)",
        ["frame folds", "grouped folds"],
        [[frame, grouped]],
    )
    rows = [
        [groups]
        + [
            simulate.coverage(method, groups, trials(full), seed=groups, skewed=skewed)
            for method, full in (("t", 4000), ("percentile", 1000), ("bca", 1000))
            for skewed in (False, True)
        ]
        for groups in (8, 12, 20, 30, 60)
    ]
    head = [f"{m}, {s}" for m in ("t", "percentile", "BCa") for s in ("normal", "skewed")]
    table("Coverage of 95 % intervals by clusters", ["clusters", *head], rows)
    rows = [
        [icc, 1 + 39 * icc, simulate.coverage("frame", 40, trials(500), rows=40, icc=icc)]
        for icc in (0.1, 0.3)
    ]
    table(
        "Coverage of a 95 % bootstrap over frames, 40 scenes of 40",
        ["icc", "design effect", "coverage"],
        rows,
    )
    sizes = [(768, n) for n in (150, 400, 1500, 4000)] + [(64, n) for n in (150, 300, 600, 1000)]
    rows = [
        [
            width,
            n,
            float(np.mean([erased_auroc(n, width, seed) for seed in range(trials(5) // 20 + 1)])),
        ]
        for width, n in sizes
        if scale == 1 or n < 2000
    ]
    table(
        "AUROC of a fresh probe on held-out data after rank-1 erasure (want .5)",
        ["width", "rows of the fit", "AUROC"],
        rows,
    )
    rows = [
        [rho, *simulate.best_layer(trials(2000), correlation=rho)] for rho in (0.0, 0.5, 0.8, 0.95)
    ]
    table(
        "A concept that is nowhere, found in the best of 32 layers (want .05)",
        ["correlation of layers", "p of the best layer", "max-T p"],
        rows,
    )
    if options.record:
        TABLES.write_text("\n".join(PAGE) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
