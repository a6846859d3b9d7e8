"""What a session hands its captures to: rows to a store, or moments of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tierod import _core
from tierod.store.arrays import (
    MISSING,
    Numbers,
    as_tensor,
    integers,
    optional_integers,
)
from tierod.store.writer import ActivationWriter


class StoreSink(_core.StoreSink):
    """Write what a session captures into a store while the model runs.

        sink = tierod.StoreSink(writer)
        session.capture("**.resid_post", sink=sink)
        sink.begin_batch(samples=ids)
        model(tokens)

    A stream is chosen by the first rule (pattern, phase or None, stream) that matches, else by the
    phase; outside of any it is "main". Sites that were not declared are added as the first batch
    meets them.
    """

    def __init__(
        self, writer: ActivationWriter, rules: Sequence[tuple[str, str | None, str]] = ()
    ) -> None:
        super().__init__(writer.core, list(rules))

    def begin_batch(
        self,
        samples: Numbers,
        *,
        scenes: Numbers | None = None,
        groups: Numbers | None = None,
        token_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> None:
        """Say which samples the rows of the next forward or rollout are.

        Args:
            samples, scenes, groups: a number for each row of the batch.
            token_ids, position_ids: [rows, length] by absolute position, prompt and answer.
        """
        self._begin_batch(
            integers(samples, "samples"), optional_integers(scenes, "scenes"),
            optional_integers(groups, "groups"), token_ids, position_ids,
        )  # fmt: skip


class MomentsSink(_core.MomentsSink):
    """Accumulate mean, covariance and cross-covariance with labels, by site and fold, of what a
    session captures; no row is kept.

    Args:
        folds: a row's fold is drawn from its group, else its scene, else its sample, by `seed`.
        covariance: keep [d, d] instead of variances.
    """

    def __init__(self, folds: int = 5, *, covariance: bool = True, seed: int = 0) -> None:
        super().__init__(folds, covariance, seed)

    def begin_batch(
        self,
        samples: Numbers,
        *,
        scenes: Numbers | None = None,
        groups: Numbers | None = None,
        labels: ArrayLike | Tensor | None = None,
    ) -> None:
        """Say which samples come next; labels [samples, concepts], NaN for missing, or uint8 as the
        store keeps them, 255 for missing."""
        values = None
        if labels is not None:
            given = as_tensor(labels)
            values = given.to(torch.float64)
            if given.dtype == torch.uint8:
                values[given == MISSING] = float("nan")
        self._begin_batch(
            integers(samples, "samples"),
            optional_integers(scenes, "scenes"),
            optional_integers(groups, "groups"),
            values,
        )
