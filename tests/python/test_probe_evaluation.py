"""Nested evaluation against naive loops, and what each cell of the table means."""

import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tierod
from tierod import probe, stats

PENALTIES = [0.1, 10.0, 1000.0]


def world(seed=0, groups=60, rows=4, width=6, effect=1.0, sites=("layers.0", "layers.1"), **more):
    """Scenes with an effect of their own; "rain" shows in column 0 at every site, "night" nowhere."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(groups), rows)
    rain = (rng.permutation(groups) < 0.4 * groups)[scene]
    night = (rng.permutation(groups) < 0.5 * groups)[scene]
    wet = rng.random(len(scene)) < 0.3  # varies within scenes
    x = {}
    for site in sites:
        x[site] = rng.normal(size=(groups, width))[scene] * 0.5 + rng.normal(
            size=(len(scene), width)
        )
        x[site][:, 0] += effect * rain
        x[site][:, 1] += effect * wet
    return probe.ProbeDataset(
        scene,
        sites=x,
        concepts={"rain": rain, "night": night, "wet": wet},
        nuisances={"speed": ("binned", rng.normal(size=len(scene))),
                   "road": ("categorical", rng.integers(0, 3, len(scene)))},
        **more,
    )  # fmt: skip


def on_common_scale(train, labels, test):
    middle = (train[labels == 0].mean() + train[labels == 1].mean()) / 2
    return (test - middle) / train.std()


def naive_nested(x, y, folds, penalties, standardise=False):
    """Two loops of scikit-learn fits; returns held-out scores and the choices."""

    def scores(train, test, alpha):
        model = make_pipeline(StandardScaler(), Ridge(alpha)) if standardise else Ridge(alpha)
        model.fit(x[train], 2.0 * y[train] - 1)
        return on_common_scale(model.predict(x[train]), y[train], model.predict(x[test]))

    out, chosen = np.empty(len(y)), []
    for k in range(folds.max() + 1):
        quality = []
        for alpha in penalties:
            inner, labels = [], []
            for j in range(folds.max() + 1):
                if j != k:
                    inner.append(scores((folds != k) & (folds != j), folds == j, alpha))
                    labels.append(y[folds == j])
            quality.append(roc_auc_score(np.concatenate(labels), np.concatenate(inner)))
        chosen.append(int(np.argmax(quality)))
        out[folds == k] = scores(folds != k, folds == k, penalties[chosen[-1]])
    return out, chosen


@pytest.fixture(scope="module")
def evaluated():
    data = world()
    return data, probe.evaluate(
        data, probe.RidgeFitter(PENALTIES), keep_scores=True, seed=3, permutations=199
    )


@pytest.mark.parametrize("concept", ["rain", "night", "wet"])
def test_held_out_scores_are_those_of_a_naive_nested_loop(evaluated, concept):
    data, found = evaluated
    folds = data.folds(5, seed=3)
    for s, site in enumerate(data.sites):
        want, chosen = naive_nested(
            data.site(site).numpy(), data.labels(concept).astype(int), folds, PENALTIES
        )
        got = found.scores[s, data.concepts.index(concept)].numpy()
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)
        assert found.at(site, concept).setting == str(chosen)


def test_numbers_are_those_of_the_scores(evaluated):
    data, found = evaluated
    for s, site in enumerate(data.sites):
        for c, concept in enumerate(data.concepts):
            row, y, score = (
                found.at(site, concept),
                data.labels(concept),
                found.scores[s, c].numpy(),
            )
            assert row.auroc.estimate == pytest.approx(roc_auc_score(y, score), abs=1e-12)
            assert row.auprc.estimate == pytest.approx(average_precision_score(y, score), abs=1e-12)
            interval = stats.ranking_interval(score, y, data.groups, seed=3)
            assert (row.auroc.low, row.auroc.high) == (interval.low, interval.high)
            assert (row.rows, row.positives, row.units) == (240, y.sum(), 60)
            assert row.positive_units == len(set(data.groups[y == 1]))


def test_probabilities_are_platt_scaled_inside_the_training_folds():
    data = world(groups=40, sites=("a",))
    found = probe.evaluate(
        data, probe.RidgeFitter([10.0]), keep_scores=True, permutations=0, interval="influence"
    )
    y, folds, x = data.labels("rain").astype(int), data.folds(5), data.site("a").numpy()
    p = np.empty(len(y))
    for k in range(5):
        inner, labels = [], []
        for j in set(range(5)) - {k}:
            train, test = (folds != k) & (folds != j), folds == j
            model = Ridge(10.0).fit(x[train], 2.0 * y[train] - 1)
            inner.append(on_common_scale(model.predict(x[train]), y[train], model.predict(x[test])))
            labels.append(y[test])
        s, z = np.concatenate(inner)[:, None], np.concatenate(labels)
        ones = z.sum()
        # Platt's smoothed targets as weights of both labels
        high, low = (ones + 1) / (ones + 2), 1 / (len(z) - ones + 2)
        target = np.where(z == 1, high, low)
        curve = LogisticRegression(C=1e10, tol=1e-10, max_iter=2000).fit(
            np.concatenate([s, s]), np.repeat([1, 0], len(z)),
            sample_weight=np.concatenate([target, 1 - target]),
        )  # fmt: skip
        held_out = found.scores[0, 0].numpy()[folds == k][:, None]
        p[folds == k] = curve.predict_proba(held_out)[:, 1]
    row = found.at("a", "rain")
    assert row.brier == pytest.approx(brier_score_loss(y, p), abs=1e-5)
    assert row.log_loss == pytest.approx(log_loss(y, p), abs=1e-5)
    assert row.ece == pytest.approx(stats.calibration(p, y).ece, abs=1e-3)


def test_the_nuisance_only_probe_is_nested_ridge_on_what_goes_together(evaluated):
    data, found = evaluated
    design = data.core.design(data.core.companions("rain")).numpy()
    n = len(data)
    want, _ = naive_nested(
        design,
        data.labels("rain").astype(int),
        data.folds(5, seed=3),
        [1e-4 * n, 1e-2 * n, 0.1 * n, n],
        standardise=True,
    )
    row = found.at("layers.0", "rain")
    assert row.nuisance_auroc == pytest.approx(roc_auc_score(data.labels("rain"), want), abs=1e-9)
    difference = stats.ranking_difference(
        found.scores[0, 0].numpy(), want, data.labels("rain"), data.groups, seed=3
    )
    assert row.above_nuisance.estimate == pytest.approx(difference.estimate, abs=1e-9)
    assert row.above_nuisance.low == pytest.approx(difference.low, abs=1e-9)


def test_the_control_task_is_scored_like_a_concept():
    data = world(sites=("a",))
    fitter = probe.RidgeFitter(PENALTIES)
    options = {"permutations": 0, "interval": "influence", "control_draws": 2}
    row = probe.evaluate(data, fitter, **options).at("a", "rain")
    folds, x, types = data.folds(5), data.site("a").numpy(), data.core.types()
    got = []
    for draw in (0, 1):
        control = probe.control_labels(types, data.labels("rain"), 0, draw)
        scores, _ = naive_nested(x, control.astype(int), folds, PENALTIES)
        got.append(stats.auroc_influence(scores, control, data.groups))
    assert row.control_auroc == pytest.approx(np.mean([g.estimate for g in got]), abs=1e-9)
    own = naive_nested(x, data.labels("rain").astype(int), folds, PENALTIES)[0]
    contributions = stats.auroc_influence(own, data.labels("rain"), data.groups).contributions
    difference = contributions - np.mean([g.contributions for g in got], 0)
    want = np.sqrt(difference.var(ddof=1) / len(difference))
    assert row.above_control.standard_error == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("interval", ["automatic", "percentile", "jackknife", "influence"])
def test_intervals_of_the_control_difference_agree_in_size(interval):
    data = world(sites=("a",), groups=50)
    found = probe.evaluate(data, probe.RidgeFitter([10.0]), permutations=0, interval=interval)
    row = found.at("a", "rain")
    reference = probe.evaluate(
        data, probe.RidgeFitter([10.0]), permutations=0, interval="influence"
    ).at("a", "rain")
    assert row.above_control.low < row.above_control.estimate < row.above_control.high
    assert row.above_control.standard_error == pytest.approx(
        reference.above_control.standard_error, rel=0.3
    )


def test_what_is_encoded_is_found_and_what_is_not_is_not(evaluated):
    _, found = evaluated
    summary = found.summary.set_index("concept")
    assert summary.loc["rain", "encoded_sites"] == 2
    assert summary.loc["wet", "encoded_sites"] == 2
    assert summary.loc["night", "encoded_sites"] == 0
    assert found.at("layers.0", "rain").p_method == "permutation"
    assert found.at("layers.0", "wet").p_method == "sign flip"
    said = {c.concept_name: c for c in probe.conclude(found)}
    assert said["rain"].encoding == "encoded"
    assert said["night"].encoding == "open", "absence also needs a non-linear probe"


def test_the_table_is_tidy(evaluated):
    _, found = evaluated
    table = found.table
    assert len(table) == 6
    assert not table.duplicated(["site", "concept"]).any()
    assert {"auroc", "auroc_low", "auroc_high", "above_control_low", "p_max_t"} <= set(
        table.columns
    )
    assert (table.p <= table.p_max_t).all()
    assert table.loc[table.concept == "rain", "auroc_low"].min() > 0.5


def test_missing_labels_leave_their_rows_out():
    data = world(sites=("a",))
    labels = data.labels("rain").astype(float)
    labels[::7] = np.nan
    data.add_concept("partial", labels)
    found = probe.evaluate(data, probe.RidgeFitter([10.0]), keep_scores=True, permutations=99)
    scores = found.scores[0, data.concepts.index("partial")].numpy()
    assert np.isnan(scores[::7]).all()
    keep = np.setdiff1d(np.arange(len(data)), np.arange(0, len(data), 7))
    folds = data.folds(5)
    want, _ = naive_nested(
        data.site("a").numpy()[keep], labels[keep].astype(int), folds[keep], [10.0]
    )
    np.testing.assert_allclose(scores[keep], want, rtol=1e-8, atol=1e-10)
    row = found.at("a", "partial")
    assert row.rows == len(keep)
    assert row.p_method == "permutation"


def test_random_initialisation_is_compared_pair_by_pair():
    trained, untrained = world(sites=("a",)), world(effect=0.0, sites=("a",))
    found = probe.evaluate(trained, "ridge", random_init=untrained, permutations=0)
    row = found.at("a", "rain")
    assert row.learned.low > 0
    same = probe.evaluate(
        trained, "ridge", random_init=trained, permutations=0, interval="influence"
    )
    assert same.at("a", "rain").learned.estimate == 0
    with pytest.raises(tierod.InvalidArgument, match="the same 240 rows, got 160"):
        probe.evaluate(trained, "ridge", random_init=world(groups=40))
    x = trained.site("a")
    with pytest.raises(tierod.InvalidArgument, match=r"the same groups, got .* in row 0"):
        probe.evaluate(
            trained, "ridge", random_init=probe.ProbeDataset(trained.groups[::-1], sites={"a": x})
        )
    other = probe.ProbeDataset(
        trained.groups, sites={"a": x}, concepts={"rain": 1 - trained.labels("rain")}
    )
    with pytest.raises(tierod.InvalidArgument, match=r"the same labels of rain, got"):
        probe.evaluate(trained, "ridge", random_init=other)
    elsewhere = probe.ProbeDataset(trained.groups, sites={"b": x})
    row = probe.evaluate(
        trained, "ridge", random_init=elsewhere, permutations=0, interval="influence"
    ).at("a", "rain")
    assert np.isnan(row.learned.estimate)
    assert "random_init lacks this site" in row.note


def test_a_standardised_fit_is_a_fit_on_standardised_columns():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 5)) * [1, 100, 1e-3, 1, 7] + 4
    x[:, 3] = 2.5  # constant
    y = (rng.random(80) < 0.5).astype(float)
    s = probe.FoldStatistics(1, 1)
    s.update(torch.from_numpy(x), torch.from_numpy(y[:, None]), torch.zeros(80, dtype=torch.int64))
    got = probe.StandardisedFitter(probe.RidgeFitter([3.0])).fit(s.training())
    live = [0, 1, 2, 4]
    z = (x[:, live] - x[:, live].mean(0)) / x[:, live].std(0)
    model = Ridge(3.0).fit(z, 2 * y - 1)
    np.testing.assert_allclose(got.weights[0, 0, live], model.coef_ / x[:, live].std(0), rtol=1e-9)
    assert got.weights[0, 0, 3] == 0
    np.testing.assert_allclose(
        got.scores(torch.from_numpy(x))[0, 0], model.predict(z), rtol=1e-9, atol=1e-12
    )


def test_evaluation_does_not_depend_on_threads_or_the_order_of_rows():
    data = world(sites=("a",), groups=40)
    one = probe.evaluate(data, "ridge", permutations=99, seed=1)
    two = probe.evaluate(data, "ridge", permutations=99, seed=1, threads=2)
    assert one.table.equals(two.table)
    order = np.random.default_rng(3).permutation(len(data))
    moved = probe.ProbeDataset(
        data.groups[order],
        sites={"a": data.site("a").numpy()[order]},
        concepts={name: data.labels(name)[order] for name in data.concepts},
        nuisances={
            "speed": ("binned", data.core.nuisances[0].values[order]),
            "road": ("categorical", data.core.nuisances[1].values[order]),
        },
    )
    assert (data.folds(5, seed=1)[order] == moved.folds(5, seed=1)).all()
    three = probe.evaluate(moved, "ridge", permutations=99, seed=1)
    for name in one.table.columns.drop(["memorisation_auroc", "site", "concept", "note"]):
        left, right = one.table[name], three.table[name]
        if left.dtype.kind == "f":
            np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-9, err_msg=name)
        else:
            assert (left == right).all(), name


def test_progress_may_stop():
    calls = []

    def progress(done, total, what):
        calls.append((done, total, what))
        return done < 1

    found = probe.evaluate(world(), "mean_difference", permutations=99, progress=progress)
    assert calls == [(0, 2, "sites"), (1, 2, "sites")]
    assert found.sites == ["layers.0"]
    assert not found.core.complete
    assert "stopped after 1 of 2 sites" in found.notes


def test_an_error_of_an_estimator_comes_out_as_it_is():
    class Broken:
        def get_params(self, deep=True):
            return {}

        def fit(self, x, y):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        probe.evaluate(world(sites=("a",)), Broken())
    with pytest.raises(tierod.InvalidArgument, match="expected a scikit-learn estimator, got 3"):
        probe.evaluate(world(), 3)
    with pytest.raises(tierod.InvalidArgument, match="one of ridge, lda, logistic"):
        probe.evaluate(world(), "rigde")


def test_an_estimator_is_judged_as_its_cpp_twin():
    data = world(sites=("a",), groups=40)
    options = {"permutations": 0, "interval": "influence", "keep_scores": True, "control_draws": 1}
    own = probe.evaluate(data, probe.RidgeFitter(PENALTIES), **options)
    other = probe.evaluate(data, [RidgeClassifier(a) for a in PENALTIES], **options)
    torch.testing.assert_close(own.scores, other.scores, rtol=1e-8, atol=1e-9)
    left, right = own.table, other.table
    for column in ("auroc", "brier", "control_auroc", "memorisation_auroc", "above_nuisance_low"):
        np.testing.assert_allclose(left[column], right[column], atol=1e-6)
    assert (left.setting == right.setting).all()


def test_logistic_fits_of_all_folds_are_those_of_a_naive_loop():
    data = world(sites=("a",), groups=40)
    options = {"permutations": 0, "interval": "influence", "keep_scores": True, "control_draws": 1,
               "memorisation": False}  # fmt: skip
    # one penalty: choices between nearly equal ones would hang on the scaling of the inner folds
    own = probe.evaluate(data, probe.LogisticFitter([10.0], tolerance=1e-12), **options)
    twin = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-9, max_iter=5000))
    other = probe.evaluate(data, twin, **options)
    assert own.probe == "logistic"
    torch.testing.assert_close(own.scores, other.scores, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(own.table.auroc, other.table.auroc, atol=2e-3)
    np.testing.assert_allclose(own.table.control_auroc, other.table.control_auroc, atol=2e-3)


def test_options_outside_their_range_are_refused():
    data = world(sites=("a",))

    def unfitted(*_):
        raise AssertionError("options are checked before anything is fitted")

    for name, bad in (
        ("folds", 1), ("margin", 0.0), ("alpha", 1.0), ("alpha", 0.5), ("confidence", 0.0),
        ("threads", 0), ("replicates", 39),
    ):  # fmt: skip
        with pytest.raises(tierod.InvalidArgument, match=rf"expected (a )?{name} .*got .*; ."):
            probe.evaluate(data, "ridge", progress=unfitted, **{name: bad})
    with pytest.raises(tierod.InvalidArgument, match="expected sites and concepts"):
        probe.evaluate(probe.ProbeDataset([0, 1]), "ridge")


def test_the_heat_map_shows_every_cell(evaluated):
    import matplotlib as mpl

    mpl.use("Agg")
    _, found = evaluated
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == found.concepts
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1"]
    assert ax.get_xlabel() == "layers.*"
    texts = {t.get_text() for t in ax.texts}
    rain = found.at("layers.0", "rain").auroc.estimate
    assert f"{rain:.2f}".replace("0.", ".", 1) + "*" in texts
    assert len(ax.texts) == 6
    found.plot("above_nuisance", ax=ax)
    with pytest.raises(tierod.InvalidArgument, match="expected a numeric column"):
        found.plot("note")
    mpl.pyplot.close("all")


QUICK = {"interval": "influence", "control_draws": 1, "memorisation": False}


def test_a_rare_concept_and_a_dead_site_take_no_p_from_others():
    data = world(effect=2.0)
    rare = np.isin(data.groups, [3, 20, 44])
    data.add_concept("rare", rare)
    data.add_site("dead", np.full((len(data), 6), 0.1))
    found = probe.evaluate(data, "ridge", permutations=199, **QUICK)
    alone = probe.evaluate(world(effect=2.0), "ridge", permutations=199, **QUICK)
    for site in ("layers.0", "layers.1"):
        row = found.at(site, "rain")
        assert row.encoded
        assert (row.p, row.p_max_t) == (alone.at(site, "rain").p, alone.at(site, "rain").p_max_t)
        assert 0 < found.at(site, "rare").p <= 1
        assert "rarer class lies in 3 units: p with 3 folds" in found.at(site, "rare").note
    for concept in ("rain", "rare", "wet"):
        row = found.at("dead", concept)
        assert (row.p, row.p_max_t, row.encoded) == (1, 1, False)
    assert "the activations do not vary between units: p is 1" in found.at("dead", "rain").note


def test_a_concept_that_cannot_be_permuted_is_named_and_not_encoded():
    data = world(strata=np.repeat(np.arange(60) % 2, 4))
    town = data.groups % 2
    data.add_concept("town", town)
    x = data.site("layers.0").numpy().copy()
    x[:, 2] += 5 * town
    data.add_site("towns", x)
    options = {"permutations": 199, "concepts_as_nuisances": False, **QUICK}
    found = probe.evaluate(data, "ridge", **options)
    row = found.at("towns", "town")
    assert row.auroc.low > 0.9
    assert np.isnan(row.p_max_t)
    assert not row.encoded
    assert "no p for town: " in row.note
    assert "not called encoded" in row.note
    assert np.isfinite(found.at("towns", "rain").p_max_t)
    assert found.at("layers.0", "rain").encoded
    assert found.summary.set_index("concept").encoded_sites["town"] == 0


def test_without_permutations_nothing_is_encoded():
    found = probe.evaluate(world(), "ridge", permutations=0, **QUICK)
    row = found.at("layers.0", "rain")
    assert row.above_nuisance.low > 0
    assert not row.encoded
    assert "permutations = 0" in row.note
    assert (found.summary.encoded_sites == 0).all()
    assert any("permutations = 0" in note for note in found.notes)


def test_a_unit_in_two_strata_is_refused():
    data = world(strata=np.repeat(np.arange(60) % 2, 4))
    twins = np.full(len(data), -1)
    twins[[0, 4]] = 7  # of groups 0 and 1
    data.set_twins(twins)
    with pytest.raises(tierod.InvalidArgument, match=r"unit 0 in strata 0 .* and 1 .*group 1"):
        probe.evaluate(data, "ridge", **QUICK)
    level = probe.ProbeDataset(
        data.groups, sites={"a": data.site("layers.0")}, concepts={"rain": data.labels("rain")},
        levels={"route": data.groups // 2}, strata=data.groups % 2,
    )  # fmt: skip
    with pytest.raises(tierod.InvalidArgument, match="each unit of the level route"):
        probe.evaluate(level, "ridge", least_units=20, **QUICK)
    assert probe.evaluate(level, "ridge", permutations=0, **QUICK).core.level == "group"


def test_units_are_those_of_the_highest_level_with_enough():
    data = world(groups=80, levels={"route": np.repeat(np.arange(80) // 2, 4)})
    row = probe.evaluate(data, "ridge", permutations=0, **QUICK).at("layers.0", "rain")
    assert row.units == 40
    below = probe.evaluate(data, "ridge", permutations=0, least_units=41, **QUICK)
    assert below.at("layers.0", "rain").units == 80


def test_a_class_in_three_units_has_jackknife_intervals_of_two_degrees_of_freedom():
    data = world()
    data.add_concept("rare", np.isin(data.groups, [3, 20, 44]))
    found = probe.evaluate(
        data, probe.RidgeFitter([10.0]), permutations=0, keep_scores=True, replicates=200
    )
    row = found.at("layers.0", "rare")
    scores, labels = found.scores[0, 3].numpy(), data.labels("rare")
    want = stats.ranking_interval(scores, labels, data.groups, method="jackknife")
    assert row.auroc.standard_error == pytest.approx(want.standard_error, rel=1e-9)
    assert row.auroc.high == pytest.approx(want.estimate + t.ppf(0.975, 2) * want.standard_error)
    assert np.isfinite([row.auprc.low, row.above_nuisance.low, row.above_control.low]).all()
    assert "rarer class lies in 3 units" in row.note
    assert found.at("layers.0", "rain").auroc.method != row.auroc.method


def test_the_bound_of_absence_counts_the_choice_of_the_baseline(evaluated):
    _, found = evaluated
    for row in found.rows:
        differences = [
            (row.auroc.estimate - 0.5, row.auroc),
            (row.above_control.estimate, row.above_control),
            (row.above_nuisance.estimate, row.above_nuisance),
        ]
        bounds = [
            d + t.ppf(1 - 0.05 / 3, i.df) * np.sqrt(2) * i.standard_error for d, i in differences
        ]
        assert row.upper == pytest.approx(min(bounds), rel=1e-9)


def test_each_concept_has_the_notes_and_condition_of_its_own_fits():
    rng = np.random.default_rng(0)
    data = world(sites=("a",), groups=40)
    easy = data.labels("rain").astype(bool)
    x = data.site("a").numpy().copy()
    x[:, 5] = 50.0 * easy + 0.01 * rng.normal(size=len(easy))
    data.add_site("apart", x)
    found = probe.evaluate(
        data, probe.LogisticFitter([1e-6], max_iterations=3), permutations=0, **QUICK
    )
    assert all(np.isnan(row.condition) for row in found.rows), "iterations solve with no matrix"
    split, other = found.at("apart", "rain").note, found.at("apart", "night").note
    assert split != other
    assert "separat" in split
    assert "separat" not in other.split("control:")[0]
    ridge = probe.evaluate(data, probe.RidgeFitter([1e-3, 1e6]), permutations=0, **QUICK)
    weak = ridge.at("a", "rain")
    x = data.site("a").numpy()
    folds = data.folds(5)
    worst = []
    for k, p in enumerate(map(int, weak.setting.strip("[]").split(","))):
        own = probe.FoldStatistics(1, 1)
        train = torch.from_numpy(x[folds != k])
        y = torch.from_numpy(data.labels("rain")[folds != k].astype(float))[:, None]
        own.update(train, y, torch.zeros(len(train), dtype=torch.int64))
        worst.append(probe.RidgeFitter([1e-3, 1e6]).fit(own.training()).report(p, 0).condition)
    assert weak.condition == pytest.approx(max(worst), rel=1e-6)
    forest = probe.evaluate(data, LogisticRegression(), permutations=0, **QUICK)
    assert all(np.isnan(row.condition) for row in forest.rows)


def test_a_control_task_of_types_that_never_recur_is_none():
    data = world(sites=("a",))
    void = probe.ProbeDataset(
        data.groups, sites={"a": data.site("a")}, concepts={"rain": data.labels("rain")},
        types=data.groups,
    )  # fmt: skip
    row = probe.evaluate(void, "ridge", permutations=199, **QUICK).at("a", "rain")
    assert row.control_recurrence == 0
    assert np.isnan(row.control_auroc)
    assert "0 % of the rows have a type that occurs in another fold" in row.note
    types, folds = data.core.types(), data.folds(5)
    want = np.mean([len(set(folds[types == type_])) > 1 for type_ in types])
    row = probe.evaluate(data, "ridge", permutations=0, **QUICK).at("a", "rain")
    assert row.control_recurrence == pytest.approx(want)
    assert np.isfinite(row.control_auroc)


def test_the_group_keyed_control_has_a_paired_difference(evaluated):
    _, found = evaluated
    row = found.at("layers.0", "rain")
    assert row.above_group_control.estimate == pytest.approx(
        row.auroc.estimate - row.group_control_auroc, abs=1e-12
    )
    assert row.above_group_control.low > 0
    assert {"above_group_control_low", "control_recurrence"} <= set(found.table.columns)
    without = probe.evaluate(world(), "ridge", permutations=0, **QUICK)
    assert np.isnan(without.at("layers.0", "rain").above_group_control.estimate)
    assert any("memorisation = false" in note for note in without.notes)


def stratified(seed, groups=60, rows=4):
    """Prevalence and column 0 differ between two strata; within them there is nothing to find."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(groups), rows)
    stratum = scene % 2
    x = rng.normal(size=(groups, 5))[scene] + rng.normal(size=(len(scene), 5))
    x[:, 0] += 3 * stratum
    wet = rng.random(len(scene)) < np.where(stratum == 1, 0.8, 0.2)
    return probe.ProbeDataset(scene, sites={"a": x}, concepts={"wet": wet}, strata=stratum)


@pytest.mark.parametrize("kind", ["sign flip", "held-out scores"])
def test_what_strata_differ_in_gives_no_p(kind):
    fitter = "mean_difference" if kind == "sign flip" else RidgeClassifier(100.0)
    p = []
    for seed in range(40):
        found = probe.evaluate(stratified(seed), fitter, permutations=99, seed=seed, **QUICK)
        row = found.at("a", "wet")
        assert row.p_method == kind
        p.append(row.p_max_t)
    assert np.mean(np.array(p) <= 0.05) <= 0.15  # 3 standard errors above .05
    data = stratified(0)
    x = data.site("a").numpy().copy()
    x[:, 1] += 1.5 * data.labels("wet")
    data.add_site("told", x)
    found = probe.evaluate(data, fitter, permutations=99, **QUICK)
    assert found.at("told", "wet").p_max_t <= 0.05


def test_a_row_that_disagrees_with_its_group_is_told():
    data = world(sites=("a",))
    label = data.labels("rain").copy()
    label[0] = 1 - label[0]
    data.add_concept("torn", label)
    row = probe.evaluate(data, "ridge", permutations=99, **QUICK).at("a", "torn")
    assert row.p_method == "sign flip"
    assert "labels vary within 1 of 60 units" in row.note


def test_p_of_held_out_scores_holds_its_level():
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scene = np.repeat(np.arange(40), 2)
        x = rng.normal(size=(40, 8))[scene] + 0.5 * rng.normal(size=(80, 8))
        data = probe.ProbeDataset(
            scene, sites={"a": x}, concepts={"sham": (rng.permutation(40) < 16)[scene]}
        )
        found = probe.evaluate(data, RidgeClassifier(1.0), permutations=99, seed=seed, **QUICK)
        p.append(found.at("a", "sham").p)
    p = np.array(p)
    assert np.mean(p <= 0.05) <= 0.13  # 3 standard errors above .05
    assert np.mean(p <= 0.25) <= 0.42
