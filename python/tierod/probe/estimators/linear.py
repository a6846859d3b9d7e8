"""Probes with one weight a column; most come from sufficient statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from tierod import _core
from tierod._core import Direction, LinearFitter, TrainingStatistics
from tierod.probe.estimators.checks import BinaryProbe, probabilities, report_of, settings_of
from tierod.probe.estimators.rows import Array, StoreRows, batches_of


class LinearProbe(BinaryProbe):
    """What probes with one weight a column share: scores and the direction."""

    def _keep_direction(self, training: TrainingStatistics) -> None:
        read = torch.from_numpy(self.coef_[0])
        self.direction_: dict[str, Any] = {}
        if not bool((read != 0).any()):
            return
        for name, kind in _core.WritePattern.__members__.items():
            try:
                d = _core.probe_direction(training, 0, read, kind)
            except _core.NumericalError:
                continue
            self.direction_[name] = {
                "read": d.read.numpy(), "write": d.write.numpy(), "mean": d.mean.numpy(),
                "sd": d.sd, "low": d.low, "high": d.high,
            }  # fmt: skip

    def decision_function(self, X: Any) -> Array:
        """Return the scores [n]; above 0 is the second class."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        out = np.empty(rows.shape[0])
        weights = torch.from_numpy(self.coef_[0])
        for part, batch in batches_of(rows):
            out[part] = (batch.double() @ weights).numpy() + self.intercept_[0]
        return out

    def direction(self, site: str = "", *, write: str = "mean_difference") -> Direction:
        """Return the direction that reads with `coef_` and writes with the mean difference or, with
        "covariance", with Sigma r / (r' Sigma r); r'w = 1.

        Raises:
            NumericalError: what is written is not seen by what reads.
        """
        check_is_fitted(self)
        if write not in _core.WritePattern.__members__:
            raise _core.InvalidArgument(
                f"[probe.direction] expected write as one of {', '.join(_core.WritePattern.__members__)}, "
                f"got {write!r}"
            )
        if write not in self.direction_:
            raise _core.NumericalError(f"[probe.direction] read' write is not positive for {write}")
        d = self.direction_[write]
        read, pattern, mean = (torch.from_numpy(d[name]) for name in ("read", "write", "mean"))
        return Direction(site, read, pattern, mean, d["sd"], d["low"], d["high"])


class SufficientProbe(LinearProbe, ABC):
    """What ridge, LDA and mean difference share: a fit from sufficient statistics, a setting chosen by
    grouped folds."""

    _setting = ""  # the parameter among whose values is chosen

    @abstractmethod
    def _fitter(self, settings: list[float]) -> LinearFitter:
        """Return the C++ fitter for these settings."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on rows X [n, d] and two classes y [n].

        Args:
            groups: the group [n] of each row; where a setting is chosen, folds hold whole groups.

        Raises:
            ValueError: shapes, NaN, or not two classes.
            NumericalError: the system is singular (collinear columns, more columns than rows).
        """
        rows, target = self._fit_rows(X, y)
        labels = self._classes(target)
        settings = (
            settings_of(getattr(self, self._setting), type(self).__name__, self._setting)
            if self._setting
            else [0.0]
        )
        choosing = len(settings) > 1
        folds = self.cv if choosing else 1
        fold_of = (
            self._fold_of(groups, labels, folds) if choosing else np.zeros(len(labels), np.int64)
        )
        statistics = _core.FoldStatistics(1, folds)
        z, f = torch.from_numpy(labels).unsqueeze(1), torch.from_numpy(fold_of)
        for part, batch in batches_of(rows):
            statistics.update(batch, z[part], f[part])
        chosen = 0
        if choosing:
            chosen = self._choose(rows, labels, fold_of, statistics, settings)
        training = statistics.training()
        fits = self._fitter([settings[chosen]]).fit(training)
        if self._setting:
            setattr(self, f"{self._setting}_", settings[chosen])
        self.coef_ = fits.weights[0].numpy().copy()
        self.intercept_ = fits.intercepts[0].numpy().copy()
        self.report_ = report_of(fits.report(0, 0))
        self._keep_direction(training)
        return self

    def _choose(
        self, rows: Array | StoreRows, labels: Array, fold_of: Array,
        statistics: _core.FoldStatistics, settings: list[float],
    ) -> int:  # fmt: skip
        fits = []
        for fold in range(self.cv):
            training = statistics.training(fold)
            fits.append(_core.common_scale(self._fitter(settings).fit(training), training))
        held_out = np.empty((len(settings), len(labels)))
        f = torch.from_numpy(fold_of.astype(np.int64))
        for part, batch in batches_of(rows):
            held_out[:, part] = _core.held_out_scores(batch.double(), f[part], fits)[:, 0].numpy()
        return int(np.argmax([_core.auroc(s, labels, np.empty(0)) for s in held_out]))


class RidgeProbe(SufficientProbe):
    """Ridge regression of the two classes coded -1 and 1, as `RidgeClassifier` fits it.

    Args:
        alpha: penalty, or several among which grouped folds choose by AUROC.
        cv: folds of that choice.

    Attributes: coef_ [1, d], intercept_ [1], classes_ [2], alpha_, report_, n_features_in_.
    """

    _setting = "alpha"

    def __init__(self, alpha: float | Sequence[float] | Array = 1.0, *, cv: int = 5) -> None:
        self.alpha = alpha
        self.cv = cv

    def _fitter(self, settings: list[float]) -> LinearFitter:
        return _core.RidgeFitter(settings)


class LdaProbe(SufficientProbe):
    """Linear discriminant analysis with shrunk covariance, as scikit-learn's with solver "lsqr".

    Args:
        shrinkage: inside [0, 1], or several among which grouped folds choose by AUROC.
        cv: folds of that choice.

    Attributes: coef_ [1, d], intercept_ [1], classes_ [2], shrinkage_, report_, n_features_in_.
    """

    _setting = "shrinkage"

    def __init__(self, shrinkage: float | Sequence[float] | Array = 0.1, *, cv: int = 5) -> None:
        self.shrinkage = shrinkage
        self.cv = cv

    def _fitter(self, settings: list[float]) -> LinearFitter:
        return _core.LdaFitter(settings)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities [n, 2] of the classes: scores are log odds."""
        return probabilities(self.decision_function(X))


class MeanDifferenceProbe(SufficientProbe):
    """The direction between class means, threshold half-way ("mass-mean", Marks & Tegmark 2023).

    Attributes: coef_ [1, d], intercept_ [1], classes_ [2], report_, n_features_in_.
    """

    def _fitter(self, settings: list[float]) -> LinearFitter:
        return _core.MeanDifferenceFitter()
