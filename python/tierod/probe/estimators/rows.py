"""Rows as the estimators take them: arrays, tensors, and rows that stay in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import Tensor

from tierod import _core
from tierod.probe.labels import array_of

if TYPE_CHECKING:
    from tierod.store import ActivationReader

Array = npt.NDArray[Any]
BATCH_ROWS = 8192


class StoreRows:
    """Rows of a site in a store, as X of an estimator: they are read in batches, never all at once.

    Args:
        reader: an open store.
        stream, site: which rows.
        rows: their numbers [n]; None is all.
    """

    def __init__(self, reader: ActivationReader, stream: str, site: str, rows: Any = None) -> None:
        self.reader, self.stream, self.site = reader, stream, site
        count = reader.row_count(stream)
        self.rows = (
            torch.arange(count)
            if rows is None
            else torch.as_tensor(array_of(rows), dtype=torch.int64)
        )
        widths = [
            column.width
            for spec in reader.streams
            if spec.name == stream
            for column in spec.sites
            if column.site == site
        ]
        if not widths:
            raise _core.SiteError(f"[probe.StoreRows] the stream {stream!r} has no site {site!r}")
        self.shape = (len(self.rows), widths[0])

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self, batch_rows: int = BATCH_ROWS) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of [0, n) and their rows."""
        for begin in range(0, len(self), batch_rows):
            part = slice(begin, min(begin + batch_rows, len(self)))
            yield part, self.reader.core._gather(self.stream, self.site, self.rows[part])


def as_matrix(X: Any) -> Any:
    """Return what scikit-learn's checks take: tensors as arrays, the rest as it is."""
    return array_of(X) if isinstance(X, Tensor) else X


def as_tensor(X: Array) -> Tensor:
    return torch.from_numpy(X if X.flags.writeable and X.flags.c_contiguous else X.copy())


def batches_of(X: Array | StoreRows) -> Iterator[tuple[slice, Tensor]]:
    if isinstance(X, StoreRows):
        yield from X.batches()
        return
    for begin in range(0, len(X), BATCH_ROWS):
        part = slice(begin, begin + BATCH_ROWS)
        yield part, as_tensor(X[part])
