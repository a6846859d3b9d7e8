"""The command line `tierod store ...`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from tierod.console import DIFFERENCE, FINISHED, errors
from tierod.progress import progress_bar

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_store = click.argument("store", type=click.Path(file_okay=False))


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _print(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    click.echo(json.dumps(result, indent=2, sort_keys=True) if as_json else "\n".join(lines))


def _rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in rows.items()) or "none"


@click.group()
def store() -> None:
    """Look after activation stores."""


@store.command()
@_store
@_as_json
def stat(store: str, as_json: bool) -> None:
    """Print what a store holds: streams, sites, rows, labels, provenance."""
    from tierod.store import stat_store

    with errors():
        got = stat_store(store)
    streams: list[dict[str, Any]] = [
        {
            "name": s.name,
            "rows": got.rows[s.name],
            "sites": [
                {"site": c.site, "width": c.width, "dtype": str(c.dtype).removeprefix("torch.")}
                for c in s.sites
            ],
        }
        for s in got.streams
    ]
    result = {
        "format": got.format,
        "shards": got.shards,
        "bytes": got.bytes,
        "streams": streams,
        "nonfinite_rows": got.nonfinite_rows,
        "concepts": got.concepts,
        "provenance": got.provenance,
        "being_written": got.being_written,
    }
    lines = [f"{got.shards} shards, {_size(got.bytes)}, {got.nonfinite_rows} rows with NaN or Inf"]
    for s in streams:
        lines.append(f"{s['name']}: {s['rows']} rows")
        lines += [f"  {c['site']}  [{c['width']}] {c['dtype']}" for c in s["sites"]]
    lines.append(f"labels: {', '.join(got.concepts) or 'none'}")
    lines += [f"{name}: {text}" for name, text in got.provenance.items()]
    if got.being_written:
        lines.append("a writer has the store")
    _print(result, as_json, lines)


@store.command()
@_store
@_as_json
def verify(store: str, as_json: bool) -> None:
    """Check every checksum, count and value; exit with 1 if something is wrong."""
    from tierod.store import verify_store

    with errors(), progress_bar("verify") as progress:
        got = verify_store(store, progress)
    result = {
        "ok": got.ok,
        "complete": got.complete,
        "shards": got.shards,
        "rows": got.rows,
        "bytes": got.bytes,
        "nonfinite_rows": got.nonfinite_rows,
        "errors": [{"file": file, "what": what} for file, what in got.errors],
        "notes": [{"file": file, "what": what} for file, what in got.notes],
    }
    lines = [f"{got.shards} shards, {got.rows} rows, {_size(got.bytes)}"]
    lines += [f"error  {file}: {what}" for file, what in got.errors]
    lines += [f"note   {file}: {what}" for file, what in got.notes]
    lines.append("intact" if got.ok else f"{len(got.errors)} errors")
    _print(result, as_json, lines)
    sys.exit(FINISHED if got.ok else DIFFERENCE)


@store.command()
@_store
@_as_json
def recover(store: str, as_json: bool) -> None:
    """Bring a store in order after a crash, and say how many rows were lost."""
    from tierod.store import recover_store

    with errors(), progress_bar("recover") as progress:
        got = recover_store(store, progress)
    result = {
        "shards_kept": got.shards_kept,
        "rows_kept": got.rows_kept,
        "rows_lost": got.rows_lost,
        "manifest_rebuilt": got.manifest_rebuilt,
        "actions": [{"file": file, "what": what} for file, what in got.actions],
    }
    lines = [f"{file}: {what}" for file, what in got.actions]
    if got.manifest_rebuilt:
        lines.append("the manifest was rebuilt from the shards")
    lines.append(f"kept {got.shards_kept} shards, rows: {_rows(got.rows_kept)}")
    lines.append(f"rows lost with the shard that was open: {_rows(got.rows_lost)}")
    _print(result, as_json, lines)


@store.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(file_okay=False))
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--reference", is_flag=True, help="Leave shards where they are; refer to them.")
@_as_json
def merge(sources: tuple[str, ...], target: str, reference: bool, as_json: bool) -> None:
    """Make one store TARGET of several, without copying a shard."""
    from tierod.store import merge_stores

    with errors(), progress_bar("merge") as progress:
        got = merge_stores(sources, target, reference=reference, progress=progress)
    result = {
        "shards": got.shards,
        "rows": got.rows,
        "linked": got.linked,
        "referenced": got.referenced,
    }
    lines = [f"{got.shards} shards ({got.linked} linked, {got.referenced} by reference), rows: "
             f"{_rows(got.rows)}"]  # fmt: skip
    _print(result, as_json, lines)


@store.command()
@_store
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--stream", "streams", multiple=True, help="Only this stream; may be repeated.")
@click.option("--site", "sites", multiple=True, help="Only this site; may be repeated.")
@_as_json
def export(
    store: str, target: str, streams: tuple[str, ...], sites: tuple[str, ...], as_json: bool
) -> None:
    """Write NumPy files below TARGET: <stream>/<site>.npy and <stream>/rows/<column>.npy."""
    from tierod.store import export_numpy

    with errors(), progress_bar("export") as progress:
        files = export_numpy(
            store, target, streams=streams or None, sites=sites or None, progress=progress
        )
    _print({"files": files}, as_json, [f"{len(files)} files below {target}"])
