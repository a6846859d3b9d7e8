"""What a bench prints: one JSON object a line, and the recorded file under docs/benchmarks/."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from .peers import host_python, root


def _round(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _round(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_round(item) for item in value]
    return value


def line(
    name: str,
    value: float | None,
    goal: float,
    better: str,
    unit: str,
    peers: dict | None = None,
    limit: float | str | None = None,
    **extra: object,
) -> dict:
    """Build one line; `extra` is kept under its own key, for what explains the value."""
    assert better in ("lower", "higher")
    row = {"name": name, "value": value, "goal": goal, "better": better, "unit": unit}
    row |= {"peers": peers or {}, "limit": limit}
    if extra:
        row["extra"] = extra
    return _round(row)


class Reporter:
    """Print lines to stdout and progress to stderr; keep the lines for `record`."""

    def __init__(self) -> None:
        self.lines: list[dict] = []
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {text}", file=sys.stderr, flush=True)

    def emit(self, row: dict) -> None:
        self.lines.append(row)
        print(json.dumps(row), flush=True)

    def record(self, room: str, **about: object) -> Path:
        """Write the lines to docs/benchmarks/<room>.jsonl under the machine's description; other lines
        of the same machine stay."""
        path = root() / "docs" / "benchmarks" / f"{room}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        head, lines = {"machine": machine(), **about}, {}
        if path.exists():
            before, *rows = [json.loads(text) for text in path.read_text().splitlines()]
            lines = {row["name"]: row for row in rows} if before == head else {}
        lines |= {row["name"]: row for row in self.lines}
        rows = [head, *lines.values()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


def machine() -> dict:
    """Describe the machine in what decides a timing; nothing that names it."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "os": _os_name(),
        "compiler": _first_line([os.environ.get("CXX", "c++"), "--version"]),
        "python": platform.python_version(),
        "torch": _host_version("torch"),
        "transformers": _host_version("transformers"),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    get = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text, re.M)).get
    identity = f"family {get('cpu family')}, model {get('model')}, stepping {get('stepping')}"
    return f"{get('model name', platform.machine())} ({identity})"


def _os_name() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = platform.system()
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{name}, Linux {kernel}" if platform.system() == "Linux" else name


def _first_line(command: list[str]) -> str:
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return out.splitlines()[0]


def _host_version(distribution: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return _first_line([str(host_python()), "-c", code])
