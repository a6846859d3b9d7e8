"""Directions residualised on what goes with the concept, and the planner."""

import numpy as np
import pytest
import torch

import tierod
from tierod import probe
from tierod.probe import estimators


def world(seed=0, groups=400, rows=1, width=5, rho=0.5, interaction=0.0, pure=2.0):
    """A concept that moves column 0, a companion that moves column 1, speed that moves column 2."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(groups), rows)
    z = rng.random(groups) < 0.5
    c = np.where(rng.random(groups) < rho, z, rng.random(groups) < 0.5)
    speed = rng.normal(size=groups)
    x = rng.normal(size=(len(scene), width)) @ (np.eye(width) + 0.3)
    x[:, 0] += (pure + interaction * z[scene]) * c[scene]
    x[:, 1] += 3.0 * z[scene]
    x[:, 2] += speed[scene]
    data = probe.ProbeDataset(
        scene, sites={"a": x + 7}, concepts={"c": c[scene], "z": z[scene]},
        nuisances={"speed": speed[scene]},
    )  # fmt: skip
    return data, x + 7, c[scene].astype(float), z[scene].astype(float), speed[scene]


def naive(x, c, others, shrinkage, interactions=True):
    """The regression as it is written, row by row."""
    centred = others - others.mean(0)
    columns = [np.ones_like(c)[:, None], c[:, None], centred]
    if interactions:
        columns.append(centred * c[:, None])
    design = np.hstack(columns)
    coefficient, *_ = np.linalg.lstsq(design, x, rcond=None)
    b = coefficient[1]
    rest = x - design @ coefficient
    s = rest.T @ rest / len(x)
    s = (1 - shrinkage) * s + shrinkage * np.trace(s) / len(s) * np.eye(len(s))
    read = np.linalg.solve(s, b)
    read /= b @ read
    low = read @ (coefficient[0] - x.mean(0))
    inverse = np.linalg.inv(design.T @ design)
    vif = ((c - c.mean()) ** 2).sum() * inverse[1, 1]
    return b, read, low, vif


@pytest.mark.parametrize("interactions", [True, False])
@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
def test_it_is_the_regression_written_out(interactions, shrinkage):
    data, x, c, z, speed = world(interaction=1.0)
    fit = probe.residual_direction(
        data, "a", "c", shrinkage=shrinkage, interactions=interactions
    ).full
    others = np.stack([(speed - speed.mean()) / speed.std(), z], 1)
    b, read, low, vif = naive(x, c, others, shrinkage, interactions)
    d = fit.direction
    np.testing.assert_allclose(fit.effect, b, rtol=1e-8)
    np.testing.assert_allclose(d.write, b, rtol=1e-8)
    np.testing.assert_allclose(d.read, read, rtol=1e-7)
    assert float(d.read @ d.write) == pytest.approx(1)
    assert (d.low, d.high - d.low) == (pytest.approx(low, abs=1e-8), pytest.approx(1))
    assert fit.vif == pytest.approx(vif, rel=1e-6)
    position = d.position(torch.from_numpy(x)).numpy()
    assert d.sd == pytest.approx(position.std())
    np.testing.assert_allclose(position, (x - x.mean(0)) @ read, atol=1e-8)


def test_the_companion_is_not_written_along():
    data, x, c, *_ = world(groups=4000, rho=0.7)
    plain = estimators.RidgeProbe(1.0).fit(x, c).direction()
    residual = probe.residual_direction(data, "a", "c").full.direction
    # the companion moves column 1 by 3 and goes with c: the plain difference writes it along
    assert abs(plain.write[1] / plain.write[0]) > 0.5
    assert abs(residual.write[1] / residual.write[0]) < 0.1


def test_the_average_effect_of_an_interaction():
    """c moves column 0 by 2 without z and by 5 with it: on average over z."""
    data, *_ = world(groups=6000, interaction=3.0)
    z = data.labels("z")
    effect = probe.residual_direction(data, "a", "c").full.effect
    assert float(effect[0]) == pytest.approx(2 + 3 * z.mean(), abs=0.15)


def test_refits_are_fits_without_the_fold():
    data, x, c, z, speed = world(rows=2)
    fits = probe.residual_direction(data, "a", "c", folds=4, shrinkage=0.1)
    folds = data.folds(4)
    assert (fits.folds == folds).all()
    speed = (speed - speed.mean()) / speed.std()
    for k in range(4):
        keep = folds != k
        b, read, *_ = naive(x[keep], c[keep], np.stack([speed, z], 1)[keep], 0.1)
        d = fits.held_out[k].direction
        np.testing.assert_allclose(d.write, b, rtol=1e-6)
        np.testing.assert_allclose(d.read, read, rtol=1e-6)
        position = (x[~keep] - x[keep].mean(0)) @ read
        np.testing.assert_allclose(fits.positions.numpy()[~keep], position, atol=1e-7)


def test_positions_on_the_fitted_rows_promise_too_much_where_n_is_small():
    """No effect at all, d = 100, 150 scenes: in sample the classes part, cross-fitted they do not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 100))
    c = rng.permutation(150) < 75
    data = probe.ProbeDataset(np.arange(150), sites={"a": x}, concepts={"c": c})
    inside = probe.residual_direction(data, "a", "c")
    outside = probe.residual_direction(data, "a", "c", folds=5)
    assert (
        "150 independent units for 100 columns: fewer than 16 a column (1600); cross-fit"
        in inside.note
    )
    assert "cross-fitted positions" in outside.note

    def gap(positions):
        p = positions.numpy()
        return (p[c].mean() - p[~c].mean()) / p.std()

    assert gap(inside.positions) > 1
    assert abs(gap(outside.positions)) < 0.4


def test_unknown_labels_leave_rows_out():
    data, *_ = world()
    labels = data.labels("z").astype(float)
    labels[:30] = np.nan
    part = probe.ProbeDataset(
        data.groups, sites={"a": data.site("a")}, concepts={"c": data.labels("c"), "z": labels}
    )
    fits = probe.residual_direction(part, "a", "c")
    assert fits.positions[:30].isnan().all()
    assert fits.full.report.rows == 370


def test_refusals_name_what_cannot_be_told_apart():
    rng = np.random.default_rng(1)
    z = np.arange(400) % 2 == 0
    c = np.where(np.arange(400) % 40 < 2, ~z, z)  # 20 scenes part them
    data = probe.ProbeDataset(
        np.arange(400), sites={"a": rng.normal(size=(400, 3))}, concepts={"c": c, "z": z}
    )
    with pytest.raises(
        tierod.InvalidArgument, match=r"variance inflation of c is \d+.* more than 3"
    ):
        probe.residual_direction(data, "a", "c", most_vif=3.0)
    with pytest.raises(tierod.InvalidArgument, match=r"at least 15 units with c = 1 in each cell of z, got 10 in cell 0"):  # fmt: skip # noqa: E501
        probe.residual_direction(data, "a", "c", least_cell=15)
    same = probe.ProbeDataset(
        np.arange(400), sites={"a": rng.normal(size=(400, 3))}, concepts={"c": c, "z": c}
    )
    with pytest.raises(tierod.InvalidArgument, match="variance inflation of c is inf"):
        probe.residual_direction(same, "a", "c", least_cell=0)
    with pytest.raises(tierod.InvalidArgument, match="cannot be adjusted for itself"):
        probe.residual_direction(data, "a", "c", adjust_for=["c"])
    with pytest.raises(tierod.InvalidArgument, match=r"got fog"):
        probe.residual_direction(data, "a", "c", adjust_for=["fog"])


def test_cells_count_units_and_not_rows():
    """Twenty rows of one scene are one scene."""
    scene = np.repeat(np.arange(40), 20)
    road = (np.arange(40) == 0).astype(str)[scene]
    data = probe.ProbeDataset(
        scene, sites={"a": np.random.default_rng(0).normal(size=(800, 3))},
        concepts={"c": np.arange(800) % 2}, nuisances={"road": ("categorical", road)},
    )  # fmt: skip
    with pytest.raises(tierod.InvalidArgument, match=r"cell of road, got 1 in cell 1"):
        probe.residual_direction(data, "a", "c")


def test_the_ridge_direction_has_product_one():
    _, x, c, *_ = world()
    s = probe.FoldStatistics(1, 1)
    s.update(torch.from_numpy(x), torch.from_numpy(c[:, None]), torch.zeros(400, dtype=torch.int64))
    d = probe.ridge_direction(s.training(), 0, 5.0, site="a")
    weights = estimators.RidgeProbe(5.0).fit(x, c).coef_[0]
    np.testing.assert_allclose(d.read, weights, rtol=1e-9)
    difference = x[c == 1].mean(0) - x[c == 0].mean(0)
    np.testing.assert_allclose(d.write, difference / (weights @ difference), rtol=1e-9)
    with pytest.raises(tierod.InvalidArgument, match=r"a concept in \[0, 1\), got 1"):
        probe.ridge_direction(s.training(), 1, 5.0)


def test_the_planner_speaks_with_numbers():
    from tierod import _core

    plan = _core.plan_sample("pedestrian", 768, 400, 84, 120, 20)
    assert not plan.accepted
    assert plan.needed_units == 12288
    assert plan.most_columns == 25
    assert plan.expected_erased_auroc == pytest.approx(0.95)  # a measured cell
    text = str(plan)
    assert "pedestrian: 768 columns need 12288 independent units in A (16 a column), there are 400: " \
           "11888 more, or keep at most 25 columns (of scikit-learn's PCA" in text  # fmt: skip
    assert "AUROC 0.95 on held-out units; it counts as erased only up to 0.60" in text
    assert "needs 150 units with pedestrian, there are 84: 66 more" in text
    assert "C holds 20 units with pedestrian; an effect needs 100" in text
    enough = _core.plan_sample("pedestrian", 64, 1024, 400)
    assert enough.accepted
    assert enough.expected_erased_auroc <= 0.60
    # more units never make an erasure worse
    curve = [
        _core.plan_sample("p", 768, n, 0).expected_erased_auroc for n in range(100, 60000, 997)
    ]
    assert (np.diff(curve) <= 1e-12).all()
    with pytest.raises(tierod.InvalidArgument, match="expected width >= 1"):
        _core.plan_sample("p", 0, 1, 0)


def test_the_planner_counts_units_of_a_split():
    data, *_ = world(groups=200, rows=3)
    split = data.split()
    plan = probe.plan_sample(data, "a", "c", splits=split)
    units, positives = (
        split.units[0],
        len(set(data.groups[(split.of_row == 0) & (data.labels("c") == 1)])),
    )
    assert f"c: {units} independent units for 5 columns" in str(plan)
    assert f"needs 150 units with c, there are {positives}" in str(plan)


@pytest.mark.parametrize("seed", range(10))
def test_a_nuisance_that_is_constant_where_labels_are_known_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    known = np.arange(300) < 150
    c = np.where(known, np.arange(300) % 2, np.nan)
    temperature = np.where(known, 21.37, 10 + 5 * rng.normal(size=300))
    speed = rng.normal(size=300)
    x = rng.normal(size=(300, 3))
    x[known, 0] += 2 * c[known]
    data = probe.ProbeDataset(
        np.arange(300), sites={"a": x}, concepts={"c": c},
        nuisances={"temperature": temperature, "speed": speed},
    )  # fmt: skip
    fit = probe.residual_direction(data, "a", "c", shrinkage=0.1, least_cell=0).full
    b, read, low, vif = naive(x[known], c[known], speed[known, None], 0.1)
    np.testing.assert_allclose(fit.effect, b, rtol=1e-8)
    np.testing.assert_allclose(fit.direction.read, read, rtol=1e-7)
    assert fit.direction.low == pytest.approx(low, abs=1e-8)
    assert fit.vif == pytest.approx(vif, rel=1e-8)
    assert fit.vif >= 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_nuisance_that_is_constant_without_a_fold_changes_nothing_there(seed, kind):
    rng = np.random.default_rng(seed)
    x, c = rng.normal(size=(300, 3)), np.arange(300) % 2
    x[:, 0] += 2 * c
    speed = rng.normal(size=300)
    folds = probe.ProbeDataset(np.arange(300), concepts={"c": c}).folds(4)
    value = np.where(folds == 2, 10 + 5 * rng.normal(size=300), 21.37)
    if kind == "categorical":
        value = np.where(folds == 2, rng.permutation(300) % 3, 0).astype(str)
    data = probe.ProbeDataset(
        np.arange(300), sites={"a": x}, concepts={"c": c},
        nuisances={"odd": (kind, value), "speed": speed},
    )  # fmt: skip
    fits = probe.residual_direction(data, "a", "c", shrinkage=0.1, least_cell=0, folds=4)
    assert (fits.folds == folds).all()
    keep = folds != 2
    b, read, low, vif = naive(x[keep], c[keep].astype(float), speed[keep, None], 0.1)
    got = fits.held_out[2]
    np.testing.assert_allclose(got.effect, b, rtol=1e-8)
    np.testing.assert_allclose(got.direction.read, read, rtol=1e-7)
    assert got.direction.low == pytest.approx(low, abs=1e-8)
    assert got.vif == pytest.approx(vif, rel=1e-8)
