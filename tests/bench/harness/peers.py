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

UV = "uv==0.13.9"
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
            lock = self.folder / "lock.txt"
            _resolve([f"torch=={torch_version.split('+')[0]}", *self.requirements], lock)
            # Without requirements of their own: the linked torch must never be replaced.
            command = [str(host_python()), "-m", "pip", "--python", str(self.python), "install"]
            command += ["--quiet", "--disable-pip-version-check", "--no-deps", "-r", str(lock)]
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            return _last_error(error.stderr or error.stdout or "") or f"exit {error.returncode}"
        except (OSError, RuntimeError, StopIteration) as error:
            return f"{type(error).__name__}: {error}"
        return None


# What torch needs besides the CUDA packages that its plain wheel asks for: the host's is linked.
TORCH_NEEDS = ("filelock", "fsspec", "jinja2", "networkx", "setuptools<82", "sympy",
               "typing-extensions")  # fmt: skip


def _resolve(requirements: list[str], lock: Path) -> None:
    """Write to `lock` what to install but torch. By uv: pip tries versions of TransformerLens 4's many
    requirements for longer than the whole bench runs."""
    folder = root() / "build" / "peers" / ".uv"
    uv = folder / "bin" / "uv"
    if not uv.exists():
        subprocess.run([str(host_python()), "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        command = [*pip, "install", "--quiet", UV]
        subprocess.run(command, check=True, capture_output=True, text=True)
    version = requirements[0].split("==")[1]
    config = lock.with_name("uv.toml")
    needs = json.dumps(TORCH_NEEDS)
    config.write_text(
        f'dependency-metadata = [{{ name = "torch", version = "{version}", '
        f"requires-dist = {needs} }}]\n"
    )
    wanted = lock.with_name("requirements.in")
    wanted.write_text("\n".join(requirements) + "\n")
    command = [str(uv), "pip", "compile", "--quiet", "--config-file", str(config)]
    command += ["--python", str(host_python()), "--no-emit-package", "torch", "-o", str(lock)]
    subprocess.run([*command, str(wanted)], check=True, capture_output=True, text=True)


def _last_error(text: str) -> str:
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    rows = [row for row in rows if not row.startswith("WARNING")]
    errors = [row for row in rows if row.startswith("ERROR")]
    return (errors or rows or [""])[-1][:300]


__all__ = ["Peer", "host_python", "root"]
