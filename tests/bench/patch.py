#!/usr/bin/env python3
"""Bench of the patch room: sweeps over layers and positions against those of other tools.

usage: patch.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import (
    Contender,
    Peer,
    Reporter,
    Worker,
    WorkerError,
    host_python,
    interleave,
    line,
    parse_options,
    python_worker,
    root,
)

SMALL, LARGE = "sweep_4x128", "sweep_12x512"
THREADS = 1
PEERS = {
    "tl3": Peer("tl3", ("transformer-lens==3.9.0", "transformers>=5.9,<6")),
    "nnsight": Peer("nnsight", ("nnsight==0.8.0", "transformers==4.57.1")),
}


class Bench:
    """The workers of one run of this bench, started when they are first needed."""

    def __init__(self, options: argparse.Namespace, report: Reporter, folder: Path, stack):
        self.options, self.report, self.folder, self._stack = options, report, folder, stack
        self.say = report.say
        self._peers: dict[str, Worker | str] = {}

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.options.quick else full

    @property
    def build_dir(self) -> Path:
        return Path(self.options.build_dir or root() / "build" / "release").resolve()

    @cached_property
    def host(self) -> Worker:
        paths = [str(self.build_dir / "python"), os.environ.get("PYTHONPATH", "")]
        worker = self._python("host", host_python(), PYTHONPATH=":".join(filter(None, paths)))
        for shape in (SMALL, LARGE):
            worker.ask("prepare", shape, "data")
        return worker

    @cached_property
    def cpp(self) -> Worker:
        _ = self.host  # the weights must be there
        self.say("building tierod_patch_bench")
        build = ["cmake", "--build", str(self.build_dir), "--target", "tierod_patch_bench"]
        done = subprocess.run(build, cwd=root(), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"the build failed:\n{(done.stdout + done.stderr)[-2000:]}")
        command = [str(self.build_dir / "bench" / "tierod_patch_bench")]
        command += [str(self.folder), str(THREADS)]
        return self._stack.enter_context(Worker("C++", command, threads=THREADS))

    def peer(self, name: str) -> Worker | str:
        if name not in self._peers:
            error = PEERS[name].ensure(self.say)
            self._peers[name] = error or self._python(name, PEERS[name].python)
        return self._peers[name]

    def _python(self, name: str, python: Path, **environment: str) -> Worker:
        script = Path(__file__).with_name("patch_worker.py")
        arguments = (str(self.folder), str(THREADS))
        worker = python_worker(name, python, script, *arguments, threads=THREADS, **environment)
        return self._stack.enter_context(worker)

    def map_of(self, worker: Worker, shape: str, label: str) -> array:
        file = self.folder / "check"
        worker.ask("check", shape, label, file, timeout_s=900)
        values = array("d" if worker.name == "C++" else "f")
        values.frombytes(file.read_bytes())
        return values

    def difference(self, worker: Worker, shape: str, label: str, to: array) -> float:
        """Return the largest difference of the cells that were done, as a share of the range."""
        got = self.map_of(worker, shape, label)
        done = [(a, b) for a, b in zip(got, to, strict=True) if not math.isnan(a)]
        if not done:
            raise WorkerError(f"{worker.name} {shape}/{label}: no cell was done")
        return max(abs(a - b) for a, b in done) / (max(to) - min(to))

    def time(self, parts: list[tuple[str, Worker, str, str]], rounds: int) -> dict[str, float]:
        """Return CPU seconds of a whole map, by name; what was done in part is scaled."""
        got = interleave([Contender(*p) for p in parts], rounds, 0.05, self.say)
        out = {}
        for name, worker, shape, label in parts:
            done = 1.0
            if worker.name != "C++":
                done = worker.ask("prepare", shape, label)["share"]
            out[name] = got[name].best / done
        return out


def sweeps(bench: Bench, emit: Callable[..., None], shape: str) -> None:
    lens, sight, host = bench.peer("tl3"), bench.peer("nnsight"), bench.host
    want = bench.map_of(bench.cpp, shape, "suffix")
    parts = [
        ("tierod C++", bench.cpp, shape, "suffix"),
        ("restart C++", bench.cpp, shape, "restart"),
    ]
    parts += [("batched", host, shape, "batched"), ("HF hooks", host, shape, "hf_hooks")]
    parts += [("tierod HF", host, shape, "tierod_hf")]
    if isinstance(lens, Worker):
        parts.append(("TransformerLens 3.9", lens, shape, "tl3"))
    if isinstance(sight, Worker):
        parts.append(("nnsight 0.8", sight, shape, "nnsight"))
    for name, worker, _, label in parts[1:]:
        off = bench.difference(worker, shape, label, want)
        bench.say(f"  {name}: differs by {off:.1e} of the range")
        if off > 1e-4:
            raise WorkerError(f"{name} computes another map: {off:.2g} of the range")
    got = bench.time(parts, bench.rounds(5, 1))
    mine = got["tierod C++"]
    peers = {k: v / mine for k, v in got.items() if k not in ("tierod C++", "tierod HF")}
    seconds = dict(got)
    size = shape.removeprefix("sweep_")
    limit = {"4x128": "110, from the operations", "12x512": "15, from the operations"}[size]
    if "TransformerLens 3.9" in got:
        emit(f"patch.sweep_{size}_vs_tl", got["TransformerLens 3.9"] / mine, peers, limit,
             cpu_s=seconds, threads=THREADS)  # fmt: skip
    else:
        emit(f"patch.sweep_{size}_vs_tl", None, {"TransformerLens": str(lens)}, limit)
    if shape == LARGE:
        emit(f"patch.sweep_{size}_vs_batched", got["batched"] / mine, {}, "6.5", threads=THREADS)
        best = min(v for k, v in got.items() if k in ("HF hooks", "nnsight 0.8"))
        emit("patch.hf_generic_vs_best_peer", best / got["tierod HF"],
             {k: got[k] / got["tierod HF"] for k in ("HF hooks", "nnsight 0.8") if k in got},
             None, threads=THREADS)  # fmt: skip


def small(bench: Bench, emit: Callable[..., None]) -> None:
    sweeps(bench, emit, SMALL)


def large(bench: Bench, emit: Callable[..., None]) -> None:
    sweeps(bench, emit, LARGE)


def exact(bench: Bench, emit: Callable[..., None]) -> None:
    for name, suffix in (("patch.exact_f32", ""), ("patch.exact_f64", "_f64")):
        off = {}
        for shape in (SMALL,) if bench.options.quick else (SMALL, LARGE):
            naive = bench.map_of(bench.cpp, shape, f"naive{suffix}")
            for label in ("suffix", "restart", "batched"):
                off[f"{shape} {label}"] = bench.difference(bench.cpp, shape, label + suffix, naive)
        emit(name, max(off.values()), {}, None, by=off)


def expert(bench: Bench, emit: Callable[..., None]) -> None:
    found = bench.host.ask("prepare", "zoo", "expert")
    if not found["equal"]:
        raise WorkerError("a sweep that acts on kept thoughts differs from whole runs")
    seconds = found["cpu_s"]
    emit("patch.expert_sweep_lm_calls", found["lm_calls"], {"whole runs": found["whole_lm_calls"]}, 0,
         cells=found["cells"], whole_over_act_cpu=seconds["whole"] / seconds["act"], threads=THREADS)  # fmt: skip


LINES: dict[str, tuple[float, str, str, Callable]] = {
    "patch.sweep_12x512_vs_tl": (10, "higher", "ratio of CPU time", large),
    "patch.sweep_12x512_vs_batched": (4.7, "higher", "ratio of CPU time", large),
    "patch.sweep_4x128_vs_tl": (33, "higher", "ratio of CPU time", small),
    "patch.hf_generic_vs_best_peer": (4, "higher", "ratio of CPU time", large),
    "patch.expert_sweep_lm_calls": (
        0,
        "lower",
        "layer calls beside those of base and donors",
        expert,
    ),
    "patch.exact_f32": (5e-6, "lower", "share of the metric's range", exact),
    "patch.exact_f64": (5e-14, "lower", "share of the metric's range", exact),
}


def main() -> int:
    options, wanted = parse_options(__doc__, "patch", LINES, "one round, small maps where it can")
    report = Reporter()

    def emit(name: str, value: float | None, peers: dict, limit: object, **extra: object) -> None:
        goal, better, unit, _ = LINES[name]
        if name in wanted:
            extra["load_1min"] = round(os.getloadavg()[0], 1)
            report.emit(line(name, value, goal, better, unit, peers, limit, **extra))

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_patch_"))
        bench = Bench(options, report, Path(folder), stack)
        for measure in dict.fromkeys(LINES[name][3] for name in wanted):
            try:
                measure(bench, emit)
            except WorkerError as error:
                for name in wanted:
                    if LINES[name][3] is measure:
                        emit(name, None, {}, None, error=str(error))
    if options.record:
        report.say(f"wrote {report.record('patch').relative_to(root())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
