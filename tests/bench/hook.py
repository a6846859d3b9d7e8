#!/usr/bin/env python3
"""Bench of the hook room: what a hook, a capture, a copy and a session cost.

usage: hook.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
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

SMALL, LARGE = "48x16", "12x512"
LAYERS = {SMALL: 48, LARGE: 12}
SITES = 200
COPIES, COPY_BYTES = 32, 4 << 20
# Hook costs are measured on one thread, and CPU time over CPU time needs no more for the rest.
THREADS = 1

# Blocks that return tensors, as tdhook 0.3 wants them, came with transformers 5.
PEERS = {
    "tl3": Peer("tl3", ("transformer-lens==3.9.0", "transformers>=5.9,<6")),
    "tl4": Peer("tl4", ("transformer-lens==4.3.0", "transformers>=5.9,<6")),
    "nnsight": Peer("nnsight", ("nnsight==0.8.0", "transformers==4.57.1")),
    "pyvene": Peer("pyvene", ("pyvene==0.1.8", "transformers==4.57.1")),
    "tdhook": Peer("tdhook", ("tdhook==0.3.0", "transformers>=5.9,<6")),
}
# peer -> how it is called in the report, its capturing contender, its own bare forward
CAPTURING = {
    "tl3": ("TransformerLens {transformer-lens} run_with_cache", "tl3_cache", "tl3_bare"),
    "tl4": ("TransformerLens {transformer-lens} bridge run_with_cache", "tl4_cache", "tl4_bare"),
    "nnsight": ("nnsight {nnsight} trace and save", "nnsight_trace", "hf_bare"),
    "pyvene": ("pyvene {pyvene} lambda", "pyvene_lambda", "hf_bare"),
    "tdhook": ("tdhook {tdhook} ActivationCaching", "tdhook_cache", "hf_bare"),
}


class Bench:
    """The workers of one run of this bench, started when they are first needed."""

    def __init__(self, options: argparse.Namespace, report: Reporter, folder: Path, stack):
        self.options, self.report, self.folder, self._stack = options, report, folder, stack
        self.say = report.say
        self._peers: dict[str, Worker | str] = {}
        self._checked: dict[tuple[str, str, str], str | None] = {}

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.options.quick else full

    # --- workers

    def warm_up(self, wanted: list[str]) -> None:
        """Start what takes seconds to import side by side, before anything is measured."""
        lens = None
        if any("vs_tl" in name or "capture" in name for name in wanted):
            lens = self.peer("tl3")
        _ = self.host
        if isinstance(lens, Worker):
            with contextlib.suppress(WorkerError):  # told again by the line that needs it
                lens.ask("prepare", SMALL, "tl3_bare")

    @cached_property
    def host(self) -> Worker:
        """The project's own environment: tierod, plain PyTorch, transformers. Draws the weights."""
        package = self.build_dir / "python"
        paths = [str(package), os.environ.get("PYTHONPATH", "")]
        worker = self._python("host", host_python(), PYTHONPATH=":".join(filter(None, paths)))
        for shape in LAYERS:
            worker.ask("prepare", shape, "data")
        return worker

    @cached_property
    def cpp(self) -> Worker:
        _ = self.host  # the weights must be there
        program = self._build("tierod_hook_bench")
        command = [str(program), str(self.folder), str(THREADS)]
        return self._stack.enter_context(Worker("C++", command, threads=THREADS))

    def peer(self, name: str) -> Worker | str:
        """Return a peer's worker, or why there is none."""
        if name not in self._peers:
            error = PEERS[name].ensure(self.say)
            self._peers[name] = error or self._python(name, PEERS[name].python)
        return self._peers[name]

    def _python(self, name: str, python: Path, **environment: str) -> Worker:
        script = Path(__file__).with_name("hook_worker.py")
        arguments = (str(self.folder), str(THREADS))
        worker = python_worker(name, python, script, *arguments, threads=THREADS, **environment)
        return self._stack.enter_context(worker)

    @property
    def build_dir(self) -> Path:
        return Path(self.options.build_dir or root() / "build" / "release").resolve()

    def _build(self, target: str) -> Path:
        beside = host_python().with_name("cmake")
        cmake = str(beside) if beside.exists() else shutil.which("cmake") or "cmake"
        commands = [[cmake, "--build", str(self.build_dir), "--target", target]]
        if not self.options.build_dir:
            configure = [cmake, "--preset", "release", "-DTIEROD_BUILD_BENCHES=ON"]
            commands.insert(0, configure)
        self.say(f"building {target}")
        for command in commands:
            done = subprocess.run(command, cwd=root(), capture_output=True, text=True)
            if done.returncode != 0:
                output = (done.stdout + done.stderr)[-2000:]
                raise SystemExit(f"{' '.join(command[:2])} failed:\n{output}")
        return self.build_dir / "bench" / target

    # --- equality

    def outputs(self, worker: Worker, shape: str, label: str) -> array:
        """Return logits and captures, one after the other."""
        file = self.folder / "check.f32"
        worker.ask("check", shape, label, file)
        values = array("f")
        values.frombytes(file.read_bytes())
        return values

    @cached_property
    def _references(self) -> dict[str, array]:
        return {shape: self.outputs(self.host, shape, "plain_hook") for shape in LAYERS}

    def wrong(self, worker: Worker, shape: str, label: str) -> str | None:
        """Say how a contender's logits and captures differ from plain PyTorch's, if they do."""
        key = (worker.name, shape, label)
        if key not in self._checked:
            try:
                self._checked[key] = self._compare(
                    self.outputs(worker, shape, label), self._references[shape]
                )
            except WorkerError as error:
                self._checked[key] = str(error)
            if self._checked[key]:
                self.say(f"  {worker.name} {shape}/{label}: {self._checked[key]}")
        return self._checked[key]

    @staticmethod
    def _compare(got: array, want: array) -> str | None:
        if len(got) != len(want):
            return f"computed {len(got)} numbers, expected {len(want)}"
        worst = max(abs(a - b) for a, b in zip(got, want, strict=True))
        scale = max(map(abs, want))
        if not worst <= 1e-5 * scale:
            return f"differs from the reference by {worst:.2g} (largest value {scale:.2g})"
        return None

    # --- measuring

    def time(
        self, what: str, contenders: list[tuple[str, Worker, str, str]], rounds: int, slice_s: float
    ) -> dict[str, Contender]:
        self.say(f"{what}: {rounds} rounds")
        parts = [Contender(*part) for part in contenders]
        return interleave(parts, rounds, slice_s, self.say)


def gain(got: dict[str, Contender], one: str, other: str, scale: float) -> float:
    """Return how much more CPU time `one` takes than `other`, times `scale`."""
    return (got[one].best - got[other].best) * scale


def ratio(got: dict[str, Contender], one: str, other: str) -> float:
    return got[one].best / got[other].best


def idle(bench: Bench, emit: Callable[..., None]) -> None:
    labels = ("idle_hook", "idle_hook_moved", "handle_copy", "handle_move")
    parts = [(label, bench.cpp, "-", label) for label in labels]
    got = bench.time("idle hook", parts, bench.rounds(200, 50), 0.002)
    ns = {label: 1e9 * got[label].best for label in labels}
    emit(
        "hook.idle_ns",
        ns["idle_hook_moved"],
        {},
        f"{ns['handle_move']:.1f} ns to move a tensor handle there and back; "
        f"{ns['handle_copy']:.1f} ns to copy and drop one",
        measured="x = hook_point(std::move(x), site)",
        without_move_ns=ns["idle_hook"],
        without_move_over_handle_copy_ns=ns["idle_hook"] - ns["handle_copy"],
    )


def capture(bench: Bench, emit: Callable[..., None]) -> None:
    hooks = LAYERS[SMALL]
    per_hook = 1e6 / hooks
    cpp = [(f"C++ {label}", bench.cpp, SMALL, label) for label in CPP_LABELS]
    if error := bench.wrong(bench.cpp, SMALL, "capture"):
        raise WorkerError(error)
    c = bench.time("capture, C++", cpp, bench.rounds(1000, 300), 0.001)
    peers, peers_us, module = _module_captures(bench)

    emit(
        "hook.capture_cpp_ratio",
        ratio(c, "C++ capture_open", "C++ bare"),
        peers,
        f"{ratio(c, 'C++ keep', 'C++ bare'):.3f} for keeping the handles in a std::vector",
        us_per_hook=gain(c, "C++ capture_open", "C++ bare", per_hook),
        us_per_hook_goal=1,
        us_per_hook_limit=gain(c, "C++ keep", "C++ bare", per_hook),
        paired_median=c["C++ capture_open"].paired_ratio(c["C++ bare"]),
        session_per_forward=ratio(c, "C++ capture", "C++ bare"),
        session_per_forward_us_per_hook=gain(c, "C++ capture", "C++ bare", per_hook),
        idle=ratio(c, "C++ idle", "C++ bare"),
        bare_ms=1e3 * c["C++ bare"].best,
        threads=THREADS,
    )
    emit("hook.capture_module_ratio", peers=peers, us_per_hook_peers=peers_us, **module)


CPP_LABELS = ("bare", "idle", "keep", "capture_open", "capture")


def _module_captures(bench: Bench) -> tuple[dict, dict, dict]:
    """Measure every Python contender; return the peers' ratios, their us a hook, and tierod's."""
    per_hook = 1e6 / LAYERS[SMALL]
    host, parts = bench.host, []
    tierod = {"open": "tierod_open", "session": "tierod_session"}
    error = next(filter(None, (bench.wrong(host, SMALL, label) for label in tierod.values())), None)
    labels = ["hf_bare", "hf_hook", "hf_hook_clone", "hf_trace_dict", "plain_bare", "plain_hook"]
    labels += [] if error else [*tierod.values(), "tierod_plain_open"]
    parts += [(label, host, SMALL, label) for label in labels]

    peers, started = {}, {}
    for name, (title, label, bare) in CAPTURING.items():
        if bench.options.quick and name != "tl3":
            continue
        worker = bench.peer(name)
        if isinstance(worker, str):
            peers[name] = f"not installed: {worker}"
            continue
        if why := bench.wrong(worker, SMALL, label):
            peers[name] = why
            continue
        started[name] = title.format(**worker.ask("prepare", SMALL, label)["versions"])
        parts += [(f"{name} {part}", worker, SMALL, part) for part in (bare, label)]
    rounds = bench.rounds(120, 30)
    got = bench.time("capture, PyTorch modules", parts, rounds, 0.02)

    version = host.ask("prepare", SMALL, "hf_bare")["versions"]["transformers"]
    titles = {"hf_hook": "plain forward hook", "hf_hook_clone": "plain forward hook, clone"}
    titles["hf_trace_dict"] = "TraceDict idiom"
    us = {}
    for label, title in titles.items():
        title = f"{title} (transformers {version})"
        peers[title] = ratio(got, label, "hf_bare")
        us[title] = gain(got, label, "hf_bare", per_hook)
    for name, title in started.items():
        _, label, bare = CAPTURING[name]
        peers[title] = ratio(got, f"{name} {label}", f"{name} {bare}")
        us[title] = gain(got, f"{name} {label}", f"{name} {bare}", per_hook)

    limit = f"{ratio(got, 'hf_hook', 'hf_bare'):.3f} for a Python hook that keeps the tensor"
    module = {"value": None, "limit": limit, "error": error}
    if not error:
        module = {
            "value": ratio(got, "tierod_open", "hf_bare"),
            "limit": limit,
            "us_per_hook": gain(got, "tierod_open", "hf_bare", per_hook),
            "us_per_hook_goal": 4,
            "paired_median": got["tierod_open"].paired_ratio(got["hf_bare"]),
            "session_per_forward": ratio(got, "tierod_session", "hf_bare"),
            "plain_module_us_per_hook": gain(got, "tierod_plain_open", "plain_bare", per_hook),
            "plain_module_us_per_hook_limit": gain(got, "plain_hook", "plain_bare", per_hook),
        }
    module |= {"bare_ms": 1e3 * got["hf_bare"].best, "threads": THREADS}
    return peers, us, module


def copy_bandwidth(bench: Bench, emit: Callable[..., None]) -> None:
    parts = [(label, bench.cpp, "-", label) for label in ("copy", "memcpy")]
    got = bench.time("copies of 4 MB", parts, bench.rounds(60, 15), 0.02)
    rate = {label: COPIES * COPY_BYTES / got[label].best / 1e9 for label in got}
    emit(
        "hook.copy_bandwidth_share",
        rate["copy"] / rate["memcpy"],
        {},
        f"memcpy {rate['memcpy']:.2f} GB/s into pages that are there",
        gb_per_s=rate["copy"],
        paired_median=got["memcpy"].paired_ratio(got["copy"]),
        copies_held=COPIES,
        threads=THREADS,
    )


def versus_lens(shape: str, bench: Bench, emit: Callable[..., None]) -> None:
    name = f"hook.vs_tl_{shape}"
    lens = bench.peer("tl3")
    if isinstance(lens, str):
        emit(name, None, {"TransformerLens": f"not installed: {lens}"}, None)
        return
    parts = [("bare", bench.cpp, shape, "bare"), ("capture", bench.cpp, shape, "capture")]
    parts += [("copies", bench.cpp, shape, "capture_copy")]
    parts += [(label, bench.host, shape, label) for label in ("plain_hook", "hf_hook")]
    parts += [(label, bench.host, shape, label) for label in ("matmul", "products")]
    parts += [(label, lens, shape, label) for label in ("tl3_cache", "tl3_bare")]
    capturing = [part for part in parts if part[3].endswith(("capture", "copy", "hook", "cache"))]
    for _, worker, _, label in capturing:
        if error := bench.wrong(worker, shape, label):
            emit(name, None, {}, None, error=error)
            return
    rounds = bench.rounds(60 if shape == SMALL else 25, 15 if shape == SMALL else 6)
    got = bench.time(f"against TransformerLens, {shape}", parts, rounds, 0.02)
    version = lens.ask("prepare", shape, "tl3_cache")["versions"]
    titles = {
        "tl3_cache": f"TransformerLens {version['transformer-lens']} run_with_cache",
        "tl3_bare": f"TransformerLens {version['transformer-lens']} without hooks",
        "hf_hook": "transformers, plain hooks",
        "plain_hook": "plain PyTorch module, plain hooks",
    }
    peak = 2 * 1024**3 / got["matmul"].best
    flops = bench.host.ask("prepare", shape, "plain_bare")["flops"]
    over = got["tl3_cache"].best
    emit(
        name,
        over / got["capture"].best,
        {title: ratio(got, label, "capture") for label, title in titles.items()},
        f"{over / got['bare'].best:.2f} for the C++ forward without capture; "
        f"{over / got['products'].best:.3g} for its products with the weights alone; "
        f"{over * peak / flops:.3g} for all its products at this run's {peak / 1e9:.0f} GFLOP/s",
        with_copies=over / got["copies"].best,
        ms=1e3 * got["capture"].best,
        gflops=flops / got["capture"].best / 1e9,
        threads=THREADS,
    )


def session(bench: Bench, emit: Callable[..., None]) -> None:
    labels = [f"sites_{kind}" for kind in ("fresh", "reopened", "open", "idle", "map")]
    parts = [(label, bench.cpp, "-", label) for label in labels]
    got = bench.time("session of 200 sites, C++", parts, bench.rounds(300, 100), 0.002)
    emit(
        "hook.session_us",
        gain(got, "sites_fresh", "sites_open", 1e6),
        {},
        f"{1e6 * got['sites_map'].best:.1f} us to put the 200 names into a hash map",
        measured="a new session for one forward, over the same firings in an open one",
        reopened_us=gain(got, "sites_reopened", "sites_open", 1e6),
        with_firings_us=gain(got, "sites_fresh", "sites_idle", 1e6),
        ns_per_firing=gain(got, "sites_open", "sites_idle", 1e9 / SITES),
    )


def session_module(bench: Bench, emit: Callable[..., None]) -> None:
    labels = ("tierod_fresh", "tierod_steady", "hooks_fresh", "hooks_steady", "chain_bare")
    try:
        for label in labels:
            bench.host.ask("prepare", "-", label)
    except WorkerError as error:
        emit("hook.session_module_us", None, {}, None, error=str(error))
        return
    parts = [(label, bench.host, "-", label) for label in labels]
    got = bench.time("session of 200 modules", parts, bench.rounds(200, 50), 0.004)
    emit(
        "hook.session_module_us",
        gain(got, "tierod_fresh", "tierod_steady", 1e6),
        {"plain forward hooks put on and off": gain(got, "hooks_fresh", "hooks_steady", 1e6)},
        f"{gain(got, 'hooks_fresh', 'hooks_steady', 1e6):.0f} us to put 200 plain hooks on and off",
        measured="a new session for one forward, over the same firings in an open one",
        us_per_firing=gain(got, "tierod_steady", "chain_bare", 1e6 / SITES),
        us_per_firing_plain_hook=gain(got, "hooks_steady", "chain_bare", 1e6 / SITES),
    )


# name -> goal, which way is better, unit, what measures it
LINES: dict[str, tuple[float, str, str, Callable]] = {
    "hook.idle_ns": (10, "lower", "ns", idle),
    "hook.capture_cpp_ratio": (1.02, "lower", "ratio of CPU time", capture),
    "hook.capture_module_ratio": (1.04, "lower", "ratio of CPU time", capture),
    "hook.copy_bandwidth_share": (0.8, "higher", "share of memcpy", copy_bandwidth),
    "hook.vs_tl_48x16": (7, "higher", "ratio of CPU time", lambda *a: versus_lens(SMALL, *a)),
    "hook.vs_tl_12x512": (1.5, "higher", "ratio of CPU time", lambda *a: versus_lens(LARGE, *a)),
    "hook.session_us": (20, "lower", "us", session),
    "hook.session_module_us": (1000, "lower", "us", session_module),
}


def main() -> int:
    options, wanted = parse_options(__doc__, "hook", LINES, "fewer rounds and peers, under 60 s")

    report = Reporter()

    def emit(name: str, value: float | None, peers: dict, limit: object, **extra: object) -> None:
        goal, better, unit, _ = LINES[name]
        if name in wanted:
            report.emit(line(name, value, goal, better, unit, peers, limit, **extra))

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hook_bench_")))
        bench = Bench(options, report, folder, stack)
        bench.warm_up(wanted)
        for measure in dict.fromkeys(LINES[name][3] for name in wanted):
            try:
                measure(bench, emit)
            except WorkerError as error:
                for name in wanted:
                    if LINES[name][3] is measure:
                        emit(name, None, {}, None, error=str(error))
    if options.record:
        report.say(f"wrote {report.record('hook').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
