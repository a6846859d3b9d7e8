"""Environments of the peers: one venv each under build/peers/, made on first use.

Peers disagree about transformers, so none of them can live in the project's .venv. They must
agree about torch, or a ratio would compare two torches: each peer's venv therefore links the
host's torch instead of installing one, which also saves the download.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TORCH_PARTS = ("torch", "torchgen", "functorch")


def root() -> Path:
    """Find the repository's root."""
    return Path(__file__).resolve().parents[3]


def host_python() -> Path:
    """Find the interpreter that has torch and tierod: the project's .venv, else this one."""
    candidate = root() / ".venv" / "bin" / "python"
    return candidate if candidate.exists() else Path(sys.executable)


@cache
def _host_torch() -> tuple[Path, str]:
    """Return the host's site-packages folder and its torch version, without importing torch."""
    code = (
        "import importlib.metadata as m, importlib.util as u, json, pathlib;"
        "p = pathlib.Path(u.find_spec('torch').origin).parent.parent;"
        "print(json.dumps([str(p), m.version('torch')]))"
    )
    out = subprocess.run([str(host_python()), "-c", code], capture_output=True, text=True)
    if out.returncode != 0:
        raise RuntimeError("torch is not installed in the project's environment")
    site, version = json.loads(out.stdout)
    return Path(site), version


@dataclass(frozen=True)
class Peer:
    """One peer: its name, and what pip installs."""

    name: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return root() / "build" / "peers" / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def _stamp(self) -> str:
        return json.dumps({"requirements": self.requirements, "torch": _host_torch()[1]})

    def _state(self, file: str) -> dict:
        try:
            state = json.loads((self.folder / file).read_text())
        except (OSError, ValueError):
            return {}
        return state if state.get("stamp") == self._stamp() else {}

    def ensure(self, say: Callable[[str], None]) -> str | None:
        """Make the environment where it is missing; return None, or why it cannot be had.

        A failure is remembered, so that a machine without a network does not wait for pip's
        retries in every run; removing the folder tries again.
        """
        if self._state("ready.json"):
            return None
        if failed := self._state("failed.json"):
            return f"{failed['error']} (remembered; remove build/peers/{self.name} to try again)"
        say(f"installing the peer {self.name} ({', '.join(self.requirements)})")
        error = self._install()
        file = "failed.json" if error else "ready.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        text = {"stamp": self._stamp(), "error": error} if error else {"stamp": self._stamp()}
        (self.folder / file).write_text(json.dumps(text) + "\n")
        return error

    def _install(self) -> str | None:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            host_site, torch_version = _host_torch()
            # The host's interpreter makes the venv: its torch is built for that Python alone.
            subprocess.run(
                [str(host_python()), "-m", "venv", "--without-pip", str(self.folder)],
                check=True,
                capture_output=True,
                text=True,
            )
            site = next((self.folder / "lib").glob("python*/site-packages"))
            for part in (*TORCH_PARTS, *(p.name for p in host_site.glob("torch-*.dist-info"))):
                if (host_site / part).exists():
                    (site / part).symlink_to(host_site / part)
            # Pinned, so that pip can never decide to replace (and so delete) the linked torch.
            constraint = self.folder / "constraints.txt"
            constraint.write_text(f"torch=={torch_version}\n")
            command = [str(host_python()), "-m", "pip", "--python", str(self.python), "install"]
            command += ["--quiet", "--disable-pip-version-check", "--constraint", str(constraint)]
            # torch's own requirements are not there yet, the linked torch satisfies the rest.
            subprocess.run(
                [*command, f"torch=={torch_version}", *self.requirements],
                check=True,
                capture_output=True,
                text=True,
            )
        except subprocess.CalledProcessError as error:
            return _last_error(error.stderr or error.stdout or "") or f"exit {error.returncode}"
        except (OSError, RuntimeError, StopIteration) as error:
            return f"{type(error).__name__}: {error}"
        return None


def _last_error(text: str) -> str:
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    errors = [row for row in rows if row.startswith("ERROR")]
    return (errors or rows or [""])[-1][:300]


__all__ = ["Peer", "host_python", "root"]
