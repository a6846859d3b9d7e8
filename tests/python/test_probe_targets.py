"""`evaluate_targets` against nested grouped ridge written with scikit-learn, and its error rates."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tierod
from tierod import probe
from tierod.probe.evaluation import PENALTIES

GROUPS, ROWS, WIDTH, FOLDS = 36, 5, 6, 4


def world(seed=0, effect=1.0):
    """Scenes, activations, a target that varies within scenes, and what goes along with it."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(GROUPS), ROWS)
    mix = rng.normal(size=(WIDTH, WIDTH)) * np.array([1, 10, 0.1, 1, 3, 1])
    latent = rng.normal(size=(GROUPS, WIDTH))[scene] + rng.normal(size=(GROUPS * ROWS, WIDTH))
    speed = rng.normal(size=GROUPS * ROWS)
    y = effect * latent[:, 0] + 0.7 * speed + rng.normal(size=GROUPS * ROWS) + 20
    return scene, latent @ mix + 3, y, speed


def dataset(scene, x, y, speed=None, **more):
    nuisances = {} if speed is None else {"speed": speed}
    return probe.ProbeDataset(
        scene, sites={"a": x}, targets={"acceleration": y}, nuisances=nuisances, **more
    )


def nested(x, y, folds, penalties):
    """Predict every fold by scikit-learn, with the penalty that inner folds chose."""
    predicted, reference, spread = np.empty_like(y), np.empty_like(y), np.empty_like(y)

    def fit(alpha, train):
        return make_pipeline(StandardScaler(), Ridge(alpha)).fit(x[train], y[train])

    chosen = []
    for k in range(FOLDS):
        errors = [
            sum(
                ((fit(alpha, (folds != k) & (folds != j)).predict(x[folds == j]) - y[folds == j]) ** 2).sum()
                for j in range(FOLDS) if j != k
            )
            for alpha in penalties
        ]  # fmt: skip
        chosen.append(int(np.argmin(errors)))
        model, test = fit(penalties[chosen[-1]], folds != k), folds == k
        predicted[test], reference[test] = model.predict(x[test]), y[~test].mean()
        spread[test] = model.predict(x[~test]).std()
    return predicted, reference, spread, chosen


def r2(y, predicted, reference, weight=None):
    return 1 - np.average((y - predicted) ** 2, weights=weight) / np.average(
        (y - reference) ** 2, weights=weight
    )


def jackknife(statistic, scene):
    """The delete-one t interval by hand, on the scale of `statistic`."""
    units = np.unique(scene)
    refits = np.array([statistic((scene != u).astype(float)) for u in units])
    g = len(units)
    error = np.sqrt((g - 1) / g * ((refits - refits.mean()) ** 2).sum())
    estimate = statistic(np.ones(len(scene)))
    half = scipy_stats.t.ppf(0.975, g - 1) * error
    return estimate, estimate - half, estimate + half


def weighted_pearson(a, b, w):
    a, b = a - np.average(a, weights=w), b - np.average(b, weights=w)
    return (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())


@pytest.fixture(scope="module")
def case():
    scene, x, y, speed = world()
    data = dataset(scene, x, y, speed)
    found = probe.evaluate_targets(
        data, folds=FOLDS, interval="jackknife", permutations=99, keep_scores=True, control_draws=2
    )
    folds = data.folds(FOLDS)
    return scene, x, y, speed, data, found, folds


def test_predictions_are_those_of_nested_grouped_ridge(case):
    _, x, y, _, _, found, folds = case
    predicted, reference, _, chosen = nested(x, y, folds, PENALTIES)
    row = found.at("a", "acceleration")
    np.testing.assert_allclose(found.predictions[0, 0], predicted, rtol=1e-8)
    assert row.setting == f"[{', '.join(map(str, chosen))}]"
    assert row.r2.estimate == pytest.approx(r2(y, predicted, reference), abs=1e-9)
    assert row.rmse == pytest.approx(root_mean_squared_error(y, predicted), rel=1e-9)
    assert row.mae == pytest.approx(mean_absolute_error(y, predicted), rel=1e-9)
    assert (row.mean, row.sd) == pytest.approx((y.mean(), y.std()))
    assert (row.rows, row.units) == (GROUPS * ROWS, GROUPS)


def test_correlations_are_pooled_on_one_scale(case):
    scene, x, y, _, _, found, folds = case
    predicted, reference, spread, _ = nested(x, y, folds, PENALTIES)
    score, moved = (predicted - reference) / spread, y - reference
    row = found.at("a", "acceleration")
    assert row.pearson.estimate == pytest.approx(scipy_stats.pearsonr(score, moved)[0], abs=1e-9)
    assert row.spearman.estimate == pytest.approx(scipy_stats.spearmanr(score, moved)[0], abs=1e-9)
    _, low, high = jackknife(lambda w: np.arctanh(weighted_pearson(score, moved, w)), scene)
    assert (row.pearson.low, row.pearson.high) == pytest.approx(np.tanh([low, high]), abs=1e-8)

    def spearman(w):
        kept = w > 0
        return np.arctanh(scipy_stats.spearmanr(score[kept], moved[kept])[0])

    _, low, high = jackknife(spearman, scene)
    assert (row.spearman.low, row.spearman.high) == pytest.approx(np.tanh([low, high]), abs=1e-8)


def test_intervals_and_baselines_are_paired_over_units(case):
    scene, x, y, speed, _, found, folds = case
    row = found.at("a", "acceleration")
    predicted, reference, _, _ = nested(x, y, folds, PENALTIES)
    _, low, high = jackknife(lambda w: r2(y, predicted, reference, w), scene)
    assert (row.r2.low, row.r2.high) == pytest.approx((low, high), abs=1e-8)

    n = len(y)
    other, _, _, _ = nested(speed[:, None], y, folds, [1e-4 * n, 1e-2 * n, 1e-1 * n, n])
    assert row.nuisance_r2 == pytest.approx(r2(y, other, reference), abs=1e-8)
    difference = jackknife(
        lambda w: r2(y, predicted, reference, w) - r2(y, other, reference, w), scene
    )
    got = row.above_nuisance
    assert (got.estimate, got.low, got.high) == pytest.approx(difference, abs=1e-8)

    types = case[4].core.types()
    assert len(set(types)) == 4
    controls = []
    for draw in range(2):
        control = probe.control_targets(types, y, 0, draw)
        assert set(control) <= set(y)
        assert all(len(set(control[types == t])) == 1 for t in range(4))
        p, m, _, _ = nested(x, control, folds, PENALTIES)
        controls.append((control, p, m))
    assert row.control_r2 == pytest.approx(np.mean([r2(*c) for c in controls]), abs=1e-8)
    difference = jackknife(
        lambda w: r2(y, predicted, reference, w) - np.mean([r2(*c, w) for c in controls]), scene
    )
    got = row.above_control
    assert (got.estimate, got.low, got.high) == pytest.approx(difference, abs=1e-8)
    best = min((row.above_nuisance, row.above_control, row.r2), key=lambda d: d.estimate)
    assert row.above_best.estimate == best.estimate
    assert row.encoded == (
        min(row.r2.low, row.above_control.low, row.above_nuisance.low) > 0 and row.p_max_t <= 0.05
    )


def test_the_influence_interval_is_near_the_jackknife(case):
    *_, data, found, _ = case
    row = found.at("a", "acceleration")
    quick = probe.evaluate_targets(data, folds=FOLDS, interval="influence", permutations=0)
    near = quick.at("a", "acceleration")
    for name in ("r2", "above_nuisance"):
        one, two = getattr(row, name), getattr(near, name)
        assert two.estimate == one.estimate
        assert two.standard_error == pytest.approx(one.standard_error, rel=0.15)
    assert not near.encoded
    assert "no p" in near.note


def test_a_row_without_target_plays_no_part():
    scene, x, y, speed = world()
    known = np.random.default_rng(1).random(len(y)) < 0.8
    gaps = np.where(known, y, np.nan)
    settings = {"interval": "influence", "permutations": 19, "control_draws": 0, "folds": FOLDS}
    row = probe.evaluate_targets(dataset(scene, x, gaps, speed), **settings).rows[0]
    folds = dataset(scene, x, gaps).folds(FOLDS)
    predicted, reference, _, _ = nested(x[known], y[known], folds[known], PENALTIES)
    assert row.rows == known.sum()
    assert row.r2.estimate == pytest.approx(r2(y[known], predicted, reference), abs=1e-9)


def test_unit_and_origin_do_not_matter():
    scene, x, y, speed = world()
    settings = {"interval": "influence", "permutations": 39, "folds": FOLDS}
    one = probe.evaluate_targets(dataset(scene, x, y, speed), **settings).rows[0]
    two = probe.evaluate_targets(dataset(scene, x, 1e4 - 250 * y, speed), **settings).rows[0]
    for name in ("r2", "pearson", "above_nuisance"):
        assert getattr(two, name).low == pytest.approx(getattr(one, name).low, abs=1e-9)
    assert two.rmse == pytest.approx(250 * one.rmse)
    assert (two.p, two.p_max_t) == (one.p, one.p_max_t)


@pytest.mark.parametrize("constant", [True, False], ids=["permutation", "sign flip"])
def test_p_is_uniform_without_signal(constant):
    rng = np.random.default_rng(3)
    groups, runs = 16, 200
    scene = np.repeat(np.arange(groups), 3)
    p = []
    for run in range(runs):
        x = rng.normal(size=(groups, 4))[scene] * [5, 1, 1, 1] + rng.normal(size=(48, 4))
        # heavy tails, and rows of a scene alike
        y = rng.standard_t(3, size=groups)[scene] + (0 if constant else rng.normal(size=48))
        data = probe.ProbeDataset(scene, sites={"a": x, "b": x[:, ::-1] ** 3}, targets={"y": y})
        found = probe.evaluate_targets(
            data, interval="influence", memorisation=False, permutations=39, folds=4, seed=run
        )
        row = found.rows[0]
        assert row.p_method == ("permutation" if constant else "sign flip")
        assert row.p <= row.p_max_t
        p.append((row.p, min(r.p_max_t for r in found.rows)))
    rejected = (np.array(p) <= 0.1).mean(0)
    assert (rejected < 0.1 + 3 * np.sqrt(0.09 / runs)).all(), rejected
    assert scipy_stats.kstest([one for one, _ in p], "uniform").statistic < 0.15


def test_p_finds_what_is_there():
    for constant in (True, False):
        scene, x, y, _ = world(effect=0)
        y = 3 * (x[:, 3] - x[:, 3].mean()) / x[:, 3].std() + np.random.default_rng(0).normal(
            size=len(y)
        )
        if constant:
            y = np.array([y[scene == s].mean() for s in range(GROUPS)])[scene]
        row = probe.evaluate_targets(
            dataset(scene, x, y), interval="influence", permutations=99
        ).rows[0]
        assert row.p_max_t == 0.01
        assert row.encoded, row


def test_strata_explain_nothing_away():
    # what only the stratum says, in target and activations alike, is no finding
    rng = np.random.default_rng(5)
    scene = np.repeat(np.arange(40), 2)
    town = (scene % 2).astype(float)
    x = rng.normal(size=(80, 3)) + 3 * town[:, None]
    y = town * 5 + rng.normal(size=40)[scene]
    free = probe.ProbeDataset(scene, sites={"a": x}, targets={"y": y})
    held = probe.ProbeDataset(scene, sites={"a": x}, targets={"y": y}, strata=town)
    settings = {"interval": "influence", "permutations": 199}
    assert probe.evaluate_targets(free, **settings).rows[0].p == 0.005
    assert probe.evaluate_targets(held, **settings).rows[0].p > 0.05


def test_coverage_of_r2_where_there_is_signal():
    # the population R2 of a fixed direction: fits on many rows come close to it
    rng = np.random.default_rng(7)
    hits, runs = 0, 60
    scene = np.repeat(np.arange(60), 4)
    for run in range(runs):
        shared = rng.normal(size=60)[scene]
        x = np.stack([0.6 * shared + 0.8 * rng.normal(size=240), rng.normal(size=240)], 1)
        y = x[:, 0] + 0.6 * rng.normal(size=60)[scene] + 0.8 * rng.normal(size=240)
        data = probe.ProbeDataset(scene, sites={"a": x}, targets={"y": y})
        row = probe.evaluate_targets(
            data, interval="influence", memorisation=False, permutations=0, seed=run
        ).rows[0]
        hits += row.r2.low <= 0.5 <= row.r2.high
    assert hits / runs > 0.95 - 3 * np.sqrt(0.05 * 0.95 / runs)


def test_a_nuisance_of_the_targets_own_name_is_not_held_against_it():
    scene, x, y, speed = world()
    data = dataset(scene, x, y, speed)
    data.add_nuisance("acceleration", y)
    settings = {"interval": "influence", "permutations": 0, "control_draws": 0, "folds": FOLDS}
    row = probe.evaluate_targets(data, **settings).rows[0]
    assert row.nuisance_r2 < 0.6  # with it, it would be 1


def test_random_init_and_dead_site_and_memorisation():
    scene, x, y, _ = world()
    data = dataset(scene, x, y, types=scene % 3)
    data.add_site("dead", np.ones_like(x))
    noise = np.random.default_rng(9).normal(size=x.shape)
    untrained = dataset(scene, noise, y)
    found = probe.evaluate_targets(data, permutations=99, folds=FOLDS, random_init=untrained)
    row, dead = found.at("a", "acceleration"), found.at("dead", "acceleration")
    assert row.learned.low > 0
    assert row.group_control_r2 < 0.1
    assert row.memorisation_r2 > row.group_control_r2
    assert dead.r2.estimate == pytest.approx(0, abs=1e-12)
    assert dead.p == 1
    assert not dead.encoded
    assert np.isnan(dead.pearson.estimate)
    assert "do not vary" in dead.note
    assert "random_init lacks this site" in dead.note
    table = found.table
    assert list(table["site"]) == ["a", "dead"]
    assert "r2_low" in table
    assert "above_control" in table
    assert found.summary["best_site"].item() == "a"
    assert "acceleration" in repr(found.rows[0])
    assert "2" in repr(found)
    with pytest.raises(tierod.InvalidArgument, match="same acceleration, got"):
        probe.evaluate_targets(data, random_init=dataset(scene, noise, y + 1))


def test_plot_shows_targets():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    scene, x, y, speed = world()
    found = probe.evaluate_targets(
        dataset(scene, x, y, speed), interval="influence", permutations=19, folds=FOLDS
    )
    axes = found.plot()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["acceleration"]


def test_absence_is_a_claim_of_its_own():
    rng = np.random.default_rng(11)
    scene = np.repeat(np.arange(400), 2)
    data = probe.ProbeDataset(
        scene, sites={"a": rng.normal(size=(800, 3))}, targets={"y": rng.normal(size=800)}
    )
    found = probe.evaluate_targets(data, interval="influence", permutations=0)
    assert bool(found.summary["not_linearly_encoded"].item())
    few = data.subset(np.arange(60))
    found = probe.evaluate_targets(few, interval="influence", permutations=0, margin=0.01)
    assert not bool(found.summary["not_linearly_encoded"].item())


def test_what_cannot_be_judged_is_refused():
    scene, x, y, _ = world()
    constant = np.where(scene == 0, 1.0, 0.0)
    data = dataset(scene, x, y)
    data.add_target("rare", constant)
    found = probe.evaluate_targets(data, interval="influence", permutations=0, folds=FOLDS)
    row = found.at("a", "rare")
    assert np.isnan(row.r2.estimate)
    assert "refused: the target is 0 in all rows" in row.note
    assert np.isfinite(found.at("a", "acceleration").r2.low)
    with pytest.raises(tierod.InvalidArgument, match="got only 2 among"):
        data.add_target("two", np.full(len(y), 2.0))
    with pytest.raises(tierod.NumericalError, match="got inf in row 3"):
        data.add_target("three", np.where(np.arange(len(y)) == 3, np.inf, y))
    with pytest.raises(tierod.InvalidArgument, match="classes are concepts"):
        data.add_target("four", ["a", "b"])
    with pytest.raises(tierod.InvalidArgument, match="LinearFitter that takes real targets"):
        probe.evaluate_targets(data, "logistic")
    with pytest.raises(tierod.InvalidArgument, match=r"at site a.*RidgeFitter"):
        probe.evaluate_targets(data, "lda")
    with pytest.raises(tierod.InvalidArgument, match="evaluate_targets"):
        probe.evaluate(data)
    with pytest.raises(tierod.InvalidArgument, match="expected sites and targets, got 0 and 0"):
        probe.evaluate_targets(probe.ProbeDataset(scene))
    with pytest.raises(tierod.InvalidArgument, match="at least 2 keys, got 1"):
        probe.control_targets(np.zeros(3, int), np.arange(3.0))


def test_targets_travel_with_the_dataset():
    scene, x, y, _ = world()
    data = dataset(scene, x, torch.from_numpy(y))
    assert data.targets == ["acceleration"]
    np.testing.assert_array_equal(data.target("acceleration"), y)
    part = data.subset(np.arange(20))
    np.testing.assert_array_equal(part.target("acceleration"), y[:20])
