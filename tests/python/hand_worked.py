"""Driving models small enough that every patch is known in closed form."""

import math

import torch

import tierod
from tierod import vla

STEPS, WAYPOINTS = 2, 16
IMAGE, EGO, COT = 0, 1, 2  # positions
SPANS = [("prompt", 0, 0), ("image 0", 0, 1), ("ego", 1, 2), ("cot", 2, 3)]

# of the linear model: m = BY_IMAGE z + BY_EGO e + BY_COT c + BY_NOISE n, with c = WORD w + READ z at the
# position of the word w, which says whether z > 1/2
BY_IMAGE, BY_EGO, BY_COT, BY_NOISE, WORD, READ = -1.5, 0.4, -0.8, 0.1, 0.5, 0.25
# of the attention-only model: the image's key makes a score of SHARP z, the other keys 0
SHARP = 1.2


class Scenes(vla.SceneSource):
    """Odd scenes have a pedestrian; ego and noise come from the id."""

    def __init__(self, count=60):
        super().__init__()
        self.count = count
        generator = torch.Generator().manual_seed(7)
        self.ego, self.noise = torch.randn(2, count, dtype=torch.float64, generator=generator)

    def size(self):
        return self.count

    def _make(self, ids, twin):
        ids = torch.tensor(ids)
        z = ((ids % 2 == 1) ^ twin).double()
        return vla.Batch({"z": z, "ego": self.ego[ids], "noise": self.noise[ids]}, ids.tolist())

    def batch(self, ids):
        return self._make(ids, False)

    def twin(self, ids, name):
        return self._make(ids, True) if name == "pedestrian" else None

    def group_levels(self):
        return ["scene"]

    def group(self, level, ids):
        return ids

    def concepts(self):
        return ["pedestrian"]

    def labels(self, name):
        return (torch.arange(self.count) % 2).to(torch.uint8)


class Thought(vla.Thought):
    def __init__(self, key, value, said, options):
        super().__init__()
        self.key, self.value, self.said, self.options = key, value, said, options

    def bytes(self):
        return self.key.nbytes + self.value.nbytes


class Driver(vla.StagedModel):
    """Three tokens, two heads of width one: head 0 carries what matters, head 1 noise. The action is the mean
    over two denoise steps of what the expert reads from the cache."""

    image = tierod.Site("vlm.image_embeds", "rtw")
    key_site = tierod.Site("vlm.cache.0.k", "rhtd")
    value_site = tierod.Site("vlm.cache.0.v", "rhtd")
    read_site = tierod.Site("expert.layers.0.attn_out", "rtw")

    def __init__(self, attention_only=False):
        super().__init__()
        self.attention_only = attention_only
        self.thoughts = 0

    def describe(self):
        return vla.ModelDescription(
            name="attention only" if self.attention_only else "linear",
            waypoints=WAYPOINTS,
            dt_s=0.25,
            coupling=vla.Coupling.kv_cache,
            sites=tierod.SiteTable(
                [
                    (self.image, {"prefill": (1, 1)}),
                    (self.key_site, {"head": (1, 1)}),
                    (self.value_site, {"head": (1, 1)}),
                    (self.read_site, {"denoise": (STEPS, STEPS)}),
                ]
            ),
            head_inputs=["vlm.cache.0.k", "vlm.cache.0.v"],
            options=["cot_tokens", "differentiable", "knockouts"],
        )

    def batch_spec(self):
        return vla.BatchSpec([vla.BatchField(n, torch.float64) for n in ("z", "ego", "noise")])

    def think(self, batch, options=None):
        options = options or vla.RolloutOptions()
        self.thoughts += 1
        image = torch.stack([batch["z"], batch["noise"]], -1)[:, None]
        with tierod.PhaseScope("prefill", position_offset=IMAGE):
            image = tierod.hook_point(image, self.image)
        z, noise = image[:, 0, 0], image[:, 0, 1]
        said = (z > 0.5).long()
        if options.cot_tokens is not None:
            said = options.cot_tokens[:, 0]
        rows = torch.zeros_like(z)
        cot = WORD * said.double() + READ * z
        value = torch.stack(
            [torch.stack([z, batch["ego"], cot], -1), torch.stack([noise, rows, rows], -1)], 1
        )[..., None]
        key = torch.stack([torch.stack([SHARP * z, rows, rows], -1)] * 2, 1)[..., None]
        return Thought(key, value, said, options)

    def act(self, thought, knockouts=()):
        with tierod.PhaseScope("head", position_offset=0):
            key = tierod.hook_point(thought.key, self.key_site)
            value = tierod.hook_point(thought.value, self.value_site)
        if self.attention_only:
            read = (torch.softmax(key[:, 0, :, 0], -1) * value[:, 0, :, 0]).sum(-1)
        else:
            by = torch.tensor([BY_IMAGE, BY_EGO, BY_COT], dtype=torch.float64)
            read = value[:, 0, :, 0] @ by + BY_NOISE * value[:, 1, :, 0].sum(-1)
        steps = []
        for step in range(STEPS):
            with tierod.PhaseScope("denoise", step):
                steps.append(tierod.hook_point(read[:, None, None].clone(), self.read_site))
        acceleration = torch.stack(steps).mean(0)[:, 0, 0]
        actions = torch.stack([acceleration, torch.zeros_like(acceleration)], -1)
        return vla.Rollout(
            actions=actions[:, None].repeat(1, WAYPOINTS, 1),
            initial_speed=torch.full((len(read),), 10.0, dtype=torch.float64),
            dt_s=0.25,
            cot_tokens=thought.said[:, None],
            cot_text=[
                "pedestrian so brake" if s else "clear so keep" for s in thought.said.tolist()
            ],
            spans=[[vla.Span(*s) for s in SPANS[1:]]] * len(read),
        )


def attention(key_z, value_z, ego, cot):
    """The attention-only model's number."""
    weight = math.exp(SHARP * key_z)
    return (weight * value_z + ego + cot) / (weight + 2)
