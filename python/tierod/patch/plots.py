"""Heat maps of sweeps (matplotlib, an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tierod import _core

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from tierod.patch.site_sweeps import SiteSweep
    from tierod.patch.sweeps import Sweep

WHAT = {
    "effect": "patched - base",
    "value": "patched",
    "recovered": "share of the way to the source",
}


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
    what = WHAT[value]
    ax = _draw(grid, value, names, [str(i) for i in sweep.layers], what, ax)
    ax.set_ylabel("layer")
    ax.set_xlabel("position" if labels is None else "")
    ax.set_title(
        f"{sweep.metric}: input of each layer from {sweep.sources[number]}", fontsize=9, loc="left"
    )
    return ax


def _style(grid: np.ndarray, value: str) -> dict[str, object]:
    """Effects are coloured around 0, so that no colour means no effect."""
    finite = grid[np.isfinite(grid)]
    if value == "value":
        return {"cmap": "viridis"}
    reach = float(np.abs(finite).max()) if finite.size and np.abs(finite).max() > 0 else 1.0
    return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}


def _bar(image: object, ax: Axes, label: str) -> None:
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)  # type: ignore[arg-type]
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)


def _draw(
    grid: np.ndarray, value: str, across: list[str], up: list[str], what: str, ax: Axes | None
) -> Axes:
    import matplotlib.pyplot as plt

    rows, columns = grid.shape
    longest = max(map(len, up))
    if ax is None:
        _, ax = plt.subplots(
            figsize=(
                max(2.2 + 0.3 * columns + 0.05 * longest, 4.5),
                max(1.6 + 0.24 * rows, 2.6),
            ),
            layout="constrained",
        )
    image = ax.imshow(
        np.ma.masked_invalid(grid),
        origin="lower",
        aspect="auto",
        **_style(grid, value),  # type: ignore[arg-type]
    )
    ax.set_facecolor("0.85")  # what is not done
    every = max(1, -(-columns // 48))
    long = max(map(len, across)) > 2
    ax.set_xticks(range(0, columns, every), across[::every], rotation=60 if long else 0,
                  ha="right" if long else "center", rotation_mode="anchor" if long else "default",
                  fontsize=8)  # fmt: skip
    step = max(1, -(-rows // 24))
    ax.set_yticks(range(0, rows, step), up[::step], fontsize=8)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    _bar(image, ax, what)
    return ax


def _cells(sweep: SiteSweep, value: str, donor: str | int, row: int | None) -> np.ndarray:
    """Return the cells of one donor, [sites, parts]."""
    if isinstance(donor, str) and donor not in sweep.donors:
        raise _core.InvalidArgument(
            f"[patch.plot] expected a donor among {sweep.donors}, got {donor!r}"
        )
    if value not in WHAT:
        raise _core.InvalidArgument(
            f"[patch.plot] expected value as one of {', '.join(WHAT)}, got {value!r}"
        )
    number = sweep.donors.index(donor) if isinstance(donor, str) else donor
    if value == "recovered":
        if row is None:
            return sweep.recovered[number].numpy()
        way = sweep.source[row, number] - sweep.base[row]
        return (sweep.effect[row, number] / way).numpy()
    known = (sweep.effect if value == "effect" else sweep.values)[:, number]
    return (known.mean(0) if row is None else known[row]).numpy()


def site_map(
    sweep: SiteSweep,
    value: str,
    *,
    donor: str | int = 0,
    row: int | None = None,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw parts (across) x sites (up)."""
    grid = _cells(sweep, value, donor, row)
    names = sweep.parts if labels is None else list(labels)
    if len(names) != len(sweep.parts):
        raise _core.InvalidArgument(
            f"[patch.plot] expected {len(sweep.parts)} labels, one a part, got {len(names)}"
        )
    unit = f", {sweep.unit}" if value != "recovered" else ""
    ax = _draw(grid, value, names, sweep.sites, WHAT[value] + unit, ax)
    name = donor if isinstance(donor, str) else sweep.donors[donor]
    ax.set_title(f"{sweep.functional.replace('_', ' ')}: from {name}", fontsize=9, loc="left")
    return ax


def image_map(
    sweep: SiteSweep,
    image: Tensor,
    parts: Sequence[str],
    grid: tuple[int, int],
    *,
    site: str | int = 0,
    value: str = "effect",
    donor: str | int = 0,
    row: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the cells of a picture's tokens over it."""
    import matplotlib.pyplot as plt

    unknown = [part for part in parts if part not in sweep.parts]
    if unknown or len(parts) != grid[0] * grid[1]:
        raise _core.InvalidArgument(
            f"[patch.plot_image] expected {grid[0]} x {grid[1]} parts of the sweep, row by row, got "
            f"{len(parts)} of which {unknown[:3]} are unknown"
        )
    where = sweep.sites.index(site) if isinstance(site, str) else site
    cells = _cells(sweep, value, donor, row)[where]
    shown = np.array([cells[sweep.parts.index(part)] for part in parts]).reshape(grid)
    picture = image.permute(1, 2, 0).cpu().numpy()
    height, width = picture.shape[:2]
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 6.4 * height / width + 0.6), layout="constrained")
    ax.imshow(picture.mean(2), cmap="gray", vmin=0, vmax=255)
    over = ax.imshow(
        np.ma.masked_invalid(shown), extent=(-0.5, width - 0.5, height - 0.5, -0.5), alpha=0.55,
        interpolation="nearest", **_style(shown, value),  # type: ignore[arg-type]
    )  # fmt: skip
    ax.set_axis_off()
    unit = f", {sweep.unit}" if value != "recovered" else ""
    _bar(over, ax, WHAT[value] + unit)
    ax.set_title(
        f"{sweep.functional.replace('_', ' ')}: {sweep.sites[where]}", fontsize=9, loc="left"
    )
    return ax
