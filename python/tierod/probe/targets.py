"""One call, one tidy table, for what is a number: acceleration, distance."""

from __future__ import annotations

from typing import Any

import torch

from tierod import _core
from tierod._core import LinearFitter, TargetRow
from tierod.probe.dataset import ProbeDataset
from tierod.probe.evaluation import (
    IntervalMethod,
    Progress,
    as_fitter,
    need_rows,
    options_of,
)
from tierod.probe.tables import LAST_COLUMNS, EvaluationTable


class TargetEvaluation(EvaluationTable[TargetRow]):
    """A table of sites and real targets; `table` and `summary` are pandas data frames."""

    core: _core.TargetEvaluation
    _key = "target"
    _columns = (
        "rows",
        "units",
        "mean",
        "sd",
        "r2",
        "pearson",
        "spearman",
        "rmse",
        "mae",
        "control_r2",
        "control_recurrence",
        "above_control",
        "nuisance_r2",
        "above_nuisance",
        "group_control_r2",
        "above_group_control",
        "memorisation_r2",
        "learned",
        "above_best",
        *LAST_COLUMNS,
    )
    _score = "r2"
    _absent = "not_linearly_encoded"

    @property
    def targets(self) -> list[str]:
        return self.core.targets

    @property
    def predictions(self) -> torch.Tensor | None:
        """Held-out predictions [sites, targets, n] in the targets' units, if they were kept."""
        return self.core.predictions


def evaluate_targets(
    dataset: ProbeDataset,
    probe: Any = "ridge",
    *,
    folds: int = 5,
    least_units: int = 40,
    confidence: float = 0.95,
    interval: IntervalMethod = "automatic",
    replicates: int = 2000,
    control_draws: int = 5,
    memorisation: bool = True,
    concepts_as_nuisances: bool = True,
    margin: float = 0.05,
    alpha: float = 0.05,
    permutations: int = 999,
    seed: int = 0,
    threads: int = 1,
    keep_scores: bool = False,
    random_init: ProbeDataset | None = None,
    progress: Progress | None = None,
) -> TargetEvaluation:
    """Evaluate a regression at every site for every real target as `evaluate` does for concepts.

    The score is the held-out R2, 1 - sum (y - prediction)^2 / sum (y - m)^2 with m the mean of the
    training rows of each fold, so that knowing nothing is 0 (Campbell & Thompson 2008), beside the
    correlations of Pearson and Spearman. Settings are chosen inside the training folds by squared
    error. Each R2 comes with an interval over units, with its paired differences to the type-keyed
    control task and to the nuisance-only probe, and with a p that counts the search over sites.

    Args:
        probe: "ridge", or a `LinearFitter` that takes real targets.
        margin: of R2. An AUROC of .55 is an R2 of .008, so that .05 is laxer than for concepts.
        concepts_as_nuisances: let the nuisance-only probe see the concepts' labels. Other targets, and
            a nuisance of the target's own name, it never sees.

    The other arguments are those of `evaluate`.

    Raises:
        InvalidArgument: no site or target, a probe that takes labels only, and as `evaluate`.
        NumericalError: a fit fails; the site is named.
    """
    need_rows(dataset, "evaluate_targets")
    options = options_of(
        "evaluate_targets",
        folds=folds,
        least_units=least_units,
        confidence=confidence,
        interval=interval,
        replicates=replicates,
        control_draws=control_draws,
        memorisation=memorisation,
        concepts_as_nuisances=concepts_as_nuisances,
        margin=margin,
        alpha=alpha,
        permutations=permutations,
        seed=seed,
        threads=threads,
        keep_scores=keep_scores,
    )
    fitter = as_fitter(probe)
    if not isinstance(fitter, LinearFitter):
        raise _core.InvalidArgument(
            f"[probe.evaluate_targets] expected 'ridge' or a LinearFitter that takes real targets, got "
            f"{probe!r}; hold another regressor by cross_val_score with groups"
        )
    other = None if random_init is None else random_init.core
    core = _core._evaluate_targets(dataset.core, fitter, options, other, progress)
    return TargetEvaluation(core)
