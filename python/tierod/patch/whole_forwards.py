"""Patch by whole forwards, for models whose layers cannot be run one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tierod import _core
from tierod._core import Intervention, Metric, SweepPlan, SweepStrategy
from tierod.instrument import instrument
from tierod.vla import Batch, Span


def _outputs(model: nn.Module, inputs: dict[str, Tensor], metric: Metric) -> Tensor:
    logits: Tensor = model(**inputs).logits[:, -metric.tokens :]
    return logits[..., metric.columns] if metric.columns else logits


def _values(metric: Metric, outputs: Tensor) -> Tensor:
    found = metric(outputs)
    if not isinstance(found, Tensor) or found.shape != outputs.shape[:1]:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise _core.InvalidArgument(
            f"[patch.sweep] expected metric {metric.name!r} to give one real number a row, "
            f"[{outputs.shape[0]}], got {got}"
        )
    return found.double().cpu()


class WholeForwards:
    """The cells of a sweep as rows of whole forwards, edited by sessions."""

    def __init__(
        self,
        model: nn.Module,
        base: Batch,
        sources: list[tuple[str, Batch | Tensor | Callable[[Tensor, int], Tensor]]],
        metric: Metric,
        layers: list[int],
        spans: list[Span],
    ) -> None:
        self._on = instrument(model)
        self._model, self._metric, self._sources = model, metric, sources
        self._base = base
        there = [int(n.split(".")[1]) for n in self._on.names() if n.endswith(".resid_pre")]
        if not there:
            raise _core.InvalidArgument(
                "[patch.sweep] found no layers whose input could be patched: "
                + "; ".join(f"{k}: {v}" for k, v in list(self._on.missing.items())[:3])
            )
        if unknown := sorted(set(layers) - set(there)):
            raise _core.InvalidArgument(
                f"[patch.sweep] expected layers among {there}, got {unknown}"
            )
        self._layers = layers or sorted(there)
        length = self._length(base)
        self._spans = spans or [Span(str(p), p, p + 1) for p in range(length)]
        for span in self._spans:
            if not 0 <= span.begin < span.end <= length:
                raise _core.InvalidArgument(
                    f"[patch.sweep] expected spans within the {length} positions, got {span}"
                )
        for name, source in sources:
            if isinstance(source, Batch) and (source.rows, self._length(source)) != (
                base.rows,
                length,
            ):
                raise _core.InvalidArgument(
                    f"[patch.sweep] base has {base.rows} rows of {length} positions and source {name!r} has "
                    f"{source.rows} of {self._length(source)}; patching pairs them one to one"
                )

    @staticmethod
    def _length(batch: Batch) -> int:
        return int(next(iter(batch.tensors.values())).shape[1])

    def _site(self, layer: int) -> str:
        return f"layers.{layer}.resid_pre"

    def _run(self, inputs: Batch, keep: bool) -> tuple[Tensor, dict[int, Tensor]]:
        """Run whole rows; return the metric, and what enters the layers."""
        with torch.no_grad(), self._on.session() as session:
            if keep:
                for layer in self._layers:
                    session.capture(self._site(layer))
            outputs = _outputs(self._model, inputs.tensors, self._metric)
        kept = {i: session.cache[self._site(i)] for i in self._layers} if keep else {}
        return _values(self._metric, outputs), kept

    def _rows_at_once(self, memory_limit: int) -> tuple[int, int, int]:
        """Return how many rows fit, and what one forward needs for itself and for each row."""
        peaks = []
        for rows in (1, 1, 2):
            inputs = {k: v[:1].expand(rows, *v.shape[1:]) for k, v in self._base.tensors.items()}
            meter = _core._MemoryMeter()
            with torch.no_grad():
                _outputs(self._model, inputs, self._metric)
            peaks.append(meter.peak)
            del meter
        each = max(peaks[2] - peaks[1], 1)
        fixed = max(peaks[1] - each, 0)
        if (fits := (memory_limit - fixed) // each) < 1:
            raise _core.InvalidArgument(
                f"[patch.sweep] expected memory_limit of at least {fixed + each} bytes, which one row needs, "
                f"got {memory_limit}"
            )
        return fits, fixed, each

    def sweep(
        self,
        memory_limit: int,
        one_by_one: bool,
        why: str,
        progress: Callable[[int, int, str], bool],
    ) -> _core._SweepResult:
        """Return the metric of all cells."""
        fits, fixed, each = self._rows_at_once(memory_limit)
        fits = 1 if one_by_one else min(fits, len(self._spans))
        rows = self._base.rows
        shape = (rows, len(self._sources), len(self._layers), len(self._spans))
        out = _core._SweepResult()
        out.sources = [name for name, _ in self._sources]
        out.layers, out.spans, out.metric = self._layers, self._spans, self._metric.name
        strategy = SweepStrategy.naive if one_by_one else SweepStrategy.batched
        cells = shape[0] * shape[1] * shape[2] * shape[3]
        out.plan = SweepPlan(strategy, why, cells, fits, fixed + fits * each)
        values = torch.full(shape, float("nan"), dtype=torch.float64)
        source_values = torch.full(shape[:2], float("nan"), dtype=torch.float64)
        out.base = self._run(self._base, keep=False)[0]
        done = 0
        for s, (_, source) in enumerate(self._sources):
            if isinstance(source, Batch):
                source_values[:, s], kept = self._run(source, keep=True)
            elif callable(source):
                of_base = self._run(self._base, keep=True)[1]
                kept = {i: self._made(source, of_base[i], i) for i in self._layers}
            else:
                kept = {i: source[i].expand(rows, -1, -1) for i in self._layers}
            for r in range(rows):
                for k, layer in enumerate(self._layers):
                    for first in range(0, len(self._spans), fits):
                        if not progress(done, cells, "cells"):
                            out.complete = False
                            out.notes = [f"stopped after {done} of {cells} cells"]
                            out.values, out.source = values, source_values
                            return out
                        some = self._spans[first : first + fits]
                        values[r, s, k, first : first + len(some)] = self._cells(
                            r, layer, kept[layer][r], some
                        )
                        done += len(some)
        progress(done, cells, "cells")
        out.values, out.source = values, source_values
        return out

    @staticmethod
    def _made(edit: Callable[[Tensor, int], Tensor], hidden: Tensor, layer: int) -> Tensor:
        made = edit(hidden.clone(), layer)
        if not isinstance(made, Tensor) or made.shape != hidden.shape:
            raise _core.InvalidArgument(
                f"[patch.sweep] expected the edit to return {tuple(hidden.shape)} at block {layer}, got "
                f"{tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__}"
            )
        return made

    def _cells(self, row: int, layer: int, donor: Tensor, spans: list[Span]) -> Tensor:
        inputs = {
            k: v[row : row + 1].expand(len(spans), *v.shape[1:]).contiguous()
            for k, v in self._base.tensors.items()
        }
        with torch.no_grad(), self._on.session() as session:
            for i, span in enumerate(spans):
                edit: Any = Intervention.replace(donor[None, span.begin : span.end].clone())
                positions = list(range(span.begin, span.end))
                session.intervene(self._site(layer), edit, rows=[i], positions=positions)
            outputs = _outputs(self._model, inputs, self._metric)
        found = _values(self._metric, outputs)
        if not bool(torch.isfinite(found).all()):
            bad = spans[int(torch.isfinite(found).logical_not().nonzero()[0])]
            raise _core.NumericalError(
                f"[patch.sweep] expected a finite metric {self._metric.name!r}, got "
                f"{found[~torch.isfinite(found)][0]} at row {row}, layer {layer}, span {bad.name!r}"
            )
        return found
