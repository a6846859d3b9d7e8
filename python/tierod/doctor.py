"""Examine an installation: what `tierod doctor` prints."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tierod import _build_info

_PACKAGE = Path(__file__).parent
_OPTIONAL = {
    "transformers": ("Hugging Face decoders", "pip install 'tierod[hf]'"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`error`) or absent but not needed by everyone (`note`)."""

    level: Literal["error", "note"]
    what: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """Versions, paths and findings of one installation."""

    versions: dict[str, str | None]
    build: dict[str, str | bool]
    paths: dict[str, str | None]
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return all(finding.level != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "healthy": self.healthy}


def library_version() -> str:
    """Return the version that the library was built as."""
    return _build_info.version


def same_torch(built: str, running: str) -> bool:
    """Tell whether two torch versions are equal up to their local label (`+cpu`, `+cu130`)."""
    return built.split("+")[0] == running.split("+")[0]


def examine() -> Report:
    """Look at the running interpreter, at what is installed, and at what libtierod was built with."""
    import torch

    findings: list[Finding] = []
    running = str(torch.__version__)
    if not same_torch(_build_info.torch_version, running):
        findings.append(
            Finding(
                "error",
                f"libtierod was built with torch {_build_info.torch_version}, {running} is running",
                f"pip install torch=={_build_info.torch_version}, or rebuild tierod against "
                f"this torch",
            )
        )

    paths = {
        "package": str(_PACKAGE),
        "libtierod": _existing(_PACKAGE / "libtierod.so"),
        "core": _existing(_PACKAGE / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"),
        "headers": _headers(),
        "cmake_config": _existing(_PACKAGE / "share" / "cmake" / "tierod"),
        "torch": str(Path(torch.__file__).parent),
    }
    for name in ("libtierod", "core", "headers"):
        if paths[name] is None:
            findings.append(
                Finding("error", f"{name} is not where it belongs, in {_PACKAGE}", _reinstall())
            )
    if paths["cmake_config"] is None:
        findings.append(
            Finding(
                "note",
                "no CMake package beside this one (a build tree has none)",
                "for C++, `pip install --no-build-isolation .` or `cmake --install build/release`",
            )
        )
    if not _op_is_registered():
        findings.append(
            Finding("error", "the operator tierod::hook is not registered", _reinstall())
        )

    versions: dict[str, str | None] = {
        "tierod": library_version(),
        "torch": running,
        "python": platform.python_version(),
        "numpy": _installed_version("numpy"),
    }
    for name, (purpose, remedy) in _OPTIONAL.items():
        versions[name] = _installed_version(name)
        if versions[name] is None:
            findings.append(Finding("note", f"{name} is missing ({purpose})", remedy))

    build: dict[str, str | bool] = {
        "torch": _build_info.torch_version,
        "python": _build_info.python_version,
        "compiler": _build_info.compiler,
        "build_type": _build_info.build_type,
        "torch_cxx11_abi": bool(torch.compiled_with_cxx11_abi()),
        "torch_cuda": str(torch.version.cuda or "none"),
    }
    return Report(versions, build, paths, findings)


def show(report: Report) -> None:
    """Print a report for people."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    sections: list[tuple[str, Mapping[str, object]]] = [
        ("versions", report.versions),
        ("built with", report.build),
        ("paths", report.paths),
    ]
    for title, entries in sections:
        console.print(f"[bold]{title}[/bold]")
        for name, value in entries.items():
            console.print(f"  {name:<16} {escape(str('none' if value is None else value))}")
    for finding in report.findings:
        console.print(f"[bold]{finding.level}[/bold]: {escape(finding.what)}")
        console.print(f"  remedy: {escape(finding.remedy)}")
    console.print("healthy" if report.healthy else "not healthy: see the errors above")


def _existing(path: Path) -> str | None:
    return str(path) if path.exists() else None


def _headers() -> str | None:
    # In a build tree the package's files are links into the source tree, where the headers are.
    source = Path(__file__).resolve().parents[2] / "include"
    for folder in (_PACKAGE / "include", source):
        if (folder / "tierod" / "core" / "error.h").exists():
            return str(folder)
    return None


def _op_is_registered() -> bool:
    import torch

    return hasattr(torch.ops.tierod, "hook")


def _installed_version(name: str) -> str | None:
    if importlib.util.find_spec(name) is None:
        return None
    return importlib.metadata.version(name)


def _reinstall() -> str:
    return "reinstall: pip install --no-build-isolation --force-reinstall --no-deps ."
