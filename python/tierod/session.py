"""Sessions: what captures and edits while a model runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from tierod import _core
from tierod.cache import ActivationCache, Key, site_name
from tierod.selection import Indices, Names, selection_json

HookFunction = Callable[[Tensor, _core.Event], Tensor | None]
Edit = _core.Intervention | HookFunction


def suspend() -> AbstractContextManager[Any]:
    """Hide every session from this thread's hook points: for a callback that runs a model."""
    return _core.Suspend()


class _SessionMethods:
    """What Session and ProcessSession share. Use as a context manager:

        with tierod.Session() as session:
            session.capture("**.resid_post")
            model(x)
        h = session.cache["layers.3.resid_post"]

    Leaving it makes the checks: SiteError if a pattern met no site or a selection no event. A
    TypeError or ValueError of a callback travels through the model as HookAborted and is raised as
    itself here.
    """

    def capture(
        self,
        pattern: Key,
        *,
        reduce: str = "none",
        when: str = "after",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        copy: bool = True,
        gradient: bool = False,
        keep_graph: bool = False,
        sink: _core.CaptureSink | None = None,
        rows: Indices = None,
        tokens: Indices = None,
        positions: Indices = None,
        spans: Names = None,
        heads: Indices = None,
        phases: Names = None,
        steps: Indices = None,
        branches: Names = None,
        calls: Indices = None,
    ) -> None:
        """Capture what `pattern` matches.

        Args:
            pattern: a site, a pattern (`*` within a segment, `**` any segments, `{0..5}`), or
                ("resid_post", 3).
            reduce: none, mean (over the selected tokens), last_token, moments or covariance.
            when: "after" (the value the model goes on with) or "before" (the raw one).
            dtype, device: convert the kept part; default: the site's own.
            copy: keep a copy; False keeps a reference to the model's memory where it can.
            gradient: capture the gradient that arrives in backward instead.
            keep_graph: do not detach.
            sink: hand the rows to this sink (a StoreSink, a MomentsSink) instead of the cache.
            rows, tokens, heads: indices (negative from the end); tokens also a slice.
            positions, spans: absolute token positions, or names given to set_spans().
            phases, steps, branches, calls: which events.

        Raises:
            InvalidArgument, SiteError: as the pattern and options deserve.
        """
        selection = selection_json(
            rows=rows, tokens=tokens, positions=positions, spans=spans, heads=heads,
            phases=phases, steps=steps, branches=branches, calls=calls,
        )  # fmt: skip
        name = site_name(pattern)
        self._before_change(name)
        where = None if device is None else torch.device(device)
        _core.Session._capture(
            self._core(), name, selection, reduce, when, dtype, where, copy, gradient, keep_graph,
            sink,
        )  # fmt: skip
        self._after_change(name)

    def intervene(
        self,
        pattern: Key,
        edit: Edit,
        *,
        gradient: bool = False,
        allow_nonfinite: bool = False,
        ragged: bool = False,
        rows: Indices = None,
        tokens: Indices = None,
        positions: Indices = None,
        spans: Names = None,
        heads: Indices = None,
        phases: Names = None,
        steps: Indices = None,
        branches: Names = None,
        calls: Indices = None,
    ) -> None:
        """Edit what `pattern` matches, by an Intervention or by a function (tensor, event).

        A function gets a copy of the selected part and returns a tensor of the same shape, dtype and
        device, or None for unchanged. Where spans have different lengths in different rows, it gets the
        tokens of all rows one after the other if `ragged`, else an error. The selection arguments are those
        of `capture`.
        """
        selection = selection_json(
            rows=rows, tokens=tokens, positions=positions, spans=spans, heads=heads,
            phases=phases, steps=steps, branches=branches, calls=calls,
        )  # fmt: skip
        name = site_name(pattern)
        self._before_change(name)
        if isinstance(edit, _core.Intervention):
            _core.Session._intervene(self._core(), name, edit, selection, gradient)
        elif callable(edit):
            _core.Session._callback(
                self._core(), name, edit, selection, gradient, allow_nonfinite, ragged
            )
        else:
            raise _core.InvalidArgument(
                "[hook.Session.intervene] expected an Intervention or a function (tensor, event), "
                f"got {type(edit).__name__}"
            )
        self._after_change(name)

    def set_spans(
        self, spans: Mapping[str, tuple[int, int]] | Sequence[Mapping[str, tuple[int, int]]]
    ) -> None:
        """Name half-open spans of absolute token positions: one mapping for all rows, or one a row."""
        rows = [spans] if isinstance(spans, Mapping) else list(spans)
        table = [[(name, b, e) for name, (b, e) in row.items()] for row in rows]
        _core.Session._set_spans(self._core(), table)

    def configure(self, config: Mapping[str, Any], tensor_dir: str | None = None) -> None:
        """Add what a dict asks for: the form that `json.loads(session.to_json())` has."""
        patterns = [
            item["pattern"]
            for kind in ("captures", "interventions")
            for item in config.get(kind, ())
            if isinstance(item, Mapping) and isinstance(item.get("pattern"), str)
        ]
        for pattern in patterns:
            self._before_change(pattern)
        _core.Session._configure(self._core(), json.dumps(config), tensor_dir)
        for pattern in patterns:
            self._after_change(pattern)

    @contextmanager
    def hooks(self, hooks: Sequence[tuple[Key, HookFunction]]) -> Iterator[Self]:
        """Open with these functions added, for this once:
        `with session.hooks([("layers.3.resid_post", f)])`."""
        before = _core.Session._edit_count(self._core())
        try:
            for pattern, function in hooks:
                self.intervene(pattern, function)
            with self:
                yield self
        finally:
            _core.Session._drop_edits(self._core(), before)

    @property
    def cache(self) -> ActivationCache:
        """The captured activations; they stay after the session is closed."""
        return ActivationCache(_core.Session._cache(self._core()))

    def open(self) -> None:
        """Open; `with session:` does it."""
        _core.Session._open(self._core())

    def close(self) -> None:
        """Close and check."""
        _core.Session._close(self._core())

    def abort(self) -> None:
        """Close without checks."""
        _core.Session._abort(self._core())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, _core.HookAborted) and self._core().failed:
            try:
                self.close()
            except Exception as original:
                raise original from None
        else:
            self.abort()

    def _core(self) -> _core.Session:
        return self  # type: ignore[return-value]

    def _before_change(self, pattern: str) -> None:
        """Let a session on modules refuse a pattern before anything is kept."""

    def _after_change(self, pattern: str) -> None:
        """Let a session on modules install what an accepted request needs."""


class Session(_SessionMethods, _core.Session):
    __doc__ = _SessionMethods.__doc__


class ProcessSession(_SessionMethods, _core.ProcessSession):
    """A session that every thread of the process sees; set up before it is opened."""
