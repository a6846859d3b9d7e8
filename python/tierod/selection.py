"""Selections: which events, rows, tokens and heads an operation touches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tierod import _core

Indices = int | Sequence[int] | slice | None
Names = str | Sequence[str] | None


def _numbers(name: str, value: Indices) -> list[int]:
    if isinstance(value, int):
        return [value]
    if isinstance(value, slice) or value is None:
        raise _core.InvalidArgument(
            f"[hook.selection] expected {name} as an integer or a list of integers, got {value!r}"
        )
    return [int(v) for v in value]


def _texts(value: Names) -> list[str]:
    assert value is not None
    return [value] if isinstance(value, str) else list(value)


def selection_json(
    *,
    rows: Indices = None,
    tokens: Indices = None,
    positions: Indices = None,
    spans: Names = None,
    heads: Indices = None,
    phases: Names = None,
    steps: Indices = None,
    branches: Names = None,
    calls: Indices = None,
) -> str:
    """Write keyword arguments as the JSON of a Selection; `tokens` may be a slice of step 1."""
    out: dict[str, Any] = {}
    if isinstance(tokens, slice):
        if tokens.step not in (None, 1):
            raise _core.InvalidArgument(
                f"[hook.selection] expected a token slice of step 1, got {tokens!r}; list the tokens"
            )
        out["token_range"] = [tokens.start, tokens.stop]
    elif tokens is not None:
        out["tokens"] = _numbers("tokens", tokens)
    for name, value in (
        ("rows", rows),
        ("positions", positions),
        ("heads", heads),
        ("steps", steps),
        ("calls", calls),
    ):
        if value is not None:
            out[name] = _numbers(name, value)
    for name, texts in (("spans", spans), ("phases", phases), ("branches", branches)):
        if texts is not None:
            out[name] = _texts(texts)
    return json.dumps(out)
