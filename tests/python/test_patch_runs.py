"""Paired runs over a driving model written in Python, with edits of ours and of its own."""

import numpy as np
import pytest
import torch

import tierod
from tierod import patch, probe, vla

WIDTH, TOKENS, STEPS = 6, 3, 16
DIRECT, BY_WORD = -1.5, -0.5


class Scenes(vla.SceneSource):
    """Odd scenes have a pedestrian; the other features come from the scene's id."""

    def __init__(self, count=240):
        super().__init__()
        self.count = count
        self.other = torch.randn(
            count, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )

    def size(self):
        return self.count

    def _make(self, ids, twin):
        ids = torch.tensor(ids)
        z = (ids % 2 == 1) ^ twin
        return vla.Batch({"z": z.double(), "other": self.other[ids]}, ids.tolist())

    def batch(self, ids):
        return self._make(ids, False)

    def twin(self, ids, name):
        return self._make(ids, True)

    def group_levels(self):
        return ["scene"]

    def group(self, level, ids):
        return ids

    def concepts(self):
        return ["pedestrian"]

    def labels(self, name):
        return (torch.arange(self.count) % 2).to(torch.uint8)


class Driver(vla.Model):
    """Image tokens hold the pedestrian along the first axis; the head reads it there, and the word."""

    site = tierod.Site("vlm.image_embeds", "rtw")

    def describe(self):
        return vla.ModelDescription(
            name="driver",
            waypoints=STEPS,
            dt_s=0.25,
            head_inputs=["vlm.image_embeds"],
            options=["cot_tokens", "differentiable"],
        )

    def batch_spec(self):
        return vla.BatchSpec(
            [vla.BatchField("z", torch.float64), vla.BatchField("other", torch.float64, [WIDTH])]
        )

    def rollout(self, batch, options=None):
        options = options or vla.RolloutOptions()
        tokens = (0.1 * batch["other"])[:, None].repeat(1, TOKENS, 1)
        tokens[:, :, 0] += batch["z"][:, None]
        with tierod.PhaseScope("prefill"):
            tokens = tierod.hook_point(tokens, self.site)
        read = tokens[:, :, 0].mean(1)
        said = (read > 0.5).long()
        if options.cot_tokens is not None:
            said = options.cot_tokens[:, 0]
        acceleration = DIRECT * read + BY_WORD * said
        actions = torch.stack([acceleration, torch.zeros_like(acceleration)], -1)
        return vla.Rollout(
            actions=actions[:, None].repeat(1, STEPS, 1),
            initial_speed=torch.full_like(acceleration, 10.0).detach(),
            dt_s=0.25,
            cot_tokens=said[:, None],
            cot_text=["pedestrian so brake" if s else "clear so keep" for s in said.tolist()],
        )


def first_axis():
    unit = torch.eye(WIDTH, dtype=torch.float64)[0]
    return probe.Direction("vlm.image_embeds", unit, unit, unit / 2, 0.5, -0.5, 0.5)


@pytest.fixture
def run():
    return patch.PairedRun(Driver(), Scenes(), range(40), batch_size=16)


def reading(run):
    scenes = Scenes()
    batch = scenes.batch(run.scenes)
    return batch["z"], batch["z"] + 0.1 * batch["other"][:, 0]


def test_direct_total_and_text_are_told_apart(run):
    z, was = reading(run)
    edit = patch.swap(patch.direction_place("vlm.image_embeds", first_axis()), 1 - z)
    said = 1 - 2 * z  # what the word changes by
    np.testing.assert_allclose(run.direct(edit), (1 - z - was) * DIRECT, atol=1e-12)
    np.testing.assert_allclose(run.text(edit), said * BY_WORD, atol=1e-12)
    np.testing.assert_allclose(run.total(edit), (1 - z - was) * DIRECT + said * BY_WORD, atol=1e-12)
    assert torch.equal(run.again().actions, run.base.actions)
    twins = run.effect(run.twins("pedestrian", "held"))
    np.testing.assert_allclose(twins, said * DIRECT, atol=1e-12)
    whole = run.transplanted("vlm.image_embeds", "held", twin_by="pedestrian")
    np.testing.assert_allclose(run.effect(whole), twins, atol=1e-12)
    third = run.transplanted("vlm.image_embeds", "held", twin_by="pedestrian", tokens=[1])
    np.testing.assert_allclose(run.effect(third), twins / 3, atol=1e-12)


def test_the_derivative_is_that_of_runs_where_the_head_is_linear(run):
    z, _ = reading(run)
    edit = patch.swap(patch.direction_place("vlm.image_embeds", first_axis()), 1 - z)
    unit = torch.eye(WIDTH, dtype=torch.float64)[0]
    other = probe.Direction("vlm.image_embeds", unit, unit, unit / 2, 0.5, -0.7, 0.6)
    place = patch.direction_place("vlm.image_embeds", other)
    moved = run.direct(patch.swap(place, 1 - z)) - run.direct(edit)
    np.testing.assert_allclose(run.derivative(edit, [[place]])[0], moved, atol=1e-12)


def test_a_concept_has_its_effect_along_a_fitted_direction():
    scenes = Scenes()
    fit = patch.PairedRun(Driver(), scenes, range(200))
    rows = fit.activations("vlm.image_embeds", reduce="mean")["vlm.image_embeds"]
    data = probe.ProbeDataset(range(200))
    data.add_site("vlm.image_embeds", rows)
    data.add_concept("pedestrian", scenes.labels("pedestrian")[:200])
    fits = probe.residual_direction(data, "vlm.image_embeds", "pedestrian", folds=20)
    directions = patch.concept_directions({"vlm.image_embeds": fits}, over="pooled")
    test = patch.PairedRun(Driver(), scenes, range(200, 240))
    labels = scenes.labels("pedestrian")[200:]
    direct = patch.concept_effect(test, labels, range(40), directions)
    total = patch.concept_effect(test, labels, range(40), directions, words="regenerated")
    assert direct.reruns == 4
    assert total.reruns == 20
    assert direct.theta.low < DIRECT < direct.theta.high
    assert total.theta.low < DIRECT + BY_WORD < total.theta.high
    assert direct.theta.estimate == pytest.approx(DIRECT, abs=0.15)
    again = patch.concept_effect(test, labels, range(40), directions, derivative=False)
    np.testing.assert_allclose(direct.refits, again.refits, atol=1e-9)
    assert "words held" in repr(direct)


class Blind(patch.Edit):
    def put_on(self, session, rows):
        assert rows.scenes == [rows.numbers[0] + i for i in range(len(rows.numbers))]
        session.intervene("vlm.image_embeds", tierod.Intervention.zero())


class Halved(patch.Edit):
    """An own function at every second row."""

    def put_on(self, session, rows):
        even = [i for i, number in enumerate(rows.numbers) if number % 2 == 0]
        session.intervene("vlm.image_embeds", lambda h, _event: h / 2, rows=even)


def test_own_edits_take_part(run):
    _, was = reading(run)
    np.testing.assert_allclose(run.direct(Blind()), -was * DIRECT, atol=1e-12)
    halved = -was / 2 * DIRECT
    halved[1::2] = 0
    np.testing.assert_allclose(run.direct(Halved()), halved, atol=1e-12)


def test_controls_and_mediation(run):
    z, _ = reading(run)
    place = patch.direction_place("vlm.image_embeds", first_axis())
    found = patch.mediated_share(
        run, "pedestrian", z, range(40), patch.ablate(place), replicates=200
    )
    assert found.share.estimate == pytest.approx(1)
    assert found.twin_effect == pytest.approx(DIRECT)
    third = patch.ablate(patch.direction_place("vlm.image_embeds", first_axis(), tokens=[2]))
    found = patch.mediated_share(run, "pedestrian", z, range(40), third, replicates=200)
    assert found.share.estimate == pytest.approx(1 / 3)
    x = torch.randn(200, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    covariance = torch.from_numpy(np.cov(x.numpy().T))
    matched = patch.matched_directions(first_axis().write, covariance, 5)
    np.testing.assert_allclose(matched.norm(dim=1), 1, atol=1e-10)
    assert patch.participation_ratio(torch.eye(4)) == pytest.approx(4)
    control = patch.direction_place("vlm.image_embeds", first_axis(), written=matched[0])
    effect = run.direct(patch.swap(control, 1 - z))
    np.testing.assert_allclose(
        effect, run.direct(patch.swap(place, 1 - z)) * float(matched[0, 0]), atol=1e-12
    )
    fitter = probe.LeaceFitter()
    rows = run.activations("vlm.image_embeds", reduce="mean")["vlm.image_embeds"]
    fitter.update(rows, z[:, None])
    erased = patch.erase({"vlm.image_embeds": fitter.finish()}, over="pooled")
    left = run.effect(run.edited(erased, "held", twin_by="pedestrian"), twin_by="pedestrian")
    without = run.effect(run.edited(erased, "held"))
    twins = run.effect(run.twins("pedestrian", "held"))
    assert float((left - without).abs().mean()) < 0.25 * float(twins.abs().mean())


class Broken(patch.Edit):
    def put_on(self, session, rows):
        raise ZeroDivisionError("mine")


class Forgotten(patch.Edit):
    pass


def test_what_cannot_be_meant_is_refused(run):
    place = patch.direction_place("vlm.image_embeds", first_axis())
    with pytest.raises(ZeroDivisionError, match="mine"):
        run.direct(Broken())
    with pytest.raises(TypeError, match="Forgotten must define put_on"):
        run.direct(Forgotten())
    bad = tierod.InvalidArgument
    with pytest.raises(bad, match="0 or 1 for every scene"):
        patch.swap(place, [0, 2])
    with pytest.raises(bad, match="places made by direction_place"):
        patch.ablate(first_axis())
    with pytest.raises(bad, match="over as one of each, pooled, concatenated"):
        patch.direction_place("vlm.image_embeds", first_axis(), over="all")
    with pytest.raises(bad, match="words as one of held, regenerated"):
        run.edited(Blind(), "kept")
    with pytest.raises(bad, match="a class for every scene"):
        run.direct(patch.swap(place, [0, 1]))
    with pytest.raises(bad, match="every scene once"):
        patch.PairedRun(Driver(), Scenes(), [1, 1])
    with pytest.raises(tierod.OutOfRange):
        patch.PairedRun(Driver(), Scenes(), [1000])
    with pytest.raises(bad, match="nearest"):
        run.direct(Blind(), "acceleration")
    with pytest.raises(bad, match="knockouts"):
        run.knocked_out(vla.Knockout("image 0"), "held")
    with pytest.raises(bad, match="at least one site"):
        run.activations([])


def test_a_run_outlives_its_model_and_scenes():
    run = patch.PairedRun(Driver(), Scenes(), range(4))
    assert run.base.rows == 4
