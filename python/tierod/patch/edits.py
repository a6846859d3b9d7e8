"""What is done to activations while a model drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tierod import _core
from tierod._core import DirectionEdit, EditRows, ErasureEdit, InterventionEdit, Over
from tierod.cache import Key, site_name
from tierod.selection import Indices, Names, selection_json
from tierod.session import _SessionMethods
from tierod.stats.arrays import choice


class _LentSession(_SessionMethods):
    """The session of one batch, lent to an edit until its `put_on` returns."""

    def __init__(self, core: _core.Session) -> None:
        self._lent: _core.Session | None = core

    def _core(self) -> _core.Session:
        if self._lent is None:
            raise _core.StateError(
                "[patch.Edit] expected the session to be used within put_on alone, got a use after it "
                "returned; look at activations with PairedRun.activations or rows_at"
            )
        return self._lent

    def capture(self, *_: Any, **__: Any) -> None:
        raise _core.StateError(
            "[patch.Edit] expected put_on to intervene, got a capture, which nobody could read; use "
            "PairedRun.activations, or keep what a callback sees"
        )

    def _return(self) -> None:
        self._lent = None

    def _before_change(self, pattern: str) -> None:
        pass

    def _after_change(self, pattern: str) -> None:
        pass


class Edit(_core._Edit):
    """Change activations while a model drives. Derive from it and write `put_on`:

        class Blind(patch.Edit):
            def put_on(self, session, rows):
                session.intervene("vlm.image_embeds", tierod.Intervention.zero())

    It is called once a batch, with a session that has `intervene` as `tierod.Session` has, until it returns, and
    with the scenes of the batch's rows. Selections may name the spans of the base run.
    """

    def name(self) -> str:
        return type(self).__name__

    def put_on(self, session: _SessionMethods, rows: EditRows) -> None:
        raise TypeError(f"{type(self).__name__} must define put_on(session, rows)")

    def _put_on(self, core: _core.Session, rows: EditRows) -> None:
        lent = _LentSession(core)
        try:
            self.put_on(lent, rows)
        finally:
            lent._return()


def selection_of(
    tokens: Indices = None,
    positions: Indices = None,
    spans: Names = None,
    heads: Indices = None,
    phases: Names = None,
    steps: Indices = None,
) -> str:
    return selection_json(
        rows=None, tokens=tokens, positions=positions, spans=spans, heads=heads, phases=phases,
        steps=steps, branches=None, calls=None,
    )  # fmt: skip


def direction_place(
    site: Key,
    direction: _core.Direction,
    *,
    over: str = "each",
    written: Tensor | None = None,
    tokens: Indices = None,
    positions: Indices = None,
    spans: Names = None,
    heads: Indices = None,
    phases: Names = None,
    steps: Indices = None,
) -> _core._DirectionPlace:
    """Say where a direction acts.

    Args:
        site: a site, a pattern, or ("resid_post", 3).
        over: "each" token on its own, with heads side by side where the direction is as wide as all
            selected heads, else each head on its own; "pooled", read from the mean over the tokens and
            written to each; "concatenated", all selected numbers of a row as one vector.
        written: [width], written in place of the direction's own vector by the same amounts: one of
            `matched_directions`, for a control.

    The others select as in `Session.capture`.
    """
    return _core._DirectionPlace(
        site_name(site),
        direction,
        selection_of(tokens, positions, spans, heads, phases, steps),
        choice(Over, over, "direction_place", "over", room="patch"),
        written,
    )


def erase(
    erasers: Mapping[str, _core.Eraser], *, over: str = "each", **selection: Any
) -> ErasureEdit:
    """Erase a concept at several sites in the same run: h - left right (h - mean). Erased at every site
    through which control reads, it cannot reach control along what the erasers see.

    Args:
        erasers: of each site.
        over: as in `direction_place`; the others select as in `Session.capture`.
    """
    how = choice(Over, over, "erase", "over", room="patch")
    chosen = selection_of(**selection)
    return ErasureEdit(
        [_core._ErasurePlace(site_name(s), e, chosen, how) for s, e in erasers.items()]
    )


def swap(places: Any, to_high: Any) -> DirectionEdit:
    """Put every row at the position of the other class, bounded by the data: h + w (t - r'(h - mean)).

    Args:
        places: one `direction_place`, or several that act in the same run.
        to_high: [scenes of the run], true where class 1 is the target.
    """
    target = np.asarray(to_high)
    if target.ndim != 1 or not np.isin(target, (0, 1)).all():
        raise _core.InvalidArgument(
            "[patch.swap] expected 0 or 1 for every scene of the run, the class to go to, got "
            f"{target.dtype} of shape {target.shape}"
        )
    return DirectionEdit._swap(_listed(places), target.astype(np.uint8).tolist())


def ablate(places: Any) -> DirectionEdit:
    """Take away what is read: h - w r'(h - mean)."""
    return DirectionEdit._ablate(_listed(places))


def add(places: Any, dose: float) -> DirectionEdit:
    """Add `dose` natural standard deviations: h + dose sd w."""
    return DirectionEdit._add(_listed(places), dose)


def interchange_to(places: Any, targets: Any) -> DirectionEdit:
    """Put every row where another is along the directions: h + w (t - r'(h - mean)).

    Args:
        places: one `direction_place`, or several that act in the same run.
        targets: t, [places, scenes of the run] or [scenes] for one place, such as `PairedRun.positions` of
            other scenes: an interchange of the concept alone (Geiger et al. 2024, 2303.02536).

    Raises:
        InvalidArgument: another shape.
        NumericalError: a target that is not finite.
    """
    listed = _listed(places)
    target = torch.as_tensor(np.asarray(targets, np.float64))
    return DirectionEdit._to(listed, target[None] if target.dim() == 1 else target)


def put(
    sites: Key | Sequence[Key],
    intervention: _core.Intervention,
    *,
    name: str = "intervention",
    **selection: Any,
) -> InterventionEdit:
    """Put an intervention of the hook layer at sites: `put(site, tierod.Intervention.zero())`,
    `mean_ablate`, or rows of other rows. The others select as in `Session.capture`."""
    return InterventionEdit(name, _sites(sites), intervention, selection_of(**selection))


def zero(sites: Key | Sequence[Key], **selection: Any) -> InterventionEdit:
    """Set the selected part of sites to 0."""
    return put(sites, _core.Intervention.zero(), name="zero", **selection)


def _sites(sites: Key | Sequence[Key]) -> list[str]:
    # ("resid_post", 3) is one site
    one = isinstance(sites, str) or (
        isinstance(sites, tuple) and len(sites) == 2 and isinstance(sites[1], int)
    )
    return [site_name(s) for s in ([sites] if one else sites)]  # type: ignore[arg-type]


def _listed(places: Any) -> list[_core._DirectionPlace]:
    listed: Sequence[Any] = places if isinstance(places, Sequence) else [places]
    for place in listed:
        if not isinstance(place, _core._DirectionPlace):
            raise _core.InvalidArgument(
                f"[patch.DirectionEdit] expected places made by direction_place, got {place!r}"
            )
    return list(listed)
