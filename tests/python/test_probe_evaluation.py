"""Nested evaluation against naive loops, and what each cell of the table means."""

import numpy as np
import pytest
import torch
from probe_case import PENALTIES, world
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tierod
from tierod import probe, stats


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
