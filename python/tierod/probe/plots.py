"""Heat maps of evaluations (matplotlib, an extra)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tierod import _core

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tierod.probe.tables import EvaluationTable

_LABELS = {
    "auroc": "AUROC, held out",
    "auprc": "average precision, held out",
    "above_control": "{} above the control task",
    "above_nuisance": "{} above the nuisance-only probe",
    "above_best": "{} above the better baseline",
    "learned": "{} above the random network",
    "memorisation_auroc": "AUROC of memorised group labels",
    "p_max_t": "p over sites (max-T)",
    "r2": "R2, held out",
    "pearson": "Pearson correlation, held out",
    "spearman": "Spearman correlation, held out",
}


def short_names(sites: list[str]) -> tuple[list[str], str]:
    """Return what differs between site names, and the pattern they share."""
    pieces = [re.split(r"(\d+)", site) for site in sites]
    first = pieces[0]
    same = len({len(p) for p in pieces}) == 1 and all(
        len({p[i] for p in pieces}) == 1 for i in range(0, len(first), 2)
    )
    differing = (
        [i for i in range(1, len(first), 2) if len({p[i] for p in pieces}) > 1] if same else []
    )
    if len(sites) < 2 or len(differing) != 1:
        return sites, "site"
    [at] = differing
    return [p[at] for p in pieces], "".join(
        "*" if i == at else part for i, part in enumerate(first)
    )


def heat_map(
    evaluation: EvaluationTable[Any],
    value: str,
    *,
    ax: Axes | None = None,
    annotate: bool | None = None,
) -> Axes:
    """Draw sites (across) x concepts or targets (down)."""
    import matplotlib.pyplot as plt

    table = evaluation.table
    if value not in table.columns or table[value].dtype.kind not in "fiub":
        raise _core.InvalidArgument(
            f"[probe.plot] expected a numeric column of the table, got {value!r}"
        )
    kind = "target" if "target" in table.columns else "concept"
    order: list[str] = getattr(evaluation, f"{kind}s")
    grid = table.pivot(index=kind, columns="site", values=value)
    grid = grid.loc[order, evaluation.sites].to_numpy(float)
    encoded = table.pivot(index=kind, columns="site", values="encoded")
    encoded = encoded.loc[order, evaluation.sites].to_numpy(bool)
    concepts, sites = grid.shape
    if annotate is None:
        annotate = sites <= 12
    if ax is None:
        width = 2.4 + sites * (0.62 if annotate else 0.26)
        _, ax = plt.subplots(figsize=(max(width, 4.5), 1.5 + 0.42 * concepts), layout="constrained")
    known = grid[np.isfinite(grid)]
    style: dict[str, Any] = {"cmap": "viridis"}
    if value in ("p", "p_max_t"):
        style = {"cmap": "viridis_r", "vmin": 0, "vmax": 1}
    centre = 0.5 if value.endswith("auroc") else 0.0
    signed = ("above", "learned", "upper", "r2", "pearson", "spearman")
    if value.endswith(("auroc", "_r2")) or value.startswith(signed):
        reach = max(np.abs(known - centre).max(), 0.05) if known.size else 0.5
        style = {"cmap": "RdBu_r", "vmin": centre - reach, "vmax": centre + reach}
    image = ax.imshow(np.ma.masked_invalid(grid), aspect="auto", **style)
    ax.set_facecolor("0.85")  # what was refused
    names, axis = short_names(evaluation.sites)
    every = 1 if annotate or sites <= 32 else -(-sites // 32)
    long = max(map(len, names)) > 4
    ax.set_xticks(range(0, sites, every), names[::every],
                  rotation=45 if long else 0, ha="right" if long else "center",
                  fontsize=9 if annotate or long else 7.5)  # fmt: skip
    ax.set_yticks(range(concepts), order)
    ax.set_xlabel(axis)
    ax.set_xticks(np.arange(sites + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(concepts + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    for c in range(concepts):
        for s in range(sites):
            if not np.isfinite(grid[c, s]):
                continue
            red, green, blue, _ = image.cmap(image.norm(grid[c, s]))
            ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            if annotate:
                text = f"{grid[c, s]:.2f}".replace("0.", ".", 1)
                ax.text(s, c, text + ("*" if encoded[c, s] else ""), ha="center", va="center",
                        color=ink, fontsize=8)  # fmt: skip
            elif encoded[c, s]:
                ax.plot(s, c, ".", color=ink, markersize=3)
    mark = "*" if annotate else "dot"
    ax.set_title(f"{evaluation.probe} probe, {evaluation.core.units} units of the level "
                 f"{evaluation.core.level}; {mark}: above both baselines", fontsize=9, loc="left")  # fmt: skip
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    label = _LABELS.get(value, value.replace("_", " "))
    bar.set_label(label.format("R2" if kind == "target" else "AUROC"), fontsize=9)
    bar.outline.set_visible(False)
    return ax
