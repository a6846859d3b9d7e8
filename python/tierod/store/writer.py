"""Append activations to a store."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import weakref
from collections.abc import Mapping
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tierod import _core
from tierod._core import (
    SiteColumn,
    StreamSpec,
    WriterStats,
)
from tierod.store.arrays import (
    MIB,
    Path,
    Streams,
    as_tensor,
    row_table,
    stream_specs,
)

_open_writers: weakref.WeakSet[ActivationWriter] = weakref.WeakSet()


class ActivationWriter:
    """Append activations to a store, a folder of immutable HDF5 shards; a context manager.

        with tierod.ActivationWriter(path, {"prefill": {"layers.0.resid_post": (576, torch.float16)}}) as w:
            w.append("prefill", {"sample": ids}, {"layers.0.resid_post": h})

    A thread writes behind a ring of preallocated buffers; when the ring is full, `append` waits. A
    crash loses the shard that is being written and nothing else.

    Args:
        path: the store's folder.
        streams: for each stream its sites with width and dtype (f32, f16, bf16). A StoreSink adds
            those that are not declared.
        memory_bytes: bound of the ring.
        shard_bytes: a shard is closed when its sites hold this much.
        nonfinite: "keep" rows with NaN or Inf and count them, or "refuse" them.
        append: go on with a store that is there.
        provenance: texts kept in every shard: model, weights_sha256, ...
        configuration: what made the data, as JSON.
        expected_rows: rows that each stream will have: refuse at once what does not fit.
        index: build index.h5 on close.
    """

    def __init__(
        self,
        path: Path,
        streams: Streams = (),
        *,
        memory_bytes: int = 256 * MIB,
        shard_bytes: int = 256 * MIB,
        nonfinite: str = "keep",
        append: bool = False,
        provenance: Mapping[str, str] | None = None,
        configuration: Mapping[str, Any] | None = None,
        expected_rows: Mapping[str, int] | None = None,
        index: bool = True,
    ) -> None:
        if nonfinite not in ("keep", "refuse"):
            raise _core.InvalidArgument(
                f"[store.ActivationWriter] expected nonfinite = 'keep' or 'refuse', got {nonfinite!r}"
            )
        self.core = _core.ActivationWriter._open(
            os.fspath(path), stream_specs(streams), memory_bytes, shard_bytes, nonfinite == "refuse",
            append, dict(provenance or {}), json.dumps(configuration or {}),
            dict(expected_rows or {}), index,
        )  # fmt: skip
        self._names: dict[str, list[str]] = {}
        self._process = os.getpid()
        _open_writers.add(self)

    def append(
        self,
        stream: str,
        rows: Mapping[str, int | ArrayLike | Tensor],
        sites: Mapping[str, ArrayLike | Tensor],
    ) -> None:
        """Add rows: columns of the row table (a list, or one number for all rows; see ROW_COLUMNS)
        and the values [n, width] of every site of the stream."""
        names = self._names.get(stream, [])
        if set(names) != set(sites):  # sites may have come
            self._names = {s.name: [c.site for c in s.sites] for s in self.core.streams}
            names = self._names.get(stream, list(sites))
        if set(names) != set(sites):
            raise _core.InvalidArgument(
                f"[store.ActivationWriter.append] the stream {stream!r} has the sites {names}, got "
                f"{list(sites)}"
            )
        values = [as_tensor(sites[name]) for name in names]
        columns, fills = row_table(rows)
        count = values[0].shape[0] if values and values[0].dim() else 0
        self.core._append(stream, count, columns, fills, values)

    def append_rows(
        self, stream: str, count: int, rows: Mapping[str, int | ArrayLike | Tensor]
    ) -> None:
        """Add to the row table alone; `append_site` follows for each site."""
        self.core._append_rows(stream, count, *row_table(rows))

    def append_site(self, stream: str, site: str, values: ArrayLike | Tensor) -> None:
        """Add to one site alone. A row counts once every site has it."""
        self.core._append_site(stream, site, as_tensor(values))

    def add_site(self, stream: str, site: str, width: int, dtype: torch.dtype) -> None:
        """Add a site to a stream that has no complete row yet."""
        self.core._add_site(stream, SiteColumn(site, width, dtype))

    def branch(self, name: str) -> int:
        """Return the number of a branch's name, for the column "branch"."""
        return self.core.branch(name)

    def flush(self) -> None:
        """Close the open shard and wait until everything is committed."""
        self.core.flush()

    def close(self) -> None:
        """Commit everything, build the index and let go of the lock."""
        _open_writers.discard(self)
        self.core.close()

    @property
    def is_open(self) -> bool:
        return self.core.is_open

    @property
    def streams(self) -> list[StreamSpec]:
        return self.core.streams

    @property
    def path(self) -> str:
        return self.core.path

    def stats(self) -> WriterStats:
        """Return what was written so far."""
        return self.core.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        # The block's own exception says more; what was complete is committed.
        with contextlib.suppress(_core.Error):
            self.close()


@atexit.register
def _close_writers() -> None:
    """Join the writers' threads while the interpreter is whole; what is complete gets committed."""
    for writer in list(_open_writers):
        if writer._process != os.getpid():
            continue  # this is a fork; the writer is its parent's
        try:
            writer.close()
        except _core.Error as error:
            print(f"tierod: {error}", file=sys.stderr, flush=True)
