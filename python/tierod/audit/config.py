"""`audit.toml`: what an audit is to ask, as people write it.

| table | keys |
|---|---|
| `[model]` | `name` (as `tierod.models` opens it), `scenes`, `seed` (of drawn scenes) |
| `[data]` | `seed`, `share_a`, `share_b`, `share_c`, `group_level`, `*_scenes`, `batch_size`, `allow_few` |
| `[concepts.ID]` | `definition`, `functional`, `claimed_sign`, `sesoi` |
| `[test]` | `candidates`, `adjust_for`, `stratifications`, `positive`, `doses`, `framings`, `alpha`, ... |
| `[budget]` | `direct_refits`, `total_refits`, `shams`, `permuted`, `matched`, `sham_totals`, ... |
| `[review]` | `hazard`, `odd_slice` |

Every key of `[data]`, `[test]`, `[budget]` and `[review]` is a field of the protocol; unknown keys are errors.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tierod._core import InvalidArgument, nearest_names

_TABLES: dict[str, tuple[str, ...]] = {
    "model": ("name", "scenes", "seed"),
    "data": (
        "seed", "share_a", "share_b", "share_c", "group_level", "fit_scenes", "choose_scenes",
        "test_scenes", "verify_scenes", "stratum_scenes", "batch_size", "allow_few",
    ),
    "test": (
        "candidates", "adjust_for", "interactions", "stratifications", "positive",
        "wrong_functional", "doses", "framings", "alpha", "margin", "readers", "most_sham_used",
    ),
    "budget": (
        "direct_refits", "total_refits", "checked_refits", "shams", "permuted", "matched",
        "sham_totals", "framing_scenes", "framing_seeds", "examples",
    ),
    "review": ("hazard", "odd_slice"),
}  # fmt: skip


def read_config(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read an `audit.toml`: what `[model]` says, and the fields of the protocol.

    Raises:
        InvalidArgument: if the file cannot be read, is no TOML, or has a table or key that is not known.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(
            f"[audit.read_config] expected TOML in '{path}', got: {error}"
        ) from error
    _check("a table", list(content), [*_TABLES, "concepts"], path)
    protocol: dict[str, Any] = {}
    for table, keys in _TABLES.items():
        values = content.get(table, {})
        if not isinstance(values, dict):
            raise InvalidArgument(f"[audit.read_config] expected a table [{table}] in '{path}'")
        _check(f"a key of [{table}]", list(values), list(keys), path)
        if table != "model":
            protocol.update(values)
    concepts = content.get("concepts", {})
    if concepts:
        # the C++ side knows the keys of a concept, and says so
        protocol["concepts"] = [{"id": name, **fields} for name, fields in concepts.items()]
    return content.get("model", {}), protocol


def _check(what: str, got: list[str], known: list[str], path: str | Path) -> None:
    for name in got:
        if name not in known:
            raise InvalidArgument(
                f"[audit.read_config] expected {what} to be one of {', '.join(known)}, got '{name}' in "
                f"'{path}'; nearest {', '.join(nearest_names(name, known))}"
            )


__all__ = ["read_config"]
