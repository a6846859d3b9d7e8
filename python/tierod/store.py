"""The activation store: stream activations to disk while a model runs, and read them back."""

from __future__ import annotations

import atexit
import contextlib
import json
import operator
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tierod import _core
from tierod._core import (
    CaptureSink,
    CrossMoments,
    FoldMoments,
    Labels,
    MergeReport,
    RecoverReport,
    SiteColumn,
    StorePlan,
    StoreStat,
    StreamSpec,
    VerifyReport,
    WriterStats,
    build_index,
    fold_of_group,
    get_labels,
    has_store,
    label_concepts,
)

Path = str | os.PathLike[str]
Progress = Callable[[int, int, str], bool | None]
Streams = Sequence[StreamSpec] | Mapping[str, Mapping[str, tuple[int, torch.dtype]]]
Numbers = Sequence[int] | NDArray[Any] | Tensor
ROW_COLUMNS = (
    "sample", "scene", "group", "row", "token_index", "token_id", "position_id", "phase", "step",
    "branch", "call",
)  # fmt: skip
_MIB = 1 << 20
_MISSING = 255
_open_writers: weakref.WeakSet[ActivationWriter] = weakref.WeakSet()


def _tensor(values: ArrayLike | Tensor) -> Tensor:
    return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))


def _integers(values: ArrayLike | Tensor, what: str) -> Tensor:
    """Return integers as int64; a conversion that would round is refused."""
    tensor = _tensor(values)
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex()):
        raise _core.InvalidArgument(
            f"[store] expected integer {what}, got {tensor.dtype}; round them yourself if that is "
            "what you mean"
        )
    return tensor.to(torch.int64)


def _optional(values: Numbers | None, what: str) -> Tensor | None:
    return None if values is None else _integers(values, what)


def _row_numbers(rows: Numbers, count: int) -> Tensor:
    """Return row numbers; a bool mask means the rows where it is true, as in NumPy."""
    tensor = _tensor(rows)
    if tensor.dtype != torch.bool:
        return _integers(tensor, "row numbers")
    if tensor.shape != (count,):
        raise _core.InvalidArgument(
            f"[store.ActivationReader] expected a bool mask [{count}], got shape "
            f"{list(tensor.shape)}"
        )
    return tensor.nonzero().flatten()


def _array(values: Tensor) -> NDArray[Any]:
    """Return NumPy's view; bf16, which NumPy lacks, becomes f32."""
    array: NDArray[Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return array


def _specs(streams: Streams) -> list[StreamSpec]:
    if not isinstance(streams, Mapping):
        return list(streams)
    return [
        StreamSpec(name, [SiteColumn(site, width, dtype) for site, (width, dtype) in sites.items()])
        for name, sites in streams.items()
    ]


def _rows(
    rows: Mapping[str, int | ArrayLike | Tensor],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    columns: dict[str, Tensor] = {}
    fills: dict[str, int] = {}
    for name, value in rows.items():
        if isinstance(value, (int, np.integer)):
            fills[name] = int(value)
        else:
            columns[name] = _integers(value, name)
    return columns, fills


def plan_store(
    path: Path,
    streams: Streams,
    rows: Mapping[str, int],
    *,
    memory_bytes: int = 256 * _MIB,
    shard_bytes: int = 256 * _MIB,
) -> StorePlan:
    """Say what a capture of so many rows in each stream will cost; `.check()` refuses, with advice,
    what does not fit."""
    return _core.plan_store(os.fspath(path), _specs(streams), dict(rows), memory_bytes, shard_bytes)


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
        memory_bytes: int = 256 * _MIB,
        shard_bytes: int = 256 * _MIB,
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
            os.fspath(path), _specs(streams), memory_bytes, shard_bytes, nonfinite == "refuse",
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
        values = [_tensor(sites[name]) for name in names]
        columns, fills = _rows(rows)
        count = values[0].shape[0] if values and values[0].dim() else 0
        self.core._append(stream, count, columns, fills, values)

    def append_rows(
        self, stream: str, count: int, rows: Mapping[str, int | ArrayLike | Tensor]
    ) -> None:
        """Add to the row table alone; `append_site` follows for each site."""
        self.core._append_rows(stream, count, *_rows(rows))

    def append_site(self, stream: str, site: str, values: ArrayLike | Tensor) -> None:
        """Add to one site alone. A row counts once every site has it."""
        self.core._append_site(stream, site, _tensor(values))

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


class StoreSink(_core.StoreSink):
    """Write what a session captures into a store while the model runs.

        sink = tierod.StoreSink(writer)
        session.capture("**.resid_post", sink=sink)
        sink.begin_batch(samples=ids)
        model(tokens)

    A stream is chosen by the first rule (pattern, phase or None, stream) that matches, else by the
    phase; outside of any it is "main". Sites that were not declared are added as the first batch
    meets them.
    """

    def __init__(
        self, writer: ActivationWriter, rules: Sequence[tuple[str, str | None, str]] = ()
    ) -> None:
        super().__init__(writer.core, list(rules))

    def begin_batch(
        self,
        samples: Numbers,
        *,
        scenes: Numbers | None = None,
        groups: Numbers | None = None,
        token_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> None:
        """Say which samples the rows of the next forward or rollout are.

        Args:
            samples, scenes, groups: a number for each row of the batch.
            token_ids, position_ids: [rows, length] by absolute position, prompt and answer.
        """
        self._begin_batch(
            _integers(samples, "samples"), _optional(scenes, "scenes"),
            _optional(groups, "groups"), token_ids, position_ids,
        )  # fmt: skip


class MomentsSink(_core.MomentsSink):
    """Accumulate mean, covariance and cross-covariance with labels, by site and fold, of what a
    session captures; no row is kept.

    Args:
        folds: a row's fold is drawn from its group (its sample where it has none) by `seed`.
        covariance: keep [d, d] instead of variances.
    """

    def __init__(self, folds: int = 5, *, covariance: bool = True, seed: int = 0) -> None:
        super().__init__(folds, covariance, seed)

    def begin_batch(
        self,
        samples: Numbers,
        *,
        groups: Numbers | None = None,
        labels: ArrayLike | Tensor | None = None,
    ) -> None:
        """Say which samples come next; labels [samples, concepts], NaN for missing, or uint8 as the
        store keeps them, 255 for missing."""
        values = None
        if labels is not None:
            given = _tensor(labels)
            values = given.to(torch.float64)
            if given.dtype == torch.uint8:
                values[given == _MISSING] = float("nan")
        self._begin_batch(_integers(samples, "samples"), _optional(groups, "groups"), values)


@dataclass(frozen=True)
class Batch:
    """One batch: the rows' numbers and each site's values [n, width]."""

    rows: Tensor
    sites: dict[str, Tensor]

    def numpy(self) -> dict[str, NDArray[Any]]:
        """Return the sites as NumPy arrays."""
        return {name: _array(values) for name, values in self.sites.items()}


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
            None if mask is None else _tensor(mask), concept, label,
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
        return self.core._gather(stream, site, _row_numbers(rows, self.row_count(stream)))

    def read_numpy(
        self, stream: str, site: str, rows: slice | Numbers | None = None
    ) -> NDArray[Any]:
        """Return the same as a NumPy array; bf16 becomes f32."""
        return _array(self.read(stream, site, rows))

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
                None if rows is None else _row_numbers(rows, self.row_count(stream)),
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


def set_labels(
    store: Path, concept: str, samples: Numbers, values: ArrayLike | Tensor, note: str = ""
) -> int:
    """Add a version of a concept's labels, a value from 0 to 254 for each sample, 255 for missing;
    return the version's number."""
    return _core._set_labels(
        os.fspath(store), concept, _integers(samples, "samples"), _integers(values, "labels"), note
    )


def stat_store(path: Path) -> StoreStat:
    """Sum up a store from its manifest."""
    return _core.stat_store(os.fspath(path))


def verify_store(path: Path, progress: Progress | None = None) -> VerifyReport:
    """Read everything and compare: checksums, HDF5's own index, counts, NaN and Inf. Damage is
    reported, not raised."""
    return _core.verify_store(os.fspath(path), progress)


def recover_store(path: Path, progress: Progress | None = None) -> RecoverReport:
    """Bring a store into a consistent state after a crash, and say how many rows were lost."""
    return _core.recover_store(os.fspath(path), progress)


def merge_stores(
    sources: Sequence[Path],
    target: Path,
    *,
    reference: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Make one store of several, by hard links or, with `reference`, by relative paths."""
    return _core.merge_stores(
        [os.fspath(source) for source in sources], os.fspath(target), reference, progress
    )


def export_numpy(
    store: ActivationReader | Path,
    target: Path,
    *,
    streams: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write `<target>/<stream>/<site>.npy` and `<target>/<stream>/rows/<column>.npy`."""
    reader = store if isinstance(store, ActivationReader) else ActivationReader(store)
    return _core._export_numpy(
        reader.core,
        os.fspath(target),
        None if streams is None else list(streams),
        None if sites is None else list(sites),
        progress,
    )


__all__ = [
    "ROW_COLUMNS",
    "ActivationReader",
    "ActivationWriter",
    "Batch",
    "Batches",
    "CaptureSink",
    "CrossMoments",
    "FoldMoments",
    "Labels",
    "MergeReport",
    "MomentsSink",
    "RecoverReport",
    "SiteColumn",
    "StorePlan",
    "StoreSink",
    "StoreStat",
    "StreamSpec",
    "VerifyReport",
    "WriterStats",
    "build_index",
    "export_numpy",
    "fold_of_group",
    "get_labels",
    "has_store",
    "label_concepts",
    "merge_stores",
    "plan_store",
    "recover_store",
    "set_labels",
    "stat_store",
    "verify_store",
]
