"""Patch a grid of layers x positions and read one metric a cell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from tierod import _core
from tierod._core import Metric, SweepPlan, SweepStrategy
from tierod.patch.decoder_blocks import DecoderBlocks, NotSequentialError, inputs_of
from tierod.patch.whole_forwards import WholeForwards
from tierod.progress import stoppable
from tierod.stats.arrays import choice
from tierod.vla import Batch, BlockModel, Span

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Strategy = Literal["automatic", "naive", "batched", "restart", "suffix"]
Progress = Callable[[int, int, str], bool | None]
GIB = 1 << 30


class Sweep:
    """The metric of every cell, [rows, sources, layers, spans], with what it stands between."""

    def __init__(self, core: _core._SweepResult, notes: Sequence[str] = ()) -> None:
        self.core = core
        self._notes = list(notes)

    @property
    def values(self) -> Tensor:
        """f64 [rows, sources, layers, spans]; NaN where a stopped sweep did not come to."""
        return self.core.values

    @property
    def base(self) -> Tensor:
        """f64 [rows], the metric without a patch."""
        return self.core.base

    @property
    def source(self) -> Tensor:
        """f64 [rows, sources], the metric of the sources; NaN where residuals were given."""
        return self.core.source

    @property
    def effect(self) -> Tensor:
        """`values` - `base`, in the metric's unit."""
        return self.values - self.base[:, None, None, None]

    @property
    def recovered(self) -> Tensor:
        """Share of the way from base to source, [sources, layers, spans].

        Ratio of sums over the rows, sum(patched - base) / sum(source - base): a mean of ratios would be
        ruled by rows in which base and source hardly differ.
        """
        way = (self.source - self.base[:, None]).sum(0)
        return self.effect.sum(0) / way[:, None, None]

    @property
    def sources(self) -> list[str]:
        return self.core.sources

    @property
    def layers(self) -> list[int]:
        return self.core.layers

    @property
    def spans(self) -> list[Span]:
        return self.core.spans

    @property
    def metric(self) -> str:
        return self.core.metric

    @property
    def plan(self) -> SweepPlan:
        return self.core.plan

    @property
    def complete(self) -> bool:
        return self.core.complete

    @property
    def notes(self) -> list[str]:
        """What the reader must know of all of it."""
        return self._notes + self.core.notes

    @property
    def table(self) -> pd.DataFrame:
        """A row a cell: row, source, layer, span, begin, end, value, effect."""
        import pandas as pd

        index = pd.MultiIndex.from_product(
            [range(len(self.base)), self.sources, self.layers, range(len(self.spans))],
            names=["row", "source", "layer", "number"],
        )
        table = pd.DataFrame(
            {"value": self.values.flatten().numpy(), "effect": self.effect.flatten().numpy()},
            index=index,
        ).reset_index()
        number = table.pop("number")
        table.insert(3, "span", [self.spans[i].name for i in number])
        table.insert(4, "begin", [self.spans[i].begin for i in number])
        table.insert(5, "end", [self.spans[i].end for i in number])
        return table

    def plot(
        self,
        value: Literal["effect", "value", "recovered"] = "effect",
        *,
        source: str | int = 0,
        row: int | None = None,
        labels: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw a heat map layers x positions.

        Args:
            value: "effect" is in the metric's unit, "recovered" the share of the way to the source.
            source: name or number.
            row: one row of the batch; None takes the mean over the rows.
            labels: texts of the spans, such as a prompt's tokens, in place of their names.
        """
        from tierod.patch.plots import heat_map

        return heat_map(self, value, source=source, row=row, labels=labels, ax=ax)

    def __repr__(self) -> str:
        rows, sources, layers, spans = self.values.shape
        done = "" if self.complete else ", not complete"
        return (
            f"Sweep({self.metric}; {rows} rows x {sources} sources x {layers} layers x {spans} spans, "
            f"{self.plan.strategy.name}{done})"
        )


Source = Batch | Tensor | Callable[[Tensor, int], Tensor]


def _sources(sources: Any) -> list[tuple[str, Source]]:
    """Return names with inputs, residuals [layers, rows or 1, positions, width], or functions."""
    several = isinstance(sources, Mapping) and not _are_inputs(sources)
    named = dict(sources) if several else {"source": sources}
    return [
        (name, given if _are_residuals(given) or callable(given) else inputs_of(given, "sweep"))
        for name, given in named.items()
    ]


def _are_residuals(given: Any) -> bool:
    return isinstance(given, Tensor) and given.is_floating_point() and given.dim() == 4


def _are_inputs(mapping: Mapping[str, Any]) -> bool:
    return "input_ids" in mapping or "inputs_embeds" in mapping


def _span(given: Any) -> Span:
    """Return a span of a Span, a position, a slice or (name, begin, end)."""
    if isinstance(given, Span):
        return given
    if isinstance(given, int):
        return Span(str(given), given, given + 1)
    if (
        isinstance(given, slice)
        and given.step in (None, 1)
        and given.start is not None
        and given.stop is not None
    ):
        return Span(f"{given.start}:{given.stop}", given.start, given.stop)
    if isinstance(given, tuple) and len(given) == 3:
        return Span(*given)
    raise _core.InvalidArgument(
        f"[patch.sweep] expected a position, slice(begin, end), (name, begin, end) or a Span, got {given!r}"
    )


def _metric(given: Any) -> Metric:
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(i, int) for i in given):
        return _core.logit_difference(*given)
    if callable(given):
        return Metric(given, name=getattr(given, "__name__", "metric"))
    raise _core.InvalidArgument(
        f"[patch.sweep] expected a Metric, a function of outputs [rows, tokens, columns], or (right, wrong) "
        f"for a logit difference, got {given!r}"
    )


def sweep(
    model: Any,
    base: Any,
    sources: Any,
    metric: Any,
    *,
    layers: Sequence[int] | None = None,
    spans: Sequence[Any] | None = None,
    differing: Sequence[Any] | None = None,
    strategy: Strategy = "automatic",
    memory_limit: int = GIB,
    recheck: int = 4,
    tolerance: float | None = None,
    seed: int = 0,
    call_cost: float | None = None,
    file: str | os.PathLike[str] | None = None,
    progress: Progress | bool = True,
) -> Sweep:
    """Patch the input of each layer at each position from another run, and read the metric: activation
    patching (Vig et al. 2020; Heimersheim & Nanda 2024) over a grid.

    With clean sources and a corrupted base this is denoising, the other way noising. Only what a patch
    can reach is computed: layers from the patched one on, positions from the patched one on, and in the
    last layer the positions that the metric reads. Some cells are computed again as whole forwards.

    Args:
        model: a Hugging Face decoder in eval mode, unmodified, or a `vla.BlockModel`.
        base: token ids [rows, positions], inputs by name, or a `vla.Batch`.
        sources: one like `base`, of the same shape; or residuals [layers, rows or 1, positions, width]; or
            an intervention of one's own, a function (what enters a layer in the base run [rows, positions,
            width], layer) -> what is put in its place; or several by name.
        metric: `(right, wrong)` for a logit difference, a `Metric`, or a function of the last position's
            outputs [rows, 1, outputs] -> [rows].
        layers: those whose input is patched; None: all.
        spans: positions, slices, (name, begin, end) or `Span`s that are patched together; None: each
            position alone.
        differing: spans in which base and sources may differ; elsewhere their embeddings must be equal.
        strategy: "automatic" takes the cheapest that fits `memory_limit` bytes.
        recheck: cells that are computed again by "naive".
        tolerance: largest difference of such a cell, as a share of the metric's range; None: by dtype.
        call_cost: what one call of a block costs beside its arithmetic, in positions; neighbouring positions
            share calls where that is cheaper. None: by the width.
        file: keeps cells while the sweep runs; the same sweep goes on from it.
        progress: True draws a bar; or called with (cells done, cells, "cells"), where False stops.

    A Ctrl-C stops: what is done is returned, with `complete` False.

    Raises:
        InvalidArgument: inputs of other shape or shifted, layers or spans that do not exist, a metric that
            gives no number a row or does not use the outputs, a limit below one row, another sweep's file.
        NumericalError: the metric gives NaN, or a rechecked cell differs.
    """
    how = choice(SweepStrategy, strategy, "sweep", "strategy", room="patch")
    batch, listed = inputs_of(base, "sweep"), _sources(sources)
    metric = metric if isinstance(metric, Metric) else _metric(metric)
    chosen = list(layers) if layers is not None else []
    together = [] if spans is None else [_span(s) for s in spans]
    if isinstance(model, BlockModel):
        blocks: BlockModel | None = model
    elif isinstance(model, nn.Module):
        blocks = None
    else:
        raise _core.InvalidArgument(
            f"[patch.sweep] expected a BlockModel or a Hugging Face decoder, got {type(model).__name__}"
        )
    with stoppable("patching", progress) as report:
        try:
            return Sweep(
                _core._sweep(
                    blocks or DecoderBlocks(model),
                    _core._SweepRequest(
                        batch,
                        [
                            _core._PatchSource(
                                name,
                                given if isinstance(given, Batch) else None,
                                given if isinstance(given, Tensor) else None,
                                None if isinstance(given, Batch | Tensor) else given,
                            )
                            for name, given in listed
                        ],
                        metric,
                        chosen,
                        together,
                        None if differing is None else [_span(s) for s in differing],
                    ),
                    _core._SweepOptions(
                        how,
                        memory_limit,
                        recheck,
                        float("nan") if tolerance is None else tolerance,
                        seed,
                        float("nan") if call_cost is None else call_cost,
                        "" if file is None else os.fspath(file),
                        report,
                    ),
                )
            )
        except NotSequentialError as error:
            if how in (SweepStrategy.restart, SweepStrategy.suffix) or file is not None:
                raise
            why = str(error).partition("] ")[2]
        whole = WholeForwards(model, batch, listed, metric, chosen, together)
        one_by_one = how is SweepStrategy.naive
        core = whole.sweep(memory_limit, one_by_one, f"whole forwards, since {why}", report)
        return Sweep(core, [f"whole forwards, since {why}"])
