"""What an evaluation may call encoded or absent, and what it must say instead."""

import numpy as np
import pytest
import torch
from probe_case import world
from scipy.stats import t
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier

import tierod
from tierod import probe, stats

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
    assert "the activations do not vary" in found.at("dead", "rain").note


@pytest.mark.parametrize("fitter", ["ridge", "lda", "logistic", "mean_difference", "mlp"])
def test_a_dead_site_tells_nothing_whatever_the_probe(fitter):
    data = world(groups=40, sites=("a",), effect=2.0)
    data.add_site("dead", np.full((len(data), 6), 0.1))
    found = probe.evaluate(data, fitter, permutations=99, **QUICK)
    for concept in data.concepts:
        row = found.at("dead", concept)
        assert row.auroc.estimate == 0.5
        assert (row.p, row.p_max_t, row.encoded) == (1, 1, False)
        assert "the activations do not vary" in row.note
    assert found.at("a", "rain").auroc.estimate > 0.7


def test_an_estimator_whose_score_does_not_vary_reads_chance():
    class Constant(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, X):
            return np.full(len(X), 0.1)

        def predict(self, X):
            return self.classes_[np.ones(len(X), int)]

    data = world(groups=40, sites=("a",))
    found = probe.evaluate(data, Constant(), permutations=99, keep_scores=True, **QUICK)
    assert not found.scores.any()
    assert all(found.at("a", concept).auroc.estimate == 0.5 for concept in data.concepts)


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
