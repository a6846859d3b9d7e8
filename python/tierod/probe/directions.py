"""Residualised directions, and how many independent units they need."""

from __future__ import annotations

from collections.abc import Sequence

from tierod import _core
from tierod._core import ResidualFits, SamplePlan, Splits
from tierod.probe.dataset import ProbeDataset


def residual_direction(
    dataset: ProbeDataset,
    site: str,
    concept: str,
    *,
    adjust_for: Sequence[str] | None = None,
    interactions: bool = True,
    shrinkage: float | None = None,
    most_vif: float = 10.0,
    least_cell: int = 10,
    folds: int = 0,
    least_units: int = 40,
    seed: int = 0,
) -> ResidualFits:
    """Fit the direction of a concept residualised on what goes with it.

    Activations are regressed on 1, c, Z~ and c Z~ with Z~ centred: c's coefficient b is the average
    effect and the write vector; the read vector is S^-1 b / (b' S^-1 b) with S the shrunk covariance
    given c and Z, so that r'w = 1.

    Args:
        adjust_for: nuisances and other concepts by name; None is all. Causes of the concept and what
            co-occurs with it, never its consequences.
        shrinkage: of the residual covariance; None is estimated.
        folds: K directions without fold k each, and positions along the direction that has not seen
            the row; 20 gives the delete-group refits of a jackknife.

    Raises:
        InvalidArgument: the variance inflation is above `most_vif`, or a class has fewer than
            `least_cell` units in a cell of what is adjusted for.
        NumericalError: there is no effect at all.
    """
    return _core._residual_direction(
        dataset.core, site, concept, None if adjust_for is None else list(adjust_for), interactions,
        -1.0 if shrinkage is None else shrinkage, most_vif, least_cell, folds, least_units, seed,
    )  # fmt: skip


def plan_sample(
    dataset: ProbeDataset, site: str, concept: str, *, splits: Splits | None = None
) -> SamplePlan:
    """Say in sentences how many independent units a direction and its erasure need, and what there is.

    `splits` tells A from C; without it all is A.
    """
    return _core._plan_sample(dataset.core, site, concept, splits)
