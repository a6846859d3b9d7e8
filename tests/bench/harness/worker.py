"""Worker processes: one contender's world each, driven over stdin and stdout.

The protocol is one line either way. A request is words separated by blanks, an answer is a JSON
object: `{"ok": true, ...}` or `{"error": text}`. Every worker knows

    prepare <shape> <contender>          build it; answers what it wants to tell (versions, ...)
    check <shape> <contender> <file>     run once and write what it computed as raw float32
    run <shape>/<contender>:<n>,... <r>  r rounds, in each a slice of n runs of every contender
    quit

The answer to `run` holds `slices`: for every contender, for every round, the CPU and wall seconds
of one run. Alternating inside of the worker keeps a comparison of two contenders of one process
free of the caches that a switch between processes costs.

A worker sleeps in read() while others are measured, and reports its own process' CPU time, so
that contenders of several processes may alternate on a shared machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path


class WorkerError(RuntimeError):
    """A worker answered with an error, or died."""


def bench_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: threads fixed, passive waits, no network."""
    env = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[name] = str(threads)
    # Spinning waits would count as CPU time and steal it from whatever else the machine runs.
    env.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="0", KMP_BLOCKTIME="0")
    env.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    env.update(PYTHONNOUSERSITE="1", PYTHONUNBUFFERED="1")
    return env


class Worker:
    """A long-lived worker process."""

    def __init__(self, name: str, command: list[str], threads: int = 1, **environment: str):
        self.name = name
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115, closed in close()
        self._buffer = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=bench_environment(threads) | environment,
        )

    def post(self, *words: object) -> None:
        """Send a request without waiting for its answer."""
        try:
            self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._death()) from None

    def answer(self, timeout_s: float = 300) -> dict:
        """Wait for the next answer."""
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\n" in self._buffer:
                row, self._buffer = self._buffer.split(b"\n", 1)
                # Libraries greet on stdout; only JSON objects are answers.
                if row.startswith(b"{"):
                    reply = json.loads(row)
                    if "error" in reply:
                        raise WorkerError(f"{self.name}: {reply['error']}")
                    return reply
            pipe = self._process.stdout
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise WorkerError(f"{self.name}: no answer within {timeout_s:.0f} s")
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                raise WorkerError(self._death())
            self._buffer += chunk

    def ask(self, *words: object, timeout_s: float = 300) -> dict:
        """Send a request and wait for its answer."""
        self.post(*words)
        return self.answer(timeout_s)

    def _death(self) -> str:
        self._process.wait()
        self._log.seek(0)
        rows = [row.strip() for row in self._log.read().splitlines() if row.strip()]
        why = rows[-1][:300] if rows else "without a word"
        return f"{self.name}: ended with exit {self._process.returncode}: {why}"

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            # A dead worker's pipe may still hold a request that nobody read.
            with contextlib.suppress(OSError):
                stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def python_worker(name: str, python: Path, script: Path, *arguments: str, **kw) -> Worker:
    """Start `script` as a worker under the interpreter `python`."""
    return Worker(name, [str(python), str(script), *arguments], **kw)
