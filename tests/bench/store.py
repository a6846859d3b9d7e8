#!/usr/bin/env python3
"""Bench of the store room: writing, reading shuffled rows warm and cold, opening many shards.

usage: store.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import (
    Peer,
    Reporter,
    Worker,
    WorkerError,
    host_python,
    line,
    parse_options,
    python_worker,
    root,
)

PEERS = {
    "h5py": Peer("h5py", ("h5py==3.16.0", "numpy==2.4.6")),
    "safetensors": Peer("safetensors", ("safetensors==0.8.0", "numpy==2.4.6")),
}
ROW_BYTES = 576 * 2


@dataclass
class Times:
    """CPU and wall seconds of one contender, by round."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        return min(self.cpu_s)

    @property
    def wall(self) -> float:
        return min(self.wall_s)


class Bench:
    def __init__(self, options: argparse.Namespace, report: Reporter, folder: Path, stack):
        self.options, self.report, self.folder, self._stack = options, report, folder, stack
        self.say = report.say
        self.rows = (1 << 30 if not options.quick else 1 << 28) // ROW_BYTES // 512 * 512
        self.gib = self.rows * ROW_BYTES / (1 << 30)
        self._workers: dict[str, Worker | str] = {}
        self._made: set[str] = set()

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.options.quick else full

    def worker(self, name: str = "host") -> Worker | str:
        """Return a worker, or why there is none."""
        if name not in self._workers:
            if name != "host" and (error := PEERS[name].ensure(self.say)):
                self._workers[name] = error
                return error
            python = host_python() if name == "host" else PEERS[name].python
            paths = [str(self.build_dir / "python"), os.environ.get("PYTHONPATH", "")]
            script = Path(__file__).with_name("store_worker.py")
            worker = python_worker(
                name, python, script, str(self.folder), str(self.rows), threads=1,
                PYTHONPATH=":".join(filter(None, paths)) if name == "host" else "",
            )  # fmt: skip
            self._workers[name] = self._stack.enter_context(worker)
        return self._workers[name]

    @property
    def build_dir(self) -> Path:
        return Path(self.options.build_dir or root() / "build" / "release").resolve()

    def make(self, what: str) -> None:
        if what not in self._made:
            self.say(f"making {what}")
            self.worker().ask("prepare", "-", f"make_{what}", timeout_s=600)
            self._made.add(what)

    def measure(
        self, parts: list[tuple[Worker, str]], rounds: int, runs: int = 1, rare: tuple = ()
    ) -> dict:
        """Run all contenders in turn, `rounds` times; the order is reversed every second time. Those
        of `rare`, which take long, have their turn in every third round."""
        times = {label: Times() for _, label in parts}
        for worker, label in parts:
            if runs > 1:  # what is short is warmed up first
                worker.ask("run", f"-/{label}:1", 1)
        for index in range(rounds):
            for worker, label in parts[::-1] if index % 2 else parts:
                if label in rare and index % 3:
                    continue
                worker.ask("prepare", "-", label)
                [[[cpu, wall]]] = worker.ask("run", f"-/{label}:{runs}", 1, timeout_s=600)["slices"]
                times[label].cpu_s.append(cpu)
                times[label].wall_s.append(wall)
        for label, t in times.items():
            self.say(f"  {label:<20} least {t.wall:9.4f} s wall {t.cpu:9.4f} s CPU   median "
                     f"{median(t.wall_s):9.4f} {median(t.cpu_s):9.4f}")  # fmt: skip
        return times


def raw_figures(times: dict[str, Times], gib: float) -> dict:
    return {
        "gib_per_s_wall": {label: gib / t.wall for label, t in times.items()},
        "gib_per_s_cpu": {label: gib / t.cpu for label, t in times.items()},
        "median_wall_s": {label: median(t.wall_s) for label, t in times.items()},
    }


def writing(bench: Bench, emit: Callable[..., None]) -> None:
    host = bench.worker()
    parts = [(host, "raw_write"), (host, "tierod_write")]
    peers: dict[str, str] = {}
    titles = {"memmap_write": "numpy memmap"}
    if not bench.options.quick:
        parts.append((host, "memmap_write"))
    for name in PEERS:
        worker = bench.worker(name)
        if isinstance(worker, str):
            peers[name] = f"not installed: {worker}"
        elif not bench.options.quick or name == "h5py":
            version = worker.ask("prepare", "-", "versions")["versions"][name]
            titles[f"{name}_write"] = f"{name} {version}"
            parts.append((worker, f"{name}_write"))
    bench.say(f"writing {bench.gib:.2f} GiB")
    got = bench.measure(parts, bench.rounds(7, 4), rare=tuple(titles))
    host.ask("check", "-", "tierod_write", "-", timeout_s=600)
    raw, own = got["raw_write"], got["tierod_write"]
    cpu_peers, wall_peers = dict(peers), dict(peers)
    for label, title in titles.items():
        if label in got:
            cpu_peers[title] = got[label].cpu / raw.cpu
            wall_peers[title] = got[label].wall / raw.wall
    extra = {"gib": bench.gib, **raw_figures(got, bench.gib), "rounds": len(raw.cpu_s)}
    paired = [a / b for a, b in zip(own.wall_s, raw.wall_s, strict=True)]
    emit("store.write_over_raw_wall", own.wall / raw.wall, wall_peers, "1 for write() alone",
         paired_median=median(paired), **extra)  # fmt: skip
    paired = [a / b for a, b in zip(own.cpu_s, raw.cpu_s, strict=True)]
    emit("store.write_over_raw_cpu", own.cpu / raw.cpu, cpu_peers, "1 for write() alone",
         paired_median=median(paired), **extra)  # fmt: skip


def overlap(bench: Bench, emit: Callable[..., None]) -> None:
    host = bench.worker()
    bench.say("a forward that stores all its residuals")
    labels = ("forward_bare", "forward_raw", "forward_store")
    got = bench.measure([(host, label) for label in labels], bench.rounds(7, 3))
    dense = bench.measure(
        [(host, "forward_dense_bare"), (host, "forward_dense_store")], bench.rounds(7, 2)
    )
    told = host.ask("prepare", "-", "told")["told"]
    bound = max(got["forward_bare"].wall, got["forward_raw"].wall)
    emit(
        "store.forward_overlap",
        got["forward_store"].wall / bound,
        {},
        f"{(got['forward_bare'].wall + got['forward_raw'].wall) / bound:.2f} without any overlap",
        wall_s={label: t.wall for label, t in got.items()},
        cpu_s={label: t.cpu for label, t in got.items()},
        median_wall_s={label: median(t.wall_s) for label, t in got.items()},
        dense_ratio=dense["forward_dense_store"].wall / dense["forward_dense_bare"].wall,
        within_limit=told["ring_bytes"] <= told["ring_limit"],
        **told,
    )


def shuffled(bench: Bench, emit: Callable[..., None]) -> None:
    host = bench.worker()
    bench.make("store")
    for label in ("tierod_gather", "memory_gather", "mapped_gather"):
        if label == "tierod_gather":
            host.ask("check", "-", label, "-", timeout_s=600)
    bench.say("shuffled mini-batches of 4096 rows, warm")
    parts = [(host, label) for label in ("memory_gather", "mapped_gather", "tierod_gather")]
    got = bench.measure(parts, bench.rounds(15, 7), runs=16)
    own = got["tierod_gather"]
    rate = {label: 4096 * ROW_BYTES / t.cpu / 1e9 for label, t in got.items()}
    emit(
        "store.shuffled_share_of_memory",
        got["memory_gather"].cpu / own.cpu,
        {"numpy memmap": got["memory_gather"].cpu / got["mapped_gather"].cpu},
        "1 for the same gather from memory",
        gb_per_s=rate,
        gib=bench.gib,
    )
    peer = bench.worker("h5py")
    if isinstance(peer, str):
        emit("store.shuffled_vs_h5py", None, {"h5py": f"not installed: {peer}"}, None)
        return
    peer.ask("run", "-/h5py_gather:1", 1, timeout_s=600)  # its file is made and read once
    other = bench.measure([(peer, "h5py_gather")], bench.rounds(7, 2))["h5py_gather"]
    version = peer.ask("prepare", "-", "versions")["versions"]["h5py"]
    emit(
        "store.shuffled_vs_h5py",
        other.cpu / own.cpu,
        {f"h5py {version}": 1.0},
        f"{other.cpu / got['memory_gather'].cpu:.0f} for a gather from memory",
        gb_per_s=rate | {"h5py_gather": 4096 * ROW_BYTES / other.cpu / 1e9},
    )


def cold(bench: Bench, emit: Callable[..., None]) -> None:
    host = bench.worker()
    bench.make("store")
    bench.say("an epoch in shuffled blocks, cold")
    parts = [(host, "cold_sequential"), (host, "cold_epoch")]
    got = bench.measure(parts, bench.rounds(9, 4))
    emit(
        "store.cold_share_of_sequential",
        got["cold_sequential"].wall / got["cold_epoch"].wall,
        {},
        "1 for the sequential read",
        paired_median=median(
            a / b
            for a, b in zip(got["cold_sequential"].wall_s, got["cold_epoch"].wall_s, strict=True)
        ),
        **raw_figures(got, bench.gib),
    )


def opening(bench: Bench, emit: Callable[..., None]) -> None:
    host = bench.worker()
    bench.make("many")
    bench.say("opening 10 000 shards")
    parts = [(host, "open_shards"), (host, "open_and_touch")]
    peer = bench.worker("h5py")
    if not isinstance(peer, str) and not bench.options.quick:
        parts.append((peer, "h5py_open_each"))
    got = bench.measure(parts, bench.rounds(9, 3))
    peers = {"h5py opening each": got["h5py_open_each"].wall} if "h5py_open_each" in got else {}
    emit(
        "store.open_10k_shards_s",
        got["open_shards"].wall,
        peers,
        None,
        first_row_s=got["open_and_touch"].wall,
        median_s=median(got["open_shards"].wall_s),
    )


# name -> goal, which way is better, unit, what measures it
LINES: dict[str, tuple[float, str, str, Callable]] = {
    "store.write_over_raw_wall": (1.15, "lower", "ratio of wall time", writing),
    "store.write_over_raw_cpu": (1.45, "lower", "ratio of CPU time", writing),
    "store.forward_overlap": (1.15, "lower", "ratio of wall time", overlap),
    "store.shuffled_share_of_memory": (0.4, "higher", "ratio of CPU time", shuffled),
    "store.shuffled_vs_h5py": (40, "higher", "ratio of CPU time", shuffled),
    "store.cold_share_of_sequential": (0.8, "higher", "ratio of wall time", cold),
    "store.open_10k_shards_s": (1.0, "lower", "s", opening),
}


def main() -> int:
    options, wanted = parse_options(__doc__, "store", LINES, "a quarter of the data, under 60 s")

    report = Reporter()

    def emit(name: str, value: float | None, peers: dict, limit: object, **extra: object) -> None:
        goal, better, unit, _ = LINES[name]
        if name in wanted:
            extra["load_1min"] = round(os.getloadavg()[0], 1)
            report.emit(line(name, value, goal, better, unit, peers, limit, **extra))

    with contextlib.ExitStack() as stack:
        # On the disk that holds the repository, not in a /tmp that may be memory.
        base = root() / "build"
        base.mkdir(exist_ok=True)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_store_", dir=base))
        bench = Bench(options, report, Path(folder), stack)
        for measure in dict.fromkeys(LINES[name][3] for name in wanted):
            try:
                measure(bench, emit)
            except WorkerError as error:
                for name in wanted:
                    if LINES[name][3] is measure:
                        emit(name, None, {}, None, error=str(error))
    if options.record:
        # A long run may be made in parts: lines that this one did not measure stay.
        path = root() / "docs" / "benchmarks" / "store.jsonl"
        if path.exists():
            kept = map(json.loads, path.read_text().splitlines()[1:])
            report.lines += [old for old in kept if old["name"] not in wanted]
        report.lines.sort(key=lambda row: list(LINES).index(row["name"]))
        report.say(f"wrote {report.record('store').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
