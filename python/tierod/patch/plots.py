"""Heat maps of sweeps (matplotlib, an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tierod import _core

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tierod.patch.sweeps import Sweep


def heat_map(
    sweep: Sweep,
    value: str,
    *,
    source: str | int = 0,
    row: int | None = None,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw positions (across) x layers (up). Effects are coloured around 0, so that no colour means
    no effect."""
    import matplotlib.pyplot as plt

    if isinstance(source, str) and source not in sweep.sources:
        raise _core.InvalidArgument(
            f"[patch.plot] expected a source among {sweep.sources}, got {source!r}"
        )
    number = sweep.sources.index(source) if isinstance(source, str) else source
    grids = {"effect": sweep.effect, "value": sweep.values, "recovered": None}
    if value not in grids:
        raise _core.InvalidArgument(
            f"[patch.plot] expected value as one of {', '.join(grids)}, got {value!r}"
        )
    names = [span.name for span in sweep.spans] if labels is None else list(labels)
    if len(names) != len(sweep.spans):
        raise _core.InvalidArgument(
            f"[patch.plot] expected {len(sweep.spans)} labels, one a span, got {len(names)}"
        )
    known = grids[value]
    if known is None:
        grid = sweep.recovered[number].numpy()
    else:
        grid = (known[:, number].mean(0) if row is None else known[row, number]).numpy()
    layers, spans = grid.shape
    if ax is None:
        _, ax = plt.subplots(
            figsize=(max(2.2 + 0.3 * spans, 4.5), max(1.6 + 0.24 * layers, 2.6)),
            layout="constrained",
        )
    finite = grid[np.isfinite(grid)]
    style: dict[str, object] = {"cmap": "viridis"}
    if value != "value":
        reach = float(np.abs(finite).max()) if finite.size and np.abs(finite).max() > 0 else 1.0
        style = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
    image = ax.imshow(np.ma.masked_invalid(grid), origin="lower", aspect="auto", **style)  # type: ignore[arg-type]
    ax.set_facecolor("0.85")  # what is not done
    every = max(1, -(-spans // 48))
    long = max(map(len, names)) > 2
    ax.set_xticks(range(0, spans, every), names[::every], rotation=60 if long else 0,
                  ha="right" if long else "center", rotation_mode="anchor" if long else "default",
                  fontsize=8)  # fmt: skip
    step = max(1, -(-layers // 24))
    ax.set_yticks(range(0, layers, step), [str(i) for i in sweep.layers[::step]], fontsize=8)
    ax.set_ylabel("layer")
    ax.set_xlabel("position" if labels is None else "")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    what = {
        "effect": "patched - base",
        "value": "patched",
        "recovered": "share of the way to the source",
    }
    ax.set_title(
        f"{sweep.metric}: input of each layer from {sweep.sources[number]}", fontsize=9, loc="left"
    )
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    bar.set_label(what[value], fontsize=9)
    bar.outline.set_visible(False)
    return ax
