"""Causal patching against models whose truth is known: does an edit along a direction, fitted on other
scenes, find what the specification planted?"""

import numpy as np
import pytest
import torch

import tierod
from tierod import patch, probe, vla, zoo

SITE = "vlm.image_embeds"  # the language model's input at all image tokens: a complete cut
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
