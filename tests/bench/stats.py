#!/usr/bin/env python3
"""Bench of the stats room: resampling with refits against NumPy and scikit-learn.

usage: stats.py [--quick] [--only NAME] [--record] [--build-dir DIR]
       stats.py --tables [--quick] [--record]

Prints one JSON object a line; see README.md beside this file. Never fails on a time. `--tables`
prints tables of coverage and false-positive rates instead, and with `--record` writes them
to docs/benchmarks/stats_tables.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
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

THREADS = 1
CONCEPTS, PERMUTATIONS, PEER_PERMUTATIONS = 12, 1999, 9


def package_path(build_dir: str | None) -> str:
    package = Path(build_dir or root() / "build" / "release").resolve() / "python"
    return ":".join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))


def time(worker: Worker, shape: str, labels: tuple[str, ...], rounds: int, say) -> dict:
    say(f"{shape}: {rounds} rounds")
    contenders = [Contender(label, worker, shape, label) for label in labels]
    return interleave(contenders, rounds, 0.02, say)


def bootstrap(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    difference = worker.ask("check", "bootstrap", "tierod_bootstrap", "-")["difference"]
    if difference > 1e-10:
        raise WorkerError(f"differs from the plain loop by {difference:.2g}")
    numpy = worker.ask("prepare", "bootstrap", "numpy_sums")["versions"]["numpy"]
    # label -> what it is, and which share of the replicates it was timed on
    peers = {
        "numpy_weighted_rows": ("weights a row, one BLAS product a replicate", 1 / 40),
        "numpy_drawn_rows": ("the drawn scenes' rows gathered and averaged", 1 / 40),
        "numpy_sums": ("rows reduced to sums by scene, one BLAS product a replicate", 1),
        "numpy_product": ("tierod's algorithm: sums, all counts at once, two products", 1),
    }
    labels = ("tierod_bootstrap", "bare_product", *peers)
    got = time(worker, "bootstrap", labels, 2 if quick else 15, say)
    ours = got["tierod_bootstrap"].best
    ratios = {label: got[label].best / share / ours for label, (_, share) in peers.items()}
    emit(
        "stats.bootstrap_vs_numpy",
        ratios["numpy_weighted_rows"],
        {f"NumPy {numpy}, {what}": ratios[label] for label, (what, _) in peers.items()},
        f"{ratios['numpy_weighted_rows'] * ours / got['bare_product'].best:.0f} for one f64 product "
        "[2000, 400] x [400, 768] alone",
        ms=1e3 * ours,
        peer_subset="both NumPy contenders on rows: 1 in 40 replicates, scaled",
        paired_median=40 * got["numpy_weighted_rows"].paired_ratio(got["tierod_bootstrap"]),
        largest_difference=difference,
        threads=THREADS,
    )


def maxt(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    sites = 2 if quick else 24
    shape = f"maxt-{sites}"
    memory = worker.ask("prepare", shape, "memory", timeout_s=600)["grown_mb"]
    sklearn = worker.ask("prepare", shape, "sklearn_cell")["versions"]["scikit-learn"]
    got = time(worker, shape, ("tierod_maxt", "sklearn_cell", "numpy_cell"), 1 if quick else 5, say)
    ours = got["tierod_maxt"].best
    scale = sites * CONCEPTS * (PERMUTATIONS + 1) / (PEER_PERMUTATIONS + 1)
    ratios = {label: scale * got[label].best / ours for label in ("sklearn_cell", "numpy_cell")}
    emit(
        "stats.maxt_vs_sklearn",
        ratios["sklearn_cell"],
        {
            f"permutation_test_score, scikit-learn {sklearn} NearestCentroid": ratios[
                "sklearn_cell"
            ],
            "NumPy, the same statistic refitted fold by fold": ratios["numpy_cell"],
        },
        None,
        s=ours,
        sites=sites,
        peer_subset=f"1 of {sites * CONCEPTS} cells, {PEER_PERMUTATIONS} of {PERMUTATIONS} "
        "permutations and the observed labels; scaled linearly",
        peer_measured_s=got["sklearn_cell"].best,
        peer_scaled_s=scale * got["sklearn_cell"].best,
        peak_memory_grown_mb=memory,
        threads=THREADS,
    )


# name -> goal, which way is better, unit, what measures it
LINES: dict[str, tuple[float, str, str, Callable]] = {
    "stats.bootstrap_vs_numpy": (10, "higher", "ratio of CPU time", bootstrap),
    "stats.maxt_vs_sklearn": (100, "higher", "ratio of CPU time", maxt),
}


def main() -> int:
    options, wanted = parse_options(__doc__, "stats", LINES, tables="print tables of error rates")
    environment = {"PYTHONPATH": package_path(options.build_dir)}
    if options.tables:
        script = Path(__file__).with_name("stats_tables.py")
        command = [str(host_python()), str(script)]
        command += ["--quick"] if options.quick else []
        command += ["--record"] if options.record else []
        return subprocess.run(command, env=os.environ | environment, check=False).returncode

    report = Reporter()
    for name in wanted:
        goal, better, unit, measure = LINES[name]

        def emit(name, value, peers, limit, *, about=(goal, better, unit), **extra) -> None:
            report.emit(line(name, value, *about, peers, limit, **extra))

        script = Path(__file__).with_name("stats_worker.py")
        # a process a line, so that the peak of memory is that of the line
        with python_worker(
            "host", host_python(), script, str(THREADS), threads=THREADS, **environment
        ) as worker:
            try:
                measure(worker, options.quick, report.say, emit)
            except WorkerError as error:
                emit(name, None, {}, None, error=str(error))
    if options.record:
        report.say(f"wrote {report.record('stats').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
