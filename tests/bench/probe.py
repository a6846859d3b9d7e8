#!/usr/bin/env python3
"""Bench of the probe room: linear probes against scikit-learn, covariances against concept-erasure.

usage: probe.py [--quick] [--only NAME] [--record] [--build-dir DIR]

Prints one JSON object a line; see README.md beside this file. Never fails on a time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
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

# As many as the machine has: what a user gets. Ratios with one thread are told beside.
THREADS = os.cpu_count() or 1
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


def ratio_of(got: dict, label: str, ours: str, scale: float) -> tuple[float, float]:
    """Return the peer's scaled CPU seconds a site, and their ratio to tierod's."""
    peer = scale * got[label].best
    return peer, peer / got[ours].best


def ridge(workers: dict, quick: bool, say, emit: Callable[..., None]) -> None:
    worker = workers[THREADS]
    sklearn = worker.ask("prepare", "site-0", "-")["versions"]["scikit-learn"]
    difference = worker.ask("check", "site-0", "ridge", "-")["difference"]
    if difference > 1e-5:
        raise WorkerError(f"AUROC differs from scikit-learn's by {difference:.2g}")
    labels = ("tierod_ridge", "sklearn_ridge", "sklearn_multitarget", "gram_product")
    got = {
        threads: time(w, "site-0", labels, 1 if quick else 5, say) for threads, w in workers.items()
    }
    scale = {"sklearn_ridge": FITS / PEER_FITS, "sklearn_multitarget": FOLDS}
    about = {
        "s_a_site": got[THREADS]["tierod_ridge"].best,
        "one_thread_s_a_site": got[1]["tierod_ridge"].best,
        "largest_auroc_difference": difference,
        "threads": THREADS,
        "dtype": "float32",
        **sweep(worker, "tierod_ridge", quick, say),
    }
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
        peer_s, ratio = ratio_of(got[THREADS], label, "tierod_ridge", scale[label])
        one_s, one = ratio_of(got[1], label, "tierod_ridge", scale[label])
        half = [0.5 * got[threads]["gram_product"].best for threads in (THREADS, 1)]
        emit(
            name,
            ratio,
            {peer: ratio},
            f"{peer_s / half[0]:.0f} ({one_s / half[1]:.0f} with one thread) for half of one plain "
            "f32 Gram product of the rows alone",
            one_thread_ratio=one,
            peer_subset=subset,
            peer_scaled_s_a_site=peer_s,
            one_thread_peer_scaled_s_a_site=one_s,
            **about,
        )


def logistic(workers: dict, quick: bool, say, emit: Callable[..., None]) -> None:
    # the peer alone takes a minute with OpenBLAS' threads: a quick run has one
    ratios, ours, peers = {}, {}, {}
    for threads, worker in workers.items():
        if quick and threads != 1:
            continue
        sklearn = worker.ask("prepare", "site-0", "-")["versions"]["scikit-learn"]
        say(f"site-0: scikit-learn, once, {threads} threads")
        answer = worker.ask("run", "site-0/sklearn_logistic:1", 1, timeout_s=900)
        peers[threads] = FITS / PEER_FITS * answer["slices"][0][0][0]
        got = time(worker, "site-0", ("tierod_logistic",), 1 if quick else 5, say)
        ours[threads] = got["tierod_logistic"].best
        ratios[threads] = peers[threads] / ours[threads]
    most = max(ratios)
    emit(
        "probe.logistic_vs_sklearn",
        ratios[most],
        {f"scikit-learn {sklearn} LogisticRegression, lbfgs, tol 1e-4": ratios[most]},
        None,
        one_thread_ratio=ratios[1],
        s_a_site=ours[most],
        one_thread_s_a_site=ours[1],
        peer_subset=f"{PEER_FITS} of {FITS} fits a site: 2 concepts, 5 penalties, 1 fold; scaled",
        peer_scaled_s_a_site=peers[most],
        one_thread_peer_scaled_s_a_site=peers[1],
        threads=most,
        dtype="float32",
        **sweep(workers[most], "tierod_logistic", quick, say),
    )


def auroc_gap(workers: dict, quick: bool, say, emit: Callable[..., None]) -> None:
    worker = workers[1]
    say("site-0: scikit-learn at tol 1e-9")
    got = worker.ask("check", "site-0", "gap", 1 if quick else 9, timeout_s=900)
    got.pop("ok")
    emit("probe.auroc_gap", got.pop("gap"), {}, None, **got)


def gram(workers: dict, sets: int, quick: bool, say, emit: Callable[..., None]) -> None:
    worker = workers[1]  # concept-erasure and tierod both use ATen's threads
    name = f"probe.gram_vs_leace_{sets}"
    why = LEACE.ensure(say)
    if why is not None:
        emit(name, None, {}, None, error=why)
        return
    script = Path(__file__).with_name("probe_worker.py")
    with python_worker("leace", LEACE.python, script, "1", threads=1) as peer:
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
        threads=1,
        dtype="float32",
    )


def gram_1(workers: dict, quick: bool, say, emit: Callable[..., None]) -> None:
    gram(workers, 1, quick, say, emit)


def gram_8(workers: dict, quick: bool, say, emit: Callable[..., None]) -> None:
    gram(workers, 8, quick, say, emit)


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
    options, wanted = parse_options(__doc__, "probe", LINES)

    report = Reporter()

    def emit(name: str, value, peers, limit, **extra) -> None:
        if name in wanted:
            report.emit(line(name, value, *LINES[name], peers, limit, **extra))

    environment = {"PYTHONPATH": package_path(options.build_dir)}
    script = Path(__file__).with_name("probe_worker.py")
    with ExitStack() as stack:
        workers = {
            threads: stack.enter_context(
                python_worker(
                    f"host-{threads}",
                    host_python(),
                    script,
                    str(threads),
                    threads=threads,
                    **environment,
                )
            )
            for threads in sorted({1, THREADS})
        }
        for measure, names in MEASURES:
            if not set(names) & set(wanted):
                continue
            try:
                measure(workers, options.quick, report.say, emit)
            except WorkerError as error:
                for name in names:
                    emit(name, None, {}, None, error=str(error))
    if options.record:
        report.say(f"wrote {report.record('probe').relative_to(root())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
