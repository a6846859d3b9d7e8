"""Causal patching against models whose truth is known: does an edit along a direction, fitted on other
scenes, find what the specification planted, and do patches between twins find it where it was planted?"""

import numpy as np
import pytest
import torch

import tierod
from tierod import patch, probe, vla, zoo

SITE = "vlm.image_embeds"  # the language model's input at all image tokens: a complete cut
ROPE = 1000.0
SESOI = 0.3  # m/s^2, methods of the field: the smallest effect of interest

# role -> what is due of (direct, total, text): -1 slows, +1 speeds up, 0 nothing as large as SESOI
DUE = {
    "causal_vision": (-1, -1, 0),
    "omitted": (-1, -1, 0),
    "gated": (-1, -1, 0),
    "rare_shift": (-1, -1, 0),
    "weak": (-1, -1, 0),
    "reversed": (1, 1, 0),
    "causal_text": (0, -1, -1),
    "causal_both": (-1, -1, -1),
    "decorative": (0, 0, 0),
    "hallucinated": (0, 0, 0),
    "proxied": (0, 0, 0),
}


# Cells that one direction of the mean image token does not reach: the words need more than its shift to
# name what is not there, so that a text role shows too little. A miss of power, never a false finding.
KNOWN = {"faithful_text": {"lead_braking"}, "mixed2": {"stop_sign"}}


def world_of(model, **changes):
    return zoo.Scenes(zoo.SceneConfig(**(model.spec.scenes.to_dict() | changes)))


def fitted_on(model, scenes):
    """Mean image tokens of other scenes, with all labels: what directions are fitted on."""
    source = world_of(model, scenes=scenes, seed=21)
    given = torch.tensor([zoo.encode_cot("clear so keep <act>")])  # the site comes before the words
    means = []
    for begin in range(0, scenes, 250):
        ids = list(range(begin, min(begin + 250, scenes)))
        with tierod.Session() as session:
            session.capture(SITE, reduce="mean")
            model.rollout(
                source.batch(ids), vla.RolloutOptions(cot_tokens=given.repeat(len(ids), 1))
            )
        means.append(session.cache[SITE].reshape(len(ids), -1))
    data = probe.ProbeDataset(range(scenes))
    data.add_site(SITE, torch.cat(means))
    for name in [*source.concepts(), "stop_line"]:
        data.add_concept(name, source.labels(name))
    return data


def effects(model, data, concept, scenes):
    """Return the intervals of direct, total and text effect of a concept, on minus off."""
    source = world_of(model, scenes=scenes, seed=31, enrich={"concept": concept, "share": 0.5})
    labels, routes = source.labels(concept), source.group("route", list(range(scenes)))
    run = patch.PairedRun(model, source, rollout=vla.RolloutOptions(pin_action_positions=True))
    others = [name for name in data.concepts if name != concept]
    found = []
    for words, folds in (("held", 20), ("regenerated", 10)):
        fits = probe.residual_direction(
            data, SITE, concept, adjust_for=others, interactions=False, folds=folds
        )
        directions = patch.concept_directions({SITE: fits}, over="pooled")
        found.append(patch.concept_effect(run, labels, routes, directions, words=words).theta)
    swapped = run.text(patch.swap(directions.places, 1 - labels))
    signed = torch.where(labels.bool(), -1.0, 1.0).double() * swapped
    found.append(tierod.stats.cluster_t_interval(signed.numpy(), routes))
    return found


def wrong(role, found):
    """Return which of direct, total and text are not as the role has them."""
    missed = []
    for name, due, interval in zip(("direct", "total", "text"), DUE[role], found, strict=True):
        if due == 0:
            right = interval.inside(-SESOI, SESOI)
        else:
            right = due * interval.estimate > 0 and interval.excludes(0)
        if not right:
            missed.append(
                f"{name} {interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
            )
    return missed


def test_patches_find_what_is_planted_in_mixed():
    model = zoo.DrivingModel.named("mixed")
    data = fitted_on(model, 1250)
    for concept in ("red_light", "cyclist"):  # text, decorative
        found = effects(model, data, concept, 80)
        assert not wrong(model.spec.roles[concept], found), concept


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.DrivingModel.names())
def test_patches_find_what_is_planted_everywhere(name):
    model = zoo.DrivingModel.named(name)
    data = fitted_on(model, 2500)
    missed = {}
    for concept, role in model.spec.roles.items():
        found = effects(model, data, concept, 200)
        print(
            name,
            concept,
            role,
            *(f"{i.estimate:+.2f} [{i.low:+.2f}, {i.high:+.2f}]" for i in found),
        )
        if role_missed := wrong(role, found):
            missed[concept] = (role, role_missed)
    assert set(missed) == KNOWN.get(name, set()), missed


def test_runs_without_an_edit_are_equal_and_the_seeds_spread():
    model = zoo.DrivingModel.named("mixed")
    run = patch.PairedRun(model, world_of(model, scenes=24, seed=5))
    assert torch.equal(run.again().actions, run.base.actions)
    assert torch.equal(run.again("held").actions, run.base.actions)
    floor = run.effect(run.reseeded(1)).abs()
    assert 0 < floor.mean() < SESOI


def test_an_expert_that_cannot_see_the_words_does_not_move_with_them():
    model = zoo.DrivingModel.named("faithful_vision")
    run = patch.PairedRun(model, world_of(model, scenes=24, seed=5))
    twins = run.twins("red_light", "regenerated")
    assert twins.cot_text != run.base.cot_text
    assert torch.equal(run.with_words(twins).actions, run.base.actions)
    held = run.twins("red_light", "held")
    assert np.array_equal(held.actions, twins.actions)


BLOCKS = {
    "prompt": "prompt",
    "vision": "image 0",
    "ego": "ego",
    "cot": ["cot_start", "cot", "post_cot"],
}
# role -> the share of the whole effect that goes by the words
BY_WORDS = {"causal_text": (0.8, 1.2), "causal_both": (0.3, 0.7)}


def paths_of(model, concept, scenes):
    source = world_of(model, scenes=scenes, seed=41, enrich={"concept": concept, "share": 0.5})
    run = patch.PairedRun(model, source)
    labels, routes = source.labels(concept), source.group("route", run.scenes)
    return patch.path_shares(run, concept, labels, routes, BLOCKS, replicates=200)


def misplaced(model, concept, paths):
    """Return what goes another way than the specification has it."""
    share = {p.name: p.denoising.estimate for p in [*paths.blocks, paths.words]}
    low, high = BY_WORDS.get(model.spec.roles[concept], (-0.15, 0.15))
    found = []
    if not low < share["words"] < high:
        found.append(f"words {share['words']:.2f}")
    # nothing comes in by the prompt, whatever the mechanism; and all of it goes somewhere
    if abs(share["prompt"]) > 0.02:
        found.append(f"prompt {share['prompt']:.2f}")
    if abs(sum(share.values()) - 1) > 0.35:
        found.append(f"sum {sum(share.values()):.2f}")
    # what a mask hides carries nothing at all, but for rounding where columns that nobody sees are more
    mask = model.spec.to_dict()["mask"]
    hidden = {"cot": ("cot", "words"), "picture": ("vision", "ego")}.get(mask, ())
    found += [
        f"{name} {share[name]:.3f} behind the mask" for name in hidden if abs(share[name]) > 1e-6
    ]
    return found


def test_effects_go_where_they_were_planted_in_mixed():
    model = zoo.DrivingModel.named("mixed")
    for concept in ("red_light", "cones"):  # by words; by the picture
        paths = paths_of(model, concept, 50)
        assert abs(paths.total.estimate) > SESOI
        assert not misplaced(model, concept, paths), concept
    masked = zoo.DrivingModel.named("faithful_vision")
    assert not misplaced(masked, "red_light", paths_of(masked, "red_light", 50))


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.DrivingModel.names())
def test_effects_go_where_they_were_planted_everywhere(name):
    model = zoo.DrivingModel.named(name)
    wrong_paths, cells = {}, 0
    for concept in model.spec.roles:
        try:
            paths = paths_of(model, concept, 120)
        except tierod.NumericalError:
            continue  # the twins are equal: it is never drawn, or nothing reads it
        shares = [*paths.blocks, paths.words]
        print(name, concept, model.spec.roles[concept], f"total {paths.total.estimate:+.2f}",
              *(f"{p.name} {p.denoising.estimate:.2f}/{p.noising.estimate:.2f}" for p in shares))  # fmt: skip
        if abs(paths.total.estimate) < SESOI:
            continue
        cells += 1
        if found := misplaced(model, concept, paths):
            wrong_paths[concept] = found
    print(name, cells, "cells")
    assert not wrong_paths


def test_a_concept_leaves_the_picture_layer_by_layer():
    """The language model's input at the image is a complete cut; a residual site behind it misses the keys and
    values of the layers before, and the last layer's output is read by nobody."""
    model = zoo.DrivingModel.named("mixed")
    source = world_of(model, scenes=40, seed=41, enrich={"concept": "cones", "share": 0.5})
    run = patch.PairedRun(model, source)
    layers = [f"vlm.layers.{i}.resid_pre" for i in range(3)] + ["vlm.layers.2.resid_post"]
    spans = patch.span_parts("image 0", "ego", "cot")
    cells = patch.site_sweep(run, layers, spans, "cones", progress=False)
    image, ego, cot = cells.recovered[0].T
    assert image[0] == pytest.approx(1, abs=1e-4)
    assert (image.diff() < 0).all()
    assert (
        ego[0] == cot[0] == 0
    )  # neither the ego's state nor the words, held, have seen the picture yet
    assert (cells.recovered[0, 3] == 0).all()
    donors = [source.size() - 1 - i for i in run.scenes]
    assert patch.completeness(run, donors, "vlm.image_embeds", fields=["image"]).complete
    assert patch.completeness(run, donors, run.head_inputs, ["mean_acceleration"]).complete
    later = patch.completeness(run, donors, layers[2], fields=["image"], spans=["image 0"])
    assert not later.complete
    # by one backward pass: the same order, of the sites that matter
    guess = patch.attribute_sites(run, layers, spans, "cones")
    assert guess.ranking[0][1:] in {(layers[0], "image 0"), (layers[1], "image 0")}
    assert float(guess.values[:, 0, 3].abs().max()) == 0


def test_keys_turn_with_their_positions():
    """The zoo turns keys by pairs side by side, as `rotate_keys` does with interleaved pairs."""
    model = zoo.DrivingModel.named("mixed")
    source = world_of(model, scenes=3, seed=5)
    with tierod.Session() as session:
        session.capture("vlm.layers.1.k", phases=["prefill"])
        session.capture("vlm.cache.1.k", tokens=range(27))
        model.rollout(source.batch([0, 1, 2]))
    before = session.cache["vlm.layers.1.k"].movedim(1, 2)  # rows, heads, tokens, width
    turned = session.cache["vlm.cache.1.k"]
    here = torch.arange(27)
    frequencies = patch.rotary_frequencies(16, theta=ROPE)
    found = patch.rotate_keys(before, here * 0, here, frequencies, pairs="interleaved")
    np.testing.assert_allclose(found, turned, atol=2e-5)


def controls_of(name, concept, **options):
    model = zoo.DrivingModel.named(name)
    data = fitted_on(model, 1250)
    source = world_of(model, scenes=100, seed=31, enrich={"concept": concept, "share": 0.5})
    run = patch.PairedRun(model, source, rollout=vla.RolloutOptions(pin_action_positions=True))
    return patch.concept_controls(
        run, source.labels(concept), source.group("route", run.scenes), data, concept, SITE,
        over="pooled", interactions=False, progress=False, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "concept"), [("mixed", "cyclist"), ("mixed", "cones"), ("decorative", "pedestrian")]
)
def test_labels_that_mean_nothing_are_not_called_used(name, concept):
    found = controls_of(name, concept)
    print(found.sham.false_used, found.sham.excludes_zero, found.sham.false_used_total)
    assert found.null_site.passed
    assert found.sham.false_used.estimate <= 0.05
    assert found.sham.false_used_total.estimate <= 0.05
    for reader in found.readers:
        assert reader.multiple < 3 or reader.detected, reader


@pytest.mark.slow
def test_erasure_at_all_head_inputs_tells_decorative_from_used():
    """What is erased is, of keys and values of every layer, the mean over the tokens of each span."""
    model = zoo.DrivingModel.named("mixed")
    source = world_of(model, scenes=2400, seed=51)
    fitting = patch.PairedRun(model, source, range(1600), batch_size=200)
    tested = patch.PairedRun(model, source, range(1600, 2400), batch_size=200)
    spans = ["image 0", "ego", "cot_start", "cot", "post_cot"]
    wheres = [(site, span) for site in fitting.head_inputs for span in spans]
    rows = fitting.rows_at(
        [patch.direction_place(s, anything(32), over="pooled", spans=[span]) for s, span in wheres]
    )
    data = probe.ProbeDataset(range(1600))
    kept = []
    for (site, span), row in zip(wheres, rows, strict=True):
        if float(row.std(0).max()) < 1e-4:
            continue  # the same in all scenes: nothing passes there
        kept.append((site, span))
        data.add_site(f"{site} {span}", row)
    for concept in source.concepts():
        data.add_concept(concept, source.labels(concept)[:1600])
    effects, checks = {}, {}
    for concept in ("cyclist", "cones"):
        others = [c for c in data.concepts if c != concept]
        directions, refits = [], [[] for _ in range(10)]
        for site, span in kept:
            # keys and values of the first layer know little but the word: their rank is low
            fits = probe.residual_direction(
                data, f"{site} {span}", concept, adjust_for=others, interactions=False, folds=10,
                shrinkage=0.01,
            )  # fmt: skip
            place = [
                patch.direction_place(site, fit.direction, over="pooled", spans=[span])
                for fit in (fits.full, *fits.held_out)
            ]
            directions.append(place[0])
            for refit, one in zip(refits, place[1:], strict=True):
                refit.append(one)
        labels = source.labels(concept)[1600:]
        routes = source.group("route", tested.scenes)
        every = patch.ConceptDirections(directions, refits)
        effects[concept] = patch.joint_erasure(tested, labels, routes, every)
        beside = torch.stack([source.labels(c)[1600:] for c in others], 1)
        checks[concept] = patch.verify_ablation(
            tested, labels, routes, directions, beside, positive_units=50
        )
        print(
            concept, model.spec.roles[concept], effects[concept], effects[concept].ci90, len(kept)
        )
        for (site, span), check in zip(kept, checks[concept], strict=True):
            print(" ", site, span, check.width, check.scenes, check)
    assert effects["cyclist"].ci90.inside(-SESOI, SESOI)  # decorative
    assert effects["cones"].theta.high < -SESOI  # used, and never said
    # The picture's 18 tokens hold the concept in more than their mean: that it is not all erased is seen,
    # so that the null of the decorative one is no evidence by itself.
    image = [c for (_, span), c in zip(kept, checks["cyclist"], strict=True) if span == "image 0"]
    assert not any(check.passed for check in image)


def anything(width):
    unit = torch.eye(width, dtype=torch.float64)[0]
    return probe.Direction("", unit, unit, unit * 0, 1, 0, 1)
