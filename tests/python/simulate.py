"""Simulated worlds whose truth is known, shared by the tests and by the bench that prints tables.

Each function runs `trials` independent trials and returns the rate of an event.
"""

import numpy as np

from tierod import stats


def clustered_rows(rng, groups, rows, icc):
    """Rows [groups * rows] with mean 0, variance 1 and this intraclass correlation."""
    g = np.repeat(np.arange(groups), rows)
    x = np.sqrt(icc) * rng.normal(size=groups)[g] + np.sqrt(1 - icc) * rng.normal(size=g.size)
    return x, g


def coverage(method, groups, trials, seed=0, rows=5, icc=0.4, skewed=False, replicates=1000):
    """Share of 95 % intervals that hold the true mean 0.

    `frame` is the bootstrap that takes rows as independent; `t` the interval on cluster means;
    `percentile` and `bca` resample clusters.
    """
    rng = np.random.default_rng(seed)
    hits = 0
    for trial in range(trials):
        x, g = clustered_rows(rng, groups, rows, icc)
        if skewed:
            x = x + (rng.exponential(size=groups) - 1)[g]
        if method == "t":
            interval = stats.cluster_t_interval(x, g)
        elif method == "frame":
            interval = stats.ratio_of_sums(
                x,
                np.ones_like(x),
                np.arange(x.size),
                method="percentile",
                replicates=400,
                seed=trial,
            ).interval
        else:
            interval = stats.ratio_of_sums(
                x, np.ones_like(x), g, method=method, replicates=replicates, seed=trial
            ).interval
        hits += not interval.excludes(0)
    return hits / trials


def false_used(trials, seed=0, n_fit=400, n_test=200, width=64, blocks=20, separation=2.0):
    """Share of intervals that call an unused concept used: (fixed direction, with its refits).

    The concept moves the activation along one axis; the head reads an orthogonal one. A
    mean-difference direction is fitted on one set of scenes; on another, each scene is swapped to
    the other class along it. The population direction has no effect, so every interval that leaves
    0 out is false.
    """
    rng = np.random.default_rng(seed)
    fixed = refitted = 0
    for _ in range(trials):
        y_fit, y = np.arange(n_fit) % 2, np.arange(n_test) % 2
        x_fit, x = rng.normal(size=(n_fit, width)), rng.normal(size=(n_test, width))
        x_fit[:, 0] += separation * y_fit
        x[:, 0] += separation * y
        sums = stats.ClassSums(x_fit, y_fit, np.arange(n_fit))
        fits = np.concatenate([sums.mean_differences(np.ones((1, n_fit))), sums.jackknife(blocks)])
        means = np.concatenate([x_fit.mean(0, keepdims=True)] * len(fits))
        # head g = axis 1; on - off under a swap along w with read vector w / w'w
        reads = np.einsum("kd,kd->k", fits, fits)
        position = (x @ fits.T - np.einsum("kd,kd->k", means, fits)) / reads  # r'(h - mu) [n, K]
        shift = np.where(
            y[:, None] == 1, position + 0.5, 0.5 - position
        )  # off -> on, in units of w
        effects = shift * fits[:, 1]
        refits = [stats.balanced_influence(e, y, np.arange(n_test)).estimate for e in effects.T[1:]]
        test = stats.balanced_influence(effects[:, 0], y, np.arange(n_test))
        fixed += stats.influence_interval(test).excludes(0)
        refitted += stats.refit_interval(test, refits).interval.excludes(0)
    return fixed / trials, refitted / trials


def best_layer(trials, seed=0, layers=32, correlation=0.0, groups=40, permutations=199):
    """Share of trials that find a concept that is nowhere: (best layer's own p, its max-T p)."""
    rng = np.random.default_rng(seed)
    y = np.arange(groups) % 2
    moves = stats.group_permutation(y, np.arange(groups))
    alone = adjusted = 0
    for trial in range(trials):
        labels = np.stack([y, *(moves.permute(b, seed=trial) for b in range(permutations))])
        contrasts = (2 * labels - 1) / (groups / 2)
        shared = rng.normal(size=(groups, 1))
        score = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(
            size=(groups, layers)
        )
        t = contrasts @ score
        result = stats.max_t(t[0], t[1:])
        alone += result.p.min() <= 0.05
        adjusted += result.single_step.min() <= 0.05
    return alone / trials, adjusted / trials


def auroc_coverage(method, groups, trials, seed=0, rows=6):
    """Share of AUROC intervals that hold the true area, with scenes that share score and label."""
    rng = np.random.default_rng(seed)
    # scores differ by one standard deviation of the total: Phi(1 / sqrt(2))
    truth = stats.normal_cdf(1 / np.sqrt(2))
    hits = 0
    for trial in range(trials):
        x, g = clustered_rows(rng, groups, rows, 0.4)
        y = (np.arange(groups) % 2)[g]
        interval = stats.ranking_interval(
            x + y, y, g, method=method, replicates=500, seed=trial, max_undefined=0.01
        )
        hits += not interval.excludes(truth)
    return hits / trials
