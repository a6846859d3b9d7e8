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
    "BranchScope",
    "CounterRandom",
    "Error",
    "Event",
    "HookAborted",
    "Intervention",
    "InvalidArgument",
    "IoError",
    "ModuleHook",
    "Moments",
    "NumericalError",
    "OutOfRange",
    "PhaseScope",
    "ProcessSession",
    "Session",
    "Site",
    "SiteError",
    "SitePattern",
    "SiteTable",
    "StateError",
    "Suspend",
    "buffer_pool_idle_bytes",
    "check_selection",
    "default_layout",
    "hook_point",
    "nearest_names",
    "open_session_count",
    "philox4x32",
    "pooled_copy",
    "run_completed",
    "run_started",
    "set_buffer_pool_limit",
    "sha256_hex",
    "site_alias",
    "suspend_depth",
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
    @typing.overload
    def replace(donors: typing.Any, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    def replace_broadcast(source: torch.Tensor, allow_nonfinite: bool = False) -> Intervention: ...
    @staticmethod
    def resample(
        permutation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> Intervention: ...
    @staticmethod
    @typing.overload
    def restore(clean: ActivationCache) -> Intervention: ...
    @staticmethod
    @typing.overload
    def restore(clean: typing.Any) -> Intervention: ...
    @staticmethod
    def swap(read: torch.Tensor, write: torch.Tensor, target: torch.Tensor) -> Intervention: ...
    @staticmethod
    def zero() -> Intervention: ...
    def to_json(self, tensor_dir: str | None = None) -> str: ...

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
    ) -> None: ...
    def _close(self) -> None: ...
    def _configure(self, json: str, tensor_dir: str | None = None) -> None: ...
    def _drop_edits(self, count: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def _edit_count(self) -> int: ...
    def _intervene(self, arg0: str, arg1: Intervention, arg2: str, arg3: bool) -> None: ...
    def _open(self) -> None: ...
    def _recomputations(self) -> int: ...
    def _see_only_model(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
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
        model: typing.SupportsInt | typing.SupportsIndex = 0,
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

def buffer_pool_idle_bytes() -> int: ...
def check_selection(json: str) -> str:
    """
    Parse a selection and write it in its canonical form.
    """

def default_layout(name: str, ndim: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    Return the axes, a letter each, of a tensor with ndim dimensions at a site.
    """

def hook_point(x: torch.Tensor, site: Site) -> torch.Tensor:
    """
    Let open sessions act on x, and return what to go on with.
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

def pooled_copy(x: torch.Tensor) -> torch.Tensor:
    """
    Copy into memory of the buffer pool.
    """

def run_completed(model: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
    """
    Count the end of a run of the model.
    """

def run_started(model: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
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

def suspend_depth() -> int:
    """
    Return how many Suspend surround the caller.
    """

def version() -> str:
    """
    Return the version of the loaded library.
    """
