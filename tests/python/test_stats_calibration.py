"""Coverage and false-positive rates by simulation, and the statistical traps.

Seeds are fixed, so every rate is reproducible; the bounds are those a correct method keeps under
most seeds: about four standard errors of the simulated rate.
"""

import math

import numpy as np
import pytest
import simulate

from tierod import stats


def near(rate, want, trials, width=4.0):
    return abs(rate - want) <= width * math.sqrt(want * (1 - want) / trials)


def test_t_on_cluster_means_covers_from_eight_clusters_on():
    assert near(simulate.coverage("t", 8, 2000), 0.95, 2000)
    assert near(simulate.coverage("t", 30, 2000, seed=1), 0.95, 2000)


def test_percentile_and_bca_need_about_thirty_clusters():
    # the normal theory of the percentile interval: a t quantile replaced by a normal one, and the
    # variance's G - 1 by G
    for groups in (8, 30):
        half = 1.96 * math.sqrt((groups - 1) / groups)
        want = 1 - 2 * stats.student_t_sf(half, groups - 1)
        rate = simulate.coverage("percentile", groups, 800, seed=2)
        assert near(rate, want, 800), groups
        assert near(simulate.coverage("bca", groups, 800, seed=3), want, 800, width=5), groups
    assert simulate.coverage("percentile", 8, 800, seed=2) < 0.91
    assert simulate.coverage("percentile", 30, 800, seed=2) > 0.925


def test_trap_a_frame_bootstrap_covers_far_below_its_level():
    rows, icc = 40, 0.3
    effect = 1 + (rows - 1) * icc
    want = 1 - 2 * stats.student_t_sf(1.96 / math.sqrt(effect), math.inf)
    rate = simulate.coverage("frame", 40, 300, seed=4, rows=rows, icc=icc)
    assert want < 0.45
    assert near(rate, want, 300)
    assert near(simulate.coverage("t", 40, 300, seed=4, rows=rows, icc=icc), 0.95, 300)
    x, g = simulate.clustered_rows(np.random.default_rng(5), 400, rows, icc)
    assert stats.cluster_design(x, g).design_effect == pytest.approx(effect, rel=0.15)


def test_trap_an_interval_along_a_fixed_direction_calls_everything_used():
    fixed, refitted = simulate.false_used(400, seed=6)
    assert fixed > 0.95
    assert refitted <= 0.07 + 3 * math.sqrt(0.07 * 0.93 / 400)
    assert refitted >= 0.02  # not by being useless


def test_refit_interval_has_power():
    # the same interval finds an effect of several of its own errors
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(200):
        refits = 0.3 + 0.1 / math.sqrt(20) * rng.normal(size=20) / math.sqrt(19 / 20)
        y, g = np.arange(100) % 2, np.arange(100)
        test = stats.balanced_influence(0.3 + 0.3 * rng.normal(size=100), y, g)
        found += stats.refit_interval(test, refits).interval.excludes(0)
    assert found / 200 > 0.5


@pytest.mark.parametrize(("correlation", "low", "high"), [(0.0, 0.7, 0.9), (0.8, 0.12, 0.36)])
def test_trap_the_best_of_32_layers(correlation, low, high):
    alone, adjusted = simulate.best_layer(300, seed=8, correlation=correlation)
    assert low < alone < high
    assert adjusted <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
    if correlation == 0:  # against theory: 1 - .95^32
        assert near(alone, 1 - 0.95**32, 300)


def test_site_max_t_keeps_its_level():
    rng = np.random.default_rng(9)
    labels = (np.arange(40) % 2)[:, None]
    hits = sum(
        stats.site_max_t(
            rng.normal(size=(4, 40, 6)), labels, permutations=99, seed=trial
        ).single_step.min()
        <= 0.05
        for trial in range(300)
    )
    assert near(hits / 300, 0.05, 300)


@pytest.mark.parametrize(("method", "groups"), [("influence", 40), ("jackknife", 12), ("bca", 40)])
def test_auroc_intervals_cover(method, groups):
    rate = simulate.auroc_coverage(method, groups, 300, seed=10)
    assert 0.90 <= rate <= 0.985


def test_trap_rows_as_units_make_auroc_intervals_too_short():
    rng, hits = np.random.default_rng(11), 0
    for _ in range(200):
        x, g = simulate.clustered_rows(rng, 30, 20, 0.5)
        y = (np.arange(30) % 2)[g]
        interval = stats.ranking_interval(x + y, y, np.arange(x.size), method="influence")
        hits += not interval.excludes(stats.normal_cdf(1 / np.sqrt(2)))
    assert hits / 200 < 0.7


def test_trap_not_significant_is_not_unused():
    # an effect at the margin with 12 scenes: the usual test misses it mostly, tost calls it
    # equivalent at most in 5 % of the trials
    rng = np.random.default_rng(12)
    missed = equivalent = 0
    for _ in range(1000):
        x = 0.3 + 0.8 * rng.normal(size=12)
        interval = stats.cluster_t_interval(x, np.arange(12))
        missed += stats.t_test(interval) > 0.05
        equivalent += stats.tost(interval, 0.3).equivalent
    assert missed / 1000 > 0.6
    assert equivalent / 1000 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1000)
    # and with enough scenes and no effect it does find equivalence, as often as planned
    plan = stats.groups_for_equivalence(0.3, 0.0, 0.8, power=0.9)
    shown = sum(
        stats.cluster_tost(
            0.8 * rng.normal(size=plan.groups), np.arange(plan.groups), 0.3
        ).equivalent
        for _ in range(500)
    )
    assert near(shown / 500, plan.power, 500)


def test_trap_means_of_ratios():
    # denominators that come near 0: the ratio of sums is 2, the mean of ratios anything
    rng = np.random.default_rng(13)
    covered, worst = 0, 0.0
    for trial in range(200):
        bottom = rng.normal(1, 0.7, 60)
        top = 2 * bottom + 0.3 * rng.normal(size=60)
        interval = stats.ratio_of_sums(
            top, bottom, np.arange(60), replicates=500, seed=trial
        ).interval
        covered += not interval.excludes(2)
        worst = max(worst, abs(np.mean(top / bottom) - 2))
    assert near(covered / 200, 0.95, 200)
    assert worst > 1


def test_trap_few_permutations_cap_p():
    y = np.arange(24) % 2
    x = 5.0 * y + np.random.default_rng(14).normal(size=24)
    result = stats.permutation_test(
        lambda y: x[y == 1].mean() - x[y == 0].mean(), y, np.arange(24), permutations=19, alpha=0.01
    )
    assert result.p == result.smallest_p == 1 / 20
    assert "99 permutations" in result.note
    needed = stats.permutations_needed(0.05, tests=12)
    assert stats.holm([1 / (needed + 1)] * 12)[0] <= 0.05 < stats.holm([1 / needed] * 12)[0]


def test_trap_permuting_rows_ignores_groups():
    # labels and activations are constant within scenes and unrelated
    rng, rows, groups = np.random.default_rng(15), 0, 0
    g = np.repeat(np.arange(20), 10)
    y = np.arange(20) % 2
    for trial in range(150):
        x = rng.normal(size=20)[g] + 0.3 * rng.normal(size=200)

        def difference(labels, x=x):
            return x[labels == 1].mean() - x[labels == 0].mean()

        options = {"permutations": 99, "alternative": "two_sided", "seed": trial}
        rows += stats.permutation_test(difference, y[g], np.arange(200), **options).p <= 0.05
        groups += stats.permutation_test(difference, y[g], g, **options).p <= 0.05
    assert rows / 150 > 0.4
    assert near(groups / 150, 0.05, 150)


@pytest.mark.slow
def test_coverage_over_the_grid_of_clusters():
    for groups in (8, 12, 20, 30, 60):
        trials = 4000
        assert near(simulate.coverage("t", groups, trials, seed=20 + groups), 0.95, trials)
    assert simulate.coverage("bca", 60, 2000, seed=21, skewed=True) > 0.92
    fixed, refitted = simulate.false_used(3000, seed=22)
    assert fixed > 0.98
    assert 0.03 < refitted < 0.08
