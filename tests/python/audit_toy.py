"""A driver whose truth is written in its code, small enough to audit in seconds: its head reads what it sees
of pedestrians, and by its words of red lights; cyclists it names and ignores; of cones it never speaks."""

import torch

import tierod
from tierod import vla

NAMES = ("pedestrian", "red_light", "cyclist", "cones")
EFFECTS = {"pedestrian": -1.5, "red_light": -1.2, "cyclist": 0.0, "cones": -0.8}
WIDTH = 8


class Scenes(vla.SceneSource):
    def __init__(self, size=2400, prevalence=0.4, twins=True):
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self._size, self._twins = size, twins
        self.there = (torch.rand(size, len(NAMES), generator=random) < prevalence).double()
        self.noise = torch.randn(size, WIDTH, generator=random, dtype=torch.float64)

    def size(self):
        return self._size

    def _batch(self, ids, toggled=None):
        there = self.there[ids].clone()
        if toggled is not None:
            there[:, NAMES.index(toggled)] = 1 - there[:, NAMES.index(toggled)]
        return vla.Batch({"there": there, "noise": self.noise[ids]}, list(ids))

    def batch(self, ids):
        return self._batch(ids)

    def twin(self, ids, name):
        return self._batch(ids, name) if self._twins else None

    def group_levels(self):
        return ["route", "scene"]

    def group(self, level, ids):
        return [i % 80 for i in ids] if level == "route" else list(ids)

    def concepts(self):
        return list(NAMES)

    def labels(self, name):
        return self.there[:, NAMES.index(name)].to(torch.uint8)

    def claims(self):
        return [vla.ConceptClaim(name, f"a {name}", "mean_acceleration", -1) for name in NAMES]

    def strata(self):
        return [
            vla.Stratification(
                "rarity", ["common", "rare"], (torch.arange(self._size) % 3 == 0).long()
            )
        ]

    def nuisances(self):
        return [vla.SceneNuisance("speed", self.noise[:, 7].clone())]


class Driver(vla.Model):
    """Faults are switched on by name: ignores_noise, ignores_words, scatters, nan."""

    features = tierod.Site("vlm.features", "rw")

    def __init__(self, *faults):
        super().__init__()
        self.faults = faults
        self.calls = 0

    def describe(self):
        return vla.ModelDescription(
            name="toy",
            waypoints=16,
            dt_s=0.25,
            coupling=vla.Coupling.features,
            sites=tierod.SiteTable([(self.features, 1, 1, "")]),
            widths={"vlm.features": WIDTH},
            head_inputs=["vlm.features"],
            options=["cot_tokens", "noise", "differentiable"],
            weights_sha256="0" * 64,
            input_cuts=[vla.InputCut("features", ["vlm.features"])],
        )

    def batch_spec(self):
        return vla.BatchSpec(
            [
                vla.BatchField("there", torch.float64, [len(NAMES)]),
                vla.BatchField("noise", torch.float64, [WIDTH]),
            ]
        )

    def rollout(self, batch, options=None):
        options = options or vla.RolloutOptions()
        self.calls += 1
        h = 0.15 * batch["noise"].clone()
        h[:, : len(NAMES)] += batch["there"]
        h = tierod.hook_point(h, self.features)
        said = (h[:, : len(NAMES)].detach() > 0.5).long()
        said[:, NAMES.index("cones")] = 0
        if options.cot_tokens is not None and "ignores_words" not in self.faults:
            said = options.cot_tokens
        seen = h.clone()
        seen = torch.stack(
            [said[:, i].double() if n == "red_light" else h[:, i] for i, n in enumerate(NAMES)], 1
        )
        mean = seen @ torch.tensor([EFFECTS[n] for n in NAMES], dtype=torch.float64)
        noise = torch.zeros(len(h), 16, 2, dtype=torch.float64)
        if options.noise is not None and "ignores_noise" not in self.faults:
            noise = options.noise.double()
        if "scatters" in self.faults:
            noise = noise + self.calls
        if "nan" in self.faults:
            mean = mean * float("nan")
        actions = torch.stack([mean, torch.zeros_like(mean)], -1)[:, None] + 0.1 * noise
        texts = []
        for row in said.tolist():
            named = [n.replace("_", " ") for n, there in zip(NAMES, row, strict=True) if there]
            texts.append(f"{' and '.join(named)} so brake" if named else "clear so keep")
        return vla.Rollout(
            actions=actions,
            initial_speed=torch.full((len(h),), 15.0, dtype=torch.float64),
            dt_s=0.25,
            cot_tokens=said,
            cot_text=texts,
        )


def make():
    """The factory of `py:audit_toy:make`."""
    return Driver(), Scenes(), list(NAMES)
