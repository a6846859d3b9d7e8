"""Audits as Python runs them: dictionaries for protocols, plans and records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tierod import vla
from tierod._core import (
    AuditOutcome,
    InvalidArgument,
    RecordDifference,
    audit_plan,
    audit_protocol,
    audit_run,
    verify_record,
)
from tierod.progress import stoppable


class Audit(NamedTuple):
    """How an audit ended, and its evidence record."""

    outcome: AuditOutcome
    record: dict[str, Any]

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each concept; INCONCLUSIVE with its reason in parentheses."""
        return {c["id"]: verdict_text(c) for c in self.record["concepts"]}


def verdict_text(concept: dict[str, Any]) -> str:
    """Return the verdict of one concept of a record, with its reason where it has one."""
    reason = concept["reason"]
    return f"{concept['verdict']} ({reason})" if reason else str(concept["verdict"])


def protocol_of(
    model: vla.Model,
    scenes: vla.SceneSource,
    /,
    *,
    concepts: Sequence[str | dict[str, Any]] | None = None,
    quick: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """Return the complete protocol: `fields` as given, everything else from model and scenes.

    Args:
        concepts: to ask about, by their ids alone or with definition, functional, claimed_sign and sesoi; all
            of the scenes' by default.
        quick: fewer controls by the same rules.
        fields: of the protocol (`docs/audit.md`).

    Raises:
        InvalidArgument: on what is unknown, or a SESOI that has no default.
    """
    if concepts is not None:
        fields["concepts"] = [
            {"id": one, "functional": ""} if isinstance(one, str) else {"functional": "", **one}
            for one in concepts
        ]
    return dict(json.loads(audit_protocol(json.dumps(fields), model, scenes, quick)))


def plan(model: vla.Model, scenes: vla.SceneSource, protocol: dict[str, Any]) -> dict[str, Any]:
    """Say what an audit would do: stages with model passes, scenes, and what is missing."""
    return dict(json.loads(audit_plan(model, scenes, json.dumps(protocol))))


def audit(
    model: vla.Model,
    scenes: vla.SceneSource,
    out: str | Path,
    *,
    protocol: dict[str, Any] | None = None,
    resume: bool = False,
    progress: Callable[[int, int, str], bool | None] | bool = True,
) -> Audit:
    """Audit a model and write protocol, stages and record to the folder `out`.

    Raises:
        InvalidArgument: on a protocol that is not complete, too few scenes, a folder with another audit, or a
            frozen file that was changed.
        StateError: if it was stopped (Ctrl-C, or `progress` returned False); finished stages are kept.
        IoError: if a file cannot be written.
    """
    chosen = protocol_of(model, scenes) if protocol is None else protocol
    with stoppable("audit", progress) as step:
        outcome, record = audit_run(model, scenes, json.dumps(chosen), str(out), resume, step)
    return Audit(outcome, json.loads(record))


def verify(out: str | Path) -> list[RecordDifference]:
    """Recompute everything from the record in the folder `out`; return where it differs.

    Raises:
        InvalidArgument: if there is no record.
    """
    path = Path(out)
    file = path / "record.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"[audit.verify] expected a record in '{file}': {error}") from error
    return list(verify_record(text))


__all__ = ["Audit", "audit", "plan", "protocol_of", "verdict_text", "verify"]
