"""One call, one tidy table: probes at every site for every concept, with what they must beat."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch

from tierod import _core
from tierod._core import Conclusion, EvaluationRow, LinearFitter, LogisticFitter, RowFitter
from tierod.probe.dataset import ProbeDataset
from tierod.probe.tables import LAST_COLUMNS, EvaluationTable
from tierod.stats.arrays import choice

IntervalMethod = Literal["automatic", "influence", "jackknife", "percentile", "bca"]
Fitter = LinearFitter | LogisticFitter | RowFitter
Progress = Callable[[int, int, str], bool | None]

# penalties for columns of variance 1: from next to none to nearly the mean difference
PENALTIES = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5)
SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.9)


def _named(name: str) -> Fitter:
    known: dict[str, Callable[[], Fitter]] = {
        "ridge": lambda: _core.StandardisedFitter(_core.RidgeFitter(list(PENALTIES))),
        "lda": lambda: _core.StandardisedFitter(_core.LdaFitter(list(SHRINKAGES))),
        "logistic": lambda: _core.LogisticFitter(list(PENALTIES)),
        "mean_difference": _core.MeanDifferenceFitter,
        "mlp": _core.MlpFitter,
    }
    if name not in known:
        raise _core.InvalidArgument(
            f"[probe.evaluate] expected a probe as one of {', '.join(known)}, a fitter, or a "
            f"scikit-learn estimator, got {name!r}"
        )
    return known[name]()


def estimator_fitter(estimators: Any, name: str | None = None) -> RowFitter:
    """Return a fitter of any scikit-learn classifier, or of several among which evaluation chooses
    inside the training folds.

    A `fit` that takes `groups` gets them. Rows arrive as NumPy arrays (bf16 as f32), labels as 0 and
    1; scores come from `decision_function`, else from `predict_proba`.
    """
    listed = list(estimators) if isinstance(estimators, Sequence) else [estimators]
    for estimator in listed:
        if not (hasattr(estimator, "fit") and hasattr(estimator, "get_params")):
            raise _core.InvalidArgument(
                f"[probe.evaluate] expected a scikit-learn estimator, got {estimator!r}"
            )
    from sklearn.base import clone

    def numpy(rows: torch.Tensor) -> Any:
        return (rows.float() if rows.dtype in (torch.bfloat16, torch.float16) else rows).numpy()

    def fit(rows: torch.Tensor, labels: Any, groups: Any, seed: int, setting: int) -> Any:
        estimator = clone(listed[setting])
        params = estimator.get_params()
        if "random_state" in params and params["random_state"] is None:
            estimator.set_params(random_state=seed % 2**32)
        extra = (
            {"groups": groups} if "groups" in inspect.signature(estimator.fit).parameters else {}
        )
        estimator.fit(numpy(rows), labels.astype(np.int64), **extra)

        def score(test: torch.Tensor) -> torch.Tensor:
            if hasattr(estimator, "decision_function"):
                values = estimator.decision_function(numpy(test))
            else:
                values = estimator.predict_proba(numpy(test))[:, 1]
            return torch.from_numpy(np.ascontiguousarray(values, np.float64))

        return score

    return _core._PythonFitter(name or type(listed[0]).__name__, len(listed), fit)


def as_fitter(probe: Any) -> Fitter:
    """Return the fitter of a probe: a name, a fitter, or scikit-learn estimators."""
    if isinstance(probe, (LinearFitter, LogisticFitter, RowFitter)):
        return probe
    return _named(probe) if isinstance(probe, str) else estimator_fitter(probe)


def options_of(where: str, *, interval: str, **values: Any) -> _core.EvaluationOptions:
    """Return the options of an evaluation; `where` starts the message of what is not one."""
    options = _core.EvaluationOptions()
    options.interval = choice(_core.RankingMethod, interval, where, "interval")
    for name, value in values.items():
        setattr(options, name, value)
    return options


def need_rows(dataset: Any, where: str) -> None:
    """Refuse what is no `ProbeDataset`, and say what moments are good for."""
    if isinstance(dataset, ProbeDataset):
        return
    what = (
        "streamed moments; moments keep no rows, and ranks, intervals over units and permutations need "
        "them: make a ProbeDataset of them (from_store), or take cross_validate_moments"
        if isinstance(dataset, _core.FoldMoments)
        else f"{type(dataset).__name__}; make one of it"
    )
    raise _core.InvalidArgument(f"[probe.{where}] expected a ProbeDataset, got {what}")


class Evaluation(EvaluationTable[EvaluationRow]):
    """A table of sites and concepts; `table` and `summary` are pandas data frames."""

    core: _core.Evaluation
    _key = "concept"
    _columns = (
        "rows",
        "positives",
        "units",
        "positive_units",
        "auroc",
        "auprc",
        "balanced_accuracy",
        "log_loss",
        "brier",
        "ece",
        "control_auroc",
        "control_recurrence",
        "above_control",
        "nuisance_auroc",
        "above_nuisance",
        "group_control_auroc",
        "above_group_control",
        "memorisation_auroc",
        "learned",
        "above_best",
        *LAST_COLUMNS,
    )
    _score = "auroc"
    _absent = "not_encoded"

    @property
    def concepts(self) -> list[str]:
        return self.core.concepts

    @property
    def scores(self) -> torch.Tensor | None:
        """Held-out scores [sites, concepts, n], if they were kept."""
        return self.core.scores


def evaluate(
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
) -> Evaluation:
    """Evaluate a probe at every site for every concept so that it cannot fool.

    Settings are chosen inside the training folds, folds hold whole units with twins together, scaling
    is learned on training rows. Each AUROC comes with an interval over units, with its paired
    differences to the type-keyed control task (Hewitt & Liang 2019) and to the nuisance-only probe,
    and with a p that counts the search over sites.

    Args:
        probe: "ridge", "lda", "logistic", "mean_difference", "mlp", a fitter, a scikit-learn classifier, or a list
            of classifiers among which is chosen.
        folds: folds of units of the highest level with `least_units` units.
        interval: "automatic" is a BCa bootstrap from 30 units on and a jackknife t interval below;
            "influence" costs next to nothing.
        control_draws: draws of the control task, over which its AUROC is averaged.
        memorisation: also fit random labels of groups under row-wise folds.
        concepts_as_nuisances: let the nuisance-only probe see the other concepts' labels.
        margin: "not encoded" means less than so much above the better baseline.
        permutations: 0 leaves the p values out; no cell is then called encoded.
        random_init: the same rows and sites under a randomly initialised network, for `learned`; groups
            and labels must be the same.
        progress: called with (sites done, sites, "sites"); False stops.

    Raises:
        InvalidArgument: no site or concept, fewer units than folds, a unit in two strata, another
            random_init, options out of range.
        NumericalError: a fit fails; the site is named.
    """
    need_rows(dataset, "evaluate")
    options = options_of(
        "evaluate",
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
    other = None if random_init is None else random_init.core
    core = _core._evaluate(dataset.core, as_fitter(probe), options, other, progress)
    return Evaluation(core)


def conclude(linear: Evaluation, nonlinear: Evaluation | None = None) -> list[Conclusion]:
    """Say of each concept whether it is encoded, not encoded, non-linear or open, in words.

    "Not encoded" needs the evaluation of a non-linear probe beside the linear one.
    """
    return _core._conclude(linear.core, None if nonlinear is None else nonlinear.core)
