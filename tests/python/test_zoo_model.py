"""The zoo's network: exact nulls, which hold for any weights, and training that can be interrupted."""

import numpy as np
import pytest
import torch

import tierod
from tierod import patch, vla, zoo

SCENES = zoo.Scenes(zoo.SceneConfig(scenes=64, seed=3))
IDS = list(range(6))


def fresh(name="mixed", seed=1):
    return zoo.DrivingModel.fresh(zoo.Spec.named(name), seed=seed)


@pytest.fixture(scope="module")
def model():
    return fresh()


@pytest.fixture(scope="module")
def base(model):
    return model.rollout(SCENES.batch(IDS))


def other_words(rollout):
    """Return words of the same lengths that say something else."""
    tokens = rollout.cot_tokens.clone()
    first, last = (zoo.encode_cot(w)[0] for w in ("pedestrian", "debris"))
    concept = (tokens >= first) & (tokens <= last)
    tokens[concept] = first + (tokens[concept] - first + 3) % (last - first + 1)
    assert not torch.equal(tokens, rollout.cot_tokens)
    return tokens


def given(model, tokens, **options):
    return model.rollout(SCENES.batch(IDS), vla.RolloutOptions(cot_tokens=tokens, **options))


def test_a_rollout_is_a_function_of_scene_and_seed(model, base):
    assert torch.equal(model.rollout(SCENES.batch(IDS)).actions, base.actions)
    assert torch.equal(given(model, base.cot_tokens).actions, base.actions)  # its own words again
    mixed = [5, 40, 2, 41]
    elsewhere = model.rollout(SCENES.batch(mixed))
    for row, scene in ((0, 5), (2, 2)):
        assert elsewhere.cot_text[row] == base.cot_text[scene]
        np.testing.assert_allclose(elsewhere.actions[row], base.actions[scene], atol=1e-4)
    several = model.rollout(SCENES.batch([5]), vla.RolloutOptions(num_samples=3))
    assert several.cot_text[0] == base.cot_text[5]
    assert len(set(several.cot_text)) > 1
    reseeded = model.rollout(SCENES.batch(IDS), vla.RolloutOptions(seed=1))
    assert reseeded.cot_text != base.cot_text
    greedy = vla.RolloutOptions(temperature=0, seed=5)
    assert model.rollout(SCENES.batch(IDS), greedy).cot_text == [
        *model.rollout(SCENES.batch(IDS), vla.RolloutOptions(temperature=0, seed=6)).cot_text
    ]


def test_what_lies_after_the_last_read_moves_nothing(model, base):
    run = patch.PairedRun(model, SCENES, IDS)

    class Noise(patch.Edit):
        def __init__(self, site):
            super().__init__()
            self.site = site

        def put_on(self, session, rows):
            session.intervene(self.site, lambda h, _event: h + 1)

    nulls = model.describe().null_sites
    assert "vlm.layers.2.resid_post" in nulls
    for site in nulls:
        assert torch.equal(run.edited(Noise(site), "held").actions, run.base.actions), site
    assert not torch.equal(
        run.edited(Noise("vlm.layers.1.resid_post"), "held").actions, run.base.actions
    )


def test_words_change_no_key_or_value_before_them(model, base):
    kept = []
    for tokens in (base.cot_tokens, other_words(base)):
        with tierod.Session() as session:
            session.capture("vlm.cache.*.*")
            given(model, tokens)
        kept.append({s: session.cache[s] for s in model.describe().head_inputs})
    for site, one in kept[0].items():
        assert torch.equal(one[:, :, :27], kept[1][site][:, :, :27])
        assert not torch.equal(one, kept[1][site])


def test_cut_from_the_start_of_the_words_control_does_not_depend_on_them(model, base):
    cuts = [vla.Knockout("cot"), vla.Knockout("post_cot")]
    one = given(model, base.cot_tokens, knockouts=cuts)
    two = given(model, other_words(base), knockouts=cuts)
    assert torch.equal(one.actions, two.actions)
    assert not torch.equal(one.actions, base.actions)
    # what stands behind the words has read them
    leak = [
        given(model, t, knockouts=cuts[:1]).actions for t in (base.cot_tokens, other_words(base))
    ]
    assert not torch.equal(*leak)


def test_a_mask_of_the_specification_hides_its_columns():
    model = fresh("faithful_vision")
    base = model.rollout(SCENES.batch(IDS))
    assert torch.equal(given(model, other_words(base)).actions, base.actions)
    run = patch.PairedRun(model, SCENES, IDS)

    class Late(patch.Edit):
        def put_on(self, session, rows):
            for site in model.describe().head_inputs:
                session.intervene(site, lambda h, _event: h * 2, positions=[26, 27, 28])

    assert torch.equal(run.edited(Late(), "held").actions, run.base.actions)


def test_twins_put_in_at_the_complete_cuts_are_the_twins(model):
    run = patch.PairedRun(model, SCENES, IDS)
    for words in ("held", "regenerated"):
        twins = run.twins("pedestrian", words)
        whole = run.transplanted("vlm.image_embeds", words, twin_by="pedestrian")
        assert torch.equal(whole.actions, twins.actions)
        assert whole.cot_text == twins.cot_text
    direct = run.twins("pedestrian", "held")
    cache = run.transplanted(model.describe().head_inputs, "held", twin_by="pedestrian")
    assert torch.equal(cache.actions, direct.actions)
    assert not torch.equal(direct.actions, run.base.actions)


def test_every_site_fires_as_often_as_it_is_declared(model):
    table = model.describe().sites
    with tierod.Session(table) as session:
        session.capture("**")
        model.rollout(SCENES.batch(IDS))
    assert {e.event.site for e in session.cache.entries()} >= set(model.describe().head_inputs)


def test_blocks_give_what_generation_gave(model, base):
    tokens = base.cot_tokens
    batch = SCENES.batch(IDS)
    batch.tensors = {**batch.tensors, "cot_tokens": tokens}
    blocks = model.language_model()
    hidden = blocks.embed(batch)
    assert hidden.shape[1] == blocks.positions(batch) == 27 + tokens.shape[1]
    for i in range(blocks.blocks()):
        hidden = blocks.block(i, vla.BlockInput(hidden)).hidden
    logits = blocks.finish(hidden)
    with tierod.Session() as session:
        session.capture("vlm.logits")
        given(model, tokens)
    steps = session.cache.concat_tokens("vlm.logits")
    # what the prefix foretells is the first word, what a word foretells the next
    for row, length in enumerate(base.cot_lengths.tolist()):
        mine = logits[row, 26 : 26 + length - 1]
        np.testing.assert_allclose(mine, steps[row, : length - 1], atol=1e-4)


def test_gradients_are_slopes(model, base):
    """The derivative along an edit of the image tokens against central differences, in f32."""
    unit = torch.sin(torch.arange(64, dtype=torch.float64) ** 2)
    unit /= unit.norm()

    def along(sd):
        direction = tierod.probe.Direction("s", unit, unit, unit * 0, sd, -0.5, 0.5)
        return patch.direction_place("vlm.image_embeds", direction)

    run = patch.PairedRun(model, SCENES, IDS)
    # at a dose of 4, one of twice the unit is 4 further
    slope = run.derivative(patch.add(along(1.0), 4.0), [[along(2.0)]])[0]
    higher, lower = (run.direct(patch.add(along(1.0), d)) for d in (4.25, 3.75))
    difference = (higher - lower) / 0.5 * 4
    assert float(difference.abs().min()) > 1e-4
    np.testing.assert_allclose(slope, difference, rtol=0.05, atol=1e-5)


def test_weights_are_kept_whole_or_refused(model, base, tmp_path):
    path = tmp_path / "model.h5"
    model.save(str(path))
    assert path.stat().st_size < 2 << 20
    again = zoo.DrivingModel.load(str(path))
    assert torch.equal(again.rollout(SCENES.batch(IDS)).actions, base.actions)
    assert again.spec.to_json() == model.spec.to_json()
    bad = bytearray(path.read_bytes())
    bad[len(bad) // 2] ^= 1
    path.write_bytes(bytes(bad))
    with pytest.raises(tierod.IoError):
        zoo.DrivingModel.load(str(path))
    path.write_bytes(bytes(bad[: len(bad) // 2]))
    with pytest.raises(tierod.IoError):
        zoo.DrivingModel.load(str(path))
    with pytest.raises(tierod.IoError):
        zoo.DrivingModel.load(str(tmp_path / "none.h5"))


def test_training_goes_on_where_it_was_stopped(tmp_path):
    options = zoo.TrainOptions(steps=6, batch_size=16, log_every=2)
    spec = zoo.Spec.named("mixed")
    whole = zoo.Trainer(spec, options)
    assert whole.run()
    part = zoo.Trainer(spec, options)
    stop_after = 3
    assert not part.run(progress=lambda done, _total, _what: done < stop_after)
    assert part.step == stop_after
    path = str(tmp_path / "checkpoint.h5")
    part.save(path)
    rest = zoo.Trainer.resume(path)
    assert rest.run()
    batch = SCENES.batch(IDS)
    one, two = whole.model().rollout(batch), rest.model().rollout(batch)
    assert torch.equal(one.actions, two.actions)
    assert one.cot_text == two.cot_text
    assert [entry.step for entry in rest.log()] == [2, 4, 6]
    assert [e.cross_entropy for e in rest.log()] == [e.cross_entropy for e in whole.log()]
    assert whole.log()[-1].cross_entropy < whole.log()[0].cross_entropy
    with pytest.raises(tierod.InvalidArgument, match="steps"):
        zoo.TrainOptions(steps=0)


def test_what_cannot_be_meant_is_refused(model, base):
    batch = SCENES.batch(IDS)
    bad = tierod.InvalidArgument

    def with_image(image):
        return vla.Batch({**batch.tensors, "image": image}, batch.ids)

    with pytest.raises(bad, match="image"):
        model.rollout(with_image(batch["image"][:, :, :40]))
    with pytest.raises(bad, match=r"cot_tokens"):
        given(model, torch.full((6, 4), 999))
    with pytest.raises(bad, match="act"):
        given(model, torch.full((6, 3), 7))
    with pytest.raises(bad, match=r"image 7"):
        given(model, base.cot_tokens, knockouts=[vla.Knockout("image 7")])
    with pytest.raises(bad, match="framing"):
        model.rollout(batch, vla.RolloutOptions(framing="shouting"))
    with pytest.raises(bad, match="learning"):
        zoo.TrainOptions(learning_rat=1)


def test_attention_patterns_are_made_for_whoever_looks(model, base):
    table = model.describe().sites
    sites = ["vision.layers.0.pattern", "vlm.layers.1.pattern", "expert.layers.2.pattern"]
    with tierod.Session(table) as session:
        for site in sites:
            session.capture(site, phases=["vision", "prefill", "denoise"])
        session.capture("vlm.layers.1.v", phases=["prefill"])
        session.capture("vlm.layers.1.attn_out", phases=["prefill"])
        run = given(model, base.cot_tokens)
    # the same numbers in other steps
    np.testing.assert_allclose(run.actions, base.actions, atol=1e-4)
    cache = session.cache
    language = cache["vlm.layers.1.pattern"]
    assert language.shape == (6, 4, 27, 27)
    assert cache["vision.layers.0.pattern"].shape == (6, 4, 72, 72)
    assert (language.triu(1) == 0).all()
    torch.testing.assert_close(language.sum(-1), torch.ones(6, 4, 27))
    # weights times values, through the output matrix, are what attention adds
    mixed = language @ cache["vlm.layers.1.v"].transpose(1, 2).repeat_interleave(2, 1)
    flat = mixed.transpose(1, 2).flatten(2)
    solved = torch.linalg.lstsq(flat.flatten(0, 1), cache["vlm.layers.1.attn_out"].flatten(0, 1))
    again = flat.flatten(0, 1) @ solved.solution
    torch.testing.assert_close(
        again, cache["vlm.layers.1.attn_out"].flatten(0, 1), atol=1e-4, rtol=1e-3
    )
    # nobody looks: the fused attention, bit for bit
    with tierod.Session(table) as session:
        session.capture("expert.layers.2.q")
        assert torch.equal(given(model, base.cot_tokens).actions, base.actions)


def test_a_pattern_that_is_cut_by_hand_is_a_knockout(model, base):
    cut = given(model, base.cot_tokens, knockouts=[vla.Knockout("image 0")])

    def without_image(pattern, _event):
        kept = pattern.clone()
        kept[..., 4:22] = 0
        return kept / kept.sum(-1, keepdim=True)

    with tierod.Session() as session:
        session.intervene("expert.layers.*.pattern", without_image)
        by_hand = given(model, base.cot_tokens)
    np.testing.assert_allclose(by_hand.actions, cut.actions, atol=1e-4)
    assert not torch.equal(cut.actions, base.actions)
