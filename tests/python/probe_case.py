"""What the tests of evaluations share: scenes whose truth is known."""

import numpy as np

from tierod import probe

PENALTIES = [0.1, 10.0, 1000.0]


def world(seed=0, groups=60, rows=4, width=6, effect=1.0, sites=("layers.0", "layers.1"), **more):
    """Scenes with an effect of their own; "rain" shows in column 0 at every site, "night" nowhere."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(groups), rows)
    rain = (rng.permutation(groups) < 0.4 * groups)[scene]
    night = (rng.permutation(groups) < 0.5 * groups)[scene]
    wet = rng.random(len(scene)) < 0.3  # varies within scenes
    x = {}
    for site in sites:
        x[site] = rng.normal(size=(groups, width))[scene] * 0.5 + rng.normal(
            size=(len(scene), width)
        )
        x[site][:, 0] += effect * rain
        x[site][:, 1] += effect * wet
    return probe.ProbeDataset(
        scene,
        sites=x,
        concepts={"rain": rain, "night": night, "wet": wet},
        nuisances={"speed": ("binned", rng.normal(size=len(scene))),
                   "road": ("categorical", rng.integers(0, 3, len(scene)))},
        **more,
    )  # fmt: skip
