"""Scenes whose activations are put into others."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tierod import _core
from tierod._core import MatchedDonors
from tierod.stats.arrays import ArrayLike, binary, identities, matrix


def matched_donors(
    covariates: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    eligible: ArrayLike | None = None,
) -> MatchedDonors:
    """Return for each scene the nearest one with the opposite label and of another group, for resampling a
    concept with the nuisances as equal as the scenes allow.

    Nearest by the Mahalanobis distance with the covariance pooled within labels (Rubin 1980, "Bias reduction
    using Mahalanobis-metric matching"), through its pseudo-inverse: columns that are constant within the
    labels, or repeat others, count for nothing. Ties go to the lower place. A donor may serve several scenes.

    Args:
        covariates: [n, q], any units.
        labels: [n], 0 or 1.
        groups: [n], the independent unit.
        eligible: [n], whether a scene may be a donor; None: all.

    Returns:
        `donors`, int64 [n], places among the scenes (not ids), and `distances`, f64 [n], in within-class
        standard deviations: look at the largest before you call scenes matched.

    Raises:
        InvalidArgument: other lengths or labels, a single class, a scene without a donor (it is named).
        NumericalError: a covariate that is not finite.
    """
    where = "matched_donors"
    may = np.empty(0, np.uint8) if eligible is None else binary(eligible, where)
    return _core._matched_donors(
        matrix(covariates, where, "covariates"),
        binary(labels, where),
        identities(groups, where, "groups"),
        may,
    )


def shuffled_donors(groups: ArrayLike, *, seed: int = 0) -> Tensor:
    """Return donors int64 [n], as places, by which each scene gives exactly once and none receives from its
    own group. The permutations allowed are about equally likely; the same seed draws the same one.

    Raises:
        InvalidArgument: no scenes, or a group with more than half of them (it is named): no such
            permutation exists.
    """
    return _core._shuffled_donors(identities(groups, "shuffled_donors", "groups"), seed)
