"""What goes together stays together: groups, levels, twins, splits, folds."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import tierod
from tierod import probe
from tierod.store import fold_of_group, set_labels

RNG = np.random.default_rng(0)


def dataset(groups=60, rows=3, **more):
    scene = np.repeat(np.arange(groups), rows)
    return probe.ProbeDataset(
        scene,
        sites={"layers.0": RNG.normal(size=(len(scene), 4))},
        concepts={"rain": (np.arange(groups) % 3 == 0)[scene]},
        **more,
    )


def test_any_two_classes_are_encoded_and_missing_labels_kept():
    labels = np.array(["wet", "dry", None, "dry"], object)
    data = probe.ProbeDataset(["b", "a", "a", "c"], concepts={"road": labels})
    assert data.labels("road").tolist() == [1, 0, 255, 0]
    assert data.classes["road"].tolist() == ["dry", "wet"]
    floats = probe.ProbeDataset([1, 2, 3], concepts={"z": [0.0, np.nan, 1.0]})
    assert floats.labels("z").tolist() == [0, 255, 1]
    integers = probe.ProbeDataset([1, 2, 3], concepts={"z": np.array([255, 0, 1])})
    assert integers.labels("z").tolist() == [255, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "expected two classes of the concept z, got 3"),
        ([1, 1, 1], "expected two classes of the concept z, got 1"),
        ([0, 1], "expected 3 values of the concept z"),
    ],
)
def test_labels_that_cannot_be_probed_are_refused(labels, message):
    with pytest.raises(tierod.InvalidArgument, match=message):
        probe.ProbeDataset([1, 2, 3], concepts={"z": labels})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_is_named_by_site_and_row(dtype, bad):
    x = torch.zeros(5, 3, dtype=dtype)
    x[3, 1] = bad
    with pytest.raises(tierod.NumericalError, match=r"site layers\.7, row 3 \(1 such rows\)"):
        probe.ProbeDataset([0, 1, 2, 3, 4], sites={"layers.7": x})


def test_large_finite_values_are_no_infinity():
    x = torch.full((2, 300), 6e4, dtype=torch.float16)  # its f16 sum overflows
    assert probe.ProbeDataset([0, 1], sites={"a": x}).sites == ["a"]


def test_lengths_and_names_are_checked():
    data = dataset()
    with pytest.raises(tierod.InvalidArgument, match="expected 180 rows at b"):
        data.add_site("b", np.zeros((179, 2)))
    with pytest.raises(tierod.InvalidArgument, match=r"layers\.0 is there already"):
        data.add_site("layers.0", np.zeros((180, 2)))
    with pytest.raises(tierod.InvalidArgument, match="expected floating rows"):
        data.add_site("c", np.zeros((180, 2), int))
    with pytest.raises(tierod.InvalidArgument, match="expected 180 values of the nuisance speed"):
        data.add_nuisance("speed", np.zeros(3))
    with pytest.raises(tierod.SiteError, match=r"expected one of \[layers\.0\], got layers\.9"):
        data.site("layers.9")


def test_a_level_holds_whole_groups():
    with pytest.raises(tierod.InvalidArgument, match="group 0 lies in town 0 and in 1"):
        probe.ProbeDataset([0, 0, 1], levels={"town": [0, 1, 1]})
    with pytest.raises(tierod.InvalidArgument, match="group 0 lies in strata 0 and 1"):
        probe.ProbeDataset([0, 0, 1], strata=[0, 1, 1])


def test_units_join_groups_that_twins_span():
    # scenes 0 and 2 hold the two members of twin "a"; scene 2 and 3 those of "b"
    data = probe.ProbeDataset([0, 1, 2, 2, 3], twins=["a", None, "a", "b", "b"])
    assert data.units().tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_hold_whole_units_and_spread_what_is_rare(seed):
    scene = np.repeat(np.arange(50), 4)
    rare = (scene % 10 == 0).astype(int)  # 5 positive scenes for 5 folds
    twins = np.where(scene < 2, 0, -1)
    data = probe.ProbeDataset(scene, concepts={"rare": rare}, twins=twins)
    folds = data.folds(5, seed=seed)
    units = data.units()
    for unit in np.unique(units):
        assert len(set(folds[units == unit])) == 1
    assert sorted(set(folds[rare == 1])) == [0, 1, 2, 3, 4]
    counts = np.bincount(folds)
    assert counts.max() - counts.min() <= 8, "a unit or two apart"
    assert (folds != data.folds(5, seed=seed + 10)).any()


def test_fewer_units_than_folds_is_an_error_that_counts_twins():
    data = probe.ProbeDataset([0, 1, 2, 3], twins=[7, 7, -1, -1])
    with pytest.raises(tierod.InvalidArgument, match=r"\(4\), got 3 .* once twins are joined"):
        data.folds(4)


def test_splits_take_the_highest_level_with_enough_units():
    groups = np.repeat(np.arange(120), 2)
    data = probe.ProbeDataset(
        groups, levels={"route": groups // 2, "town": groups // 40}, concepts={"z": groups % 2}
    )
    split = data.split(seed=3)
    assert (split.level, split.units) == ("route", (30, 12, 18))
    assert "the level town has only 3 units" in split.note
    data.check_split(split.of_row)
    parts = [data.subset(split, which) for which in "ABC"]
    assert sum(len(p) for p in parts) == len(data)
    assert not set(parts[0].groups) & set(parts[2].groups)
    assert data.split(seed=3).of_row.tolist() == split.of_row.tolist()


def test_a_group_or_twins_in_two_splits_are_refused():
    data = probe.ProbeDataset([4, 4, 5, 6], twins=[-1, -1, 1, 1])
    with pytest.raises(tierod.InvalidArgument, match=r"group 4 stands in A \(row 0\) and in C"):
        data.check_split(["A", "C", "B", "B"])
    with pytest.raises(tierod.InvalidArgument, match=r"twin 1 stands in B \(row 2\) and in C"):
        data.check_split(["A", "A", "B", "C"])
    with pytest.raises(tierod.InvalidArgument, match="expected 0"):
        data.check_split(["A", "A", "B", "D"])


def test_too_small_a_test_split_is_refused():
    with pytest.raises(tierod.InvalidArgument, match=r"at least 12 units in C, got 9 of 30"):
        dataset(groups=30).split()


def test_subsets_keep_cells_and_refuse_a_lost_class():
    data = dataset(nuisances={"speed": ("binned", np.arange(180.0), 3)})
    part = data.subset(np.arange(90))
    assert part.core.nuisances[0].cell_count == 3
    assert torch.equal(part.site("layers.0"), data.site("layers.0")[:90])
    with pytest.raises(tierod.InvalidArgument, match="expected both classes of rain"):
        data.subset(data.labels("rain") == 1)
    with pytest.raises(tierod.InvalidArgument, match="got row 3 twice"):
        data.subset([1, 3, 3])
    with pytest.raises(tierod.OutOfRange):
        data.subset([180])


def test_a_design_has_standardised_numbers_and_indicators():
    groups = np.arange(6)
    data = probe.ProbeDataset(
        groups,
        concepts={"a": [0, 1, 0, 1, 0, 1], "b": np.array([0, 1, 1, 0, 255, 0])},
        nuisances={
            "speed": np.array([1.0, 2, 3, 4, 5, 6]),
            "road": np.array(["dirt", "dirt", "tar", "tar", "gravel", "tar"]),
            "same": np.ones(6),
        },
    )
    assert data.core.companions("a") == ["speed", "road", "same", "b"]
    design = data.core.design(data.core.companions("a")).numpy()
    speed = np.arange(6) - 2.5
    want = np.stack([
        speed / np.sqrt((speed**2).mean()),
        [0, 0, 0, 0, 1, 0],  # gravel
        [0, 0, 1, 1, 0, 1],  # tar
        [0, 1, 1, 0, 0, 0],  # b
        [0, 0, 0, 0, 1, 0],  # b unknown
    ], 1)  # fmt: skip
    np.testing.assert_allclose(design, want, atol=1e-15)


def test_control_labels_are_fixed_by_key_and_match_the_prevalence():
    keys = RNG.integers(0, 40, 2000)
    labels = (RNG.random(2000) < 0.3).astype(np.uint8)
    control = probe.control_labels(keys, labels, seed=1)
    for key in range(40):
        assert len(set(control[keys == key])) == 1
    assert abs(control.mean() - labels.mean()) < 0.02
    again = probe.control_labels(keys[::-1].copy(), labels[::-1].copy(), seed=1)
    assert (again[::-1] == control).all(), "the order of rows plays no part"
    assert (probe.control_labels(keys, labels, seed=1, draw=1) != control).any()
    with pytest.raises(tierod.InvalidArgument, match="at least 2 keys, got 1"):
        probe.control_labels(np.zeros(5, int), np.array([0, 1, 0, 1, 0]))


def test_a_store_gives_the_dataset_of_its_rows(tmp_path):
    x = torch.randn(30, 5)
    with tierod.ActivationWriter(tmp_path / "s", {"main": {"layers.0": (5, torch.float16)}}) as w:
        rows = {"sample": np.arange(30), "scene": np.arange(30) // 3, "group": np.arange(30) // 6}
        w.append("main", rows, {"layers.0": x.half()})
    set_labels(tmp_path / "s", "rain", np.arange(30), (np.arange(30) % 2).astype(np.uint8))
    reader = tierod.ActivationReader(tmp_path / "s")
    data = probe.ProbeDataset.from_store(reader, "main", concepts=["rain"])
    del reader
    assert data.levels == ["group", "store_group"]
    assert data.groups.tolist() == (np.arange(30) // 3).tolist()
    assert data.labels("rain").tolist() == (np.arange(30) % 2).tolist()
    assert torch.equal(data.site("layers.0"), x.half())
    some = probe.ProbeDataset.from_store(
        tierod.ActivationReader(tmp_path / "s"), "main", concepts=["rain"], rows=[4, 2, 9]
    )
    assert torch.equal(some.site("layers.0"), x.half()[[4, 2, 9]])
    with pytest.raises(tierod.InvalidArgument, match=r"one of the concepts \[rain\], got snow"):
        probe.ProbeDataset.from_store(
            tierod.ActivationReader(tmp_path / "s"), "main", concepts=["snow"]
        )


def test_streamed_moments_give_the_statistics_of_the_rows(tmp_path):
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.normal(size=(60, 4)) + 3).float()
    z = (rng.random((60, 2)) < 0.4).astype(np.uint8)
    with tierod.ActivationWriter(tmp_path / "s", {"main": {"a": (4, torch.float32)}}) as w:
        w.append("main", {"sample": np.arange(60), "group": np.arange(60) // 3}, {"a": x})
    for c in (0, 1):
        set_labels(tmp_path / "s", f"z{c}", np.arange(60), z[:, c])
    reader = tierod.ActivationReader(tmp_path / "s")
    moments = reader.moments("main", concepts=["z0", "z1"], folds=3)
    folds = torch.tensor([fold_of_group(int(g), 3, 0) for g in np.arange(60) // 3])
    statistics = probe.FoldStatistics(2, 3)
    # f64: products of f32 rows would be taken in f32
    statistics.update(x.double(), torch.from_numpy(z.astype(float)), folds)
    for held_out in (None, 0, 2):
        got = probe.training_statistics(moments, "a", held_out)
        want = statistics.training(held_out)
        assert got.rows == want.rows
        for name in ("mean", "scatter", "ones", "means"):
            torch.testing.assert_close(getattr(got, name), getattr(want, name))
    # what held-out folds read follows without a row: correlation and class means of their scores
    fitter = probe.RidgeFitter([0.5, 20.0])
    found = probe.cross_validate_moments(fitter, moments, "a")
    for k in range(3):
        test = (folds == k).numpy()
        fit = fitter.fit(statistics.training(k))
        torch.testing.assert_close(found.fits[k].weights, fit.weights)
        scores = fit.scores(x.double()[test]).numpy()
        for p in range(2):
            for c in range(2):
                score, label = scores[p, c], z[test, c]
                ones, zeros = score[label == 1], score[label == 0]
                within = np.sqrt((ones.var() * len(ones) + zeros.var() * len(zeros)) / len(score))
                d = (ones.mean() - zeros.mean()) / within
                cell = (k, p, c)
                assert found.correlation[cell].item() == pytest.approx(
                    np.corrcoef(score, label)[0, 1], abs=1e-5
                )
                assert found.separation[cell].item() == pytest.approx(d, abs=1e-5)
                assert found.normal_auroc[cell].item() == pytest.approx(
                    norm.cdf(d / np.sqrt(2)), abs=1e-5
                )
    with pytest.raises(
        tierod.InvalidArgument, match=r"moments keep no rows.*cross_validate_moments"
    ):
        probe.evaluate(moments)
    with pytest.raises(tierod.InvalidArgument, match="folds >= 2, got 1"):
        probe.cross_validate_moments(
            fitter, reader.moments("main", concepts=["z0", "z1"], folds=1), "a"
        )
    set_labels(tmp_path / "s", "z1", np.arange(59), z[:59, 1])
    partial = reader.moments("main", concepts=["z0", "z1"], folds=3)
    with pytest.raises(tierod.InvalidArgument, match="concept 1 has labels for 59 of 60 rows"):
        probe.training_statistics(partial, "a")
