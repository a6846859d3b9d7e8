"""The vla room from Python: models, sources and parsers that are subclassed here, driven by C++."""

import gc
import weakref

import pytest
import torch

import tierod
from tierod import patch, vla


class Source(vla.SceneSource):
    def __init__(self, scenes):
        super().__init__()
        self.scenes, self.calls = scenes, 0

    def size(self):
        return self.scenes

    def batch(self, ids):
        self.calls += 1
        ids = torch.tensor(ids)
        return vla.Batch({"speed": 5.0 + ids, "obstacle": ids % 2}, ids.tolist())

    def group_levels(self):
        return ["route", "scene"]

    def group(self, level, ids):
        return [i // 4 if level == "route" else i for i in ids]

    def concepts(self):
        return ["obstacle"]

    def labels(self, name):
        return torch.arange(self.scenes).remainder(2).to(torch.uint8)

    def twin(self, ids, name):
        batch = self.batch(ids)
        batch.tensors = {**batch.tensors, "obstacle": 1 - batch["obstacle"]}
        return batch

    def agents(self, ids, twin_by):
        return [[vla.Agent("car", x_m=20.0 if twin_by else 30.0)] for _ in ids]


class Brakes(vla.Model):
    """Brakes for an obstacle, more in later samples."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def describe(self):
        return vla.ModelDescription(
            name="brakes", waypoints=16, dt_s=0.25, options=["num_samples", "noise", "cot_tokens"]
        )

    def batch_spec(self):
        return vla.BatchSpec(
            [
                vla.BatchField("speed", torch.float32, description="m/s"),
                vla.BatchField("obstacle", torch.int64),
            ]
        )

    def rollout(self, batch, options):
        self.calls += 1
        samples = options.num_samples
        rows = batch.rows * samples
        brake = -batch["obstacle"].repeat_interleave(samples) * (1.0 + torch.arange(rows) % samples)
        actions = torch.stack([brake, torch.zeros(rows)], -1)[:, None].repeat(1, 16, 1)
        if options.noise is not None:
            actions = actions + options.noise
        cot = options.cot_tokens
        return vla.Rollout(
            actions=actions,
            initial_speed=batch["speed"].repeat_interleave(samples),
            dt_s=0.25,
            num_samples=samples,
            cot_tokens=cot,
            cot_text=["obstacle" if b else "clear" for b in brake < 0],
        )


def test_one_crossing_a_batch():
    source, model = Source(10), Brakes()
    rollout = vla.rollout_scenes(model, source, range(10), batch_size=4)
    assert model.calls == source.calls == 3
    assert rollout.rows == 10
    assert rollout.cot_text[:2] == ["clear", "obstacle"]
    torch.testing.assert_close(rollout.trajectory[1, -1], torch.tensor([4 * 6.0 - 8, 0.0, 0.0]))


def test_rows_are_scenes_times_samples():
    options = vla.RolloutOptions(num_samples=3)
    rollout = vla.rollout_scenes(Brakes(), Source(4), [3, 0], options)
    assert vla.mean_acceleration(rollout).tolist() == [-1, -2, -3, 0, 0, 0]
    assert rollout.sample_index.tolist() == [0, 1, 2, 0, 1, 2]


def test_noise_and_texts_are_cut_into_batches():
    noise = torch.randn(6, 16, 2) * 0.1
    texts = torch.tensor([[4, 5, -1], [4, -1, -1], [6, 7, 8], [1, 1, -1], [2, -1, -1], [3, 3, 3]])
    options = vla.RolloutOptions(noise=noise, cot_tokens=texts)
    whole = vla.rollout_scenes(Brakes(), Source(6), range(6), options)
    parts = vla.rollout_scenes(Brakes(), Source(6), range(6), options, batch_size=4)
    assert torch.equal(whole.actions, parts.actions)
    assert torch.equal(parts.cot_tokens, texts)
    assert parts.cot_lengths.tolist() == [2, 1, 3, 2, 1, 3]


def test_twins_and_functionals():
    source, ids = Source(8), [0, 1, 2]
    model = Brakes()
    options = vla.RolloutOptions()
    base = model.rollout(source.batch(ids), options)
    twin = model.rollout(source.twin(ids, "obstacle"), options)
    functional = vla.ControlFunctional("mean_acceleration")
    change = functional(twin, source, ids) - functional(base, source, ids)
    assert change.tolist() == [-1, 1, -1]
    # the agents of the twins are another matter than those of the scenes
    collision = vla.ControlFunctional("least_time_to_collision")
    near = collision(base, source, ids, twin_by="obstacle")
    assert (near <= collision(base, source, ids)).all()
    with pytest.raises(tierod.StateError, match="override lane"):
        vla.ControlFunctional("least_lane_margin")(base, source, ids)
    assert "lateral_offset" in vla.ControlFunctional.names()


def test_gradients_pass_through_the_kinematics():
    actions = torch.zeros(2, 8, 2, dtype=torch.float64, requires_grad=True)
    speed = torch.full((2,), 9.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: vla.unicycle(a, speed, 0.25), actions)
    rollout = vla.Rollout(actions=actions, initial_speed=speed, dt_s=0.25)
    vla.mean_acceleration(rollout).sum().backward()
    assert torch.equal(actions.grad[..., 0], torch.full((2, 8), 1 / 8, dtype=torch.float64))


def test_an_error_of_a_subclass_comes_out_as_itself():
    class Broken(Brakes):
        def rollout(self, batch, options):
            raise KeyError("no such camera")

    with pytest.raises(KeyError, match="no such camera"):
        vla.rollout_scenes(Broken(), Source(2), [0])

    class Unfinished(vla.Model):
        pass

    with pytest.raises(RuntimeError, match='pure virtual function "vla::Model::describe"'):
        vla.rollout_scenes(Unfinished(), Source(2), [0])

    class Nan(Brakes):
        def rollout(self, batch, options):
            actions = torch.zeros(batch.rows, 16, 2)
            actions[1, 3, 0] = torch.nan
            return vla.Rollout(actions=actions, initial_speed=batch["speed"], dt_s=0.25)

    with pytest.raises(tierod.NumericalError, match="NaN or Inf in row 1"):
        vla.rollout_scenes(Nan(), Source(2), [0, 1])


def test_bad_input():
    source, model = Source(4), Brakes()
    with pytest.raises(tierod.InvalidArgument, match="got no ids"):
        vla.rollout_scenes(model, source, [])
    with pytest.raises(tierod.OutOfRange, match=r"scenes in \[0, 4\), got 9"):
        vla.rollout_scenes(model, source, [9])
    with pytest.raises(tierod.InvalidArgument, match="can do, got knockouts"):
        options = vla.RolloutOptions(knockouts=[vla.Knockout("image 0")])
        vla.rollout_scenes(model, source, [0], options)
    with pytest.raises(tierod.InvalidArgument, match="expected the tensor 'obstacle'"):
        model.batch_spec().check(vla.Batch({"speed": torch.zeros(1)}, [0]))
    with pytest.raises(tierod.InvalidArgument, match="nearest"):
        vla.ControlFunctional("acceleration")


def test_what_cpp_holds_keeps_its_python_part():
    made = []

    def counted(thing):
        made.append(weakref.ref(thing))
        return thing

    # nothing in Python holds on to the model and its scenes
    run = patch.PairedRun(counted(Brakes()), counted(Source(6)), [0, 1, 2])
    gc.collect()
    assert all(kept() is not None for kept in made)
    assert run.twins("obstacle", "regenerated").cot_text == ["obstacle", "clear", "obstacle"]
    del run
    gc.collect()
    assert all(kept() is None for kept in made)


def test_parsers_may_be_written_in_python():
    words = vla.CotVocabulary({"pedestrian": ["pedestrian"]}, {"brake": ["brake"]})

    class Shouting(vla.CotParser):
        def parse(self, texts):
            return [
                vla.ParsedCot([vla.CotMention("pedestrian")] if "PED" in t else []) for t in texts
            ]

    texts = ["PEDESTRIAN so brake", "clear"]
    agreement = vla.parser_agreement(
        Shouting().parse(texts), vla.GrammarParser(words).parse(texts), words
    )
    # "clear" has no decision for either, "so brake" only for the grammar
    assert (agreement.concepts[0].both, agreement.concepts[0].neither) == (1, 1)
    assert agreement.decision_share() == 0.5


def test_vocabulary_keeps_its_order_and_refuses_two_meanings():
    words = vla.CotVocabulary(
        {"b": ["bus"], "a": ["ambulance", "van"]},
        {"slow": ["slow", "slow down"]},
        {"left": ["left"]},
    )
    assert list(words.concepts) == ["b", "a"]
    assert words.concepts["a"] == ["ambulance", "van"]
    [parsed] = vla.LexiconParser(words).parse(["no bus, van on the left so slow down"])
    assert [(m.concept_id, m.negated, m.side) for m in parsed.mentions] == [
        ("b", True, ""),
        ("a", False, "left"),
    ]
    assert parsed.decision == "slow"
    with pytest.raises(tierod.InvalidArgument, match="one meaning a phrase"):
        vla.CotVocabulary({"b": ["bus"], "a": ["bus"]})
    for phrases in ("bus", 3, [3]):
        with pytest.raises(
            tierod.InvalidArgument, match=r"list of phrases for each id, got .* for 'b'"
        ):
            vla.CotVocabulary({"b": phrases})


class TwoBlocks(vla.BlockModel):
    """A residual stream to which block i adds (i + 1) times the mean over the positions so far."""

    def blocks(self):
        return 2

    def positions(self, batch):
        return batch["x"].shape[1]

    def embed(self, batch):
        return batch["x"]

    def block(self, index, input):
        past = input.past_value
        new = input.hidden[:, None]
        values = new if past is None else torch.cat([past.expand(len(new), -1, -1, -1), new], 2)
        mean = values[:, 0].cumsum(1) / torch.arange(1.0, values.shape[2] + 1)[None, :, None]
        hidden = input.hidden + (index + 1) * mean[:, input.begin :]
        keep = hidden if input.outputs < 0 else hidden[:, -input.outputs :]
        return vla.BlockOutput(keep, new, new)

    def finish(self, hidden):
        return 2 * hidden


def test_a_block_model_restarts_from_any_position():
    model = TwoBlocks()
    batch = vla.Batch({"x": torch.randn(3, 5, 4)}, [0, 1, 2])
    hidden, cache = model.embed(batch), []
    for i in range(model.blocks()):
        out = model.block(i, vla.BlockInput(hidden))
        cache.append(out)
        hidden = out.hidden
    begin = 3
    late = batch["x"][:, begin:]
    for i, past in enumerate(cache):
        key, value = past.key[:, :, :begin], past.value[:, :, :begin]
        late = model.block(i, vla.BlockInput(late, begin, key, value, 1 if i else -1)).hidden
    torch.testing.assert_close(model.finish(late), model.finish(hidden)[:, -1:])


def test_what_would_be_lost_cannot_be_edited_in_place():
    batch = Source(3).batch([0, 1])
    with pytest.raises(TypeError):
        batch.tensors["speed"] = torch.zeros(2)
    assert batch.ids == (0, 1)
    options = vla.RolloutOptions(knockouts=[vla.Knockout("cot")])
    assert isinstance(options.knockouts, tuple)
    options.knockouts = [*options.knockouts, vla.Knockout("ego")]
    assert [k.columns for k in options.knockouts] == ["cot", "ego"]


def test_rollouts_that_are_others_than_asked_for_are_refused():
    class Shuffled(Source):
        def batch(self, ids):
            return super().batch(ids[::-1])

    class Wrong(Brakes):
        def __init__(self, **other):
            super().__init__()
            self.other = other

        def rollout(self, batch, options):
            rows = batch.rows * options.num_samples
            usual = {"dt_s": 0.25, "num_samples": options.num_samples, "waypoints": 16} | self.other
            return vla.Rollout(
                actions=torch.zeros(rows, usual["waypoints"], 2),
                initial_speed=torch.zeros(rows),
                dt_s=usual["dt_s"],
                num_samples=usual["num_samples"],
            )

    with pytest.raises(tierod.InvalidArgument, match="keep ids and their order"):
        vla.rollout_scenes(Brakes(), Shuffled(4), [0, 1])
    two = vla.RolloutOptions(num_samples=2)
    for model, options, message in (
        (Wrong(num_samples=1), two, r"got 8 rows of 1 samples"),
        (Wrong(dt_s=0.1), None, r"got 16 every 0.1 s"),
        (Wrong(waypoints=8), None, r"got 8 every 0.25 s"),
    ):
        with pytest.raises(tierod.InvalidArgument, match=message):
            vla.rollout_scenes(model, Source(4), range(4), options or vla.RolloutOptions())
    with pytest.raises(tierod.InvalidArgument, match="num_samples >= 1, got 0"):
        vla.Rollout(
            actions=torch.zeros(2, 4, 2), initial_speed=torch.zeros(2), dt_s=0.1, num_samples=0
        )
    part = vla.rollout_scenes(Brakes(), Source(2), [0, 1])
    spans = vla.Rollout(
        actions=part.actions,
        initial_speed=part.initial_speed,
        dt_s=0.25,
        spans=[[vla.Span("cot", 0, 1)]],
    )
    with pytest.raises(tierod.InvalidArgument, match="spans in all rollouts or in none"):
        vla.concatenate_rollouts([part, spans])


def test_the_lateral_offset_begins_at_the_origin():
    rollout = vla.rollout_scenes(Brakes(), Source(2), [0, 1])
    turning = vla.Rollout(
        actions=rollout.actions + torch.tensor([0.0, 0.02]),
        initial_speed=rollout.initial_speed,
        dt_s=0.25,
    )
    first = turning.trajectory[:, 0, 1]
    assert torch.allclose(vla.lateral_offset(turning, at_s=1e-10), first * 4e-10, atol=1e-12)
    assert torch.allclose(vla.lateral_offset(turning, at_s=0.125), first / 2)
