"""Ways in which a probe fools its reader, each with what the evaluation makes of it."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict

import tierod
from tierod import probe

QUICK = {"interval": "influence", "control_draws": 1, "memorisation": False}


def scenes(rng, groups, rows, width, noise=0.3):
    """Rows of a scene resemble each other."""
    scene = np.repeat(np.arange(groups), rows)
    return scene, rng.normal(size=(groups, width))[scene] + noise * rng.normal(
        size=(len(scene), width)
    )


def test_row_wise_folds_read_random_labels_of_scenes():
    rng = np.random.default_rng(0)
    scene, x = scenes(rng, 80, 10, 90)
    label = (rng.permutation(80) < 40)[scene]
    model = LogisticRegression(max_iter=2000)
    leaky = cross_val_predict(model, x, label, cv=KFold(5, shuffle=True, random_state=0),
                              method="decision_function")  # fmt: skip
    honest = cross_val_predict(model, x, label, groups=scene, cv=GroupKFold(5),
                               method="decision_function")  # fmt: skip
    assert roc_auc_score(label, leaky) > 0.97
    assert abs(roc_auc_score(label, honest) - 0.5) < 0.15
    row = probe.evaluate(
        probe.ProbeDataset(scene, sites={"a": x}, concepts={"sham": label}),
        [LogisticRegression(max_iter=2000)], interval="influence", permutations=0,
    ).at("a", "sham")  # fmt: skip
    assert row.auroc.estimate < 0.65
    assert row.memorisation_auroc > 0.9, "what row-wise folds would have said"
    assert row.group_control_auroc < 0.65
    assert not row.encoded


def test_twins_apart_leak_what_they_share():
    """A label of the pair: two scenes of one pair in different folds know it from each other."""
    rng = np.random.default_rng(1)
    pairs = 60
    pair = np.repeat(np.arange(pairs), 2)
    x = rng.normal(size=(pairs, 100))[pair] + 0.1 * rng.normal(size=(2 * pairs, 100))
    label = (rng.permutation(pairs) < pairs / 2)[pair]
    data = {"sites": {"a": x}, "concepts": {"sham": label}}
    apart = probe.ProbeDataset(np.arange(2 * pairs), **data)
    together = probe.ProbeDataset(np.arange(2 * pairs), twins=pair, **data)
    fitter = probe.RidgeFitter([1.0])
    leaky = probe.evaluate(apart, fitter, permutations=0, **QUICK).at("a", "sham")
    honest = probe.evaluate(together, fitter, permutations=0, **QUICK).at("a", "sham")
    assert leaky.auroc.estimate > 0.8
    assert abs(honest.auroc.estimate - 0.5) < 0.15
    assert (leaky.units, honest.units) == (120, 60)


def test_a_type_that_recurs_is_no_concept():
    """The label is a function of the road type, which any probe reads: the control task is read just
    as well, and so is the nuisance-only probe."""
    rng = np.random.default_rng(2)
    scene, x = scenes(rng, 60, 8, 20)
    road = rng.integers(0, 6, len(scene))
    x += 3 * rng.normal(size=(6, 20))[road]
    label = np.isin(road, [0, 3, 4])
    data = probe.ProbeDataset(
        scene, sites={"a": x}, concepts={"z": label}, nuisances={"road": ("categorical", road)}
    )
    row = probe.evaluate(data, "ridge", interval="influence", permutations=199).at("a", "z")
    assert row.auroc.estimate > 0.95
    assert row.control_auroc > 0.9
    assert row.nuisance_auroc > 0.99
    assert not row.encoded
    assert row.above_nuisance.high < 0.01


def test_a_confounded_concept_is_read_no_better_than_its_nuisance():
    """Speed shows in the activations and goes with the label, which shows nowhere."""
    rng = np.random.default_rng(3)
    scene, x = scenes(rng, 120, 4, 10, noise=1.0)
    speed = rng.normal(size=120)
    label = (speed + 0.7 * rng.normal(size=120) > 0)[scene]
    x[:, 0] += 2 * speed[scene]
    plain = probe.ProbeDataset(scene, sites={"a": x}, concepts={"z": label})
    told = probe.ProbeDataset(
        scene, sites={"a": x}, concepts={"z": label}, nuisances={"speed": speed[scene]}
    )
    fooled = probe.evaluate(plain, "ridge", permutations=199, **QUICK)
    honest = probe.evaluate(told, "ridge", permutations=199, **QUICK)
    assert fooled.at("a", "z").encoded, "without the nuisance nobody can know"
    assert any("no control task" in note for note in fooled.notes)
    row = honest.at("a", "z")
    assert row.auroc.low > 0.7
    assert not row.encoded
    assert row.above_nuisance.low < 0


def test_a_co_occurring_concept_is_a_nuisance():
    rng = np.random.default_rng(4)
    scene, x = scenes(rng, 150, 2, 8, noise=1.0)
    used = rng.random(150) < 0.5
    shadow = np.where(rng.random(150) < 0.85, used, ~used)  # shows only through `used`
    x[:, 0] += 6 * used[scene]
    data = probe.ProbeDataset(
        scene, sites={"a": x}, concepts={"used": used[scene], "shadow": shadow[scene]},
        nuisances={"speed": rng.normal(size=len(scene))},
    )  # fmt: skip
    found = probe.evaluate(data, "ridge", permutations=199, **QUICK)
    assert found.at("a", "used").encoded
    assert found.at("a", "shadow").auroc.low > 0.7
    assert not found.at("a", "shadow").encoded
    alone = probe.evaluate(data, "ridge", permutations=199, concepts_as_nuisances=False, **QUICK)
    assert alone.at("a", "shadow").encoded, "what leaving the other concept out would claim"


@pytest.mark.parametrize("constant", [True, False], ids=["scene labels", "row labels"])
def test_random_labels_have_uniform_p_values_and_no_verdict(constant):
    p, adjusted, encoded = [], [], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scene, x = scenes(rng, 40, 4, 12)
        label = (rng.permutation(40) < 16)[scene] if constant else rng.random(len(scene)) < 0.4
        data = probe.ProbeDataset(
            scene, sites={"a": x, "b": x + rng.normal(size=x.shape)}, concepts={"sham": label}
        )
        found = probe.evaluate(data, "mean_difference", permutations=79, seed=seed, **QUICK)
        p.append(found.at("a", "sham").p)
        adjusted.append(found.summary.p_max_t[0])
        encoded += sum(row.encoded for row in found.rows) > 0
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(adjusted) <= 0.05) <= 0.12  # 2.5 standard errors above .05
    assert encoded <= 6


def test_random_labels_read_half_on_average():
    """Pooled scores of different folds: an intercept that follows the prevalence pulls them below."""
    got = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scene, x = scenes(rng, 30, 2, 8)
        label = (rng.permutation(30) < 9)[scene]
        data = probe.ProbeDataset(scene, sites={"a": x}, concepts={"sham": label})
        found = probe.evaluate(data, "lda", permutations=0, seed=seed, **QUICK)
        got.append(found.at("a", "sham").auroc.estimate)
    error = np.std(got) / np.sqrt(len(got))
    assert abs(np.mean(got) - 0.5) < 3 * error
    assert error < 0.02


def test_an_absent_concept_is_shown_absent_only_with_enough_groups():
    def both(groups):
        rng = np.random.default_rng(0)
        scene, x = scenes(rng, groups, 4, 4, noise=1.0)
        data = probe.ProbeDataset(
            scene, sites={"a": x}, concepts={"sham": rng.random(len(scene)) < 0.5}
        )
        options = {"permutations": 99, **QUICK}
        mlp = probe.MlpOptions()
        mlp.hidden, mlp.epochs, mlp.batch = 8, 10, 512
        return (
            probe.evaluate(data, "ridge", **options),
            probe.evaluate(data, probe.MlpFitter(mlp), **options),
        )

    [few] = probe.conclude(*both(40))
    [many] = probe.conclude(*both(500))
    assert few.encoding == "open"
    assert "more than 40 units of the level group are needed" in few.sentence
    assert many.encoding == "not_encoded"


@pytest.mark.slow
def test_a_weak_concept_is_rarely_shown_absent():
    """An AUROC of .57 is above the margin of .05: at level .05 it is called absent in at most 5 %."""
    wrong, size = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        label = rng.random(1600) < 0.5
        x = rng.normal(size=(1600, 3))
        x[:, 0] += 0.27 * label  # AUROC Phi(.27 / sqrt 2) = .576
        data = probe.ProbeDataset(np.arange(1600) // 2, sites={"a": x}, concepts={"weak": label})
        found = probe.evaluate(data, probe.RidgeFitter([1.0]), permutations=0, seed=seed, **QUICK)
        wrong += bool(found.summary.not_encoded[0])
        size.append(found.at("a", "weak").auroc.estimate)
    assert np.mean(size) > 0.56
    assert wrong <= 16


def test_prevalence_of_a_thousandth():
    rng = np.random.default_rng(5)
    scene, x = scenes(rng, 2000, 5, 6, noise=1.0)
    rare = np.zeros(len(scene), bool)
    rare[rng.choice(len(scene), 10, replace=False)] = True
    x[rare, 0] += 4
    data = probe.ProbeDataset(scene, sites={"a": x}, concepts={"rare": rare})
    row = probe.evaluate(data, "lda", permutations=0, memorisation=False, interval="influence").at(
        "a", "rare"
    )
    assert (row.positives, row.positive_units) == (10, 10)
    assert row.auroc.estimate > 0.95
    assert row.auprc.estimate > 20 * rare.mean()
    assert row.brier < 0.001
    # two scenes with it cannot fill the folds: refused with a reason, not a number
    few = np.zeros(len(scene), bool)
    few[[3, 900]] = True
    data.add_concept("too_rare", few)
    found = probe.evaluate(data, "lda", permutations=0, memorisation=False, interval="influence")
    row = found.at("a", "too_rare")
    assert np.isnan(row.auroc.estimate)
    assert np.isnan(row.above_nuisance.low)
    assert row.note.startswith("refused: label 1 occurs in 2 of 5 folds")
    assert not row.encoded
    assert found.summary.set_index("concept").best_site["too_rare"] == ""
    said = {c.concept_name: c for c in probe.conclude(found)}
    assert said["too_rare"].encoding == "open"
    assert "refused" in said["too_rare"].sentence


def test_more_columns_than_rows_and_collinear_columns_are_told():
    rng = np.random.default_rng(6)
    scene, x = scenes(rng, 40, 2, 120, noise=1.0)
    label = (np.arange(40) % 2)[scene]
    x[:, 0] += 3 * label
    data = probe.ProbeDataset(scene, sites={"wide": x}, concepts={"z": label})
    row = probe.evaluate(data, "ridge", permutations=0, **QUICK).at("wide", "z")
    assert "only 64 rows for 120 columns" in row.note
    with pytest.raises(
        tierod.NumericalError, match=r"at site wide: .* singular .* raise the penalty"
    ):
        probe.evaluate(data, probe.RidgeFitter([0.0]), **QUICK)
    twice = probe.ProbeDataset(scene, sites={"twice": x[:, [0, 1, 0]]}, concepts={"z": label})
    with pytest.raises(tierod.NumericalError, match=r"at site twice: .* singular"):
        probe.evaluate(twice, probe.RidgeFitter([0.0]), **QUICK)
    assert probe.evaluate(twice, "ridge", permutations=0, **QUICK).at("twice", "z").auroc.low > 0.6


def test_a_column_of_huge_scale_does_not_hide_the_concept():
    """Residual streams have a few columns a thousand times as large as the others."""
    rng = np.random.default_rng(7)
    scene, x = scenes(rng, 60, 3, 10, noise=1.0)
    label = (rng.permutation(60) < 30)[scene]
    x[:, 0] += 2 * label
    x[:, 5] = 1e4 * rng.normal(size=len(scene))
    data = probe.ProbeDataset(scene, sites={"a": x}, concepts={"z": label})
    row = probe.evaluate(data, "ridge", permutations=199, **QUICK).at("a", "z")
    assert row.auroc.low > 0.7
    assert row.p_max_t == pytest.approx(0.005)
    assert row.encoded


def test_settings_chosen_on_the_test_rows_would_promise_too_much():
    """The best of many settings on the rows that judge it, against a choice inside."""
    gaps = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scene, x = scenes(rng, 30, 2, 40)
        label = (rng.permutation(30) < 15)[scene]
        data = probe.ProbeDataset(scene, sites={"a": x}, concepts={"sham": label})
        alphas = list(np.logspace(-3, 4, 8))
        nested = probe.evaluate(data, probe.RidgeFitter(alphas), permutations=0, **QUICK)
        best = max(
            probe.evaluate(data, probe.RidgeFitter([a]), permutations=0, **QUICK)
            .at("a", "sham").auroc.estimate
            for a in alphas[::2]
        )  # fmt: skip
        gaps.append(best - nested.at("a", "sham").auroc.estimate)
    assert np.mean(gaps) > 0.01
