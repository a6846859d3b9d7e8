"""Functions on whole stores: price, label, sum up, verify, recover, merge, export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from numpy.typing import ArrayLike
from torch import Tensor

from tierod import _core
from tierod._core import (
    MergeReport,
    RecoverReport,
    StorePlan,
    StoreStat,
    VerifyReport,
)
from tierod.store.arrays import (
    MIB,
    Numbers,
    Path,
    Progress,
    Streams,
    integers,
    stream_specs,
)
from tierod.store.reader import ActivationReader


def plan_store(
    path: Path,
    streams: Streams,
    rows: Mapping[str, int],
    *,
    memory_bytes: int = 256 * MIB,
    shard_bytes: int = 256 * MIB,
) -> StorePlan:
    """Say what a capture of so many rows in each stream will cost; `.check()` refuses, with advice,
    what does not fit."""
    return _core.plan_store(
        os.fspath(path), stream_specs(streams), dict(rows), memory_bytes, shard_bytes
    )


def set_labels(
    store: Path, concept: str, samples: Numbers, values: ArrayLike | Tensor, note: str = ""
) -> int:
    """Add a version of a concept's labels, a value from 0 to 254 for each sample, 255 for missing;
    return the version's number."""
    return _core._set_labels(
        os.fspath(store), concept, integers(samples, "samples"), integers(values, "labels"), note
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
