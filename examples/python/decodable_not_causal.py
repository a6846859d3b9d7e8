"""Decodable is not causal, in a real driving policy: MetaDrive's PPO expert.

The expert is given the car ahead twice: in a block that lists the four nearest cars, and in its lidar. A
probe reads "vehicle ahead" from both. Patching in what the exact twin of a scene (the same scene without
that car, or with it) has there tells which of them the car brakes for.

    pip install tierod[probe]
    python examples/python/decodable_not_causal.py --plot decodable_not_causal.png

The weights (.5 MB, Apache-2.0) are taken once out of the wheel of metadrive-simulator, by pip.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from tierod import patch, probe, stats, vla
from tierod.adapters import metadrive_ppo
from tierod.adapters.metadrive_scenes import BLOCKS, CONCEPT, RAYS, front_rays

SESOI = 0.3  # m/s^2, mean over 0-2 s
FRONT = front_rays(15)
REST = [i for i in range(RAYS) if i not in FRONT]


@dataclass(frozen=True)
class Part:
    """A part of what the policy is given: where it enters, and which items of an observation it is."""

    name: str
    sites: tuple[str, ...]
    tokens: list[int] | None  # rays, of the lidar
    items: list[int]


def of_lidar(name: str, rays: list[int]) -> Part:
    return Part(name, ("policy.obs.lidar",), rays, [BLOCKS["lidar"].start + i for i in rays])


OTHERS = Part("list of other cars", ("policy.obs.others",), None, list(range(19, 35)))
AHEAD = of_lidar("lidar within 15° of ahead", FRONT)
PARTS = (
    OTHERS,
    AHEAD,
    of_lidar("lidar, all other rays", REST),
    Part("ego and navigation", ("policy.obs.ego", "policy.obs.navigation"), None, list(range(19))),
)
WHOLE = Part("everything", tuple(f"policy.obs.{name}" for name in BLOCKS), None, list(range(275)))


@dataclass(frozen=True)
class Moved:
    """What a patch does to control: intervals of the change where the car is put in, and taken out."""

    put_in: stats.Interval  # m/s^2
    taken_out: stats.Interval
    throttle: tuple[float, float]  # the policy's own output, before it is cut to [-1, 1]


def dataset(run: patch.PairedRun, scenes: vla.SceneSource) -> probe.ProbeDataset:
    """Return what each part holds in the scenes of a run, with labels, nuisances and routes."""
    ids = run.scenes
    data = probe.ProbeDataset(ids, levels={"route": scenes.group("route", ids)})
    data.add_concept(CONCEPT, scenes.labels(CONCEPT)[ids].numpy())
    for nuisance in scenes.nuisances():
        values = nuisance.values[ids].numpy()
        data.add_nuisance(
            nuisance.name, ("categorical", values) if nuisance.categorical else values
        )
    for part in PARTS:
        seen = run.activations(part.sites, tokens=part.tokens)
        data.add_site(part.name, torch.cat([seen[s].flatten(1) for s in part.sites], 1))
    return data


def patched(run: patch.PairedRun, model: vla.Model, scenes: vla.SceneSource, part: Part) -> Moved:
    """Give `part` the values of each scene's twin, and nothing else."""
    rollout = run.transplanted(part.sites, "held", twin_by=CONCEPT, tokens=part.tokens)
    change = run.effect(rollout).numpy()
    ids, ahead = run.scenes, scenes.labels(CONCEPT)[run.scenes].numpy() == 1
    routes = np.array(scenes.group("route", ids))
    put_in, taken_out = (
        stats.cluster_t_interval(change[rows], routes[rows]) for rows in (~ahead, ahead)
    )
    # the same patch on the observation itself, for the raw output
    base, twin = scenes.batch(ids)["observation"], scenes.twin(ids, CONCEPT)["observation"]
    spliced = base.clone()
    spliced[:, part.items] = twin[:, part.items]
    throttle = (model.policy(spliced) - model.policy(base))[:, 1].numpy()
    return Moved(put_in, taken_out, (float(throttle[~ahead].mean()), float(throttle[ahead].mean())))


def along(
    data: probe.ProbeDataset, run: patch.PairedRun, scenes: vla.SceneSource, part: Part
) -> patch.ConceptEffect:
    """Swap the concept along the direction that was fitted in `data`, in the scenes of `run`."""
    fits = probe.residual_direction(data, part.name, CONCEPT, folds=20)
    directions = patch.concept_directions(
        {part.sites[0]: fits}, over="concatenated", tokens=part.tokens
    )
    labels, routes = scenes.labels(CONCEPT)[run.scenes].numpy(), scenes.group("route", run.scenes)
    return patch.concept_effect(run, labels, routes, directions)


def show(interval: stats.Interval, digits: int = 2, sign: str = "+") -> str:
    low, high = f"{interval.low:{sign}.{digits}f}", f"{interval.high:{sign}.{digits}f}"
    return f"{interval.estimate:{sign}.{digits}f} [{low}, {high}]"


def plot(
    file: Path,
    read: dict[str, dict[str, stats.Interval]],
    moved: dict[str, Moved],
    whole: Moved,
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.2, 2.9), sharey=True, layout="constrained", width_ratios=[1.25, 1.4]
    )
    rows = {part.name: -i for i, part in enumerate(PARTS)}

    def draw(
        axes: Axes,
        interval: stats.Interval,
        y: float,
        colour: str,
        label: str | None,
        filled: bool = True,
    ) -> None:
        axes.plot([interval.low, interval.high], [y, y], color=colour, lw=2, solid_capstyle="round")
        axes.plot(
            interval.estimate, y, "o", color=colour, ms=6, label=label,
            mfc=colour if filled else "white", mew=1.3,
        )  # fmt: skip

    ink, blue, red, grey = "#222222", "#1f6fb4", "#c8442c", "#8a8a8a"
    for i, (name, y) in enumerate(rows.items()):
        for kind, (filled, up) in {
            "random forest": (True, 0.13), "linear": (False, -0.13),
        }.items():  # fmt: skip
            draw(left, read[kind][name], y + up, ink, None if i else kind, filled)
        draw(right, moved[name].put_in, y + 0.13, red, None if i else "car put in")
        draw(right, moved[name].taken_out, y - 0.13, blue, None if i else "car taken out")
    top = 0.66
    left.axvline(0.5, color=grey, lw=0.8, ls=":")
    left.text(0.51, top, "chance", color=grey, fontsize=8, va="center")
    left.set(xlim=(0.4, 1.02), xlabel="AUROC of a probe, held-out routes")
    left.set_yticks(list(rows.values()), list(rows))
    left.set_ylim(0.4 - len(rows), 0.9)
    right.axvspan(-SESOI, SESOI, color="#ececec", lw=0, zorder=0)
    right.text(
        SESOI + 0.07, -2.5, f"grey: ±{SESOI} m/s²,\ntoo little to matter", color=grey,
        fontsize=8, va="center",
    )  # fmt: skip
    right.axvline(0, color=grey, lw=0.8)
    for interval, colour in ((whole.put_in, red), (whole.taken_out, blue)):
        right.axvline(interval.estimate, ymax=0.86, color=colour, lw=1, ls=(0, (4, 3)), zorder=0)
        right.text(
            interval.estimate, top, "everything patched", color=colour, fontsize=8, va="center",
            ha="left" if interval.estimate < 0 else "right",
        )  # fmt: skip
    right.set(xlabel="change of mean acceleration over 2 s when patched, m/s²")
    for axes, title in ((left, "What can be read"), (right, "What moves the car")):
        axes.set_title(title, loc="left", fontweight="bold", fontsize=10)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#eeeeee", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.01, 0.985), ncols=2, frameon=False, fontsize=8,
            handletextpad=0.1, columnspacing=1, borderpad=0.2,
        )  # fmt: skip
    figure.savefig(file, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=1600, help="half to fit on, half to test on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="write the figure here")
    options = parser.parse_args()
    begin = time.perf_counter()

    model, scenes, _ = metadrive_ppo.make(options.scenes, options.seed)
    half = options.scenes // 8 * 4  # whole routes of four scenes
    fit = patch.PairedRun(model, scenes, range(half))
    test = patch.PairedRun(model, scenes, range(half, options.scenes))
    ahead = scenes.labels(CONCEPT)[test.scenes] == 1
    base = vla.mean_acceleration(test.base)
    print(
        f"{half} scenes to fit, {test.rows} to test; mean acceleration {base[~ahead].mean():+.2f} m/s^2 on a free "
        f"lane, {base[ahead].mean():+.2f} behind a car"
    )

    data = dataset(fit, scenes)
    # the list is ordered by distance: what it says of a place is no linear function of its numbers
    probes = {
        "linear": "ridge",
        "random forest": RandomForestClassifier(30, min_samples_leaf=2, random_state=0),
    }
    read: dict[str, dict[str, stats.Interval]] = {}
    for kind, probe_of in probes.items():
        found = probe.evaluate(data, probe_of, permutations=0, memorisation=False)
        read[kind] = {row.site: row.auroc for row in found.rows}
    print(f"\n{'can be read (AUROC)':<34}" + "".join(f"{kind:>24}" for kind in probes))
    for part in PARTS:
        cells = [f"{show(read[kind][part.name], 3, sign=''):>24}" for kind in probes]
        print(f"{part.name:<34}" + "".join(cells))

    moved = {part.name: patched(test, model, scenes, part) for part in (*PARTS, WHOLE)}
    whole = moved[WHOLE.name]
    print(
        f"\n{'moves the car (m/s^2)':<34}{'car put in':>24}{'car taken out':>24}{'raw throttle':>18}"
    )
    for name, effect in moved.items():
        print(
            f"{name:<34}{show(effect.put_in):>24}{show(effect.taken_out):>24}"
            f"{effect.throttle[0]:>+10.3f}{effect.throttle[1]:>+8.3f}"
        )

    print(f"\n{'along a fitted direction (m/s^2)':<34}{'effect of the concept':>24}")
    swapped = {part.name: along(data, test, scenes, part) for part in (OTHERS, AHEAD)}
    for name, effect in swapped.items():
        print(f"{name:<34}{show(effect.theta):>24}")

    if options.plot is not None:
        plot(options.plot, read, moved, whole)
    print(f"\n{time.perf_counter() - begin:.0f} s")

    listed, seen = moved[OTHERS.name], moved[AHEAD.name]
    assert read["random forest"][OTHERS.name].low > 0.9, (
        "the list of other cars says whether there is one ahead"
    )
    assert listed.put_in.inside(-SESOI, SESOI), "and it does not matter"
    assert listed.taken_out.inside(-SESOI, SESOI)
    assert seen.put_in.high < 0.8 * whole.put_in.estimate < 0, (
        "the front of the lidar is what it brakes for"
    )


if __name__ == "__main__":
    main()
