"""Every number of the stats room against SciPy, statsmodels, scikit-learn, or a plain loop."""

import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

import tierod
from tierod import stats


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def clustered(rng, groups=25, most=9, between=1.0):
    """Unequal clusters with a shared part, in random order of rows."""
    sizes = rng.integers(1, most + 1, groups)
    g = np.repeat(np.arange(groups), sizes)
    x = rng.normal(size=g.size) + between * rng.normal(size=groups)[g]
    order = rng.permutation(g.size)
    return x[order], g[order]


def test_distributions_agree_with_scipy():
    for df in (1, 2.5, 7, 300):
        for t in (-9.0, -0.3, 0.0, 1.7, 40.0):
            assert stats.student_t_cdf(t, df) == pytest.approx(scipy.stats.t.cdf(t, df), rel=1e-11)
            assert stats.student_t_sf(t, df) == pytest.approx(scipy.stats.t.sf(t, df), rel=1e-11)
        for p in (1e-6, 0.025, 0.5, 0.995):
            want = scipy.stats.t.ppf(p, df)
            assert stats.student_t_quantile(p, df) == pytest.approx(want, rel=1e-9, abs=1e-9)
    assert stats.normal_quantile(0.9) == pytest.approx(scipy.stats.norm.ppf(0.9), rel=1e-13)


@pytest.mark.parametrize(("k", "n"), [(0, 12), (3, 12), (12, 12), (297, 301), (1, 1)])
def test_proportion_interval_is_clopper_pearson(k, n):
    for confidence in (0.9, 0.95):
        got = stats.proportion_interval(k, n, confidence)
        want = scipy.stats.binomtest(k, n).proportion_ci(confidence, "exact")
        assert got.estimate == k / n
        np.testing.assert_allclose(
            [got.low, got.high], [want.low, want.high], rtol=1e-9, atol=1e-12
        )
    with pytest.raises(tierod.InvalidArgument, match="got 13 of 12"):
        stats.proportion_interval(13, 12)


def test_cluster_t_interval_is_the_t_test_of_cluster_means(rng):
    x, g = clustered(rng)
    means = [x[g == k].mean() for k in np.unique(g)]
    want = scipy.stats.ttest_1samp(means, 0.2)
    got = stats.cluster_t_interval(x, g)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval(0.95)), rel=1e-12)
    assert stats.t_test(got, 0.2) == pytest.approx(want.pvalue, rel=1e-11)
    assert got.clusters == 25
    assert "25 clusters" in repr(got)


@pytest.mark.parametrize("kind", ["list", "torch", "bfloat16", "strings", "object"])
def test_every_kind_of_input(rng, kind):
    x, g = clustered(rng)
    x = np.round(4 * x) / 4  # exact in bfloat16
    want = stats.cluster_t_interval(x, g)
    values, groups = {
        "list": (x.tolist(), g.tolist()),
        "torch": (torch.tensor(x, requires_grad=True), torch.tensor(g)),
        "bfloat16": (torch.tensor(x, dtype=torch.bfloat16), torch.tensor(g, dtype=torch.int32)),
        "strings": (x, [f"scene {k:03}" for k in g]),
        "object": (x, np.array([f"scene {k:03}" for k in g], dtype=object)),
    }[kind]
    got = stats.cluster_t_interval(values, groups)
    assert (got.low, got.high) == (want.low, want.high)


def test_influence_variance_is_statsmodels_cluster_robust_variance(rng):
    # A weighted mean is a weighted regression on a constant; statsmodels' correction for clusters
    # is G / (G - 1) (times (n - 1) / (n - k), which is 1 here).
    x, g = clustered(rng)
    w = rng.uniform(0.2, 2, x.size)
    fit = sm.WLS(x, np.ones_like(x), weights=w).fit(cov_type="cluster", cov_kwds={"groups": g})
    got = stats.mean_influence(x, g, w)
    assert got.estimate == pytest.approx(fit.params[0], rel=1e-12)
    variance = stats.influence_variance(got.contributions)
    assert variance == pytest.approx(fit.bse[0] ** 2, rel=1e-12)


def test_balanced_influence_is_the_weighted_one_within_classes(rng):
    x, g = clustered(rng)
    y = rng.integers(0, 2, x.size)
    got = stats.balanced_influence(x, y, g)
    dummies = np.stack([y == 0, y == 1], 1).astype(float)
    fit = sm.OLS(x, dummies).fit(
        cov_type="cluster", cov_kwds={"groups": g, "use_correction": False}
    )
    contrast = np.array([0.5, 0.5])
    assert got.estimate == pytest.approx(contrast @ fit.params, rel=1e-12)
    want = contrast @ fit.cov_params() @ contrast * 25 / 24
    assert stats.influence_variance(got.contributions) == pytest.approx(want, rel=1e-12)


def test_multiplicity_agrees_with_statsmodels(rng):
    p = np.concatenate([rng.uniform(size=30), [0.0, 1.0, 0.01, 0.01]]) ** 2
    for ours, theirs in (
        (stats.holm, "holm"),
        (stats.benjamini_hochberg, "fdr_bh"),
        (stats.benjamini_yekutieli, "fdr_by"),
    ):
        assert ours(p) == pytest.approx(multipletests(p, method=theirs)[1], rel=1e-13)


def test_tost_agrees_with_statsmodels(rng):
    x = rng.normal(0.1, 1, 40)
    p, lower, upper = ttost_paired(x, np.zeros(40), -0.5, 0.4)
    interval = stats.cluster_t_interval(x, np.arange(40))
    got = stats.tost_between(interval, -0.5, 0.4)
    assert (got.p, got.p_lower, got.p_upper) == pytest.approx((p, lower[1], upper[1]), rel=1e-11)
    assert got.equivalent == (p < 0.05) == got.interval.inside(-0.5, 0.4)
    assert stats.cluster_tost(x, np.arange(40), 0.4).p == stats.tost(interval, 0.4).p


def test_power_agrees_with_statsmodels():
    theirs = TTestPower()
    for effect, groups, alpha in [
        (0.5, 20, 0.05),
        (0.2, 200, 0.01),
        (1.5, 4, 0.05),
        (0.05, 9, 0.1),
    ]:
        want = theirs.power(effect, groups, alpha)
        assert stats.t_test_power(effect, 1.0, groups, alpha) == pytest.approx(want, abs=1e-9)
    for effect, power in [(0.5, 0.8), (0.3, 0.9), (1.2, 0.95)]:
        want = math.ceil(theirs.solve_power(effect, power=power, alpha=0.05))
        assert stats.groups_for_effect(effect, 1.0, power).groups == want
    assert stats.groups_for_effect(0.15, 0.5, 0.8).groups == stats.groups_for_effect(0.3, 1).groups


@pytest.mark.parametrize("most", [1, 6], ids=["equal", "unequal"])
def test_cluster_design_agrees_with_anova(rng, most):
    sizes = rng.integers(2, 3 + most, 12)
    g = np.repeat(np.arange(12), sizes)
    x = rng.normal(size=g.size) + rng.normal(size=12)[g]
    dummies = (g[:, None] == np.arange(12)).astype(float)
    fit = sm.OLS(x, dummies).fit()
    f = scipy.stats.f_oneway(*(x[g == k] for k in range(12))).statistic
    n0 = (g.size - (sizes**2).sum() / g.size) / 11
    got = stats.cluster_design(x, g)
    assert got.within_variance == pytest.approx(fit.mse_resid, rel=1e-10)
    assert got.icc == pytest.approx((f - 1) / (f - 1 + n0), rel=1e-10)
    rows = (sizes**2).sum() / g.size
    assert got.effective_rows == pytest.approx(g.size / (1 + (rows - 1) * got.icc), rel=1e-10)


def test_ranking_agrees_with_sklearn_under_ties_and_weights(rng):
    for _ in range(20):
        y = rng.integers(0, 2, 80)
        s = np.round(rng.normal(size=80) + y, 1)
        w = rng.uniform(size=80)
        assert stats.auroc(s, y) == pytest.approx(roc_auc_score(y, s), rel=1e-12)
        assert stats.auroc(s, y, w) == pytest.approx(
            roc_auc_score(y, s, sample_weight=w), rel=1e-12
        )
        assert stats.auprc(s, y) == pytest.approx(average_precision_score(y, s), rel=1e-12)
        want = average_precision_score(y, s, sample_weight=w)
        assert stats.auprc(s, y, w) == pytest.approx(want, rel=1e-12)
        order = rng.permutation(80)
        assert stats.auroc(s[order], y[order]) == stats.auroc(s, y)
    assert stats.auroc(s, y) == pytest.approx(
        scipy.stats.mannwhitneyu(s[y == 1], s[y == 0]).statistic / (y.sum() * (1 - y).sum())
    )


def delong(scores, y):
    """Covariance of AUROCs by DeLong, DeLong & Clarke-Pearson (1988), by plain loops."""
    ones, zeros = scores[:, y == 1], scores[:, y == 0]
    psi = (ones[:, :, None] > zeros[:, None]) + 0.5 * (ones[:, :, None] == zeros[:, None])
    v10, v01 = psi.mean(2), psi.mean(1)
    return psi.mean((1, 2)), np.cov(v10) / ones.shape[1] + np.cov(v01) / zeros.shape[1]


def test_auroc_intervals_are_delongs_where_rows_are_independent(rng):
    y = rng.integers(0, 2, 400)
    scores = np.round(rng.normal(size=(2, 400)) + y, 1)
    areas, covariance = delong(scores, y)
    got = stats.ranking_interval(scores[0], y, np.arange(400), method="influence")
    assert got.estimate == pytest.approx(areas[0], rel=1e-12)
    # the cluster form divides by G - 1 once, DeLong by n1 - 1 and n0 - 1: equal to order 1 / n
    assert got.standard_error == pytest.approx(covariance[0, 0] ** 0.5, rel=5e-3)
    paired = stats.ranking_difference(*scores, y, np.arange(400), method="influence")
    want = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert paired.estimate == pytest.approx(areas[0] - areas[1], rel=1e-10)
    assert paired.standard_error == pytest.approx(want**0.5, rel=5e-3)


def test_ranking_interval_resamples_clusters_as_a_loop_does(rng):
    y = rng.integers(0, 2, 120)
    s = np.round(rng.normal(size=120) + y, 1)
    g = rng.integers(0, 40, 120)
    names = np.unique(g)
    weights = stats.bootstrap_weights(names.size, 200, seed=3)
    index = np.searchsorted(names, g)
    areas = [roc_auc_score(y, s, sample_weight=w[index]) for w in weights]
    got = stats.ranking_interval(s, y, g, method="percentile", replicates=200, seed=3)
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(areas, [2.5, 97.5])), rel=1e-12)
    assert got.standard_error == pytest.approx(np.std(areas, ddof=1), rel=1e-10)
    threads = stats.ranking_interval(
        s, y, g, method="percentile", replicates=200, seed=3, threads=4
    )
    assert (threads.low, threads.high) == (got.low, got.high)
    leave_one = [roc_auc_score(y[g != k], s[g != k]) for k in names]
    jackknife = stats.ranking_interval(s, y, g, method="jackknife")
    want = (len(names) - 1) / len(names) * np.sum((leave_one - np.mean(leave_one)) ** 2)
    assert jackknife.standard_error == pytest.approx(want**0.5, rel=1e-10)


def test_calibration_agrees_with_sklearn(rng):
    p = rng.uniform(size=300)
    y = rng.uniform(size=300) < p**1.5
    got = stats.calibration(p, y, bins=10)
    assert got.brier == pytest.approx(brier_score_loss(y, p), rel=1e-12)
    assert got.log_loss == pytest.approx(log_loss(y, p), rel=1e-12)
    parts = np.array_split(np.argsort(p), 10)
    want = sum(abs(y[i].mean() - p[i].mean()) * len(i) / 300 for i in parts)
    assert got.ece == pytest.approx(want, rel=1e-12)
    assert [b.rows for b in got.bins] == [30] * 10
    certain = stats.calibration([0.0, 1.0], [1, 0], bins=1)
    assert certain.log_loss == pytest.approx(log_loss([1, 0], [0.0, 1.0]), rel=1e-12)


def test_page_trend_agrees_with_scipy(rng):
    for rows, columns in [(3, 4), (6, 5), (10, 3)]:
        x = rng.normal(size=(rows, columns)) + 0.4 * np.arange(columns)
        for ours, theirs in (("exact", "exact"), ("normal", "asymptotic")):
            want = scipy.stats.page_trend_test(x, method=theirs)
            got = stats.page_trend(x, ours)
            assert got.statistic == want.statistic
            assert got.p == pytest.approx(want.pvalue, rel=1e-9)


def test_energy_distance_agrees_with_scipy_and_with_every_pair(rng):
    a, b = rng.normal(size=30), rng.normal(0.5, 2, size=20)
    y = np.repeat([1, 0], [30, 20])
    got = stats.energy_distance(np.concatenate([a, b])[:, None], y)
    assert got == pytest.approx(scipy.stats.energy_distance(a, b) ** 2, rel=1e-10)
    x = rng.normal(size=(50, 6))
    d = cdist(x, x)
    want = (
        2 * d[y == 1][:, y == 0].mean() - d[y == 1][:, y == 1].mean() - d[y == 0][:, y == 0].mean()
    )
    assert stats.energy_distance(torch.tensor(x), y) == pytest.approx(want, rel=1e-10)


def test_moments_do_not_depend_on_how_rows_are_split(rng):
    x = rng.normal(100, 3, size=(200, 5))
    for cuts in ([], [1], [50, 51, 199], sorted(rng.choice(199, 20, replace=False) + 1)):
        parts = [tierod.Moments(True) for _ in range(len(cuts) + 1)]
        for part, rows in zip(parts, np.split(x, cuts), strict=True):
            part.update(torch.tensor(rows))
        total = stats.Moments(True)
        for index in rng.permutation(len(parts)):
            total.merge(parts[index])
        assert total.count == 200
        np.testing.assert_allclose(total.mean(), x.mean(0), rtol=1e-13)
        np.testing.assert_allclose(total.covariance(), np.cov(x.T), rtol=1e-10, atol=1e-12)


BAD = {
    "nan": (lambda: stats.cluster_t_interval([1.0, math.nan, 2.0], [0, 1, 2]), "index 1"),
    "length": (lambda: stats.auroc([1.0, 2.0], [0, 1, 1]), "as many labels as scores"),
    "one class": (lambda: stats.auroc([1.0, 2.0], [1, 1]), "both classes"),
    "missing label": (lambda: stats.auroc([1.0, 2.0], [0, 255]), "got 255 at index 1"),
    "fractional label": (lambda: stats.auroc([1.0, 2.0], [0, 0.5]), "got 0.5 at index 1"),
    "nan label": (lambda: stats.auroc([1.0, 2.0], [0, math.nan]), "got nan at index 1"),
    "one cluster": (lambda: stats.cluster_t_interval([1.0, 2.0], ["a", "a"]), "2 clusters"),
    "nan group": (lambda: stats.cluster_t_interval([1.0, 2.0], [0.5, math.nan]), "without NaN"),
    "mixed groups": (
        lambda: stats.cluster_t_interval([1.0, 2.0], np.array([1, "a"], object)),
        "sort",
    ),
    "empty": (lambda: stats.holm([]), "at least one of p values"),
    "matrix": (lambda: stats.holm([[0.1, 0.2]]), "1-dimensional"),
    "text": (lambda: stats.holm(["a"]), "real numbers"),
    "method": (lambda: stats.ranking_interval([1, 2], [0, 1], [0, 1], method="magic"), "bca"),
    "margin": (lambda: stats.cluster_tost([1.0, 2.0], [0, 1], 0.0), "margin > 0"),
    "columns": (lambda: stats.page_trend([[1.0, 2.0]]), "at least 3 columns"),
    "wide p": (lambda: stats.max_t([1.0, 2.0], [[1.0, 2.0, 3.0]]), r"\[B, 2\]"),
    "rows": (lambda: stats.energy_distance([1.0, 2.0], [0, 1]), "flatten"),
    "no groups": (lambda: stats.ratio_of_sums([], [], []), "at least one of groups"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_a_message(case):
    call, message = BAD[case]
    with pytest.raises((tierod.InvalidArgument, tierod.NumericalError), match=message) as caught:
        call()
    assert str(caught.value).startswith("[stats.")
