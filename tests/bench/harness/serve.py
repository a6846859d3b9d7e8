"""The Python side of a worker: answer requests on stdin until it closes.

Protocol in worker.py. Import nothing but the standard library here: this runs in every peer's
environment.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterable


def serve(
    prepare: Callable[[str, str], dict],
    check: Callable[[str, str, str], dict],
    call: Callable[[str, str], Callable[[], object]],
    requests: Iterable[str] = sys.stdin,
) -> None:
    """Answer requests: `prepare` and `check` as they are asked for, `call` returns what to time."""
    out = sys.stdout
    # What libraries print must not reach the driver as an answer.
    sys.stdout = sys.stderr

    def reply(**what: object) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    for request in requests:
        verb, *words = request.split()
        try:
            if verb == "quit":
                return
            if verb == "prepare":
                reply(ok=True, **prepare(*words))
            elif verb == "check":
                reply(ok=True, **check(*words))
            elif verb == "run":
                slices = [part.rsplit(":", 1) for part in words[0].split(",")]
                calls = [(call(*key.split("/")), int(count)) for key, count in slices]
                reply(ok=True, slices=_run(calls, int(words[1])))
            else:
                reply(error=f"unknown request {verb!r}")
        except Exception as error:  # a peer that cannot do this is a result too
            reply(error=f"{type(error).__name__}: {error}"[:400])


class Toggled:
    """Something to time that has to be put on before a slice and taken off after it, untimed.

    For contenders that share a model: two copies of one model differ by more than hooks cost.
    """

    def __init__(
        self,
        run: Callable[[], object],
        put_on: Callable[[], object],
        take_off: Callable[[], object],
    ) -> None:
        self.run, self.put_on, self.take_off = run, put_on, take_off

    def __call__(self) -> object:
        self.put_on()
        try:
            return self.run()
        finally:
            self.take_off()


def _steps(function: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    if isinstance(function, Toggled):
        return function.put_on, function.run, function.take_off
    return _nothing, function, _nothing


def _nothing() -> None:
    pass


def _run(calls: list[tuple[Callable[[], object], int]], rounds: int) -> list[list[list[float]]]:
    """Return (CPU, wall) seconds of one call, by contender and round."""
    slices: list[list[list[float]]] = [[] for _ in calls]
    order = list(enumerate(calls))
    gc.collect()
    gc.disable()
    try:
        for index in range(rounds):
            for i, (function, count) in order[::-1] if index % 2 else order:
                put_on, run, take_off = _steps(function)
                put_on()
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(count):
                    run()
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                take_off()
                slices[i].append([cpu / count, wall / count])
    finally:
        gc.enable()
    return slices
