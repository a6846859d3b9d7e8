#!/usr/bin/env python3
"""Bench of the zoo: how fast scenes are drawn and rendered.

usage: zoo.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time.
"""

from __future__ import annotations

import os
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

SCENES = 2000
GOAL = 3000
LINES = ["zoo.scenes_per_s"]


def scenes_per_s(worker: Worker, quick: bool, report: Reporter) -> dict:
    if worker.ask("check", "scenes", "2", "1")["difference"]:
        raise WorkerError("two threads draw other pictures than one")
    contenders = [Contender(threads, worker, "scenes", threads) for threads in ("1", "2")]
    got = interleave(contenders, 2 if quick else 12, 0.02, report.say)
    one, two = (SCENES / got[threads].best for threads in ("1", "2"))
    # CPU time of the process: on two cores two threads take half of it
    return line(
        "zoo.scenes_per_s",
        2 * two,
        GOAL,
        "higher",
        "scenes/s on 2 cores",
        limit="none; 1 thread is the same code",
        scenes_per_cpu_s_1_thread=one,
        scenes_per_cpu_s_2_threads=two,
    )


def main() -> int:
    options, wanted = parse_options(__doc__, "zoo", LINES)
    package = Path(options.build_dir or root() / "build" / "release").resolve() / "python"
    paths = ":".join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
    report = Reporter()
    for name in wanted:
        script = Path(__file__).with_name("zoo_worker.py")
        with python_worker(
            "host", host_python(), script, "1", threads=1, PYTHONPATH=paths
        ) as worker:
            try:
                report.emit(scenes_per_s(worker, options.quick, report))
            except WorkerError as error:
                about = (None, GOAL, "higher", "scenes/s on 2 cores")
                report.emit(line(name, *about, error=str(error)))
    if options.record:
        report.say(f"wrote {report.record('zoo').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
