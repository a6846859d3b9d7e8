#!/usr/bin/env python3
"""Bench of the zoo: how fast scenes are drawn and rendered, and how fast its network drives.

usage: zoo.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time. Rollouts are of 256
scenes on one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import (
    Contender,
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

SCENES, ROWS, MODEL = 2000, 256, "mixed"
GOALS = {
    "zoo.scenes_per_s": (3000, "higher", "scenes/s on 2 cores"),
    "zoo.rollouts_per_s_vs_prototype": (1.5, "higher", "times"),
    "zoo.rollout_share_of_peak": (0.4, "higher", "share"),
    "zoo.idle_hooks_ratio": (1.02, "lower", "ratio of CPU time"),
}


def scenes_per_s(worker: Worker, quick: bool, report: Reporter) -> dict:
    if worker.ask("check", "scenes", "2", "1")["difference"]:
        raise WorkerError("two threads draw other pictures than one")
    contenders = [Contender(threads, worker, "scenes", threads) for threads in ("1", "2")]
    got = interleave(contenders, 2 if quick else 12, 0.02, report.say)
    one = SCENES / got["1"].best
    return line(
        "zoo.scenes_per_s",
        SCENES / min(got["2"].wall_s),
        *GOALS["zoo.scenes_per_s"],
        limit="none; 1 thread is the same code",
        scenes_per_cpu_s_1_thread=one,
        scenes_per_cpu_s_2_threads=SCENES / got["2"].best,
    )


def rollouts(worker: Worker, quick: bool, report: Reporter) -> list[dict]:
    about = worker.ask("prepare", MODEL, "rollout")
    off = worker.ask("check", MODEL, "rollout", "plain")["difference"]
    if off > 1e-3:
        raise WorkerError(f"the plain network drives otherwise: {off:.2g}")
    labels = ("rollout", "plain", "plain_same", "products")
    contenders = [Contender(label, worker, MODEL, label) for label in labels]
    got = interleave(contenders, 2 if quick else 12, 0.05, report.say)
    best = {label: got[label].best for label in labels}
    return [
        line(
            "zoo.rollouts_per_s_vs_prototype",
            best["plain"] / best["rollout"],
            *GOALS["zoo.rollouts_per_s_vs_prototype"],
            limit="see zoo.rollout_share_of_peak",
            rollouts_per_s=ROWS / best["rollout"],
            plain_rollouts_per_s=ROWS / best["plain"],
            same_euler_steps_ratio=best["plain_same"] / best["rollout"],
            longest_words=about["words"],
        ),
        line(
            "zoo.rollout_share_of_peak",
            best["products"] / best["rollout"],
            *GOALS["zoo.rollout_share_of_peak"],
            limit="1: nothing but its convolutions and matrix products",
            gflop=about["gflop"],
            products_gflop_per_s=about["gflop"] / best["products"],
            rollout_gflop_per_s=about["gflop"] / best["rollout"],
        ),
    ]


def idle_hooks(build: Path, quick: bool, report: Reporter) -> dict:
    programs = ["tierod_zoo_bench", "tierod_zoo_bench_bare"]
    report.say(f"building {', '.join(programs)}")
    command = ["cmake", "--build", str(build), "--target", *programs]
    done = subprocess.run(command, cwd=root(), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the build failed:\n{(done.stdout + done.stderr)[-2000:]}")
    workers = []
    try:
        for program in programs:
            command = [str(build / "bench" / program), str(root() / "src" / "zoo" / "models"), "1"]
            workers.append(Worker(program, command, threads=1))
        written = []
        for worker in workers:
            file = build / "bench" / f"{worker.name}.f32"
            worker.ask("check", MODEL, "rollout", file)
            written.append(file.read_bytes())
        if written[0] != written[1]:
            raise WorkerError("with hook points the network drives otherwise than without")
        contenders = [Contender(w.name, w, MODEL, "rollout") for w in workers]
        got = interleave(contenders, 4 if quick else 40, 0.05, report.say)
    finally:
        for worker in workers:
            worker.close()
    with_points, without = (got[program] for program in programs)
    return line(
        "zoo.idle_hooks_ratio",
        with_points.best / without.best,
        *GOALS["zoo.idle_hooks_ratio"],
        limit="1",
        paired_ratio=with_points.paired_ratio(without),
    )


def main() -> int:
    options, wanted = parse_options(__doc__, "zoo", list(GOALS))
    build = Path(options.build_dir or root() / "build" / "release").resolve()
    paths = ":".join(filter(None, [str(build / "python"), os.environ.get("PYTHONPATH", "")]))
    report = Reporter()

    def fail(names: list[str], error: WorkerError) -> None:
        for name in names:
            report.emit(line(name, None, *GOALS[name], error=str(error)))

    script = Path(__file__).with_name("zoo_worker.py")
    host = ("host", host_python(), script, "1")
    of_network = [name for name in wanted if name.startswith("zoo.rollout")]
    if "zoo.scenes_per_s" in wanted or of_network:
        # two threads are scenes' own; torch has one
        with python_worker(*host, threads=1, PYTHONPATH=paths) as worker:
            if "zoo.scenes_per_s" in wanted:
                try:
                    report.emit(scenes_per_s(worker, options.quick, report))
                except WorkerError as error:
                    fail(["zoo.scenes_per_s"], error)
            if of_network:
                try:
                    for row in rollouts(worker, options.quick, report):
                        if row["name"] in of_network:
                            report.emit(row)
                except WorkerError as error:
                    fail(of_network, error)
    if "zoo.idle_hooks_ratio" in wanted:
        try:
            report.emit(idle_hooks(build, options.quick, report))
        except WorkerError as error:
            fail(["zoo.idle_hooks_ratio"], error)
    if options.record:
        report.say(f"wrote {report.record('zoo').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
