"""Patch each part of each site of a driving model and read a control functional."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from tierod import _core
from tierod.cache import Key
from tierod.patch.edits import Edit, _sites, selection_of
from tierod.patch.experiments import Functional
from tierod.patch.runs import PairedRun, Say, donor_of, functional_of, words_of
from tierod.progress import stoppable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Parts = Mapping[str, Mapping[str, Any]]
Donors = Any
Value = Literal["effect", "value", "recovered"]


class _Map:
    """Cells [rows, donors, sites, parts] with their names."""

    core: _core._SiteSweepResult | _core._Attribution

    @property
    def values(self) -> Tensor:
        """f64 [rows, donors, sites, parts]."""
        return self.core.values

    @property
    def donors(self) -> list[str]:
        return self.core.donors

    @property
    def sites(self) -> list[str]:
        return self.core.sites

    @property
    def parts(self) -> list[str]:
        return self.core.parts


class SiteSweep(_Map):
    """The functional of every cell, [rows, donors, sites, parts], with what it stands between."""

    core: _core._SiteSweepResult

    def __init__(self, core: _core._SiteSweepResult) -> None:
        self.core = core

    @property
    def base(self) -> Tensor:
        """f64 [rows], the functional without a patch."""
        return self.core.base

    @property
    def source(self) -> Tensor:
        """f64 [rows, donors], the functional of the donors' runs; NaN with an own edit."""
        return self.core.source

    @property
    def effect(self) -> Tensor:
        """`values` - `base`, in the functional's unit."""
        return self.values - self.base[:, None, None, None]

    @property
    def recovered(self) -> Tensor:
        """Share of the way from base to donor, [donors, sites, parts]: a ratio of sums over the rows, each
        counted in the direction in which its donor moves it."""
        way = self.source - self.base[:, None]
        signed = self.effect * way.sign()[:, :, None, None]
        return signed.sum(0) / way.abs().sum(0)[:, None, None]

    @property
    def functional(self) -> str:
        return self.core.functional

    @property
    def unit(self) -> str:
        return self.core.unit

    @property
    def complete(self) -> bool:
        return self.core.complete

    @property
    def rollouts(self) -> int:
        """Whole runs through the language model, those of base and donors included."""
        return self.core.rollouts

    @property
    def acts(self) -> int:
        """Runs of the control head alone."""
        return self.core.acts

    @property
    def table(self) -> pd.DataFrame:
        """A row a cell: row, donor, site, part, value, effect."""
        import pandas as pd

        index = pd.MultiIndex.from_product(
            [range(len(self.base)), self.donors, self.sites, self.parts],
            names=["row", "donor", "site", "part"],
        )
        return pd.DataFrame(
            {"value": self.values.flatten().numpy(), "effect": self.effect.flatten().numpy()},
            index=index,
        ).reset_index()

    def plot(
        self,
        value: Value = "effect",
        *,
        donor: str | int = 0,
        row: int | None = None,
        labels: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw a heat map sites x parts; `row` is one row of the run, None the mean over the rows, and `labels`
        are shown in place of the parts' names, such as the tokens' text."""
        from tierod.patch.plots import site_map

        return site_map(self, value, donor=donor, row=row, labels=labels, ax=ax)

    def plot_image(
        self,
        image: Tensor,
        parts: Sequence[str],
        grid: tuple[int, int],
        site: str | int = 0,
        value: Value = "effect",
        *,
        donor: str | int = 0,
        row: int | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw cells over a picture: which of its patches drive control.

        Args:
            image: uint8 [3, height, width], `SceneSource.image(id)`.
            parts: those of the picture's tokens, row by row.
            grid: (rows, columns) of the tokens.
        """
        from tierod.patch.plots import image_map

        return image_map(
            self, image, parts, grid, site=site, value=value, donor=donor, row=row, ax=ax
        )

    def __repr__(self) -> str:
        rows, donors, sites, parts = self.values.shape
        done = "" if self.complete else ", not complete"
        return (
            f"SiteSweep({self.functional}; {rows} rows x {donors} donors x {sites} sites x {parts} parts, "
            f"{self.rollouts} rollouts and {self.acts} acts{done})"
        )


class Attribution(_Map):
    """First-order estimates of the cells of a sweep. They rank cells and measure nothing."""

    core: _core._Attribution

    def __init__(self, core: _core._Attribution) -> None:
        self.core = core

    @property
    def ranking(self) -> list[tuple[str, str, str]]:
        """(donor, site, part), by the absolute value of the mean over the rows, largest first."""
        return [
            (self.donors[d], self.sites[s], self.parts[p]) for d, s, p in self.core.ranking.tolist()
        ]


def token_parts(positions: Sequence[int] | range, names: Sequence[str] | None = None) -> Parts:
    """Return a part for each absolute position."""
    named = [str(p) for p in positions] if names is None else list(names)
    return {name: {"positions": [p]} for name, p in zip(named, positions, strict=True)}


def span_parts(*spans: str) -> Parts:
    """Return a part for each span, by name."""
    return {span: {"spans": [span]} for span in spans}


def head_parts(heads: int) -> Parts:
    """Return a part for each head."""
    return {f"head {h}": {"heads": [h]} for h in range(heads)}


def step_parts(steps: int, phase: str = "denoise") -> Parts:
    """Return a part for each step of a phase."""
    return {f"step {s}": {"phases": [phase], "steps": [s]} for s in range(steps)}


def _request(
    sites: Key | Sequence[Key], parts: Parts | None, donors: Donors, words: Say, edit_name: str = ""
) -> _core._SiteSweepRequest:
    selections = [(name, selection_of(**how)) for name, how in (parts or {"all": {}}).items()]
    edit = None
    listed: list[tuple[str, _core._Donor]] = []
    if isinstance(donors, str):
        listed = [("twin", donor_of(twin_by=donors))]
    elif isinstance(donors, _core._Donor):
        listed = [("donor", donors)]
    elif isinstance(donors, Mapping):
        listed = list(donors.items())
    elif isinstance(donors, _core._Edit):
        raise _core.InvalidArgument(
            "[patch.site_sweep] expected a function (site, part, selection) -> Edit, which makes the edit of each "
            f"cell, got an edit, {type(donors).__name__}"
        )
    elif callable(donors):
        edit = donors
    else:
        listed = [("scenes", donor_of(scenes=donors))]
    return _core._SiteSweepRequest(
        _sites(sites), selections, listed, edit, edit_name, words_of(words)
    )


def site_sweep(
    run: PairedRun,
    sites: Key | Sequence[Key],
    parts: Parts | None = None,
    donors: Donors | Callable[[str, str, str], Edit] = None,
    functional: Functional = "mean_acceleration",
    *,
    words: Say = "held",
    recheck: int = 4,
    tolerance: float = 5e-6,
    seed: int = 0,
    file: str | os.PathLike[str] | None = None,
    edit_name: str = "",
    progress: bool | Callable[[int, int, str], bool | None] = True,
) -> SiteSweep:
    """Patch each part of each site from a donor, one cell a run, and read a control functional: a map over
    layers and tokens, heads, spans or denoise steps. Where a cell is edited after all is said, as in the expert
    or its inputs, a `vla.StagedModel` runs the expert alone.

    Args:
        sites: patterns; what one of them matches is patched together, and is a line of the map.
        parts: selections by name (`span_parts`, `token_parts`, `head_parts`, `step_parts`); None: all.
        donors: a concept, whose exact twins give; ids of other scenes; `donor_of(...)`; several by name; or a
            function (site, part, selection) -> `Edit`, for an intervention of one's own.
        words: held, or regenerated by the same token noise.
        recheck: cells that are run again from the start and compared.
        file: keeps cells while the sweep runs; the same sweep goes on from it.
        edit_name: names an own edit in the file, since a function cannot be compared.
        progress: True draws a bar; or called with (cells done, cells, cell), where False stops.

    A Ctrl-C stops: what is done is returned, with `complete` False.

    Raises:
        InvalidArgument: no donor, a name twice, another sweep's file.
        NumericalError: a rechecked cell differs, or the functional is not finite.
    """
    if donors is None:
        raise _core.InvalidArgument(
            "[patch.site_sweep] expected donors: a concept with twins, scenes, donor_of(...), or a "
            "function that makes an edit, got None"
        )
    with stoppable("patching", progress) as report:
        return SiteSweep(
            _core._site_sweep(
                run.core, _request(sites, parts, donors, words, edit_name), functional_of(functional), recheck,
                tolerance, seed, "" if file is None else os.fspath(file), report,
            )
        )  # fmt: skip


def attribute_sites(
    run: PairedRun,
    sites: Key | Sequence[Key],
    parts: Parts | None = None,
    donors: Donors = None,
    functional: Functional = "mean_acceleration",
) -> Attribution:
    """Estimate every cell of a `site_sweep` by one backward pass a batch: gradient at the base run times donor -
    base (attribution patching: Syed et al. 2023, 2310.10348). Positive: the patch would raise the functional.
    Exact where the functional is linear in what is patched; else it only **ranks** cells, and what it picks must
    be patched.

    Raises:
        InvalidArgument: as `site_sweep`, or a model that is not differentiable.
    """
    if donors is None:
        raise _core.InvalidArgument("[patch.attribute_sites] expected donors, got None")
    return Attribution(
        _core._attribute_sites(
            run.core, _request(sites, parts, donors, "held"), functional_of(functional)
        )
    )
