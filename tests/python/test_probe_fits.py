"""Probes of the C++ side against scikit-learn, NumPy and concept-erasure."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score

import tierod
from tierod import probe

FOLDS, CONCEPTS = 3, 4


@pytest.fixture(scope="module")
def world():
    """Rows with a decaying spectrum far from 0, concepts of unequal prevalence, folds of groups."""
    rng = np.random.default_rng(0)
    n, d = 900, 24
    group = np.arange(n) // 10
    x = rng.normal(size=(n, d)) * (1 + np.arange(d)) ** -0.5 + 0.3 * rng.normal(size=(90, d))[group]
    x = x @ np.linalg.qr(rng.normal(size=(d, d)))[0] + 3
    logit = (x - x.mean(0)) @ rng.normal(size=(d, CONCEPTS)) + np.linspace(-2, 0, CONCEPTS)
    y = (rng.uniform(size=logit.shape) < 1 / (1 + np.exp(-logit))).astype(np.uint8)
    return x, y, group % FOLDS


def tensors(world, dtype=torch.float64):
    x, y, folds = world
    return torch.as_tensor(x).to(dtype), torch.as_tensor(y), torch.as_tensor(folds)


def test_ridge_is_ridge_classifier_in_every_fold(world):
    x, y, folds = world
    penalties = [0.5, 20.0]
    got = probe.cross_validate(probe.RidgeFitter(penalties), *tensors(world), FOLDS)
    for k in range(FOLDS):
        train, test = folds != k, folds == k
        for p, penalty in enumerate(penalties):
            for c in range(CONCEPTS):
                peer = RidgeClassifier(alpha=penalty).fit(x[train], y[train, c])
                fits = got.fits[k]
                np.testing.assert_allclose(
                    fits.weights[p, c], peer.coef_.ravel(), rtol=1e-8, atol=1e-10
                )
                np.testing.assert_allclose(fits.intercepts[p, c], peer.intercept_, rtol=1e-7)
                scores = peer.decision_function(x[test])
                np.testing.assert_allclose(got.scores[p, c, test], scores, rtol=1e-7, atol=1e-9)
                area = roc_auc_score(y[test, c], scores)
                assert got.auroc[k, p, c].item() == pytest.approx(area, abs=1e-12)


def test_ridge_on_real_targets_is_ridge(world):
    x, _, folds = world
    rng = np.random.default_rng(1)
    y = x[:, :2] * [30, -1] + rng.normal(size=(len(x), 2)) + 1e4
    gone = rng.uniform(size=y.shape) < 0.1
    statistics = probe.FoldStatistics(2, FOLDS, targets=probe.Targets.reals)
    targets = torch.as_tensor(np.where(gone, np.nan, y))
    statistics.update(torch.as_tensor(x), targets, torch.as_tensor(folds))
    fits = probe.fit_linear(probe.RidgeFitter([3.0]), statistics, 0)
    for t in range(2):
        rows = (folds != 0) & ~gone[:, t]
        peer = Ridge(alpha=3.0).fit(x[rows], y[rows, t])
        np.testing.assert_allclose(fits.weights[0, t], peer.coef_, rtol=1e-7, atol=1e-9)
        assert fits.intercepts[0, t].item() == pytest.approx(peer.intercept_, rel=1e-9)


def test_lda_is_linear_discriminant_analysis(world):
    x, y, folds = world
    statistics = probe.FoldStatistics(CONCEPTS, FOLDS)
    statistics.update(*tensors(world))
    fits = probe.fit_linear(probe.LdaFitter([0.1]), statistics, 1)
    train = folds != 1
    for c in range(CONCEPTS):
        peer = LinearDiscriminantAnalysis("lsqr", shrinkage=0.1).fit(x[train], y[train, c])
        # each class shrunk towards its own mean variance, weighted by its share, is the pooled one
        np.testing.assert_allclose(fits.weights[0, c], peer.coef_[0], rtol=1e-7, atol=1e-9)
        assert fits.intercepts[0, c].item() == pytest.approx(peer.intercept_[0], rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logistic_is_logistic_regression_in_every_fold(world, dtype):
    x, y, folds = world
    penalties = [100.0, 1.0, 1e-2]
    single = dtype == torch.float32
    fitter = probe.LogisticFitter(penalties, tolerance=1e-9 if single else 1e-15)
    rows, labels, fold = tensors(world, dtype)
    got = fitter.fit_folds(rows, labels, fold, FOLDS)
    scores = probe.held_out_scores(rows, fold, got.without)
    area = probe.fold_auroc(scores, labels, fold, FOLDS)
    for k in [None, *range(FOLDS)]:
        train = np.ones(len(x), bool) if k is None else folds != k
        fits = got.all if k is None else got.without[k]
        for p, penalty in enumerate(penalties):
            for c in range(CONCEPTS):
                peer = LogisticRegression(C=1 / penalty, tol=1e-12, solver="newton-cholesky")
                peer.fit(x[train], y[train, c])
                scale = np.abs(peer.coef_).max()
                close = {"rtol": 0, "atol": scale * (5e-3 if single else 2e-6)}
                np.testing.assert_allclose(fits.weights[p, c], peer.coef_[0], **close)
                report = fits.report(p, c)
                assert report.converged
                assert report.iterations > 0
                assert not report.separated
                if k is not None:
                    test = folds == k
                    want = roc_auc_score(y[test, c], peer.decision_function(x[test]))
                    assert area[k, p, c].item() == pytest.approx(want, abs=2e-4)


def test_missing_labels_are_left_out_concept_by_concept(world):
    x, y, folds = world
    rng = np.random.default_rng(2)
    labels = np.where(rng.uniform(size=y.shape) < [0, 0.05, 0.3, 0.8], np.nan, y)
    rows, fold = torch.as_tensor(x), torch.as_tensor(folds)
    ridge = probe.cross_validate(
        probe.RidgeFitter([2.0]), rows, torch.as_tensor(labels), fold, FOLDS
    )
    fitter = probe.LogisticFitter([2.0], tolerance=1e-14)
    logistic = fitter.fit_folds(rows, torch.as_tensor(labels), fold, FOLDS)
    for c in range(CONCEPTS):
        known = ~np.isnan(labels[:, c])
        train = known & (folds != 2)
        peer = RidgeClassifier(alpha=2.0).fit(x[train], y[train, c])
        np.testing.assert_allclose(
            ridge.fits[2].weights[0, c], peer.coef_.ravel(), rtol=1e-7, atol=1e-9
        )
        test = known & (folds == 2)
        want = roc_auc_score(y[test, c], peer.decision_function(x[test]))
        assert ridge.auroc[2, 0, c].item() == pytest.approx(want, abs=1e-12)
        peer = LogisticRegression(C=0.5, tol=1e-12, solver="newton-cholesky")
        peer.fit(x[train], y[train, c])
        np.testing.assert_allclose(
            logistic.without[2].weights[0, c], peer.coef_[0], atol=3e-6 * np.abs(peer.coef_).max()
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_rows_are_taken_as_the_numbers_they_are(world, dtype):
    rows, labels, folds = tensors(world, dtype)
    half = probe.cross_validate(probe.RidgeFitter([1.0]), rows, labels, folds, FOLDS)
    wide = probe.cross_validate(probe.RidgeFitter([1.0]), rows.double(), labels, folds, FOLDS)
    torch.testing.assert_close(half.fits[0].weights, wide.fits[0].weights, rtol=2e-4, atol=1e-6)
    assert (half.auroc - wide.auroc).abs().max() < 1e-4


def test_separation_and_an_early_end_are_said(world):
    rows, labels, _folds = tensors(world)
    rows = rows + 100 * labels[:, :1]
    report = probe.LogisticFitter([1e-2]).fit(rows, labels).report(0, 0)
    assert report.separated
    assert report.converged
    assert "hyperplane" in report.note
    report = probe.LogisticFitter([1e-2], tolerance=1e-15, max_iterations=2).fit(rows, labels)
    assert not report.report(0, 1).converged
    assert "not converged" in report.report(0, 1).note
    assert "NOT CONVERGED" in repr(report.report(0, 1))


def test_bad_input_is_named(world):
    rows, labels, folds = tensors(world)
    bad = rows.clone()
    bad[77, 3] = float("nan")
    for call in (
        lambda: probe.cross_validate(probe.RidgeFitter([1.0]), bad, labels, folds, FOLDS),
        lambda: probe.LogisticFitter([1.0]).fit(bad.float(), labels),
        lambda: probe.LeaceFitter().update(bad, labels.double()),
    ):
        with pytest.raises(tierod.NumericalError, match="row 77"):
            call()
    with pytest.raises(tierod.InvalidArgument, match=r"labels 0, 1 or missing.*got 0.5"):
        probe.LogisticFitter([1.0]).fit(rows, labels * 0.5)
    with pytest.raises(tierod.InvalidArgument, match="integer folds"):
        probe.LogisticFitter([1.0]).fit_folds(rows, labels, folds.double(), FOLDS)
    with pytest.raises(tierod.InvalidArgument, match="folds >= 0"):
        probe.LogisticFitter([1.0]).fit_folds(rows, labels, folds - 1, FOLDS)
    single = labels.clone()
    single[:, 2] = 1
    with pytest.raises(tierod.InvalidArgument, match="both classes of concept 2"):
        probe.LogisticFitter([1.0]).fit(rows, single)


def test_erasure_holds_on_new_scenes_or_says_that_it_does_not():
    rng = np.random.default_rng(3)

    def scenes(n, d):
        group = np.arange(n) // 5
        y = group % 2
        return torch.as_tensor(rng.normal(size=(n, d)) + 0.4 * y[:, None]), y, group

    fitter = probe.LeaceFitter()
    x, y, _ = scenes(8000, 12)
    fitter.update(x, torch.as_tensor(y[:, None], dtype=torch.float64))
    x, y, group = scenes(1500, 12)
    y, group = torch.as_tensor(y), torch.as_tensor(group)
    check = probe.verify_erasure(fitter.finish(), x, y, group)
    assert check.passed
    assert check.before.low > 0.8
    assert check.after.high < 0.65
    few = probe.LeaceFitter()
    few.update(x[:40], y[:40, None].double())
    assert not probe.verify_erasure(few.finish(shrinkage=0.0), x, y, group).passed
    with pytest.raises(tierod.InvalidArgument, match="integer groups"):
        probe.verify_erasure(fitter.finish(), x, y, group.double())


def test_rows_that_an_oracle_erased_are_verified():
    """Given the concept along with rows, what is left is a regression's residual, on new scenes."""
    rng = np.random.default_rng(6)
    n, d = 3000, 12
    group = np.arange(n) // 5
    z = (group % 2).astype(float)[:, None]
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3 + 0.8 * z
    first = np.arange(n) < 1500
    fitter = probe.LeaceFitter()
    fitter.update(torch.as_tensor(x[first]), torch.as_tensor(z[first]))
    oracle = fitter.finish_oracle()
    slope = np.linalg.lstsq(z[first] - z[first].mean(), x[first] - x[first].mean(0))[0]  # [1, d]
    new, concept = torch.as_tensor(x[~first]), torch.as_tensor(z[~first])
    erased = oracle.apply(new, concept)
    np.testing.assert_allclose(erased, x[~first] - (z[~first] - z[first].mean()) @ slope, atol=1e-9)
    np.testing.assert_allclose(oracle.slope, slope.T, atol=1e-9)
    assert float(oracle.mean) == pytest.approx(z[first].mean())
    assert (oracle.width, oracle.report.rank) == (d, 1)
    labels, groups = torch.as_tensor(z[~first, 0]), torch.as_tensor(group[~first])
    check = probe.verify_erasure(erased, new, labels, groups)
    assert check.passed, check.reason
    assert check.before.low > 0.8
    assert (check.positives, check.positive_units) == (750, 150)
    assert check.after.estimate < check.after.high < check.upper <= 0.65
    # rows that were not erased, and rows of other shapes
    assert "still reads" in probe.verify_erasure(new, new, labels, groups).reason
    with pytest.raises(tierod.InvalidArgument, match="erased rows of the shape of the rows"):
        probe.verify_erasure(erased[:, :3], new, labels, groups)
    with pytest.raises(tierod.InvalidArgument, match=r"z|concepts"):
        oracle.apply(new, concept[:5])
    # whole groups count, however many rows they have
    coarse = probe.verify_erasure(erased, new, labels, torch.as_tensor(group[~first] // 2))
    assert coarse.positive_units == 150
    few = probe.verify_erasure(erased, new, labels, groups, positive_units=151)
    assert few.reason == "only 150 units with the rarer class, 151 are needed to tell"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_leace_is_concept_erasures():
    from concept_erasure import LeaceFitter

    rng = np.random.default_rng(4)
    x = torch.as_tensor(rng.normal(size=(3000, 20)) @ rng.normal(size=(20, 20)) + 5)
    z = (x[:, :3] + torch.as_tensor(rng.normal(size=(3000, 3))) > 5).double()
    peer = LeaceFitter(20, 3, dtype=torch.float64, shrinkage=False)
    fitter = probe.LeaceFitter()
    for rows in torch.arange(3000).split(700):
        peer.update(x[rows], z[rows])
        fitter.update(x[rows], z[rows])
    torch.testing.assert_close(fitter.finish(shrinkage=0.0).apply(x), peer.eraser(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_the_oracle_is_concept_erasures():
    from concept_erasure import OracleFitter

    rng = np.random.default_rng(5)
    x = torch.as_tensor(rng.normal(size=(2000, 12)) @ rng.normal(size=(12, 12)) + 5)
    z = (x[:, :3] + torch.as_tensor(rng.normal(size=(2000, 3))) > 5).double()
    peer = OracleFitter(12, 3, dtype=torch.float64, shrinkage=False)
    fitter = probe.LeaceFitter()
    for rows in torch.arange(2000).split(300):
        peer.update(x[rows], z[rows])
        fitter.update(x[rows], z[rows])
    torch.testing.assert_close(fitter.finish_oracle().apply(x, z), peer.eraser(x, z))
