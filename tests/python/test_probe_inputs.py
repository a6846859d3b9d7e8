"""What the probe room takes as labels, twins and settings, and what it refuses by name."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import tierod
from tierod import _core, probe
from tierod.probe import estimators

N, CONCEPTS = 60, 3


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.normal(size=(N, 4)))
    labels = torch.as_tensor(rng.random((N, CONCEPTS)) < 0.5).to(torch.uint8)
    return x, labels, torch.arange(N) % 3


@pytest.mark.parametrize("wrong", ["transposed", "flat", "deep"])
def test_labels_are_one_row_a_row(world, wrong):
    """As many numbers in another layout are other labels."""
    x, labels, folds = world
    other = {"transposed": labels.T, "flat": labels.flatten(), "deep": labels[None]}[wrong]
    fitter = probe.LogisticFitter([1.0])
    scores = torch.zeros(1, CONCEPTS, N, dtype=torch.float64)
    text = rf"labels \[{N}, (C|{CONCEPTS})\].*got shape \[{', '.join(map(str, other.shape))}\]"
    for call in (
        lambda: probe.FoldStatistics(CONCEPTS, 3).update(x, other, folds),
        lambda: probe.cross_validate(probe.RidgeFitter([1.0]), x, other, folds, 3),
        lambda: fitter.fit(x, other),
        lambda: fitter.fit_folds(x, other, folds, 3),
        lambda: probe.fold_auroc(scores, other, folds, 3),
    ):
        with pytest.raises(tierod.InvalidArgument, match=text):
            call()


def test_real_targets_are_one_row_a_row(world):
    x, labels, folds = world
    statistics = probe.FoldStatistics(CONCEPTS, 3, _core.Targets.reals)
    with pytest.raises(tierod.InvalidArgument, match=rf"\[{N}, {CONCEPTS}\].*\[{CONCEPTS}, {N}\]"):
        statistics.update(x, labels.T.double(), folds)


def test_the_labels_of_one_concept_may_be_flat(world):
    x, labels, folds = world
    flat, column = probe.FoldStatistics(1, 3), probe.FoldStatistics(1, 3)
    flat.update(x, labels[:, 0], folds)
    column.update(x, labels[:, :1], folds)
    assert torch.equal(flat.training().means, column.training().means)
    got = probe.LogisticFitter([1.0]).fit(x, labels[:, 0]).weights
    assert torch.equal(got, probe.LogisticFitter([1.0]).fit(x, labels[:, :1]).weights)


@pytest.mark.parametrize("kind", [int, float, object])
def test_minus_one_means_no_twin_in_numbers_of_any_kind(kind):
    twins = np.array([0, 0, -1, -1, -1, 1, 1, -1]).astype(kind)
    units = probe.ProbeDataset(np.arange(8), twins=twins).units()
    assert units[0] == units[1]
    assert units[5] == units[6]
    assert len(set(units)) == 6
    if kind is not int:
        twins[7] = np.nan if kind is float else None
        assert len(set(probe.ProbeDataset(np.arange(8), twins=twins).units())) == 6


def test_scaled_columns_of_real_targets_follow_ridge():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 3)) * [1, 100, 0.01] + 4
    y = x @ [1, 0.02, 30] + rng.normal(size=80)
    statistics = probe.FoldStatistics(1, 1, _core.Targets.reals)
    statistics.update(
        torch.as_tensor(x), torch.as_tensor(y[:, None]), torch.zeros(80, dtype=torch.int64)
    )
    fits = probe.StandardisedFitter(probe.RidgeFitter([7.0])).fit(statistics.training())
    oracle = Ridge(7.0).fit((x - x.mean(0)) / x.std(0), y)
    np.testing.assert_allclose(fits.weights[0, 0], oracle.coef_ / x.std(0), rtol=1e-9)
    want = oracle.predict((x - x.mean(0)) / x.std(0))
    np.testing.assert_allclose(fits.scores(torch.as_tensor(x))[0, 0], want, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (estimators.RidgeProbe, "alpha"),
        (estimators.LdaProbe, "shrinkage"),
        (estimators.LogisticProbe, "penalty"),
    ],
)
def test_settings_are_numbers_in_any_container(make, name):
    rng = np.random.default_rng(2)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 3)) + 0.5 * y[:, None]
    values = [0.05, 0.3, 0.9]
    want = getattr(make(values).fit(x, y), f"{name}_")
    for several in (np.array(values), tuple(values), torch.tensor(values, dtype=torch.float64)):
        assert getattr(make(several).fit(x, y), f"{name}_") == want
    for one in (np.float32(0.5), np.array(0.5), np.array([0.5])):
        assert getattr(make(one).fit(x, y), f"{name}_") == 0.5
    for bad in ("much", None, [], [[0.1], [0.2]]):
        with pytest.raises(tierod.InvalidArgument, match=f"{make.__name__}.*expected {name}"):
            make(bad).fit(x, y)
