#!/usr/bin/env python3
"""Bench of the probe room: linear probes against scikit-learn, covariances against concept-erasure.

usage: probe.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
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
    python_worker,
    root,
)

THREADS = 1
SITES, CONCEPTS, FOLDS, PENALTIES = 24, 12, 5, 5
FITS = CONCEPTS * FOLDS * PENALTIES  # a site
PEER_FITS = 2 * PENALTIES  # of fold 0, by a loop
LEACE = Peer("concept-erasure", ("concept-erasure==0.2.4", "numpy==2.4.6"))


def package_path(build_dir: str | None) -> str:
    package = Path(build_dir or root() / "build" / "release").resolve() / "python"
    return ":".join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))


def time(worker: Worker, shape: str, labels: tuple[str, ...], rounds: int, say) -> dict:
    say(f"{shape}: {rounds} rounds")
    contenders = [Contender(label, worker, shape, label) for label in labels]
    return interleave(contenders, rounds, 0.02, say)


def sweep(worker: Worker, what: str, quick: bool, say) -> dict:
    """Run all sites once, each with its own rows; a quick run leaves it out."""
    if quick:
        return {}
    say(f"sweep of {SITES} sites")
    cpu = worker.ask("prepare", f"sites-{SITES}", f"sweep_{what}", timeout_s=600)["cpu_s"]
    return {"all_sites_cpu_s": cpu}


def ridge(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    sklearn = worker.ask("prepare", "site-0", "-")["versions"]["scikit-learn"]
    difference = worker.ask("check", "site-0", "ridge", "-")["difference"]
    if difference > 1e-5:
        raise WorkerError(f"AUROC differs from scikit-learn's by {difference:.2g}")
    labels = ("tierod_ridge", "sklearn_ridge", "sklearn_multitarget", "gram_product")
    got = time(worker, "site-0", labels, 2 if quick else 7, say)
    ours = got["tierod_ridge"].best
    scale = {"sklearn_ridge": FITS / PEER_FITS, "sklearn_multitarget": FOLDS}
    about = {
        "s_a_site": ours,
        "largest_auroc_difference": difference,
        "threads": THREADS,
        "dtype": "float32",
        **sweep(worker, "tierod_ridge", quick, say),
    }
    product = got["gram_product"].best
    for name, label, peer, subset in (
        (
            "probe.ridge_vs_loop",
            "sklearn_ridge",
            f"scikit-learn {sklearn} RidgeClassifier in a loop",
            f"{PEER_FITS} of {FITS} fits a site: 2 concepts, 5 penalties, 1 fold; scaled",
        ),
        (
            "probe.ridge_vs_multitarget",
            "sklearn_multitarget",
            f"scikit-learn {sklearn} Ridge, all concepts as targets",
            "1 of 5 folds, all penalties; scaled",
        ),
    ):
        peer_s = scale[label] * got[label].best
        emit(
            name,
            peer_s / ours,
            {peer: peer_s / ours},
            f"{peer_s / (0.5 * product):.0f} for half of one plain f32 Gram product of the rows",
            peer_subset=subset,
            peer_scaled_s_a_site=peer_s,
            paired_median=scale[label] * got[label].paired_ratio(got["tierod_ridge"]),
            **about,
        )


def logistic(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    sklearn = worker.ask("prepare", "site-0", "-")["versions"]["scikit-learn"]
    say("site-0: scikit-learn, once")
    peer = worker.ask("run", "site-0/sklearn_logistic:1", 1, timeout_s=600)["slices"][0][0][0]
    got = time(worker, "site-0", ("tierod_logistic",), 2 if quick else 5, say)
    ours = got["tierod_logistic"].best
    peer_s = FITS / PEER_FITS * peer
    emit(
        "probe.logistic_vs_sklearn",
        peer_s / ours,
        {f"scikit-learn {sklearn} LogisticRegression, lbfgs, tol 1e-4": peer_s / ours},
        None,
        s_a_site=ours,
        peer_subset=f"{PEER_FITS} of {FITS} fits a site: 2 concepts, 5 penalties, 1 fold; scaled",
        peer_scaled_s_a_site=peer_s,
        threads=THREADS,
        dtype="float32",
        **sweep(worker, "tierod_logistic", quick, say),
    )


def auroc_gap(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    say("site-0: scikit-learn at tol 1e-9")
    got = worker.ask("check", "site-0", "gap", 1 if quick else 9, timeout_s=600)
    emit("probe.auroc_gap", got.pop("gap"), {}, None, **got)


def gram(worker: Worker, sets: int, quick: bool, say, emit: Callable[..., None]) -> None:
    name = f"probe.gram_vs_leace_{sets}"
    why = LEACE.ensure(say)
    if why is not None:
        emit(name, None, {}, None, error=why)
        return
    script = Path(__file__).with_name("probe_worker.py")
    with python_worker("leace", LEACE.python, script, str(THREADS), threads=THREADS) as peer:
        version = peer.ask("prepare", f"gram-{sets}", "-")["versions"]["concept-erasure"]
        worker.ask("prepare", f"gram-{sets}", "-")
        contenders = [
            Contender("tierod", worker, f"gram-{sets}", "tierod_gram"),
            Contender("product", worker, f"gram-{sets}", "gram_product"),
            Contender("leace", peer, f"gram-{sets}", "leace_gram"),
        ]
        got = interleave(contenders, 3 if quick else 15, 0.02, say)
    ours = got["tierod"].best
    ratio = got["leace"].best / ours
    emit(
        name,
        ratio,
        {f"concept-erasure {version} LeaceFitter.update": ratio},
        f"{got['leace'].best / (0.5 * got['product'].best):.1f} for half of one plain f32 product",
        rows_per_cpu_s=20_000 / ours,
        over_plain_product=got["product"].best / ours,
        paired_median=got["leace"].paired_ratio(got["tierod"]),
        threads=THREADS,
        dtype="float32",
    )


def gram_1(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    gram(worker, 1, quick, say, emit)


def gram_8(worker: Worker, quick: bool, say, emit: Callable[..., None]) -> None:
    gram(worker, 8, quick, say, emit)


# name -> goal, which way is better, unit
LINES: dict[str, tuple[float, str, str]] = {
    "probe.ridge_vs_loop": (350, "higher", "ratio of CPU time"),
    "probe.ridge_vs_multitarget": (33, "higher", "ratio of CPU time"),
    "probe.logistic_vs_sklearn": (570, "higher", "ratio of CPU time"),
    "probe.auroc_gap": (1e-4, "lower", "largest difference of AUROC"),
    "probe.gram_vs_leace_1": (1.3, "higher", "ratio of CPU time"),
    "probe.gram_vs_leace_8": (6, "higher", "ratio of CPU time"),
}
# what measures which lines
MEASURES: tuple[tuple[Callable, tuple[str, ...]], ...] = (
    (ridge, ("probe.ridge_vs_loop", "probe.ridge_vs_multitarget")),
    (logistic, ("probe.logistic_vs_sklearn",)),
    (auroc_gap, ("probe.auroc_gap",)),
    (gram_1, ("probe.gram_vs_leace_1",)),
    (gram_8, ("probe.gram_vs_leace_8",)),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under 60 s")
    parser.add_argument("--only", metavar="NAME", help="only the lines whose name contains NAME")
    parser.add_argument("--record", action="store_true", help="write docs/benchmarks/probe.jsonl")
    parser.add_argument("--build-dir", help="a configured build folder (default build/release)")
    options = parser.parse_args()
    if options.record and (options.quick or options.only):
        parser.error("--record writes a full run: leave --quick and --only out")
    wanted = [name for name in LINES if options.only is None or options.only in name]
    if not wanted:
        parser.error(f"no line is called like {options.only!r}; there are {', '.join(LINES)}")

    report = Reporter()

    def emit(name: str, value, peers, limit, **extra) -> None:
        if name in wanted:
            report.emit(line(name, value, *LINES[name], peers, limit, **extra))

    environment = {"PYTHONPATH": package_path(options.build_dir)}
    script = Path(__file__).with_name("probe_worker.py")
    with python_worker(
        "host", host_python(), script, str(THREADS), threads=THREADS, **environment
    ) as worker:
        for measure, names in MEASURES:
            if not set(names) & set(wanted):
                continue
            try:
                measure(worker, options.quick, report.say, emit)
            except WorkerError as error:
                for name in names:
                    emit(name, None, {}, None, error=str(error))
    if options.record:
        report.say(f"wrote {report.record('probe').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
