"""Controls of a concept, on a world in which one is used, one only goes along with it, and one is read alike."""

import numpy as np
import pytest
import torch

import tierod
from tierod import patch, probe, vla

WIDTH, WAYPOINTS = 16, 16
SITE = "vlm.image_embeds"
NAMES = ["pedestrian", "cyclist", "cones"]


class Scenes(vla.SceneSource):
    """`pedestrian` brakes. `cyclist` occurs with it (.8 against .2) and does nothing, `cones` with nothing."""

    def __init__(self, count, seed):
        super().__init__()
        random = np.random.default_rng(seed)
        pedestrian = random.random(count) < 0.5
        cyclist = random.random(count) < np.where(pedestrian, 0.8, 0.2)
        cones = random.random(count) < 0.5
        self.z = torch.tensor(np.stack([pedestrian, cyclist, cones], 1)).double()
        # the same patterns in every world
        self.patterns = 0.6 * torch.randn(
            3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        noise = torch.tensor(random.normal(size=(count, WIDTH)))
        self.h = self.z @ self.patterns + noise
        self.count = count

    def size(self):
        return self.count

    def batch(self, ids):
        return vla.Batch({"h": self.h[ids]}, list(ids))

    def group_levels(self):
        return ["scene"]

    def group(self, level, ids):
        return ids

    def concepts(self):
        return NAMES

    def labels(self, name):
        return self.z[:, NAMES.index(name)].to(torch.uint8)


class Driver(vla.Model):
    """The head reads where the pedestrian's pattern is, and no other's."""

    site, late = tierod.Site(SITE, "rw"), tierod.Site("vlm.layers.0.resid_post", "rw")

    def __init__(self, patterns):
        super().__init__()
        # orthogonal to the other patterns, 1 along the pedestrian's
        self.read = torch.linalg.pinv(patterns)[:, 0]

    def describe(self):
        return vla.ModelDescription(
            name="driver", waypoints=WAYPOINTS, dt_s=0.25, head_inputs=[SITE],
            null_sites=["vlm.layers.0.resid_post"], options=["cot_tokens", "differentiable"],
        )  # fmt: skip

    def batch_spec(self):
        return vla.BatchSpec([vla.BatchField("h", torch.float64, [WIDTH])])

    def rollout(self, batch, options=None):
        with tierod.PhaseScope("prefill"):
            h = tierod.hook_point(batch["h"].clone(), self.site)
        read = h @ self.read
        with tierod.PhaseScope("prefill"):
            tierod.hook_point(h.clone(), self.late)  # nobody reads it
        said = (read > 0.5).long()
        if options is not None and options.cot_tokens is not None:
            said = options.cot_tokens[:, 0]
        acceleration = -1.0 * read - 0.5 * said
        actions = torch.stack([acceleration, torch.zeros_like(acceleration)], -1)
        return vla.Rollout(
            actions=actions[:, None].repeat(1, WAYPOINTS, 1),
            initial_speed=torch.full((len(read),), 10.0, dtype=torch.float64),
            dt_s=0.25,
            cot_tokens=said[:, None],
            cot_text=["pedestrian so brake" if s else "clear so keep" for s in said.tolist()],
        )


@pytest.fixture(scope="module")
def world():
    fitted, tested = Scenes(1500, 1), Scenes(240, 2)
    data = probe.ProbeDataset(range(1500))
    data.add_site(SITE, fitted.h)
    for name in NAMES:
        data.add_concept(name, fitted.labels(name))
    model = Driver(fitted.patterns)
    return patch.PairedRun(model, tested, range(240)), tested, data, model


def controls(world, concept, **options):
    run, tested, data, _ = world
    return patch.concept_controls(
        run, tested.labels(concept), range(240), data, concept, SITE, progress=False, **options
    )


def test_a_concept_that_goes_along_is_told_from_one_that_is_used(world):
    _, tested, data, _ = world
    directions = patch.fit_directions(data, "pedestrian", SITE)
    positive = ("pedestrian", directions, tested.labels("pedestrian"), "mean_acceleration")
    found = controls(
        world, "cyclist", positive=positive, wrong_functional="lateral_offset", shams=40
    )
    assert found.direct.theta.inside(-0.3, 0.3)
    assert found.total.theta.inside(-0.3, 0.3)
    # the plain direction takes the pedestrian along
    assert found.plain.high < -0.3
    assert not found.positive_silent
    assert found.positive.theta.low < -1 < found.positive.theta.high
    assert found.wrong_functional.estimate == 0
    assert found.null_site.available
    assert found.null_site.passed
    assert found.null_site.largest == 0
    assert len(found.matched) == len(found.permuted) == 20
    assert len(found.sham.direct) == len(found.sham.total) == 40
    assert found.sham.refused == 0
    # labels that mean nothing are not called used; the interval itself errs about as often as it says
    assert found.sham.false_used.estimate <= 0.05
    assert found.sham.excludes_zero.low < 0.05 < found.sham.excludes_zero.high
    # readers that are surely there are found, and for what they are worth
    assert [(r.concept_name, r.multiple) for r in found.readers] == [
        (name, multiple) for name in ("cyclist", "pedestrian", "cones") for multiple in (1.5, 3)
    ]
    for reader in found.readers:
        assert reader.worth == pytest.approx(reader.multiple * 0.3)
        assert reader.detected, reader
        assert reader.effect.estimate == pytest.approx(reader.worth, rel=0.25)
    names = {u.name: u for u in found.unrelated}
    assert names["pedestrian"].effect.excludes(0)
    assert names["cones"].effect.inside(-0.3, 0.3)
    assert names["cones"].alike
    assert found.participation_ratio > 2
    assert any("participation ratio" in note for note in found.notes)
    assert 0.3 < found.matched_length < 1


def test_the_used_concept_stands_out_of_its_controls(world):
    found = controls(world, "pedestrian", shams=5, permuted=10, matched=10, total=False)
    theta = found.direct.theta
    assert theta.low < -1 < theta.high
    assert found.total is None
    assert not found.sham.total
    assert np.mean(np.abs(found.permuted)) < 0.5 * abs(theta.estimate)
    assert np.mean(np.abs(found.matched)) < 0.7 * abs(theta.estimate)
    assert abs(np.mean(found.matched)) < 0.4 * abs(theta.estimate)  # of either sign


def test_controls_stop_and_refuse(world):
    with pytest.raises(tierod.StateError, match="stopped after 3"):
        run, tested, data, _ = world
        patch.concept_controls(
            run, tested.labels("cyclist"), range(240), data, "cyclist", SITE, total=False,
            progress=lambda done, _all, _what: done < 3,
        )  # fmt: skip
    with pytest.raises(tierod.InvalidArgument, match="a label and a group for each of 240"):
        patch.concept_controls(run, [0, 1], range(240), data, "cyclist", SITE, progress=False)
    with pytest.raises(tierod.InvalidArgument, match="sesoi"):
        controls(world, "cyclist", functional="speed_change")
    few = probe.ProbeDataset(range(1500))
    few.add_site(SITE, Scenes(1500, 1).h)
    few.add_concept("cyclist", Scenes(1500, 1).labels("cyclist"))
    alone = patch.concept_controls(
        run, tested.labels("cyclist"), range(240), few, "cyclist", SITE, shams=2, permuted=0,
        matched=0, total=False, progress=False,
    )  # fmt: skip
    assert any("no other concept" in note for note in alone.notes)
    assert any("no positive control" in note for note in alone.notes)


def test_shams_have_the_prevalence_and_the_company_of_the_concept():
    scenes = Scenes(2000, 5)
    z = scenes.labels("cyclist")
    others = torch.stack([scenes.labels("pedestrian"), scenes.labels("cones")], 1)
    drawn = np.array([patch.sham_labels(z, others, range(2000), seed=s) for s in range(20)])
    assert abs(drawn.mean() - float(z.double().mean())) < 0.02
    company = others[:, 0].numpy().astype(bool)
    due = z.numpy()[company].mean() - z.numpy()[~company].mean()
    assert abs(drawn[:, company].mean() - drawn[:, ~company].mean() - due) < 0.03
    # given its company, a sham says nothing of the concept
    inside = [np.corrcoef(d[company], z.numpy()[company])[0, 1] for d in drawn]
    assert abs(np.mean(inside)) < 0.02
    assert (drawn[0] != drawn[1]).any()
    assert np.array_equal(drawn[0], patch.sham_labels(z, others, range(2000), seed=0))
    # where units hold several scenes, each scene draws, from other units; company stays
    units = np.arange(2000) // 5
    grouped = np.array([patch.sham_labels(z, others, units, seed=s) for s in range(20)])
    assert abs(grouped[:, company].mean() - grouped[:, ~company].mean() - due) < 0.03
    # where they have one label each, the unit draws
    whole = np.array(patch.sham_labels(z[:400].numpy().repeat(5), None, units, seed=3)).reshape(
        -1, 5
    )
    assert (whole == whole[:, :1]).all()
    with pytest.raises(tierod.InvalidArgument, match="at least 2 units"):
        patch.sham_labels([0, 1], None, [5, 5])


def test_mahalanobis_directions_are_as_far_as_the_direction():
    x = torch.randn(500, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    covariance = torch.cov((x * torch.tensor([5.0, 2, 1, 1, 0.5, 0.1])).T)
    w = torch.tensor([3.0, -1, 0.2, 0, 0.1, 0.05], dtype=torch.float64)
    found = patch.mahalanobis_directions(w, covariance, 400, seed=3)
    inverse = torch.linalg.inv(covariance)
    due = torch.sqrt(w @ inverse @ w)
    distance = torch.sqrt(torch.einsum("ij,jk,ik->i", found, inverse, found))
    np.testing.assert_allclose(distance, due.expand(400), rtol=1e-8)
    whitened = found @ torch.linalg.cholesky(inverse)
    spread = whitened.T @ whitened / 400 * 6 / due**2
    np.testing.assert_allclose(spread, torch.eye(6), atol=0.25)  # no direction is preferred
    with pytest.raises(tierod.NumericalError, match="covariance is 0"):
        patch.mahalanobis_directions(w, torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 0])).double(), 2)


def test_an_ablation_that_removes_nothing_does_not_pass(world):
    """Where the other concepts tell nearly all, what a probe reads of them must not excuse what it reads of the
    concept."""
    _, _, data, model = world
    scenes = Scenes(3000, 9)
    run = patch.PairedRun(model, scenes, range(3000))
    labels, others = scenes.labels("pedestrian"), scenes.labels("cyclist")[:, None]
    found = patch.fit_directions(data, "pedestrian", SITE).places[0].direction
    away = found.write - scenes.patterns.T @ torch.linalg.pinv(scenes.patterns).T @ found.write
    useless = probe.Direction(SITE, away, away, found.mean, 1, -0.5, 0.5)
    for direction, erased in ((found, True), (useless, False)):
        place = patch.direction_place(SITE, direction)
        check = patch.verify_ablation(run, labels, range(3000), place, others, positive_units=100)[
            0
        ]
        assert check.passed == erased, check
        assert 600 < check.scenes < 2400
        assert check.check.before.estimate > 0.8
