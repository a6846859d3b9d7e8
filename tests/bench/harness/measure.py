"""Interleaved measuring: every contender gets short slices in turn, the best slice counts.

On a shared machine a slice's CPU time still moves with caches and clock rate. Alternating slices
expose all contenders to the same disturbances, and the minimum over many of them is what the
code costs when it was not disturbed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from .worker import Worker


@dataclass
class Contender:
    """One thing to time: `name` as the report knows it, run by `worker` as `shape`/`label`."""

    name: str
    worker: Worker
    shape: str
    label: str
    count: int = 0
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def request(self, count: int) -> str:
        return f"{self.shape}/{self.label}:{count}"

    @property
    def best(self) -> float:
        """Least CPU seconds of one run."""
        return min(self.cpu_s)

    def paired_ratio(self, to: Contender) -> float:
        """Median over the rounds of this CPU time over the other's: a check on the minima."""
        return median(a / b for a, b in zip(self.cpu_s, to.cpu_s, strict=True))


def interleave(
    contenders: list[Contender],
    rounds: int,
    slice_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Contender]:
    """Time all contenders in turn, `rounds` slices of about `slice_s` each; return them by name.

    Workers take turns of a few rounds each; within a turn a worker alternates its contenders.
    """
    workers: dict[int, list[Contender]] = {}
    for contender in contenders:
        contender.count = _calibrate(contender, slice_s)
        contender.cpu_s.clear()
        contender.wall_s.clear()
        workers.setdefault(id(contender.worker), []).append(contender)
    turns = list(workers.values())
    in_turn = 1 if rounds < 10 else 5
    for index in range(-(-rounds // in_turn)):
        # Reversed every second time, so that nobody always follows the same neighbour.
        for turn in turns[::-1] if index % 2 else turns:
            requests = ",".join(contender.request(contender.count) for contender in turn)
            slices = turn[0].worker.ask("run", requests, in_turn)["slices"]
            for contender, times in zip(turn, slices, strict=True):
                contender.cpu_s += [cpu for cpu, _ in times]
                contender.wall_s += [wall for _, wall in times]
    for contender in contenders:
        say(
            f"  {contender.name:<34} {contender.best * 1e6:12.3f} us CPU"
            f"   median {median(contender.cpu_s) * 1e6:12.3f}"
            f"   {len(contender.cpu_s)} slices of {contender.count}"
        )
    return {contender.name: contender for contender in contenders}


def _calibrate(contender: Contender, slice_s: float) -> int:
    def one(count: int) -> float:
        return contender.worker.ask("run", contender.request(count), 1)["slices"][0][0][1]

    one(1)
    count = 1
    while True:
        wall = max(one(count), 1e-10)
        if wall * count >= 0.3 * slice_s:
            return max(1, round(slice_s / wall))
        count = max(2 * count, min(10 * count, round(0.5 * slice_s / wall)))
