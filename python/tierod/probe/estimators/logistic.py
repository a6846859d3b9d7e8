"""Logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch

from tierod import _core
from tierod.probe.estimators.checks import probabilities, report_of, settings_of
from tierod.probe.estimators.linear import LinearProbe
from tierod.probe.estimators.rows import Array, batches_of


class LogisticProbe(LinearProbe):
    """Logistic regression, as `LogisticRegression(C=1 / penalty)` fits it.

    Args:
        penalty: above 0, or several among which grouped folds choose by AUROC.
        cv: folds of that choice.
        tolerance: how far above its minimum the mean loss may lie, in nats a row.

    Attributes: coef_ [1, d], intercept_ [1], classes_ [2], penalty_, report_, n_features_in_.
    """

    def __init__(
        self,
        penalty: float | Sequence[float] | Array = 1.0,
        *,
        cv: int = 5,
        tolerance: float = 1e-7,
    ) -> None:
        self.penalty = penalty
        self.cv = cv
        self.tolerance = tolerance

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on rows X [n, d] and two classes y [n]; see `RidgeProbe.fit`. Rows of a store are read
        into memory, since every step needs them."""
        rows, target = self._fit_rows(X, y)
        labels = self._classes(target)
        settings = settings_of(self.penalty, type(self).__name__, "penalty")
        x = torch.cat([batch for _, batch in batches_of(rows)])
        z = torch.from_numpy(labels).unsqueeze(1)
        fitter = _core.LogisticFitter(settings, tolerance=self.tolerance)
        chosen = 0
        if len(settings) > 1:
            fold_of = torch.from_numpy(self._fold_of(groups, labels, self.cv))
            fits = fitter.fit_folds(x, z, fold_of, self.cv)
            folds = _core.FoldStatistics(1, self.cv)
            folds.update(x, z, fold_of)
            without = [
                _core.common_scale(fit, folds.training(fold))
                for fold, fit in enumerate(fits.without)
            ]
            held_out = _core.held_out_scores(x.double(), fold_of, without)[:, 0].numpy()  # [P, n]
            chosen = int(np.argmax([_core.auroc(s, labels, np.empty(0)) for s in held_out]))
            linear = fits.all
        else:
            linear = fitter.fit(x, z)
        self.penalty_ = settings[chosen]
        self.coef_ = linear.weights[chosen].numpy().copy()
        self.intercept_ = linear.intercepts[chosen].numpy().copy()
        report = linear.report(chosen, 0)
        self.report_ = report_of(report, "iterations", "converged", "separated")
        self.n_iter_ = max(self.report_["iterations"], 1)
        statistics = _core.FoldStatistics(1, 1)
        statistics.update(x, z, torch.zeros(len(labels), dtype=torch.int64))
        self._keep_direction(statistics.training())
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities [n, 2] of the classes."""
        return probabilities(self.decision_function(X))
