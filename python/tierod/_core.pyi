"""
C++ side of tierod; import tierod instead.
"""

from __future__ import annotations

import collections.abc
import typing

import torch

__all__: list[str] = [
    "Activation",
    "ActivationCache",
    "ActivationReader",
    "ActivationWriter",
    "Batches",
    "BranchScope",
    "CaptureSink",
    "CounterRandom",
    "CrossMoments",
    "Error",
    "Event",
    "FoldMoments",
    "HookAborted",
    "Intervention",
    "InvalidArgument",
    "IoError",
    "Labels",
    "MergeReport",
    "ModuleHook",
    "Moments",
    "MomentsSink",
    "NumericalError",
    "OutOfRange",
    "PhaseScope",
    "PlanEntry",
    "ProcessSession",
    "RecoverReport",
    "Session",
    "Site",
    "SiteColumn",
    "SiteError",
    "SitePattern",
    "SiteTable",
    "StateError",
    "StorePlan",
    "StoreSink",
    "StoreStat",
    "StreamSpec",
    "Suspend",
    "VerifyReport",
    "WriterStats",
    "buffer_pool_idle_bytes",
    "build_index",
    "check_selection",
    "default_layout",
    "fold_of_group",
    "get_labels",
    "has_store",
    "hook_point",
    "label_concepts",
    "merge_stores",
    "nearest_names",
    "open_session_count",
    "philox4x32",
    "plan_store",
    "pooled_copy",
    "recover_store",
    "row_table_bytes",
    "run_completed",
    "run_started",
    "set_buffer_pool_limit",
    "sha256_hex",
    "site_alias",
    "stat_store",
    "verify_store",
    "version",
]

class Error(Exception): ...
class HookAborted(Error, RuntimeError): ...
class InvalidArgument(Error, ValueError): ...
class IoError(Error, OSError): ...
class NumericalError(Error, ArithmeticError): ...
class SiteError(Error, LookupError): ...
class StateError(Error, RuntimeError): ...
class OutOfRange(Error, IndexError): ...

class Site:
    """
    A named place in a model; interned.
    """
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __init__(self, name: str, layout: str = "") -> None: ...
    def __repr__(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def name(self) -> str: ...

class SitePattern:
    """
    A pattern of site names: *, **, {0..5}, {q,k,v}.
    """
    def __init__(self, pattern: str) -> None: ...
    def matches(self, name: str) -> bool: ...
    @property
    def is_exact(self) -> bool: ...
    @property
    def text(self) -> str: ...

class Event:
    """
    The address of one firing of a site.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __repr__(self) -> str: ...
    @property
    def branch(self) -> str: ...
    @property
    def call(self) -> int: ...
    @property
    def phase(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def step(self) -> int: ...

class CounterRandom:
    """
    Random numbers that depend on (seed, purpose, scene, sample, position) alone.
    """
    def __init__(self, seed: typing.SupportsInt | typing.SupportsIndex, purpose: str) -> None: ...
    def below(
        self,
        bound: typing.SupportsInt | typing.SupportsIndex,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> int: ...
    def bits(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> int: ...
    def gumbel(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> float: ...
    def normal(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> float: ...
    def uniform(
        self,
        scene: typing.SupportsInt | typing.SupportsIndex,
        sample: typing.SupportsInt | typing.SupportsIndex = 0,
        position: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> float: ...

class Moments:
    """
    Count, mean and (co)variance of rows in one pass, in f64 (Chan, Golub & LeVeque 1979).
    """
    def __init__(self, covariance: bool = False) -> None: ...
    def __repr__(self) -> str: ...
    def covariance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the covariance [d, d], f64.
        """
    def mean(self) -> torch.Tensor:
        """
        Return the mean [d], f64.
        """
    def merge(self, other: Moments) -> None:
        """
        Add all that other has seen.
        """
    def update(self, rows: torch.Tensor) -> None:
        """
        Add rows [n, d].
        """
    def variance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the variances [d], f64.
        """
    @property
    def count(self) -> int: ...
    @property
    def has_covariance(self) -> bool: ...
    @property
    def width(self) -> int: ...

class CrossMoments:
    """
    Cross-covariance of rows with labels.
    """
    def __init__(self) -> None: ...
    def count(self) -> torch.Tensor:
        """
        Return the rows with a known label, int64 [k].
        """
    def cross_covariance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the cross-covariance, f64 [k, d].
        """
    def label_variance(self, ddof: typing.SupportsInt | typing.SupportsIndex = 1) -> torch.Tensor:
        """
        Return the variance of the labels, f64 [k].
        """
    def mean_labels(self) -> torch.Tensor:
        """
        Return the mean label, f64 [k].
        """
    def mean_rows(self) -> torch.Tensor:
        """
        Return their mean, f64 [k, d].
        """
    def merge(self, other: CrossMoments) -> None:
        """
        Add all that other has seen.
        """
    def update(self, rows: torch.Tensor, labels: torch.Tensor) -> None:
        """
        Add rows [n, d] and labels [n, k].
        """
    @property
    def concepts(self) -> int: ...
    @property
    def empty(self) -> bool: ...
    @property
    def width(self) -> int: ...

class PhaseScope:
    """
    Say in which phase and step the model is.
    """
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: typing.Any) -> None: ...
    def __init__(
        self,
        phase: str,
        step: typing.SupportsInt | typing.SupportsIndex = -1,
        position_offset: typing.SupportsInt | typing.SupportsIndex | None = None,
    ) -> None: ...

class BranchScope:
    """
    Name a parallel pass of the same phase.
    """
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: typing.Any) -> None: ...
    def __init__(self, branch: str) -> None: ...

class Suspend:
    """
    Hide every session from this thread's hook points.
    """
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: typing.Any) -> None: ...
    def __init__(self) -> None: ...

class Activation:
    """
    One captured tensor and where it came from.
    """
    def __repr__(self) -> str: ...
    @property
    def event(self) -> Event: ...
    @property
    def gradient(self) -> bool: ...
    @property
    def layout(self) -> str: ...
    @property
    def reduce(self) -> str: ...
    @property
    def selection(self) -> str: ...
    @property
    def site_shape(self) -> list[int]: ...
    @property
    def tensor(self) -> torch.Tensor: ...
    @property
    def when(self) -> str: ...

class ActivationCache:
    """
    Captured activations, by site and event.
    """
    def __contains__(self, arg0: str) -> bool: ...
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def _at(
        self,
        arg0: str,
        arg1: str | None,
        arg2: typing.SupportsInt | typing.SupportsIndex | None,
        arg3: str | None,
        arg4: typing.SupportsInt | typing.SupportsIndex | None,
        arg5: str | None,
        arg6: bool | None,
    ) -> torch.Tensor: ...
    def _concat_tokens(
        self,
        arg0: str,
        arg1: str | None,
        arg2: typing.SupportsInt | typing.SupportsIndex | None,
        arg3: str | None,
        arg4: typing.SupportsInt | typing.SupportsIndex | None,
        arg5: str | None,
        arg6: bool | None,
    ) -> torch.Tensor: ...
    def _find(
        self,
        arg0: str,
        arg1: str | None,
        arg2: typing.SupportsInt | typing.SupportsIndex | None,
        arg3: str | None,
        arg4: typing.SupportsInt | typing.SupportsIndex | None,
        arg5: str | None,
        arg6: bool | None,
    ) -> list[Activation]: ...
    def clear(self) -> None: ...
    def entries(self) -> list[Activation]: ...
    def sites(self) -> list[str]: ...
    def to(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ActivationCache:
        """
        Return a cache on device and in dtype.
        """

class Intervention:
    """
    An edit as data: replace, affine or gather_rows.
    """
    @staticmethod
    def ablate(read: torch.Tensor, write: torch.Tensor, mean: torch.Tensor) -> Intervention: ...
    @staticmethod
    def add(
        write: torch.Tensor, dose: typing.SupportsFloat | typing.SupportsIndex
    ) -> Intervention: ...
    @staticmethod
    def affine(
        write: torch.Tensor,
        read: torch.Tensor | None = None,
        target: torch.Tensor | None = None,
        mean: torch.Tensor | None = None,
        scale: typing.SupportsFloat | typing.SupportsIndex = 1.0,
    ) -> Intervention:
        """
        Return h + W (t - a R'(h - mu)).
        """
    @staticmethod
    def erase(read: torch.Tensor, write: torch.Tensor, mean: torch.Tensor) -> Intervention: ...
    @staticmethod
    def from_json(json: str, tensor_dir: str | None = None) -> Intervention: ...
    @staticmethod
    def gather_rows(
        permutation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> Intervention: ...
    @staticmethod
    def mean_ablate(mean: torch.Tensor) -> Intervention: ...
    @staticmethod
    @typing.overload
    def replace(source: torch.Tensor, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    @typing.overload
    def replace(donors: ActivationCache, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    def replace_broadcast(source: torch.Tensor, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    def resample(
        permutation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> Intervention: ...
    @staticmethod
    def restore(clean: ActivationCache) -> Intervention: ...
    @staticmethod
    def swap(read: torch.Tensor, write: torch.Tensor, target: torch.Tensor) -> Intervention: ...
    @staticmethod
    def zero() -> Intervention: ...
    def to_json(self, tensor_dir: str | None = None) -> str: ...

class CaptureSink:
    """
    Receives what a session captures while the model runs.
    """

class SiteTable:
    """
    The sites that a model declares.
    """
    def __init__(
        self,
        sites: collections.abc.Sequence[
            tuple[
                Site,
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsInt | typing.SupportsIndex,
                str,
            ]
        ],
    ) -> None:
        """
        Declare (site, min, max, read_only_reason) firings a run; max < 0: at least once.
        """
    def match(self, pattern: str) -> list[str]: ...
    def names(self) -> list[str]: ...

class Session:
    """
    Captures and edits while it is open.
    """
    @typing.overload
    def __init__(self) -> None: ...
    @typing.overload
    def __init__(self, table: SiteTable) -> None: ...
    def _abort(self) -> None: ...
    def _cache(self) -> ActivationCache: ...
    def _callback(
        self,
        arg0: str,
        arg1: collections.abc.Callable[..., typing.Any],
        arg2: str,
        arg3: bool,
        arg4: bool,
    ) -> None: ...
    def _capture(
        self,
        arg0: str,
        arg1: str,
        arg2: str,
        arg3: str,
        arg4: torch.dtype | None,
        arg5: torch.device | None,
        arg6: bool,
        arg7: bool,
        arg8: bool,
        arg9: CaptureSink | None,
    ) -> None: ...
    def _close(self) -> None: ...
    def _configure(self, json: str, tensor_dir: str | None = None) -> None: ...
    def _intervene(self, arg0: str, arg1: Intervention, arg2: str, arg3: bool) -> None: ...
    def _open(self) -> None: ...
    def _set_spans(
        self,
        arg0: collections.abc.Sequence[
            collections.abc.Sequence[
                tuple[
                    str,
                    typing.SupportsInt | typing.SupportsIndex,
                    typing.SupportsInt | typing.SupportsIndex,
                ]
            ]
        ],
    ) -> None: ...
    def fired(self) -> list[Event]:
        """
        Return an Event for each address that fired; its call is the number of firings.
        """
    def moments(self, site: str) -> Moments:
        """
        Return the Moments kept at a site by reduce='moments' or 'covariance'.
        """
    def sites_seen(self) -> list[str]: ...
    def to_json(self, tensor_dir: str | None = None) -> str: ...
    @property
    def failed(self) -> bool: ...
    @property
    def is_open(self) -> bool: ...

class ProcessSession(Session):
    """
    A session that every thread sees.
    """
    @typing.overload
    def __init__(self) -> None: ...
    @typing.overload
    def __init__(self, table: SiteTable) -> None: ...

class ModuleHook:
    """
    What instrument() registers on a module.
    """
    def __init__(
        self,
        site: Site,
        index: typing.SupportsInt | typing.SupportsIndex | None = None,
        key: str | None = None,
        columns: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ]
        | None = None,
        heads: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    def on_input(
        self, arg0: typing.Any, arg1: tuple[typing.Any, ...], arg2: dict[str, typing.Any]
    ) -> typing.Any: ...
    def on_output(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> typing.Any: ...

class SiteColumn:
    """
    One site of a stream: [rows, width].
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __init__(
        self, site: str, width: typing.SupportsInt | typing.SupportsIndex, dtype: torch.dtype
    ) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def row_bytes(self) -> int: ...
    @property
    def site(self) -> str: ...
    @property
    def width(self) -> int: ...

class StreamSpec:
    """
    The sites that share one row table.
    """

    __hash__: typing.ClassVar[None] = None  # type: ignore[assignment]
    def __eq__(self, other: object) -> bool: ...
    def __init__(self, name: str, sites: collections.abc.Sequence[SiteColumn]) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def sites(self) -> list[SiteColumn]: ...

class PlanEntry:
    """
    What one site will cost; no site: the row table.
    """
    @property
    def bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def site(self) -> str: ...
    @property
    def stream(self) -> str: ...

class StorePlan:
    """
    What a capture will cost.
    """
    def __str__(self) -> str: ...
    def check(self) -> None:
        """
        Raise, with advice, if it does not fit.
        """
    @property
    def entries(self) -> list[PlanEntry]: ...
    @property
    def fits(self) -> bool: ...
    @property
    def free_bytes(self) -> int: ...
    @property
    def memory_limit_bytes(self) -> int: ...
    @property
    def needed_memory_bytes(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def total_bytes(self) -> int: ...

class WriterStats:
    """
    What a writer did.
    """
    @property
    def bytes(self) -> int: ...
    @property
    def nonfinite_rows(self) -> int: ...
    @property
    def ring_bytes(self) -> int: ...
    @property
    def ring_peak_bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def rows_committed(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def waits(self) -> int: ...

class ActivationWriter:
    """
    Appends activations to a store.
    """
    @staticmethod
    def _open(
        arg0: str,
        arg1: collections.abc.Sequence[StreamSpec],
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex,
        arg4: bool,
        arg5: bool,
        arg6: collections.abc.Mapping[str, str],
        arg7: str,
        arg8: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
        arg9: bool,
    ) -> ActivationWriter: ...
    def _add_site(self, arg0: str, arg1: SiteColumn) -> None: ...
    def _append(
        self,
        arg0: str,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: collections.abc.Mapping[str, torch.Tensor],
        arg3: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
        arg4: collections.abc.Sequence[torch.Tensor],
    ) -> None: ...
    def _append_rows(
        self,
        arg0: str,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: collections.abc.Mapping[str, torch.Tensor],
        arg3: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
    ) -> None: ...
    def _append_site(self, arg0: str, arg1: str, arg2: torch.Tensor) -> None: ...
    def branch(self, name: str) -> int:
        """
        Return the number of a branch's name, for the column 'branch'.
        """
    def close(self) -> None:
        """
        Commit everything, build the index and let go of the lock.
        """
    def flush(self) -> None:
        """
        Close the open shard and wait until everything is committed.
        """
    def stats(self) -> WriterStats:
        """
        Return what was written so far.
        """
    @property
    def is_open(self) -> bool: ...
    @property
    def path(self) -> str: ...
    @property
    def streams(self) -> list[StreamSpec]: ...

class Batches:
    """
    Walks through rows of a stream in batches.
    """
    def __len__(self) -> int: ...
    def next(self) -> tuple[torch.Tensor, list[torch.Tensor]] | None: ...

class ActivationReader:
    """
    Reads a store.
    """
    @staticmethod
    def _open(arg0: str, arg1: bool) -> ActivationReader: ...
    def _batches(
        self,
        arg0: str,
        arg1: collections.abc.Sequence[str],
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex | None,
        arg4: typing.SupportsInt | typing.SupportsIndex,
        arg5: typing.SupportsInt | typing.SupportsIndex,
        arg6: typing.SupportsInt | typing.SupportsIndex,
        arg7: bool,
        arg8: torch.Tensor | None,
    ) -> Batches: ...
    def _column(self, arg0: str, arg1: str) -> torch.Tensor: ...
    def _gather(self, arg0: str, arg1: str, arg2: torch.Tensor) -> torch.Tensor: ...
    def _read(
        self,
        arg0: str,
        arg1: str,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex | None,
    ) -> torch.Tensor: ...
    def _row_labels(self, arg0: str, arg1: str) -> torch.Tensor: ...
    def _select(
        self,
        arg0: str,
        arg1: collections.abc.Sequence[str] | None,
        arg2: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg3: collections.abc.Sequence[str] | None,
        arg4: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg5: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg6: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg7: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
        arg8: torch.Tensor | None,
        arg9: str,
        arg10: typing.SupportsInt | typing.SupportsIndex | None,
    ) -> torch.Tensor: ...
    def refresh(self) -> int:
        """
        Look for shards that were committed since; return how many there are.
        """
    def row_count(self, stream: str) -> int: ...
    @property
    def _configuration(self) -> str: ...
    @property
    def branches(self) -> list[str]: ...
    @property
    def path(self) -> str: ...
    @property
    def provenance(self) -> dict[str, str]: ...
    @property
    def shard_count(self) -> int: ...
    @property
    def streams(self) -> list[StreamSpec]: ...

class StoreSink(CaptureSink):
    """
    Writes what a session captures into a store.
    """
    def __init__(
        self,
        writer: ActivationWriter,
        rules: collections.abc.Sequence[tuple[str, str | None, str]] = [],
    ) -> None: ...
    def _begin_batch(
        self,
        arg0: torch.Tensor,
        arg1: torch.Tensor | None,
        arg2: torch.Tensor | None,
        arg3: torch.Tensor | None,
        arg4: torch.Tensor | None,
    ) -> None: ...
    def finish(self) -> None:
        """
        Check that every site has every row.
        """

class FoldMoments:
    """
    Moments of sites by fold, with labels.
    """
    def cross(self, site: str, fold: typing.SupportsInt | typing.SupportsIndex) -> CrossMoments: ...
    def cross_without(
        self, site: str, fold: typing.SupportsInt | typing.SupportsIndex
    ) -> CrossMoments:
        """
        Return what all folds but one saw; -1: all folds.
        """
    def merge(self, other: FoldMoments) -> None: ...
    def moments(self, site: str, fold: typing.SupportsInt | typing.SupportsIndex) -> Moments: ...
    def moments_without(
        self, site: str, fold: typing.SupportsInt | typing.SupportsIndex
    ) -> Moments:
        """
        Return what all folds but one saw; -1: all folds.
        """
    def sites(self) -> list[str]: ...

class MomentsSink(CaptureSink):
    """
    Accumulates moments by fold of what a session captures.
    """
    def __init__(
        self,
        folds: typing.SupportsInt | typing.SupportsIndex = 5,
        covariance: bool = True,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    def _begin_batch(
        self, arg0: torch.Tensor, arg1: torch.Tensor | None, arg2: torch.Tensor | None
    ) -> None: ...
    def result(self) -> FoldMoments: ...

class Labels:
    """
    One version of a concept's labels; 255 is missing.
    """
    def at(self, sample: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        Return the label of a sample.
        """
    @property
    def note(self) -> str: ...
    @property
    def samples(self) -> list[int]: ...
    @property
    def values(self) -> list[int]: ...
    @property
    def version(self) -> int: ...

class StoreStat:
    """
    What a store's manifest says.
    """
    @property
    def being_written(self) -> bool: ...
    @property
    def bytes(self) -> int: ...
    @property
    def concepts(self) -> list[str]: ...
    @property
    def format(self) -> str: ...
    @property
    def nonfinite_rows(self) -> int: ...
    @property
    def provenance(self) -> dict[str, str]: ...
    @property
    def rows(self) -> dict[str, int]: ...
    @property
    def shards(self) -> int: ...
    @property
    def streams(self) -> list[StreamSpec]: ...

class VerifyReport:
    """
    What verifying a store saw.
    """
    @property
    def bytes(self) -> int: ...
    @property
    def complete(self) -> bool: ...
    @property
    def errors(self) -> list[tuple[str, str]]: ...
    @property
    def nonfinite_rows(self) -> int: ...
    @property
    def notes(self) -> list[tuple[str, str]]: ...
    @property
    def ok(self) -> bool: ...
    @property
    def rows(self) -> int: ...
    @property
    def shards(self) -> int: ...

class RecoverReport:
    """
    What recovering a store did.
    """
    @property
    def actions(self) -> list[tuple[str, str]]: ...
    @property
    def manifest_rebuilt(self) -> bool: ...
    @property
    def rows_kept(self) -> dict[str, int]: ...
    @property
    def rows_lost(self) -> dict[str, int]: ...
    @property
    def shards_kept(self) -> int: ...

class MergeReport:
    """
    What merging stores did.
    """
    @property
    def linked(self) -> int: ...
    @property
    def referenced(self) -> int: ...
    @property
    def rows(self) -> dict[str, int]: ...
    @property
    def shards(self) -> int: ...

def _accumulate_moments(
    arg0: ActivationReader,
    arg1: str,
    arg2: collections.abc.Sequence[str],
    arg3: collections.abc.Sequence[str],
    arg4: typing.SupportsInt | typing.SupportsIndex,
    arg5: bool,
    arg6: typing.SupportsInt | typing.SupportsIndex,
) -> FoldMoments: ...
def _export_numpy(
    arg0: ActivationReader,
    arg1: str,
    arg2: collections.abc.Sequence[str] | None,
    arg3: collections.abc.Sequence[str] | None,
    arg4: typing.Any,
) -> list[str]: ...
def _set_labels(arg0: str, arg1: str, arg2: torch.Tensor, arg3: torch.Tensor, arg4: str) -> int: ...
def buffer_pool_idle_bytes() -> int: ...
def build_index(path: str) -> None:
    """
    Write index.h5, which shows all shards as one.
    """

def check_selection(json: str) -> str:
    """
    Parse a selection and write it in its canonical form.
    """

def default_layout(name: str, ndim: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    Return the axes, a letter each, of a tensor with ndim dimensions at a site.
    """

def fold_of_group(
    group: typing.SupportsInt | typing.SupportsIndex,
    folds: typing.SupportsInt | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> int:
    """
    Return the fold of a group: the same in every process and order.
    """

def get_labels(
    store: str, concept_name: str, version: typing.SupportsInt | typing.SupportsIndex | None = None
) -> Labels:
    """
    Read the labels of a concept; the newest version unless one is named.
    """

def has_store() -> bool:
    """
    Tell whether this build has the activation store.
    """

def hook_point(x: torch.Tensor, site: Site) -> torch.Tensor:
    """
    Let open sessions act on x, and return what to go on with.
    """

def label_concepts(store: str) -> list[str]:
    """
    Return the concepts that have labels.
    """

def merge_stores(
    sources: collections.abc.Sequence[str],
    target: str,
    reference: bool = False,
    progress: typing.Any = None,
) -> MergeReport:
    """
    Make one store of several, without copying a shard.
    """

def nearest_names(
    name: str,
    candidates: collections.abc.Sequence[str],
    limit: typing.SupportsInt | typing.SupportsIndex = 3,
) -> list[str]:
    """
    Return the candidates nearest to name by edit distance.
    """

def open_session_count() -> int:
    """
    Return how many sessions are open in the process.
    """

def philox4x32(
    counter: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
    ],
    key: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
) -> typing.Annotated[list[int], "FixedSize(4)"]:
    """
    Return one block of Philox4x32-10 (Salmon et al. 2011).
    """

def plan_store(
    path: str,
    streams: collections.abc.Sequence[StreamSpec],
    rows: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex],
    memory_bytes: typing.SupportsInt | typing.SupportsIndex = 268435456,
    shard_bytes: typing.SupportsInt | typing.SupportsIndex = 268435456,
) -> StorePlan:
    """
    Plan a capture of so many rows in each stream.
    """

def pooled_copy(x: torch.Tensor) -> torch.Tensor:
    """
    Copy into memory of the buffer pool.
    """

def recover_store(path: str, progress: typing.Any = None) -> RecoverReport:
    """
    Bring a store into a consistent state after a crash.
    """

def row_table_bytes() -> int:
    """
    Return the bytes of one row of a row table.
    """

def run_completed() -> None:
    """
    Count the end of a run of the model.
    """

def run_started() -> None:
    """
    Count the start of a run of the model.
    """

def set_buffer_pool_limit(bytes: typing.SupportsInt | typing.SupportsIndex) -> None: ...
def sha256_hex(data: bytes) -> str:
    """
    Return the SHA-256 digest as hexadecimal text.
    """

def site_alias(port: str, layer: typing.SupportsInt | typing.SupportsIndex, tower: str = "") -> str:
    """
    Return the site name of (port, layer): ('resid_post', 3) is 'layers.3.resid_post'.
    """

def stat_store(path: str) -> StoreStat:
    """
    Sum up a store.
    """

def verify_store(path: str, progress: typing.Any = None) -> VerifyReport:
    """
    Read everything and compare: checksums, counts, finite values.
    """

def version() -> str:
    """
    Return the version of the loaded library.
    """
