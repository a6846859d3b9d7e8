"""Bootstrap, jackknife and permutation with refits, against SciPy, scikit-learn and plain loops."""

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.model_selection import GroupKFold

import tierod
from tierod import stats


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def mean(w, x):
    return w @ x / w.sum()


def test_bca_agrees_with_scipy_given_the_same_replicates(rng):
    x = rng.exponential(size=45)
    got = stats.cluster_bootstrap(lambda w: mean(w, x), 45, replicates=1500, seed=4)
    weights = stats.bootstrap_weights(45, 1500, seed=4)
    np.testing.assert_allclose(got.replicates, weights @ x / 45, rtol=1e-13)

    class Given:  # what scipy.stats.bootstrap continues from, with no new resample
        bootstrap_distribution = weights @ x / 45

    want = scipy.stats.bootstrap((x,), np.mean, n_resamples=0, bootstrap_result=Given, method="BCa")
    interval = want.confidence_interval
    assert (got.interval.low, got.interval.high) == pytest.approx(tuple(interval), rel=1e-9)
    percentile = stats.cluster_bootstrap(
        lambda w: mean(w, x), 45, replicates=1500, seed=4, method="percentile"
    )
    want = np.percentile(weights @ x / 45, [2.5, 97.5])
    assert (percentile.interval.low, percentile.interval.high) == pytest.approx(tuple(want))


def test_studentised_is_hall_1988(rng):
    x = rng.exponential(size=40)

    def estimate(w):
        m = mean(w, x)
        return m, np.sqrt(w @ (x - m) ** 2 / 39 / 40)

    got = stats.cluster_bootstrap(estimate, 40, method="studentised", replicates=999, seed=2)
    weights = stats.bootstrap_weights(40, 999, seed=2)
    value, error = estimate(np.ones(40))
    pivots = [(m - value) / s for m, s in map(estimate, weights)]
    low, high = np.percentile(pivots, [2.5, 97.5])
    want = (value - high * error, value - low * error)
    assert (got.interval.low, got.interval.high) == pytest.approx(want, rel=1e-10)


def test_vectorised_estimators_get_blocks_and_give_the_same_numbers(rng):
    x = rng.normal(size=50)
    shapes = set()

    def many(w):
        shapes.add(w.shape)
        return w @ x / w.sum(1)

    one = stats.cluster_bootstrap(lambda w: mean(w, x), 50, replicates=300)
    for batch in (300, 128, 7):
        got = stats.cluster_bootstrap(many, 50, replicates=300, vectorised=True, batch=batch)
        np.testing.assert_allclose(got.replicates, one.replicates, rtol=1e-13)
        assert got.interval.low == pytest.approx(one.interval.low, rel=1e-12)
    assert (128, 50) in shapes
    with pytest.raises(tierod.InvalidArgument, match="300 numbers"):
        stats.cluster_bootstrap(lambda w: w[:1, 0], 50, replicates=300, vectorised=True, batch=300)
    with pytest.raises(ZeroDivisionError):
        stats.cluster_bootstrap(lambda w: 1 / 0, 50)


def test_delete_group_refits_of_a_sklearn_style_refit(rng):
    # the callback refits on rows; the loop deletes the same blocks by hand
    g = np.repeat(np.arange(24), 5)
    x = rng.normal(size=(120, 3))
    y = rng.integers(0, 2, 120)
    probe = np.array([1.0, -1.0, 0.5])

    def direction(rows):
        return probe @ (x[rows & (y == 1)].mean(0) - x[rows & (y == 0)].mean(0))

    refits = stats.delete_group_refits(lambda w: direction(w[g] > 0), 24, blocks=8, seed=5)
    block = stats.jackknife_blocks(24, 8, 5)
    want = [direction(block[g] != k) for k in range(8)]
    np.testing.assert_allclose(refits, want, rtol=1e-12)
    variance = 7 / 8 * np.sum((refits - np.mean(refits)) ** 2)
    assert stats.delete_group_variance(refits) == pytest.approx(variance, rel=1e-12)
    # the same directions from sums by group and class, one matrix product for all
    sums = stats.ClassSums(x, y, g)
    np.testing.assert_allclose(sums.jackknife(8, 5).numpy() @ probe, want, rtol=1e-10)

    test = stats.balanced_influence(rng.normal(size=60), np.arange(60) % 2, np.arange(60) // 3)
    got = stats.refit_interval(test, refits)
    total = variance + stats.influence_variance(test.contributions)
    half = scipy.stats.t.ppf(0.975, 7) * total**0.5  # min(8, 20) - 1
    assert got.interval.high - test.estimate == pytest.approx(half, rel=1e-10)
    assert got.refit_variance == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_class_sums_bootstrap_refits_on_repeated_rows(rng, dtype):
    g = rng.permutation(np.repeat(np.arange(30), 4))
    y = rng.integers(0, 2, 120)
    x = torch.tensor(rng.normal(size=(120, 16))).to(dtype)
    directions = stats.ClassSums(x, y, [f"scene {k:02}" for k in g]).bootstrap(25, seed=6)
    weights = stats.bootstrap_weights(30, 25, seed=6)
    for w, got in zip(weights, directions, strict=True):
        rows = np.repeat(np.arange(120), w[g].astype(int))
        picked, labels = x.double()[rows], y[rows]
        want = picked[labels == 1].mean(0) - picked[labels == 0].mean(0)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_ratio_of_sums_agrees_with_scipy(rng):
    top, bottom = rng.normal(3, 1, 60), rng.uniform(0.5, 2, 60)
    groups = np.repeat(np.arange(30), 2)
    a, b = top.reshape(30, 2).sum(1), bottom.reshape(30, 2).sum(1)
    weights = stats.bootstrap_weights(30, 2000)
    got = stats.ratio_of_sums(top, bottom, groups)
    np.testing.assert_allclose(got.replicates, (weights @ a) / (weights @ b), rtol=1e-12)

    class Given:
        bootstrap_distribution = (weights @ a) / (weights @ b)

    want = scipy.stats.bootstrap(
        (a, b),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=0,
        bootstrap_result=Given,
    ).confidence_interval
    assert (got.interval.low, got.interval.high) == pytest.approx(tuple(want), rel=1e-8)


def test_permutation_test_agrees_with_scipys_exact_null(rng):
    x = rng.normal(size=10)
    x[:4] += 1.5
    y = np.repeat([1.0, 0.0], [4, 6])

    def difference(y):
        return x[y == 1].mean() - x[y == 0].mean()

    exact = scipy.stats.permutation_test(
        (x[:4], x[4:]), lambda a, b: a.mean() - b.mean(), alternative="greater", n_resamples=np.inf
    )
    got = stats.permutation_test(difference, y, np.arange(10), permutations=9999)
    assert got.statistic == pytest.approx(exact.statistic)
    assert abs(got.p - exact.pvalue) < 5 * np.sqrt(exact.pvalue / 9999)
    assert got.smallest_p == pytest.approx(1 / 210)
    less = stats.permutation_test(difference, y, np.arange(10), alternative="less")
    assert less.p > 0.9


def test_tracks_move_whole_and_keep_their_autocorrelation(rng):
    g = np.repeat(np.arange(12), 10)
    labels = (np.arange(120) % 10 >= rng.integers(2, 9, 12)[g]).astype(float)
    permutation = stats.group_permutation(labels, g, unit="track")
    tracks = {tuple(t) for t in labels.reshape(12, 10)}
    for b in range(20):
        moved = permutation.permute(b).reshape(12, 10)
        assert {tuple(t) for t in moved} == tracks
    with pytest.raises(tierod.InvalidArgument, match="move whole tracks"):
        stats.group_permutation(labels, g)


def test_max_t_agrees_with_a_loop(rng):
    observed, permuted = rng.normal(1, 1, 7), rng.normal(size=(199, 7))
    got = stats.max_t(observed, permuted)
    order = np.argsort(-observed)
    down = np.empty(7)
    for rank, site in enumerate(order):
        largest = permuted[:, order[rank:]].max(1)
        down[site] = (1 + (largest >= observed[site]).sum()) / 200
    down[order] = np.maximum.accumulate(down[order])
    np.testing.assert_allclose(got.step_down, down, rtol=1e-14)
    single = [(1 + (permuted.max(1) >= t).sum()) / 200 for t in observed]
    np.testing.assert_allclose(got.single_step, single, rtol=1e-14)
    np.testing.assert_allclose(got.p, (1 + (permuted >= observed).sum(0)) / 200, rtol=1e-14)


def test_site_max_t_ranks_sites_as_a_grouped_mean_difference_probe_does(rng):
    # another implementation: sklearn's grouped folds, mean-difference directions, pooled scores
    labels = (np.arange(60) % 2)[:, None]
    sites = [rng.normal(size=(60, 20)) for _ in range(4)]
    sites[2][:, 0] += 2 * labels[:, 0]
    sites[3][:, 5] += labels[:, 0]
    got = stats.site_max_t(sites, labels, permutations=499)
    assert got.statistic.shape == (4, 1)
    reference = []
    for x in sites:
        scores = np.empty(60)
        for train, test in GroupKFold(5).split(x, labels, np.arange(60)):
            y = labels[train, 0]
            w = x[train][y == 1].mean(0) - x[train][y == 0].mean(0)
            scores[test] = (x[test] - x[test].mean(0)) @ w
        y = labels[:, 0]
        reference.append(scipy.stats.ttest_ind(scores[y == 1], scores[y == 0]).statistic)
    # folds differ, so the statistics agree in size and order only
    np.testing.assert_allclose(got.statistic[2:, 0], reference[2:], rtol=0.35)
    assert got.statistic[2] > got.statistic[3] > got.statistic[:2].max()
    assert got.single_step[2, 0] < 0.01
    assert got.single_step[:2].min() > 0.1
    assert (got.p <= got.step_down).all()
    assert (got.step_down <= got.single_step).all()
    assert not got.note
    few = stats.site_max_t(sites, labels, permutations=9)
    assert "at least 19 permutations" in few.note
    again = stats.site_max_t(
        [torch.tensor(x) for x in sites], torch.tensor(labels), permutations=499
    )
    np.testing.assert_array_equal(got.statistic, again.statistic)


def test_energy_distance_test_permutes_within_scenes(rng):
    scenes = np.repeat(np.arange(15), 4)
    framing = np.tile([0, 0, 1, 1], 15)
    x = rng.normal(size=(15, 3))[scenes] * 5 + 0.3 * rng.normal(size=(60, 3))
    still = stats.energy_distance_test(x, framing, np.arange(60), scenes, permutations=199)
    assert still.p > 0.05
    moved = stats.energy_distance_test(
        x + framing[:, None], framing, np.arange(60), scenes, permutations=199
    )
    # a shift that is small against the spread between scenes, and plain within them
    assert moved.p == pytest.approx(1 / 200)
    assert moved.statistic == pytest.approx(stats.energy_distance(x + framing[:, None], framing))
