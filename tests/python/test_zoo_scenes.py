"""Scenes, specifications and the law of the zoo, from Python."""

import json

import matplotlib.image
import numpy as np
import pytest
import torch

import tierod
from tierod import vla, zoo


@pytest.fixture(scope="module")
def scenes():
    return zoo.Scenes(zoo.SceneConfig(scenes=400, seed=5))


def test_scenes_are_a_source(scenes):
    assert isinstance(scenes, vla.SceneSource)
    assert len(scenes) == 400
    batch = scenes.batch([3, 1])
    assert batch["image"].shape == (2, 3, 48, 96)
    assert batch["image"].dtype == torch.uint8
    assert batch["ego"].shape == (2, 4, 2)
    assert torch.equal(batch["image"][0], scenes.image(3))
    assert scenes.framings() == zoo.framing_names()
    assert scenes.concepts() == zoo.zoo_concepts()
    assert len(set(scenes.group("route", range(40)))) == 40


def test_threads_change_nothing(scenes):
    other = zoo.Scenes(scenes.config)
    other.set_threads(0)
    ids = list(range(150))
    assert torch.equal(scenes.batch(ids)["image"], other.batch(ids)["image"])


def test_twins_are_exact(scenes):
    ids = list(range(50))
    base, twin = scenes.batch(ids), scenes.twin(ids, "pedestrian")
    changed = (base["image"] != twin["image"]).any(1).flatten(1).sum(1)
    assert (changed < 400).all()
    assert (changed > 0).float().mean() > 0.95
    assert torch.equal(base["ego"], twin["ego"])
    back = scenes.labels("pedestrian")[:50]
    assert 0 < back.sum() < 50


def test_the_law_of_a_twin_is_the_effect_in_the_specification():
    spec = zoo.Spec.named("faithful_vision")
    scenes = zoo.Scenes(zoo.SceneConfig(scenes=3000))
    ids = list(range(3000))
    sign = 1 - 2.0 * scenes.labels("pedestrian")
    change = zoo.law_actions(spec, scenes, ids, twin_by="pedestrian") - zoo.law_actions(
        spec, scenes, ids
    )
    effect = sign * change[:, :8, 0].mean(1)
    # 1.15 of it near and .85 far, half of each; few scenes meet the limits of the law
    assert effect.mean().item() == pytest.approx(-2.0, abs=0.12)
    decorative = zoo.Spec.named("decorative")
    assert torch.equal(
        zoo.law_actions(decorative, scenes, ids[:99], twin_by="cut_in"),
        zoo.law_actions(decorative, scenes, ids[:99]),
    )


def test_a_law_of_words_reads_words_alone(scenes):
    spec, ids = zoo.Spec.named("faithful_text"), list(range(60))
    cot = zoo.truthful_cot(spec, scenes, ids)
    twin = zoo.law_actions(spec, scenes, ids, "red_light", cot)
    assert torch.equal(twin, zoo.law_actions(spec, scenes, ids, "", cot))
    other = zoo.truthful_cot(spec, scenes, ids, "red_light")
    said = zoo.law_actions(spec, scenes, ids, "", other)
    assert torch.equal(said, zoo.law_actions(spec, scenes, ids, "red_light"))
    assert not torch.equal(said, twin)


def test_stories_are_read_by_both_parsers(scenes):
    cot = zoo.truthful_cot(zoo.Spec.named("mixed"), scenes, range(400))
    texts = [zoo.decode_cot(row.tolist()) for row in cot]
    words = zoo.cot_vocabulary()
    first = vla.GrammarParser(words).parse(texts)
    second = vla.LexiconParser(words).parse(texts)
    agreement = vla.parser_agreement(first, second, words)
    assert agreement.understood_by_both == 400
    assert agreement.concept_share() == agreement.decision_share() == 1
    red = scenes.labels("red_light").bool().tolist()
    assert [parsed.states("red_light") for parsed in first] == red
    assert not any(parsed.states("cones") for parsed in first)  # omitted
    assert zoo.encode_cot(texts[0])[0] in range(len(zoo.language_tokens()))


def test_specifications_go_through_json():
    for name in zoo.Spec.names():
        spec = zoo.Spec.named(name)
        assert zoo.Spec.from_json(spec.to_json()) == spec
        assert zoo.Spec(spec.to_dict()) == spec
    assert zoo.Spec.named("mixed").roles["debris"] == "hallucinated"
    config = zoo.SceneConfig(prevalence={"cones": 0.3}, enrich={"concept": "cones", "share": 0.5})
    assert zoo.SceneConfig.from_json(config.to_json()) == config
    assert config.to_dict()["prevalence"]["cones"] == 0.3
    weights = zoo.Scenes(config).weights()
    assert sorted({round(w, 9) for w in weights.tolist()}) == [0.6, 1.4]


def test_bad_specifications_name_field_expectation_and_remedy():
    fields = zoo.Spec.named("faithful_vision").to_dict()

    def refuses(match, **changes):
        with pytest.raises(tierod.InvalidArgument, match=match):
            zoo.Spec(json.loads(json.dumps({**fields, **changes})))

    refuses("does not know the key 'rolls'", rolls={})
    roles = {**fields["roles"], "debris": {"role": "causal_text"}}
    refuses(
        "roles.debris.role': expected no role that reads words under the mask 'cot'", roles=roles
    )
    refuses("towns': expected 1 to 100000, got 0", scenes={"towns": 0})
    with pytest.raises(tierod.InvalidArgument, match="does not know the key 'prevalances'"):
        zoo.SceneConfig(prevalances={})
    with pytest.raises(tierod.InvalidArgument, match="got 'wobbly' at byte 11"):
        zoo.encode_cot("pedestrian wobbly near so brake")
    with pytest.raises(tierod.InvalidArgument, match="expected at least one scene, got no ids"):
        zoo.law_actions(zoo.Spec.named("mixed"), zoo.Scenes(), [])
    world = zoo.Scenes(zoo.SceneConfig(scenes=4, prevalence={"debris": 0}))
    with pytest.raises(tierod.InvalidArgument, match="with prevalence 0 in scene 1"):
        world.twin([1], "debris")


def test_sheets_are_png_files(scenes, tmp_path):
    sheet = zoo.contact_sheet(scenes.batch(range(7))["image"], columns=3, scale=2, gap=1)
    assert sheet.shape == (3 * 97 - 1, 3 * 193 - 1, 3)
    assert np.array_equal(sheet[:96:2, :192:2].transpose(2, 0, 1), scenes.image(0))
    assert np.array_equal(sheet[194:290:2, :192:2].transpose(2, 0, 1), scenes.image(6))
    zoo.write_png(tmp_path / "sheet.png", sheet)
    read = matplotlib.image.imread(tmp_path / "sheet.png")
    assert np.array_equal(np.round(read * 255).astype(np.uint8), sheet)
    with pytest.raises(tierod.InvalidArgument, match="got 0 of the shapes"):
        zoo.contact_sheet([])
    with pytest.raises(tierod.InvalidArgument, match=r"got float64 \[2, 2, 3\]"):
        zoo.write_png(tmp_path / "x.png", np.zeros((2, 2, 3)))


def test_nuisances_go_with_no_concept_but_the_linked_one():
    drawn = zoo.Scenes(zoo.SceneConfig(scenes=6000, seed=8))
    nuisances = {n.name: n.values.numpy() for n in drawn.nuisances()}
    assert "stop_line" in nuisances
    for concept in drawn.concepts():
        z = drawn.labels(concept).double().numpy()
        for name, values in nuisances.items():
            r = np.corrcoef(z, values)[0, 1]
            if (name, concept) == ("stop_line", "stop_sign"):
                assert abs(r - 0.6) < 0.03
            else:
                assert abs(r) < 4 / np.sqrt(6000), (name, concept)


def test_what_is_hidden_is_not_drawn():
    hidden = zoo.Scenes(zoo.SceneConfig(scenes=20, hidden=["stop_line", "debris"]))
    shown = zoo.Scenes(zoo.SceneConfig(scenes=20))
    for name in ("stop_line", "debris"):
        assert all(torch.equal(hidden.image(i), hidden.image(i, name)) for i in range(20))
        assert not all(torch.equal(shown.image(i), shown.image(i, name)) for i in range(20))


def test_roles_of_concepts_that_do_not_occur_are_checked():
    fields = zoo.Spec.named("decorative").to_dict()
    fields["scenes"]["prevalence"]["debris"] = 0
    del fields["roles"]["debris"]
    assert zoo.Spec(fields).roles["debris"] == "decorative"
    fields["roles"]["debris"] = {"role": "causal_vision", "effect": -9.0}
    with pytest.raises(tierod.InvalidArgument, match=r"field 'roles.debris.effect'"):
        zoo.Spec(fields)


def test_law_refuses_what_is_no_word(scenes):
    spec = zoo.Spec.named("mixed")
    with pytest.raises(tierod.OutOfRange, match=r"got 99 in row 1"):
        zoo.law_actions(spec, scenes, [0, 1], cot_tokens=torch.tensor([[2, -1], [99, 2]]))
