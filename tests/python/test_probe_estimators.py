"""Probes and erasers as scikit-learn estimators."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, PredefinedSplit, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import tierod
from tierod.probe import (
    LdaProbe,
    LeaceEraser,
    LogisticProbe,
    MeanDifferenceProbe,
    MlpProbe,
    RidgeProbe,
    RidgeTarget,
    StoreRows,
)

PROBES = [
    RidgeProbe(), LdaProbe(), MeanDifferenceProbe(), MlpProbe(epochs=20), LogisticProbe()
]  # fmt: skip
CHECKED = [
    *PROBES[:3], MlpProbe(epochs=60), LogisticProbe(), RidgeProbe([0.1, 10.0]),
    LdaProbe([0.1, 0.5]), LogisticProbe([0.1, 10.0]), LeaceEraser(),
    RidgeTarget(), RidgeTarget([0.1, 10.0]),
]  # fmt: skip


def sample(n=120, d=6, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3
    x[:, 0] += 1.5 * y
    return x, np.where(y, "yes", "no")


@pytest.mark.parametrize("estimator", CHECKED, ids=repr)
def test_scikit_learn_is_content(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    # this one needs SCIPY_ARRAY_API in the environment before SciPy is imported
    failed = [
        (r["check_name"], r["exception"])
        for r in results
        if r["status"] != "passed" and r["check_name"] != "check_array_api_input"
    ]
    assert failed == []
    assert len(results) > 40


@pytest.mark.parametrize("alpha", [0.3, 30.0])
def test_ridge_is_ridge_classifier(alpha):
    x, y = sample()
    ours, theirs = RidgeProbe(alpha).fit(x, y), RidgeClassifier(alpha).fit(x, y)
    np.testing.assert_allclose(ours.coef_[0], theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), rtol=1e-8)
    assert (ours.predict(x) == theirs.predict(x)).all()
    assert ours.classes_.tolist() == ["no", "yes"]


def test_a_real_target_is_read_by_ridge_whose_penalty_whole_groups_choose():
    rng = np.random.default_rng(3)
    group = np.arange(240) // 6
    x = rng.normal(size=(240, 20)) + 2 * rng.normal(size=(40, 20))[group] + 3
    y = x[:, 0] - 0.5 * x[:, 1] + 2 * rng.normal(size=40)[group] + rng.normal(size=240)
    ours, theirs = RidgeTarget(7.0).fit(x, y), Ridge(7.0).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9)
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y))
    alphas = np.logspace(-2, 4, 7)
    folds = PredefinedSplit(tierod.probe.ProbeDataset(group).folds(5).astype(int))
    errors = [((cross_val_predict(Ridge(a), x, y, cv=folds) - y) ** 2).sum() for a in alphas]
    assert 0 < np.argmin(errors) < 6  # the choice is neither end
    assert RidgeTarget(alphas).fit(x, y, groups=group).alpha_ == alphas[np.argmin(errors)]
    with pytest.raises(ValueError, match="infinity"):
        RidgeTarget().fit(x, np.where(np.arange(240) == 5, np.inf, y))


def test_lda_is_lda_and_its_probabilities_too():
    x, y = sample()
    theirs = LinearDiscriminantAnalysis("lsqr", shrinkage=0.2).fit(x, y)
    ours = LdaProbe(0.2).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-7)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-6)


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_logistic_is_logistic_regression(penalty):
    x, y = sample()
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=5000).fit(x, y)
    ours = LogisticProbe(penalty, tolerance=1e-12).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)
    assert ours.report_["converged"]


def test_mean_difference_is_the_difference_of_means():
    x, y = sample()
    probe = MeanDifferenceProbe().fit(x, y)
    one, zero = x[y == "yes"].mean(0), x[y == "no"].mean(0)
    np.testing.assert_allclose(probe.coef_[0], one - zero, rtol=1e-9)
    np.testing.assert_allclose(probe.decision_function((one + zero)[None] / 2), 0, atol=1e-9)


@pytest.mark.parametrize("probe", PROBES, ids=repr)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_numpy_and_torch_are_alike(probe, dtype):
    x, y = sample()
    tensor = torch.from_numpy(x).to(dtype)
    array = (tensor.float() if dtype == torch.bfloat16 else tensor).numpy()
    a, b = clone(probe).fit(tensor, y), clone(probe).fit(array, y)
    np.testing.assert_array_equal(a.decision_function(tensor), b.decision_function(array))
    labels = torch.from_numpy((y == "yes").astype(np.int64))
    assert (clone(probe).fit(tensor, labels).predict(tensor) == (a.predict(array) == "yes")).all()


@pytest.mark.parametrize(
    "probe",
    [*PROBES, RidgeProbe([1.0, 100.0]), LogisticProbe([1.0, 100.0]), LeaceEraser()],
    ids=repr,
)
def test_a_store_is_streamed_to_the_same_result(probe, tmp_path, monkeypatch):
    from tierod.probe.estimators import rows as estimator_rows

    x, y = sample()
    path = tmp_path / "store"
    with tierod.ActivationWriter(path, {"main": {"a": (x.shape[1], torch.float32)}}) as writer:
        writer.append("main", {"sample": np.arange(len(x))}, {"a": x.astype(np.float32)})
    monkeypatch.setattr(estimator_rows, "BATCH_ROWS", 17)
    monkeypatch.setattr(StoreRows.batches, "__defaults__", (17,))
    rows = StoreRows(tierod.ActivationReader(path), "main", "a")
    assert rows.shape == x.shape
    streamed, whole = clone(probe).fit(rows, y), clone(probe).fit(x.astype(np.float32), y)
    if hasattr(probe, "transform"):
        np.testing.assert_allclose(streamed.transform(rows), whole.transform(x.astype(np.float32)),
                                   rtol=1e-5, atol=1e-6)  # fmt: skip
    else:
        np.testing.assert_allclose(
            streamed.decision_function(rows), whole.decision_function(x), rtol=1e-5, atol=1e-5
        )
    other = StoreRows(tierod.ActivationReader(path), "main", "a", rows=[5, 3])
    np.testing.assert_array_equal(next(other.batches())[1][0], x[5].astype(np.float32))


@pytest.mark.parametrize("estimator", [*PROBES, LeaceEraser()], ids=repr)
def test_fitted_estimators_pickle(estimator):
    x, y = sample()
    fitted = clone(estimator).fit(x, y)
    copy = pickle.loads(pickle.dumps(fitted))
    call = "transform" if hasattr(fitted, "transform") else "decision_function"
    np.testing.assert_array_equal(getattr(copy, call)(x), getattr(fitted, call)(x))


def test_names_of_columns_are_kept_and_checked():
    x, y = sample()
    frame = pd.DataFrame(x, columns=[f"h{i}" for i in range(x.shape[1])])
    probe = RidgeProbe().fit(frame, y)
    assert probe.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        probe.predict(frame[frame.columns[::-1]])
    assert LeaceEraser().fit(frame, y).get_feature_names_out().tolist() == list(frame.columns)


def test_a_setting_is_chosen_by_folds_of_whole_groups():
    """Rows of a group nearly repeat each other and labels are the groups' own: by rows, the least
    penalty recognises every group; by groups, only the direction that all share helps."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 8)
    y = (np.arange(60) % 2)[groups]
    x = rng.normal(size=(60, 50))[groups] + 0.05 * rng.normal(size=(480, 50))
    x[:, 0] += 2 * y
    alphas = [1e-3, 1e3]
    assert RidgeProbe(alphas).fit(x, y).alpha_ == 1e-3
    assert RidgeProbe(alphas).fit(x, y, groups=groups).alpha_ == 1e3
    assert RidgeProbe(alphas).fit(x, y, groups=np.char.add("g", groups.astype(str))).alpha_ == 1e3
    with pytest.raises(tierod.InvalidArgument, match="as many groups as rows"):
        RidgeProbe(alphas).fit(x, y, groups=groups[1:])


def test_the_direction_reads_and_writes_with_product_one():
    x, y = sample()
    probe = RidgeProbe(10.0).fit(x, y)
    for write in ("mean_difference", "covariance"):
        d = probe.direction("layers.3", write=write)
        assert float(d.read @ d.write) == pytest.approx(1)
        np.testing.assert_allclose(d.read.numpy(), probe.coef_[0])
        position = d.position(torch.from_numpy(x)).numpy()
        assert d.low == pytest.approx(position[y == "no"].mean())
        assert d.high == pytest.approx(position[y == "yes"].mean())
        assert d.sd == pytest.approx(position.std())
    pattern = np.cov(x.T, ddof=0) @ probe.coef_[0]
    got = probe.direction(write="covariance").write.numpy()
    np.testing.assert_allclose(got, pattern / (probe.coef_[0] @ pattern), rtol=1e-8)
    with pytest.raises(tierod.InvalidArgument, match="expected write as one of"):
        probe.direction(write="filter")


def test_more_classes_are_refused_with_advice():
    x, _ = sample()
    with pytest.raises(ValueError, match="3 classes; probe one class against the rest"):
        RidgeProbe().fit(x, np.arange(len(x)) % 3)


def test_a_singular_system_is_an_error_and_shrinkage_mends_it():
    x, y = sample()
    twice = np.hstack([x, x])
    with pytest.raises(tierod.NumericalError, match="singular"):
        RidgeProbe(0.0).fit(twice, y)
    with pytest.raises(tierod.NumericalError, match="singular"):
        LdaProbe(0.0).fit(twice, y)
    assert "penalty decides" in RidgeProbe(1.0).fit(twice[:10], y[:10]).report_["note"]


@pytest.mark.parametrize("kind", ["two", "three", "real", "columns"])
def test_an_eraser_leaves_nothing_linear(kind):
    x, y = sample(400)
    rng = np.random.default_rng(1)
    target = {
        "two": y,
        "three": np.array(["a", "b", "c"])[(x[:, 1] > 3).astype(int) + (x[:, 2] > 3)],
        "real": x[:, 1] + rng.normal(size=len(x)),
        "columns": np.stack([x[:, 1], y == "yes"], 1).astype(float),
    }[kind]
    eraser = LeaceEraser().fit(x, target)
    erased = eraser.transform(x)
    columns = eraser._columns(target)
    cross = (erased - erased.mean(0)).T @ (columns - columns.mean(0)) / len(x)
    np.testing.assert_allclose(cross, 0, atol=1e-9)
    assert eraser.rank_ == columns.shape[1]
    np.testing.assert_allclose(eraser.transform(erased), erased, atol=1e-9)
    moved = LeaceEraser().fit(x.astype(np.float32), target).transform(x.astype(np.float32))
    assert moved.dtype == np.float32


def test_an_eraser_in_a_pipeline_is_fitted_on_training_rows_alone():
    x, y = sample(600)
    groups = np.arange(600) // 5
    plain = cross_val_score(LogisticRegression(), x, y, groups=groups, cv=GroupKFold(5),
                            scoring="roc_auc")  # fmt: skip
    erased = cross_val_score(make_pipeline(LeaceEraser(), LogisticRegression()), x, y, groups=groups,
                             cv=GroupKFold(5), scoring="roc_auc")  # fmt: skip
    assert plain.mean() > 0.7
    assert abs(erased.mean() - 0.5) < 0.08


def test_the_multi_layer_probe_reads_a_product_and_repeats_itself():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1500, 4))
    y = x[:, 0] * x[:, 1] > 0
    train, test = slice(0, 1000), slice(1000, None)
    mlp = MlpProbe(hidden=32).fit(x[train], y[train], groups=np.arange(1000) // 4)
    assert roc_auc_score(y[test], mlp.decision_function(x[test])) > 0.9
    assert (
        roc_auc_score(y[test], RidgeProbe().fit(x[train], y[train]).decision_function(x[test]))
        < 0.6
    )
    again = MlpProbe(hidden=32).fit(x[train], y[train], groups=np.arange(1000) // 4)
    np.testing.assert_array_equal(again.decision_function(x), mlp.decision_function(x))
    other = MlpProbe(hidden=32, random_state=1).fit(x[train], y[train], groups=np.arange(1000) // 4)
    assert (other.decision_function(x) != mlp.decision_function(x)).any()


def test_the_multi_layer_probe_stops_early_on_groups():
    """Random labels of groups, which rows nearly repeat: held-out rows of known groups call for more
    and more passes, held-out groups for none."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 4)
    y = (rng.permutation(200) < 100)[groups]
    x = rng.normal(size=(200, 60))[groups] + 0.1 * rng.normal(size=(800, 60))
    by_group = MlpProbe(hidden=16, epochs=80).fit(x, y, groups=groups)
    by_row = MlpProbe(hidden=16, epochs=80).fit(x, y)
    assert by_group.epochs_ < 30
    assert by_row.epochs_ > 70


def test_the_multi_layer_probe_has_the_gradient_of_its_loss():
    """One step of plain AdamW in torch from the same start gives the same weights."""
    from tierod.probe import MlpFitter, MlpOptions

    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.normal(size=(40, 3)))
    y = (rng.random(40) < 0.3).astype(np.uint8)
    options = MlpOptions()
    options.hidden, options.batch, options.weight_decays = 5, 64, [0.1]
    states = {}
    for epochs in (1, 2):
        options.epochs = epochs
        # one group: nothing can be held out, and the last weights are kept
        states[epochs] = MlpFitter(options).fit_model(x, y, np.zeros(40, np.int64), 7).state()
    odds = np.log(y.sum() / (40 - y.sum()))
    z = ((x - x.mean(0)) / x.std(0, correction=0)).float()
    target = torch.from_numpy(y).float()
    weight = torch.where(target == 1, 40 / (2 * y.sum()), 40 / (2 * (40 - y.sum())))
    # Adam's moments after one step are its gradient, which the second step then continues
    torch.manual_seed(0)
    start = _initial(5, 3, seed=7)
    parameters = {k: v.clone().requires_grad_() for k, v in start.items()}
    decayed = torch.optim.AdamW([parameters["w1"], parameters["w2"]], lr=1e-3, weight_decay=0.1)
    plain = torch.optim.AdamW([parameters["b1"], parameters["b2"]], lr=1e-3, weight_decay=0.0)
    for epochs in (1, 2):
        hidden = torch.relu(z @ parameters["w1"].T + parameters["b1"])
        logit = hidden @ parameters["w2"] + parameters["b2"]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, target, weight)
        for optimiser in (decayed, plain):
            optimiser.zero_grad()
        loss.backward()
        for optimiser in (decayed, plain):
            optimiser.step()
        for name, value in parameters.items():
            want = value.detach() + (odds if name == "b2" else 0)
            torch.testing.assert_close(states[epochs][name], want.float(), rtol=1e-4, atol=1e-6)


def _initial(hidden, width, seed):
    """Draw the initial weights as documented: Glorot's uniform from counters."""

    def draw(rows, columns, purpose):
        random = tierod.CounterRandom(seed, purpose)
        reach = np.sqrt(6 / (rows + columns))
        return torch.tensor(
            [
                [(2 * random.uniform(0, i, j) - 1) * reach for j in range(columns)]
                for i in range(rows)
            ],
            dtype=torch.float32,
        )

    return {
        "w1": draw(hidden, width, "probe.mlp.w1"), "b1": torch.zeros(hidden),
        "w2": draw(1, hidden, "probe.mlp.w2")[0], "b2": torch.zeros(()),
    }  # fmt: skip
