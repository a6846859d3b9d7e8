"""Read a store: rows, columns, batches, moments."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tierod import _core
from tierod._core import (
    FoldMoments,
    StreamSpec,
)
from tierod.store.arrays import (
    ROW_COLUMNS,
    Numbers,
    Path,
    as_array,
    as_tensor,
    row_numbers,
)


@dataclass(frozen=True)
class Batch:
    """One batch: the rows' numbers and each site's values [n, width]."""

    rows: Tensor
    sites: dict[str, Tensor]

    def numpy(self) -> dict[str, NDArray[Any]]:
        """Return the sites as NumPy arrays."""
        return {name: as_array(values) for name, values in self.sites.items()}


class Batches(Iterator[Batch]):
    """Iterate over batches; `len` is their number."""

    def __init__(self, core: _core.Batches, sites: Sequence[str]) -> None:
        self._core, self._sites = core, list(sites)

    def __len__(self) -> int:
        return len(self._core)

    def __next__(self) -> Batch:
        got = self._core.next()
        if got is None:
            raise StopIteration
        rows, values = got
        return Batch(rows, dict(zip(self._sites, values, strict=True)))


class ActivationReader:
    """Read a store, also while a writer appends to it.

    Shards are mapped, not loaded; each part is checked against its checksum when it is first touched
    (`verify=False` leaves that out).
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.core = _core.ActivationReader._open(os.fspath(path), verify)

    @property
    def streams(self) -> list[StreamSpec]:
        return self.core.streams

    @property
    def provenance(self) -> dict[str, str]:
        return self.core.provenance

    @property
    def configuration(self) -> dict[str, Any]:
        """What made the data."""
        value: dict[str, Any] = json.loads(self.core._configuration)
        return value

    @property
    def branches(self) -> list[str]:
        """The names that the column "branch" numbers."""
        return self.core.branches

    @property
    def path(self) -> str:
        return self.core.path

    @property
    def shard_count(self) -> int:
        return self.core.shard_count

    def sites(self, stream: str) -> list[str]:
        """Return the names of a stream's sites."""
        self.core.row_count(stream)  # raises where there is no such stream
        return [c.site for s in self.core.streams if s.name == stream for c in s.sites]

    def row_count(self, stream: str) -> int:
        return self.core.row_count(stream)

    def refresh(self) -> int:
        """Look for shards that were committed since; return how many there are."""
        return self.core.refresh()

    def column(self, stream: str, name: str) -> Tensor:
        """Return one column of the row table, int64 [rows]."""
        return self.core._column(stream, name)

    def rows(self, stream: str) -> dict[str, NDArray[np.int64]]:
        """Return the row table as NumPy arrays."""
        return {name: self.column(stream, name).numpy() for name in ROW_COLUMNS}

    def row_labels(self, stream: str, concept: str) -> Tensor:
        """Return the label of each row's sample, uint8 [rows]; 255 is missing."""
        return self.core._row_labels(stream, concept)

    def select(
        self,
        stream: str,
        *,
        phases: str | Sequence[str] | None = None,
        steps: Sequence[int] | None = None,
        branches: str | Sequence[str] | None = None,
        samples: Sequence[int] | None = None,
        scenes: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        token_ids: Sequence[int] | None = None,
        mask: ArrayLike | Tensor | None = None,
        concept: str = "",
        label: int | None = None,
    ) -> Tensor:
        """Return the numbers of the rows that fit everything given, ascending, int64.

        Args:
            mask: bool [rows].
            concept: keep rows whose sample has a label of this concept, and with `label` that one.
        """

        def texts(value: str | Sequence[str] | None) -> list[str] | None:
            return [value] if isinstance(value, str) else None if value is None else list(value)

        def numbers(value: Sequence[int] | None) -> list[int] | None:
            return None if value is None else [operator.index(v) for v in value]

        return self.core._select(
            stream, texts(phases), numbers(steps), texts(branches), numbers(samples),
            numbers(scenes), numbers(groups), numbers(token_ids),
            None if mask is None else as_tensor(mask), concept, label,
        )  # fmt: skip

    def read(self, stream: str, site: str, rows: slice | Numbers | None = None) -> Tensor:
        """Return values [n, width] of a site: all rows, a slice of step 1, rows by number, or the
        rows where a bool mask [rows] is true."""
        if rows is None:
            return self.core._read(stream, site, 0, None)
        if isinstance(rows, slice):
            begin, end, step = rows.indices(self.row_count(stream))
            if step != 1:
                raise _core.InvalidArgument(
                    f"[store.ActivationReader.read] expected a slice of step 1, got {rows!r}; give "
                    "the rows by number"
                )
            return self.core._read(stream, site, begin, max(begin, end))
        return self.core._gather(stream, site, row_numbers(rows, self.row_count(stream)))

    def read_numpy(
        self, stream: str, site: str, rows: slice | Numbers | None = None
    ) -> NDArray[Any]:
        """Return the same as a NumPy array; bf16 becomes f32."""
        return as_array(self.read(stream, site, rows))

    def batches(
        self,
        stream: str,
        sites: str | Sequence[str] | None = None,
        *,
        batch_rows: int = 4096,
        seed: int | None = None,
        epoch: int = 0,
        block_rows: int = 0,
        window_blocks: int = 16,
        drop_last: bool = False,
        rows: Numbers | None = None,
    ) -> Batches:
        """Walk through rows (default: all) of sites (default: all) in batches.

        Args:
            seed: shuffle; absent: in order. Nothing but the order is held in memory.
            epoch: count of passes before this one; each has an order of its own.
            block_rows: 0 shuffles single rows, best where the page cache holds the store; otherwise
                blocks of so many rows are shuffled, then the rows of `window_blocks` blocks.
            rows: their numbers, or a bool mask [rows].
        """
        names = [sites] if isinstance(sites, str) else list(sites or self.sites(stream))
        return Batches(
            self.core._batches(
                stream, names, batch_rows, seed, epoch, block_rows, window_blocks, drop_last,
                None if rows is None else row_numbers(rows, self.row_count(stream)),
            ),
            names,
        )  # fmt: skip

    def moments(
        self,
        stream: str,
        sites: Sequence[str] = (),
        concepts: Sequence[str] = (),
        *,
        folds: int = 5,
        covariance: bool = True,
        seed: int = 0,
    ) -> FoldMoments:
        """Accumulate moments by site and fold, with the labels of `concepts`, in one pass."""
        return _core._accumulate_moments(
            self.core, stream, list(sites), list(concepts), folds, covariance, seed
        )
