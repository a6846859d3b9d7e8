"""Ridge regression of real targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import assert_all_finite, check_is_fitted

from tierod import _core
from tierod.probe.estimators.checks import Checked, report_of, settings_of
from tierod.probe.estimators.rows import Array, batches_of


class RidgeTarget(RegressorMixin, Checked):  # type: ignore[misc]
    """Ridge regression of a real target (speed, distance), as scikit-learn's `Ridge` fits it.

    Args:
        alpha: penalty, or several among which grouped folds choose by their held-out squared error.
        cv: folds of that choice.

    Attributes: coef_ [d], intercept_, alpha_, report_, n_features_in_.
    """

    def __init__(self, alpha: float | Sequence[float] | Array = 1.0, *, cv: int = 5) -> None:
        self.alpha = alpha
        self.cv = cv

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on rows X [n, d] and numbers y [n], in any unit.

        Args:
            groups: the group [n] of each row; where a penalty is chosen, folds hold whole groups.

        Raises:
            ValueError: shapes, or a number that is not finite.
            NumericalError: the system is singular (collinear columns, more columns than rows).
        """
        rows, target = self._fit_rows(X, y)
        assert_all_finite(target, input_name="y")
        target = target.astype(np.float64)
        settings = settings_of(self.alpha, type(self).__name__, "alpha")
        choosing = len(settings) > 1
        folds = self.cv if choosing else 1
        fold_of = (
            self._fold_of(groups, target, folds, real=True)
            if choosing
            else np.zeros(len(target), np.int64)
        )
        statistics = _core.FoldStatistics(1, folds, _core.Targets.reals)
        z, f = torch.from_numpy(target).unsqueeze(1), torch.from_numpy(fold_of.astype(np.int64))
        for part, batch in batches_of(rows):
            statistics.update(batch, z[part], f[part])
        chosen = 0
        if choosing:
            fitter = _core.RidgeFitter(settings)
            fits = [_core.fit_linear(fitter, statistics, fold) for fold in range(folds)]
            errors = np.zeros(len(settings))
            for part, batch in batches_of(rows):
                scores = _core.held_out_scores(batch.double(), f[part], fits)[:, 0]  # [P, n]
                errors += (scores - z[part, 0]).square().sum(1).numpy()
            chosen = int(np.argmin(errors))
        fit = _core.RidgeFitter([settings[chosen]]).fit(statistics.training())
        self.alpha_ = settings[chosen]
        self.coef_ = fit.weights[0, 0].numpy().copy()
        self.intercept_ = float(fit.intercepts[0, 0])
        self.report_ = report_of(fit.report(0, 0))
        return self

    def predict(self, X: Any) -> Array:
        """Return the targets [n] that rows X [n, d] are read to have."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        out = np.empty(rows.shape[0])
        weights = torch.from_numpy(self.coef_)
        for part, batch in batches_of(rows):
            out[part] = (batch.double() @ weights).numpy() + self.intercept_
        return out
