"""Patches held against closed forms: a linear and an attention-only model."""

import hand_worked as hand
import numpy as np
import pytest
import torch

import tierod
from tierod import patch, probe, vla, zoo

BLOCKS = {"vision": "image 0", "ego": "ego", "cot": "cot"}
CACHE = "vlm.cache.0.{k,v}"
TOTAL = hand.BY_IMAGE + hand.BY_COT * (hand.READ + hand.WORD)
DIRECT = hand.BY_IMAGE + hand.BY_COT * hand.READ


@pytest.fixture
def linear():
    model, scenes = hand.Driver(), hand.Scenes()
    return patch.PairedRun(model, scenes, range(40), batch_size=16), model, scenes


def z_of(run):
    return torch.tensor(run.scenes) % 2


def test_paths_of_the_linear_model_share_its_effect(linear):
    run, _, _ = linear
    z = z_of(run)
    found = patch.path_shares(run, "pedestrian", z, range(40), BLOCKS, replicates=100)
    assert found.total.estimate == pytest.approx(TOTAL, abs=1e-12)
    assert found.direct.estimate == pytest.approx(DIRECT, abs=1e-12)
    assert found.text.estimate == pytest.approx(hand.BY_COT * hand.WORD, abs=1e-12)
    due = {
        "vision": hand.BY_IMAGE / TOTAL,
        "ego": 0,
        "cot": hand.BY_COT * hand.READ / TOTAL,
        "words": hand.BY_COT * hand.WORD / TOTAL,
    }
    shares = {p.name: p for p in [*found.blocks, found.words]}
    for name, share in due.items():
        assert shares[name].denoising.estimate == pytest.approx(share, abs=1e-12), name
        assert shares[name].noising.estimate == pytest.approx(share, abs=1e-12), name
    assert sum(due.values()) == pytest.approx(1)


def test_denoising_and_noising_of_the_linear_model(linear):
    run, _, _ = linear
    z = z_of(run)

    def share(sites, **selection):
        found = patch.twin_restoration(
            run, "pedestrian", z, range(40), sites, replicates=100, **selection
        )
        assert found.twin_effect == pytest.approx(DIRECT, abs=1e-12)
        assert found.denoising.estimate == pytest.approx(found.noising.estimate, abs=1e-12)
        return found.denoising.estimate

    assert share("vlm.image_embeds") == pytest.approx(1)
    assert share("vlm.cache.0.v") == pytest.approx(1)
    assert share("vlm.cache.0.k") == 0  # nothing reads the keys
    assert share("vlm.cache.0.v", spans=["cot"]) == pytest.approx(hand.BY_COT * hand.READ / DIRECT)
    assert share("vlm.cache.0.v", heads=[1]) == 0
    assert share("expert.layers.0.attn_out", steps=[1]) == pytest.approx(0.5)


def test_denoising_and_noising_of_the_attention_only_model_differ():
    """Keys and values multiply: each alone gives another share, and a redundant or cooperative pair shows in
    the difference of the two."""
    scenes = hand.Scenes()
    run = patch.PairedRun(hand.Driver(attention_only=True), scenes, range(40), batch_size=16)
    z, ego = z_of(run), scenes.ego[:40]
    word = hand.WORD * z.double()  # held

    def m(key, value):
        # READ z is in the cot's value, whose twin is patched only where the cot is
        return lambda cot: torch.tensor(
            [
                hand.attention(k, v, float(e), float(c))
                for k, v, e, c in zip(key, value, ego, cot, strict=True)
            ],
            dtype=torch.float64,
        )

    on, off = torch.ones(40).tolist(), torch.zeros(40).tolist()
    cot_on, cot_off = word + hand.READ, word
    m_on, m_off = m(on, on)(cot_on), m(off, off)(cot_off)
    whole = (m_on - m_off).sum()
    cases = {
        "k": (m(on, off)(cot_off) - m_off, m_on - m(off, on)(cot_on)),
        "v": (m(off, on)(cot_on) - m_off, m_on - m(on, off)(cot_off)),
    }
    for name, (enough, lost) in cases.items():
        found = patch.twin_restoration(
            run, "pedestrian", z, range(40), f"vlm.cache.0.{name}", replicates=100
        )
        assert found.denoising.estimate == pytest.approx(float(enough.sum() / whole), abs=1e-12)
        assert found.noising.estimate == pytest.approx(float(lost.sum() / whole), abs=1e-12)
        assert abs(found.denoising.estimate - found.noising.estimate) > 0.05
    both = patch.twin_restoration(run, "pedestrian", z, range(40), CACHE, replicates=100)
    assert both.denoising.estimate == pytest.approx(1)


def test_attribution_is_exact_where_the_model_is_linear(linear):
    run, _, _ = linear
    sites = ["vlm.image_embeds", "vlm.cache.0.v", "vlm.cache.0.k"]
    parts = {"all": {}, "head 0": {"heads": [0]}}
    donors = {
        "twin": patch.donor_of(twin_by="pedestrian"),
        "next": patch.donor_of(scenes=range(1, 41)),
    }
    cells = patch.site_sweep(run, sites, {"all": {}}, donors, progress=False)
    guess = patch.attribute_sites(run, sites, {"all": {}}, donors)
    np.testing.assert_allclose(guess.values, cells.effect, atol=1e-12)
    # the sign is that of the patch: a pedestrian put in brakes
    absent = z_of(run) == 0
    assert (guess.values[absent, 0, 0, 0] < 0).all()
    assert guess.ranking[0][1] in ("vlm.image_embeds", "vlm.cache.0.v")
    heads = patch.attribute_sites(run, ["vlm.cache.0.v"], parts, donors)
    both = patch.site_sweep(run, ["vlm.cache.0.v"], parts, donors, progress=False)
    np.testing.assert_allclose(heads.values, both.effect, atol=1e-12)  # overlapping parts


def test_attribution_of_attention_is_its_derivative():
    scenes = hand.Scenes()
    run = patch.PairedRun(hand.Driver(attention_only=True), scenes, range(40))
    guess = patch.attribute_sites(run, ["vlm.cache.0.k"], None, "pedestrian").values[:, 0, 0, 0]
    z, ego = z_of(run).double(), scenes.ego[:40]
    cot = hand.WORD * z + hand.READ * z
    weight = torch.exp(hand.SHARP * z)
    # d/ds of softmax(s) v at the base, times the change SHARP (1 - 2 z) of the score
    slope = weight * (2 * z - ego - cot) / (weight + 2) ** 2
    np.testing.assert_allclose(guess, slope * hand.SHARP * (1 - 2 * z), atol=1e-12)
    truth = patch.site_sweep(run, ["vlm.cache.0.k"], None, "pedestrian", progress=False).effect
    assert float((guess - truth[:, 0, 0, 0]).abs().max()) > 0.02  # it ranks, and no more


def test_an_edit_behind_the_words_thinks_no_more(linear):
    run, model, _ = linear
    assert run.base.rows == 40
    before = model.thoughts
    parts = patch.span_parts("image 0", "ego", "cot")
    cells = patch.site_sweep(
        run, ["vlm.cache.0.k", "vlm.cache.0.v"], parts, "pedestrian", recheck=0, progress=False
    )
    # the donors' own runs, one a batch
    assert model.thoughts - before == 3
    assert (cells.rollouts, cells.acts) == (3, 3 * 2 * 3)
    np.testing.assert_allclose(cells.recovered[0, 1], [hand.BY_IMAGE / DIRECT, 0, 1 - hand.BY_IMAGE / DIRECT],
                               atol=1e-12)  # fmt: skip
    steps = patch.site_sweep(
        run, "expert.layers.0.attn_out", patch.step_parts(2), "pedestrian", progress=False
    )
    np.testing.assert_allclose(steps.recovered[0, 0], [0.5, 0.5], atol=1e-12)
    assert steps.core.rechecked == 2
    assert steps.core.recheck_difference == 0
    heads = patch.site_sweep(
        run, "vlm.cache.0.v", patch.head_parts(2), "pedestrian", progress=False
    )
    np.testing.assert_allclose(heads.recovered[0, 0], [1, 0], atol=1e-12)
    # without room for thoughts every cell is a whole run, and says the same
    poor = patch.PairedRun(hand.Driver(), hand.Scenes(), range(40), batch_size=16, thought_memory=0)
    again = patch.site_sweep(
        poor, ["vlm.cache.0.k", "vlm.cache.0.v"], parts, "pedestrian", progress=False
    )
    assert again.acts == 0
    assert torch.equal(again.values, cells.values)


def test_a_site_sweep_keeps_what_is_done(linear, tmp_path):
    run, _, _ = linear
    sites, parts = ["vlm.cache.0.k", "vlm.cache.0.v"], patch.span_parts("image 0", "ego", "cot")
    whole = patch.site_sweep(run, sites, parts, "pedestrian", progress=False)
    file = tmp_path / "cells.json"
    stop = lambda done, _all, _what: done < 8  # noqa: E731
    some = patch.site_sweep(run, sites, parts, "pedestrian", file=file, progress=stop)
    assert not some.complete
    assert int(some.values.isfinite().sum()) == 16 * 6 + 16 * 2
    rest = patch.site_sweep(run, sites, parts, "pedestrian", file=file, progress=False)
    assert rest.complete
    assert rest.core.resumed == 16 * 8
    assert torch.equal(rest.values, whole.values)
    with pytest.raises(
        tierod.InvalidArgument, match="another model, input, source, metric or grid"
    ):
        patch.site_sweep(run, sites[:1], parts, "pedestrian", file=file, progress=False)


class Half(patch.Edit):
    """An own intervention: halve what is there."""

    def __init__(self, site, part):
        super().__init__()
        self.site, self.part = site, part

    def put_on(self, session, rows):
        session.intervene(self.site, lambda h, _event: h / 2, spans=[self.part])


def test_own_interventions_take_part_in_site_sweeps(linear):
    run, _, scenes = linear
    parts = patch.span_parts("image 0", "ego", "cot")
    cells = patch.site_sweep(
        run, "vlm.cache.0.v", parts, lambda site, part, _selection: Half(site, part), progress=False
    )
    z, ego, noise = z_of(run).double(), scenes.ego[:40], scenes.noise[:40]
    due = torch.stack(
        [
            -(hand.BY_IMAGE * z + hand.BY_NOISE * noise) / 2,
            -hand.BY_EGO * ego / 2,
            -hand.BY_COT * (hand.WORD + hand.READ) * z / 2,
        ],
        -1,
    )
    np.testing.assert_allclose(cells.effect[:, 0, 0], due, atol=1e-12)
    assert cells.source.isnan().all()


def first(direction_width=2, site="vlm.image_embeds"):
    unit = torch.eye(direction_width, dtype=torch.float64)[0]
    return probe.Direction(site, unit, unit, unit / 2, 0.5, -0.5, 0.5)


def test_interchange_foretells_the_counterfactual(linear):
    run, _, _ = linear
    z = z_of(run)
    sources = torch.roll(torch.arange(40), 13)
    place = patch.direction_place("vlm.image_embeds", first())
    found = patch.interchange(run, "pedestrian", z, range(40), sources, place, replicates=100)
    assert found.r2.estimate == pytest.approx(1)
    assert found.r2_of_change.estimate == pytest.approx(1)
    noise = torch.eye(2, dtype=torch.float64)[1]
    wrong = probe.Direction("vlm.image_embeds", noise, noise, noise * 0, 1, -0.5, 0.5)
    place = patch.direction_place("vlm.image_embeds", wrong)
    found = patch.interchange(run, "pedestrian", z, range(40), sources, place, replicates=100)
    differs = z != z[sources]
    off = hand.BY_NOISE * (run.positions(place)[0][sources] - run.positions(place)[0])
    missed = (off - differs.double() * DIRECT * (1 - 2 * z.double())).square().sum()
    due = 1 - float(missed) / (DIRECT**2 * int(differs.sum()))
    assert found.r2_of_change.estimate == pytest.approx(due, abs=1e-9)
    assert due < 0.1


def test_a_site_is_complete_or_what_goes_past_it_is_said(linear):
    run, _, _ = linear
    donors = [(i + 7) % 40 for i in range(40)]
    here = patch.completeness(run, donors, "vlm.image_embeds", fields=["z", "noise"])
    assert here.complete
    assert here.ratio < 1e-12
    both = patch.completeness(run, donors, "vlm.cache.0.v")
    assert both.complete
    half = patch.completeness(run, donors, "vlm.cache.0.v", spans=["image 0"])
    assert not half.complete
    assert "goes past" in half.note
    lacking = patch.completeness(run, donors, "vlm.image_embeds")  # the ego's state is not in it
    assert not lacking.complete


def test_words_positions_are_held_against_others(linear):
    run, _, scenes = linear
    other = patch.donor_of(scenes=[(i + 1) % 40 for i in range(40)])
    words = run.base
    alone = patch.donor_of(words=run.twins("pedestrian", "regenerated"))
    with pytest.raises(tierod.InvalidArgument, match="cannot know other words"):
        patch.position_effects(run, alone, range(40), "vlm.cache.0.v", "cot", ["image 0", "ego"])
    assert words.cot_lengths.eq(1).all()
    found = patch.position_effects(
        run, other, range(40), "vlm.cache.0.v", "cot", ["image 0", "ego"], draws=3
    )
    z = z_of(run).double()
    by_cot = hand.BY_COT * hand.READ * (1 - 2 * z)
    np.testing.assert_allclose(found.patched, by_cot, atol=1e-12)
    step_noise = torch.roll(scenes.noise[:40], -1) - scenes.noise[:40]
    by_image = hand.BY_IMAGE * (1 - 2 * z) + hand.BY_NOISE * step_noise
    by_ego = hand.BY_EGO * (torch.roll(scenes.ego[:40], -1) - scenes.ego[:40])
    for draw in found.control:  # each row's window is one or the other
        is_image, is_ego = (draw - by_image).abs() < 1e-12, (draw - by_ego).abs() < 1e-12
        assert (is_image | is_ego).all()
        assert 5 < int(is_image.sum()) < 35
    assert found.difference.estimate == pytest.approx(
        float(by_cot.abs().mean() - found.control.abs().mean())
    )
    with pytest.raises(tierod.InvalidArgument, match="one behind the other"):
        patch.position_effects(run, other, range(40), "vlm.cache.0.v", "cot", ["prompt"])


def test_joint_erasure_finds_what_one_site_misses(linear):
    run, _, scenes = linear
    z = z_of(run)

    def at(span, position):
        # [z, noise] of the image and [cot, 0] of the word, heads side by side
        unit = torch.eye(2, dtype=torch.float64)[0]
        mean = unit * position
        direction = probe.Direction(CACHE, unit, unit, mean, 0.5, -0.5, 0.5)
        return patch.direction_place("vlm.cache.0.v", direction, spans=[span])

    image, cot = at("image 0", 0.5), at("cot", (hand.WORD + hand.READ) / 2)
    for places, due in (
        ([image], hand.BY_IMAGE),
        ([cot], hand.BY_COT * (hand.WORD + hand.READ)),
        ([image, cot], TOTAL),
    ):
        directions = patch.ConceptDirections(places, [places, places, places])
        found = patch.joint_erasure(run, z, range(40), directions)
        assert found.theta.estimate == pytest.approx(due, abs=1e-12)
        assert found.refit_variance == pytest.approx(0, abs=1e-12)
    checks = patch.verify_ablation(
        patch.PairedRun(hand.Driver(), scenes, range(40, 60)), scenes.labels("pedestrian")[40:],
        range(20), [image, cot], positive_units=5,
    )  # fmt: skip
    assert [c.width for c in checks] == [2, 2]
    # what is left of a binary feature that is all of its direction is nothing; noise is left
    assert checks[1].check.after.estimate <= 0.6
    shifted = probe.Direction(CACHE, torch.tensor([1.0, 0]), torch.tensor([1.0, 1]), torch.zeros(2),
                              0.5, -0.5, 0.5)  # fmt: skip
    wrong = patch.direction_place("vlm.cache.0.v", shifted, spans=["image 0"])
    checks = patch.verify_ablation(
        patch.PairedRun(hand.Driver(), scenes, range(60)), scenes.labels("pedestrian"), range(60),
        [wrong], positive_units=5,
    )  # fmt: skip
    # it only moves the concept into the other coordinate
    assert checks[0].check.after.estimate > 0.65
    assert not checks[0].passed


def test_control_answers_to_doses_in_their_order(linear):
    run, _, _ = linear
    place = patch.direction_place("vlm.image_embeds", first())
    found = patch.dose_response(run, place)
    # .5 sd a unit; the word is held
    np.testing.assert_allclose(
        found.effects, (torch.tensor(found.doses) * 0.5 * DIRECT).expand(40, 6), atol=1e-12
    )
    assert found.falling.p < 1e-6
    assert found.rising.p > 0.99
    assert found.on_manifold == found.doses
    natural = patch.PairedRun(hand.Driver(), hand.Scenes(600), range(40, 600)).rows_at(place)[0]
    manifold = patch.Manifold.fit(natural, range(560))
    guard = [patch.guard_place("vlm.image_embeds", manifold)]
    mean = patch.dose_response(run, place, groups=[i // 4 for i in range(40)])
    assert mean.falling.p > found.falling.p  # ten units in place of forty
    wild = patch.dose_response(run, place, doses=[-80, -1, -0.5, 0.5, 1, 80])
    assert wild.on_manifold == [-1, -0.5, 0.5, 1]  # no car could drive the others
    far = patch.dose_response(run, place, doses=[-40, -20, -0.01, 0.01, 20, 40], guard=guard)
    assert far.on_manifold == [-0.01, 0.01]
    assert "no trend" in far.note
    report = patch.guard_edit(run, patch.add(place, 40), "held", guard)
    assert report.off_share == 1
    assert report.implausible_share == 1  # 15 m/s^2
    with pytest.raises(tierod.InvalidArgument, match="3 different doses"):
        patch.dose_response(run, place, doses=[1, 1, 2])


def test_edits_at_words_of_different_lengths():
    """The zoo's words: each token of each row, and their mean, where rows have different numbers of them."""
    model = zoo.DrivingModel.named("mixed")
    scenes = zoo.Scenes(zoo.SceneConfig(**model.spec.scenes.to_dict() | {"scenes": 12, "seed": 3}))
    run = patch.PairedRun(model, scenes, batch_size=5)
    assert len(set(run.base.cot_lengths.tolist())) > 2
    direction = first(32, "vlm.cache.0.v")
    for over in ("each", "pooled"):
        place = patch.direction_place("vlm.cache.0.v", direction, over=over, spans=["cot"])
        moved = run.rows_at(place, edit=patch.ablate(place))[0]
        assert abs(direction.position(moved)).max() < 1e-4
        np.testing.assert_allclose(moved[:, 1:], run.rows_at(place)[0][:, 1:], atol=1e-6)
        assert run.direct(patch.ablate(place)).abs().max() > 0
    place = patch.direction_place("vlm.cache.0.v", direction, over="concatenated", spans=["cot"])
    with pytest.raises(tierod.InvalidArgument, match="different numbers of tokens"):
        run.direct(patch.ablate(place))


def test_behind_a_cut_of_everything_from_the_words_on_no_text_matters():
    model = zoo.DrivingModel.named("mixed")
    scenes = zoo.Scenes(zoo.SceneConfig(**model.spec.scenes.to_dict() | {"scenes": 12, "seed": 3}))
    for cut, null in ((patch.cot_cut(), True), (patch.cot_cut(to_the_end=False), False)):
        # one length for all: columns that nobody sees change how sums are rounded
        options = vla.RolloutOptions(knockouts=cut, cot_length=24, pin_action_positions=True)
        run = patch.PairedRun(model, scenes, rollout=options)
        other = run.with_words(run.twins("red_light", "regenerated"))
        assert other.cot_text != run.base.cot_text
        assert torch.equal(other.actions, run.base.actions) == null


def test_seeds_and_words_have_their_floors(linear):
    run, _, _ = linear
    floor = run.noise_floor(seeds=[5])
    assert len(run.noise_floor().other_seeds) == 3
    with pytest.raises(tierod.InvalidArgument, match="another seed than the run's own"):
        run.noise_floor(seeds=[0])
    assert floor.same_seed == 0
    assert floor.deterministic
    assert floor.other_seeds == [0]  # nothing is drawn here
    assert not run.resampled_words(attempts=2).changed.any()
    back = run.transplanted("vlm.image_embeds", "held", into_twins_by="pedestrian")
    np.testing.assert_allclose(run.effect(back), 0, atol=1e-12)  # all of the twin's change undone
    zeroed = run.effect(run.edited(patch.zero("vlm.cache.0.v", heads=[0]), "held"))
    assert torch.isfinite(zeroed).all()
    assert zeroed.abs().max() > 0


def test_whoever_looks_sees_whole_runs(linear):
    """A session of the caller's would miss what an act leaves out."""
    run, model, _ = linear
    edit = patch.zero("vlm.cache.0.v", heads=[1])
    assert run.base.rows == 40
    seen = []
    before = model.thoughts
    with tierod.Session() as session:
        session.intervene("vlm.image_embeds", lambda h, _event: seen.append(len(h)))
        watched = run.edited(edit, "held")
    assert sum(seen) == 40
    assert model.thoughts == before + 3
    assert torch.equal(watched.actions, run.edited(edit, "held").actions)
    assert model.thoughts == before + 3
    # and the thoughts of a base that was watched are not kept
    other = patch.PairedRun(model, hand.Scenes(), range(8))
    with tierod.Session() as session:
        session.intervene("vlm.image_embeds", tierod.Intervention.zero())
        assert other.base.rows == 8
    before = model.thoughts
    other.edited(edit, "held")
    assert model.thoughts == before + 1


def test_given_words_are_those_of_the_base_alone():
    words = torch.ones(20, 1, dtype=torch.int64)
    options = vla.RolloutOptions(cot_tokens=words)
    run = patch.PairedRun(hand.Driver(), hand.Scenes(), range(20), rollout=options, batch_size=8)
    z = z_of(run).double()
    assert run.base.cot_tokens.eq(1).all()
    assert torch.equal(run.again().actions, run.base.actions)
    place = patch.direction_place("vlm.image_embeds", first())
    total = run.total(patch.swap(place, 1 - z))
    own = (1 - z) - 1  # what it says then, less what it was given
    np.testing.assert_allclose(
        total, (1 - 2 * z) * DIRECT + hand.BY_COT * hand.WORD * own, atol=1e-12
    )
    with pytest.raises(tierod.InvalidArgument, match="words the model writes"):
        run.resampled_words()


class Kept(patch.Edit):
    def put_on(self, session, rows):
        self.session = session
        session.intervene("vlm.cache.0.v", tierod.Intervention.zero())


class Looking(patch.Edit):
    def put_on(self, session, rows):
        session.capture("vlm.cache.0.v")


class Idle(patch.Edit):
    def put_on(self, session, rows):
        pass


def test_edits_are_held_to_what_they_may_do(linear, tmp_path):
    run, _, _ = linear
    kept = Kept()
    assert run.direct(kept).abs().max() > 0
    with pytest.raises(tierod.StateError, match="within put_on alone"):
        kept.session.intervene("vlm.cache.0.v", tierod.Intervention.zero())
    with pytest.raises(tierod.StateError, match="which nobody could read"):
        run.direct(Looking())
    with pytest.raises(tierod.InvalidArgument, match="'Idle', whose put_on sets up nothing"):
        run.direct(Idle())
    parts = patch.span_parts("image 0", "cot")
    with pytest.raises(tierod.InvalidArgument, match="expected a function"):
        patch.site_sweep(run, "vlm.cache.0.v", parts, kept, progress=False)
    dim = lambda site, part, _selection: Half(site, part)  # noqa: E731
    file = tmp_path / "cells.json"
    with pytest.raises(tierod.InvalidArgument, match="a name of the own edit"):
        patch.site_sweep(run, "vlm.cache.0.v", parts, dim, file=file, progress=False)
    patch.site_sweep(run, "vlm.cache.0.v", parts, dim, file=file, edit_name="half", progress=False)
    with pytest.raises(tierod.InvalidArgument, match="another model"):
        patch.site_sweep(
            run, "vlm.cache.0.v", parts, dim, file=file, edit_name="third", progress=False
        )

    def breaks(site, part, selection):
        if part == "cot":
            raise ZeroDivisionError("mine")
        return Half(site, part)

    broken = tmp_path / "broken.json"
    options = {"file": broken, "edit_name": "half", "progress": False, "recheck": 0}
    with pytest.raises(ZeroDivisionError):
        patch.site_sweep(run, "vlm.cache.0.v", parts, breaks, **options)
    assert patch.site_sweep(run, "vlm.cache.0.v", parts, dim, **options).core.resumed == 16
    with pytest.raises(tierod.OutOfRange):
        run.transplanted("vlm.cache.0.v", "held", scenes=[-1] * 40)
    one_head = run.transplanted(
        "vlm.cache.0.v", "held", twin_by="pedestrian", spans=["image 0"], heads=[0]
    )
    z = z_of(run).double()
    np.testing.assert_allclose(run.effect(one_head), hand.BY_IMAGE * (1 - 2 * z), atol=1e-12)


def test_a_pair_keeps_its_road_users():
    """Somebody who is no longer there to collide with is no effect of control."""
    model = zoo.DrivingModel.named("mixed")
    config = model.spec.scenes.to_dict() | {"scenes": 80, "seed": 41}
    config["enrich"] = {"concept": "pedestrian", "share": 0.5}
    scenes = zoo.Scenes(zoo.SceneConfig(**config))
    run = patch.PairedRun(model, scenes)
    found = patch.twin_restoration(
        run, "pedestrian", scenes.labels("pedestrian"), run.scenes, run.head_inputs,
        "least_time_to_collision", replicates=100,
    )  # fmt: skip
    here = run.values(run.twins("pedestrian", "held"), "least_time_to_collision")
    there = run.values(run.base, "least_time_to_collision")
    on_minus_off = (here - there) * (1 - 2 * scenes.labels("pedestrian").double())
    assert found.twin_effect == pytest.approx(float(on_minus_off.mean()))
    assert found.denoising.estimate == pytest.approx(1, abs=1e-3)
