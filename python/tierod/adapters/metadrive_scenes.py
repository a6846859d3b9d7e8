"""Traffic on a straight road as MetaDrive's LidarStateObservation shows it, without the simulator.

Cars are rectangles along a road of three lanes; the lidar meets them by ray casting. Layout, scales and
signs are those of MetaDrive 0.4.3 (Li et al. 2022, arXiv 2109.12674): `obs/state_obs.py`,
`component/sensors/lidar.py`, `component/navigation_module/node_network_navigation.py`. Everything is in
[0, 1]:

| items | block | content |
|---|---|---|
| 0-8 | ego | room to both borders, heading, speed, steering, last action, yaw rate, place in the lane |
| 9-18 | navigation | two checkpoints: place ahead and to the left, bend of the road there |
| 19-34 | others | four nearest cars: place and relative speed, ahead and to the left; 0 where there is none |
| 35-274 | lidar | 240 rays, 1.5 degrees each, counter-clockwise from ahead: distance / 50 m, 1 if free |

Rays meet cars only: the borders of the road are in items 0 and 1, as in MetaDrive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from tierod import vla
from tierod._core import CounterRandom, InvalidArgument, OutOfRange

Floats = npt.NDArray[np.float64]

BLOCKS = {
    "ego": slice(0, 9),
    "navigation": slice(9, 19),
    "others": slice(19, 35),
    "lidar": slice(35, 275),
}
ITEMS = 275
RAYS = 240
RANGE_M = 50.0
LANES, LANE_M = 3, 3.5
CONCEPT = "vehicle_ahead"

_BORDER_SCALE_M = (3 + 1) * 4.5  # most lanes of a map, and one more, of the widest kind
_WIDEST_LANE_M = 4.5
_TOP_SPEED_KM_H = 80.0
_STEERING_SCALE = 60.0  # the simulator divides the steering in [-1, 1] by degrees; so do we
_CHECKPOINT_M = 50.0
# length and width of the simulator's cars: small, default, medium, large, extra large
_SIZES_M = np.array([[4.3, 1.7], [4.515, 1.852], [4.6, 1.85], [4.87, 2.046], [5.74, 2.3]])
# where other cars may be, centre to centre: (lanes to the left, from, to); never two in one place
_PLACES = [(side, *span) for side in (-2, -1, 1, 2) for span in ((-32, -11), (-4.5, 4.5), (11, 30))]
_PLACES.append((0, -32, -11))
_SCENES_A_ROUTE = 4


def front_rays(half_angle_deg: float = 15.0) -> list[int]:
    """Return the numbers of the rays within `half_angle_deg` of straight ahead.

    Raises InvalidArgument unless 0 <= half_angle_deg <= 180.
    """
    if not 0 <= half_angle_deg <= 180:
        raise InvalidArgument(
            "[adapters.front_rays] expected half_angle_deg in [0, 180] degrees, got "
            f"{half_angle_deg}; 15 takes 21 rays"
        )
    degrees = np.arange(RAYS) * 360 / RAYS
    off = np.minimum(degrees, 360 - degrees)
    return [int(i) for i in np.flatnonzero(off <= half_angle_deg + 1e-9)]


def cast_rays(boxes: Floats, present: npt.NDArray[np.bool_], heading: Floats) -> Floats:
    """Return how far each ray goes before it meets a car, m, at most 50.

    Args:
        boxes: [scenes, cars, 4], x and y of the centre, length, width in m. The origin is the ego car, x
            points along the road, y to the left; the cars stand along the road.
        present: [scenes, cars], which of them are there.
        heading: [scenes], rad, of the ego car against the road, counter-clockwise.

    Returns:
        [scenes, 240]; ray i points `heading` + 1.5 i degrees counter-clockwise of the road. A car that
        covers the origin is met at 0.
    """
    angle = heading[:, None] + np.arange(RAYS) * (2 * np.pi / RAYS)
    # a ray along an edge would divide 0 by 0
    tiny = 1e-12
    enter = np.full((*angle.shape, boxes.shape[1]), -np.inf)
    leave = np.full_like(enter, np.inf)
    for axis, direction in enumerate((np.cos(angle), np.sin(angle))):
        along = np.where(np.abs(direction) < tiny, tiny, direction)[..., None]
        centre, half = boxes[:, None, :, axis], boxes[:, None, :, 2 + axis] / 2
        near, far = (centre - half) / along, (centre + half) / along
        enter = np.maximum(enter, np.minimum(near, far))
        leave = np.minimum(leave, np.maximum(near, far))
    met = (enter <= leave) & (leave >= 0) & present[:, None, :]
    distance = np.where(met, np.maximum(enter, 0), RANGE_M)
    nearest: Floats = distance.min(-1, initial=RANGE_M)
    return np.minimum(nearest, RANGE_M)


class MetaDriveScenes(vla.SceneSource):
    """Seeded traffic scenes, half of them with a car ahead, and their exact twins.

    The concept `vehicle_ahead` is a car in the ego lane whose centre is 7 to 15 m ahead, from 3.5 m/s
    slower than the ego car to 1.5 m/s faster; without it the ego lane is free to 50 m. The twin of a scene is
    the same scene with this very car removed, or put in, all else equal. Other lanes, and the ego lane behind,
    hold 0 to 7 more cars. Four scenes make a route, which shares lane, cruising speed and density of traffic.
    A scene is a function of (seed, id) alone.

    Args:
        scenes: number of scenes.
        seed: of the counters they are drawn from.

    Raises:
        InvalidArgument: scenes < 1 or seed < 0.
    """

    def __init__(self, scenes: int = 1600, seed: int = 0) -> None:
        super().__init__()
        if scenes < 1 or seed < 0:
            raise InvalidArgument(
                f"[adapters.MetaDriveScenes] expected scenes >= 1 and seed >= 0, got {scenes} and {seed}"
            )
        self._size = scenes
        self._draw(seed)

    def _draw(self, seed: int) -> None:
        ids, routes = range(self._size), range(-(-self._size // _SCENES_A_ROUTE))
        position = iter(range(1 << 20))  # every quantity reads its own counter

        def uniform(low: float, high: float, of: Sequence[int] = ids) -> Floats:
            random, at = CounterRandom(seed, "adapters.metadrive_scenes"), next(position)
            return np.array([low + (high - low) * random.uniform(i, 0, at) for i in of])

        def normal(mean: float, sd: float, most: float) -> Floats:
            random, at = CounterRandom(seed, "adapters.metadrive_scenes"), next(position)
            drawn = np.array([random.normal(i, 0, at) for i in ids])
            return mean + np.clip(sd * drawn, -most, most)

        of_route = np.arange(self._size) // _SCENES_A_ROUTE
        self.lane_number = np.floor(uniform(0, LANES, routes)).astype(np.int64)[of_route]  # 0: left
        cruising = uniform(6, 14, routes)[of_route]
        density = uniform(0.1, 0.6, routes)[of_route]

        self.speed_m_s = cruising + normal(0, 1.5, 3)
        self.right_m = normal(0, 0.3, 0.8)  # of the middle of the lane
        self.heading = normal(0, 0.02, 0.05)
        self.steering, self.throttle = normal(0, 0.02, 0.05), uniform(-0.2, 0.6)
        self.checkpoint_m = uniform(10, 80)
        self.next_checkpoint_m = self.checkpoint_m + uniform(40, 80)

        # car 0 is the one ahead: drawn in every scene, shown where the concept is present
        self.ahead = uniform(0, 1) < 0.5
        cars = 1 + len(_PLACES)
        self.boxes = np.zeros((self._size, cars, 4))
        self.speeds_m_s = np.zeros((self._size, cars))
        self.there = np.zeros((self._size, cars), bool)
        for k in range(cars):
            left, low, high = (0, 7.0, 15.0) if k == 0 else _PLACES[k - 1]
            self.boxes[:, k, 0] = uniform(low, high)
            self.boxes[:, k, 1] = left * LANE_M + self.right_m + normal(0, 0.2, 0.5)
            self.boxes[:, k, 2:] = _SIZES_M[np.floor(uniform(0, len(_SIZES_M))).astype(int)]
            slower = normal(-1.0, 1.0, 2.5) if k == 0 else normal(0, 2.0, 5)
            self.speeds_m_s[:, k] = np.maximum(self.speed_m_s + slower, 0)
            on_road = (self.lane_number - left >= 0) & (self.lane_number - left < LANES)
            self.there[:, k] = (uniform(0, 1) < density) & on_road & (k > 0)

    # -- what vla.SceneSource asks for

    def size(self) -> int:
        return self._size

    def batch(self, ids: Sequence[int]) -> vla.Batch:  # type: ignore[override]
        return self._batch(ids, twins=False)

    def twin(self, ids: Sequence[int], name: str) -> vla.Batch:  # type: ignore[override]
        self._check_concept(name, "twin")
        return self._batch(ids, twins=True)

    def group_levels(self) -> list[str]:
        return ["route", "scene"]

    def group(self, level: str, ids: Sequence[int]) -> list[int]:  # type: ignore[override]
        if level not in self.group_levels():
            raise InvalidArgument(
                f"[adapters.MetaDriveScenes.group] expected a level as one of route, scene, got '{level}'"
            )
        size = _SCENES_A_ROUTE if level == "route" else 1
        return [int(i) // size for i in self._checked(ids)]

    def concepts(self) -> list[str]:
        return [CONCEPT]

    def labels(self, name: str) -> torch.Tensor:
        self._check_concept(name, "labels")
        return torch.from_numpy(self.ahead.astype(np.uint8))

    def nuisances(self) -> list[vla.SceneNuisance]:
        def number(name: str, values: npt.NDArray[np.generic]) -> vla.SceneNuisance:
            return vla.SceneNuisance(name, torch.from_numpy(values.astype(np.float64)))

        lane = torch.from_numpy(self.lane_number.astype(np.float64))
        return [
            number("speed", self.speed_m_s),
            number("lateral_offset", self.right_m),
            number("other_vehicles", self.there[:, 1:].sum(1)),
            vla.SceneNuisance("lane", lane, True, ["left", "middle", "right"]),
        ]

    def strata(self) -> list[vla.Stratification]:
        far = torch.from_numpy((self.boxes[:, 0, 0] >= 11).astype(np.int64))
        return [vla.Stratification("distance", ["7 to 11 m", "11 to 15 m"], far)]

    def agents(self, ids: Sequence[int], twin_by: str = "") -> list[list[vla.Agent]]:  # type: ignore[override]
        chosen = self._checked(ids)
        if twin_by:
            self._check_concept(twin_by, "agents")
        there = self._present(chosen, twins=bool(twin_by))
        place = self._to_ego(chosen, self.boxes[chosen, :, :2])
        motion = np.stack([self.speeds_m_s, np.zeros_like(self.speeds_m_s)], -1)[chosen]
        motion = self._to_ego(chosen, motion)
        radius = self.boxes[chosen, :, 2:].mean(-1) / 2

        def car(i: int, k: int) -> vla.Agent:
            (x, y), (vx, vy) = place[i, k], motion[i, k]
            return vla.Agent("car", x_m=x, y_m=y, vx_m_s=vx, vy_m_s=vy, radius_m=radius[i, k])

        return [[car(i, k) for k in range(len(row)) if row[k]] for i, row in enumerate(there)]

    def lane(self, ids: Sequence[int]) -> list[vla.Lane]:  # type: ignore[override]
        chosen = self._checked(ids)
        along = np.linspace(-20, 80, 21)
        middle = np.stack(np.broadcast_arrays(along, self.right_m[chosen][:, None]), -1)
        centre = torch.from_numpy(self._to_ego(chosen, middle))
        return [vla.Lane(line, LANE_M) for line in centre]

    # -- observations

    def observations(self, ids: Sequence[int], *, twins: bool = False) -> Floats:
        """Return what MetaDrive would observe in the scenes, or in their twins: [len(ids), 275].

        Raises:
            OutOfRange: if a scene does not exist.
        """
        chosen = self._checked(ids)
        there = self._present(chosen, twins)
        out = np.empty((len(chosen), ITEMS))
        out[:, BLOCKS["ego"]] = self._ego(chosen)
        out[:, BLOCKS["navigation"]] = self._navigation(chosen)
        out[:, BLOCKS["others"]] = self._others(chosen, there)
        distance = cast_rays(self.boxes[chosen], there, self.heading[chosen])
        out[:, BLOCKS["lidar"]] = distance / RANGE_M
        return np.clip(out, 0, 1)

    def _ego(self, chosen: npt.NDArray[np.int64]) -> Floats:
        right = self.lane_number[chosen] * LANE_M + self.right_m[chosen]
        from_left = right + LANE_M / 2
        speed, steering = self.speed_m_s[chosen], self.steering[chosen]
        curvature = np.tan(np.deg2rad(40) * steering) / 2.469
        columns = [
            from_left / _BORDER_SCALE_M,
            (LANES * LANE_M - from_left) / _BORDER_SCALE_M,
            (1 - np.sin(self.heading[chosen])) / 2,
            (3.6 * speed + 1) / (_TOP_SPEED_KM_H + 1),
            (steering / _STEERING_SCALE + 1) / 2,
            (steering + 1) / 2,
            (self.throttle[chosen] + 1) / 2,
            np.abs(speed * curvature),  # rad/s, without its sign
            (self.right_m[chosen] * 2 / _WIDEST_LANE_M + 1) / 2,
        ]
        return np.stack(columns, -1)

    def _navigation(self, chosen: npt.NDArray[np.int64]) -> Floats:
        right = self.lane_number[chosen] * LANE_M + self.right_m[chosen]
        to_middle = right - (LANES - 1) / 2 * LANE_M  # checkpoints lie on the middle of the road
        parts = []
        for ahead in (self.checkpoint_m[chosen], self.next_checkpoint_m[chosen]):
            place = self._to_ego(chosen, np.stack([ahead, to_middle], -1)[:, None])[:, 0]
            far = np.linalg.norm(place, axis=-1, keepdims=True)
            place = place / np.maximum(far, _CHECKPOINT_M)
            straight = np.broadcast_to([0.0, 0.5, 0.5], (len(chosen), 3))
            parts += [(place + 1) / 2, straight]
        return np.concatenate(parts, -1)

    def _others(self, chosen: npt.NDArray[np.int64], there: npt.NDArray[np.bool_]) -> Floats:
        boxes = self.boxes[chosen]
        # MetaDrive lists a car as soon as any part of it is in range
        short = np.maximum(np.abs(boxes[..., :2]) - boxes[..., 2:] / 2, 0)
        seen = there & (np.linalg.norm(short, axis=-1) <= RANGE_M)
        distance = np.where(seen, np.linalg.norm(boxes[..., :2], axis=-1), np.inf)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :4]
        faster = self.speeds_m_s[chosen] - self._ego_motion(chosen)[:, None, 0]
        sideways = np.broadcast_to(-self._ego_motion(chosen)[:, None, 1], faster.shape)
        place = self._to_ego(chosen, boxes[..., :2]) / RANGE_M
        motion = self._to_ego(chosen, np.stack([faster, sideways], -1)) * 3.6 / _TOP_SPEED_KM_H
        entries = np.clip((np.concatenate([place, motion], -1) + 1) / 2, 0, 1)
        entries = np.where(seen[..., None], entries, 0)
        picked = np.take_along_axis(entries, nearest[..., None], 1)
        return picked.reshape(len(chosen), -1)

    def _ego_motion(self, chosen: npt.NDArray[np.int64]) -> Floats:
        heading, speed = self.heading[chosen], self.speed_m_s[chosen]
        return np.stack([speed * np.cos(heading), speed * np.sin(heading)], -1)

    def _to_ego(self, chosen: npt.NDArray[np.int64], vectors: Floats) -> Floats:
        """Turn [scenes, n, 2] from along the road to along the ego car."""
        cos, sin = np.cos(self.heading[chosen])[:, None], np.sin(self.heading[chosen])[:, None]
        x, y = vectors[..., 0], vectors[..., 1]
        return np.stack([cos * x + sin * y, cos * y - sin * x], -1)

    def _present(self, chosen: npt.NDArray[np.int64], twins: bool) -> npt.NDArray[np.bool_]:
        there = self.there[chosen].copy()
        there[:, 0] = self.ahead[chosen] ^ twins
        return there

    def _batch(self, ids: Sequence[int], twins: bool) -> vla.Batch:
        rows = torch.from_numpy(self.observations(ids, twins=twins).astype(np.float32))
        return vla.Batch({"observation": rows}, [int(i) for i in ids])

    def _checked(self, ids: Sequence[int]) -> npt.NDArray[np.int64]:
        chosen = np.asarray(ids, np.int64).reshape(-1)
        outside = (chosen < 0) | (chosen >= self._size)
        if outside.any():
            raise OutOfRange(
                f"[adapters.MetaDriveScenes] expected scenes in [0, {self._size}), got "
                f"{chosen[outside][0]}; make more by scenes="
            )
        return chosen

    def _check_concept(self, name: str, where: str) -> None:
        if name != CONCEPT:
            raise InvalidArgument(
                f"[adapters.MetaDriveScenes.{where}] expected the concept '{CONCEPT}', got '{name}'"
            )


__all__ = ["BLOCKS", "CONCEPT", "RANGE_M", "RAYS", "MetaDriveScenes", "cast_rays", "front_rays"]
