"""Whether an edit stays within what the model meets, and its trajectory within what a car can do."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tierod import _core
from tierod._core import ManifoldCheck, NaturalLimits, OffManifold, Plausible
from tierod.stats.arrays import ArrayLike, binary, identities, numbers, tensor
from tierod.vla import Rollout


class Manifold:
    """Natural activations, told from those that only an edit makes: by length, by Mahalanobis distance
    (Lee et al. 2018, 1807.03888), and by the distance to the k-th nearest natural row in whitened space
    (Sun et al. 2022, 2204.06507). Made by `fit`.

    Mean and covariance come from one half of the groups, natural distances from the other: rows lie closer
    to what was fitted to them than new ones do.
    """

    def __init__(self, core: _core._Manifold) -> None:
        self.core = core

    @classmethod
    def fit(
        cls,
        rows: ArrayLike,
        groups: ArrayLike,
        *,
        low: float = 0.01,
        high: float = 0.99,
        shrinkage: float | None = None,
        neighbours: int = 10,
        rows_per_dimension: int = 16,
        seed: int = 0,
    ) -> Manifold:
        """Fit to natural rows.

        Args:
            rows: [n, d], activations without an edit, as `PairedRun.activations` returns them.
            groups: [n], the independent unit; a group stays whole in one half.
            low, high: percentiles outside of which a row is off.
            shrinkage: of the covariance; None: oracle approximating shrinkage, as for erasers.
            neighbours: the distance is that to the k-th.
            rows_per_dimension: how many rows each dimension needs; with fewer, distances mean little.
            seed: of the split into halves.

        Raises:
            InvalidArgument: other shapes or options, fewer than 2 groups, groups that cannot be halved, too
                few rows (it says how many are needed).
            NumericalError: a row that is not finite, a singular covariance.
        """
        return cls(
            _core._Manifold.fit(
                tensor(rows),
                identities(groups, "Manifold.fit", "groups"),
                low,
                high,
                -1.0 if shrinkage is None else shrinkage,
                neighbours,
                rows_per_dimension,
                seed,
            )
        )

    def check(self, rows: ArrayLike) -> ManifoldCheck:
        """Return where rows [m, d] lie among the natural ones; of groups that were not given to `fit`, or
        they meet themselves as neighbours. Takes time m n d / 2.

        Raises:
            InvalidArgument: another width.
            NumericalError: a row that is not finite.
        """
        return self.core.check(tensor(rows))

    @property
    def width(self) -> int:
        return self.core.width

    @property
    def fitted_rows(self) -> int:
        """Rows of the half that mean and covariance come from."""
        return self.core.fitted_rows

    @property
    def natural_rows(self) -> int:
        """Rows of the half that the percentiles come from."""
        return self.core.natural_rows

    @property
    def shrinkage(self) -> float:
        """Weight of the scaled identity in the covariance."""
        return self.core.shrinkage

    @property
    def limits(self) -> NaturalLimits:
        return self.core.limits

    @property
    def natural_off_share(self) -> float:
        """Share of the natural rows that are off: what `off_share` is without an edit."""
        return self.core.natural_off_share

    def __repr__(self) -> str:
        return (
            f"Manifold(width {self.width}, {self.fitted_rows} + {self.natural_rows} rows, "
            f"naturally off {self.natural_off_share:.3g})"
        )


def implausible(rollout: Rollout, limits: Plausible | None = None) -> Tensor:
    """Tell rows whose trajectory no car could drive: bool [rows]. Jerk is the difference of the
    accelerations of successive waypoints by dt; before the first nothing is known. Sideways the faster end of
    each step counts. NaN is implausible.

    Args:
        limits: None: `Plausible()`, the physical limits of a passenger car.

    Raises:
        InvalidArgument: shapes, dt_s <= 0, limits that are not > 0.
    """
    return _core._implausible(rollout, Plausible() if limits is None else limits)


def off_manifold_effect(
    values: ArrayLike,
    off: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> OffManifold:
    """Measure whether an effect needs edits that leave the manifold: it is `flagged` where the interval over
    all scenes excludes 0, and that over on-manifold scenes does not on the same side. That may be for want
    of scenes.

    Args:
        values: [n], signed effect of each scene (`ConceptEffect.scenes`), any unit.
        off: [n], whether the scene's edited row is off (`ManifoldCheck.off`).
        groups: [n], the independent unit; None: each scene.

    Raises:
        InvalidArgument: differing lengths, flags other than 0 and 1, fewer than 2 groups.
        NumericalError: a value that is not finite.
    """
    where = "off_manifold_effect"
    array = numbers(values, where, "values")
    of = np.arange(len(array)) if groups is None else identities(groups, where, "groups")
    return _core._off_manifold_effect(array, binary(off, where), of, confidence)
