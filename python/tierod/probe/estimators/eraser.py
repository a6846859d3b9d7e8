"""Erasure as a transformer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d

from tierod import _core
from tierod.probe.estimators.checks import Checked, report_of
from tierod.probe.estimators.rows import Array, batches_of
from tierod.probe.labels import array_of


class LeaceEraser(OneToOneFeatureMixin, TransformerMixin, Checked):  # type: ignore[misc]
    """Remove what a linear function can read of y (LEACE, Belrose et al. 2023), as a transformer.

    Put it before a probe in a pipeline, and the eraser is fitted on training rows alone.

    Args:
        shrinkage: of the covariance; None is estimated (Chen et al. 2010).
        tolerance: singular values below this share of the largest are taken as 0.

    Attributes: left_ [d, k], right_ [k, d], mean_ [d], rank_, report_, n_features_in_.
    """

    def __init__(self, shrinkage: float | None = None, *, tolerance: float = 1e-6) -> None:
        self.shrinkage = shrinkage
        self.tolerance = tolerance

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on rows X [n, d] and y: classes [n] of any number, real targets [n], or columns [n, k].

        `groups` is taken for the sake of pipelines and plays no part.

        Raises:
            ValueError: shapes or NaN.
            NumericalError: y is constant, or says nothing of X.
        """
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None"
            )
        rows = self._rows(X, reset=True)
        target = array_of(y)
        if target.shape[:1] != rows.shape[:1]:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[rows.shape[0], len(target)]}"
            )
        z = torch.from_numpy(self._columns(target))
        fitter = _core.LeaceFitter()
        for part, batch in batches_of(rows):
            fitter.update(batch, z[part])
        eraser = fitter.finish(-1.0 if self.shrinkage is None else self.shrinkage, self.tolerance)
        self.left_, self.right_ = eraser.left.numpy(), eraser.right.numpy()
        self.mean_, self.rank_ = eraser.mean.numpy(), eraser.rank
        self.report_ = report_of(eraser.report, "shrinkage")
        return self

    @staticmethod
    def _columns(y: Array) -> npt.NDArray[np.float64]:
        if y.ndim == 2 and y.shape[1] > 1:
            return y.astype(np.float64)
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f" and type_of_target(y, raise_unknown=False) == "continuous":
            assert_all_finite(y, input_name="y")
            return y.astype(np.float64)[:, None]
        check_classification_targets(y)
        classes = np.unique(y)
        # the last class follows from the others
        return np.stack([y == c for c in classes[: max(len(classes) - 1, 1)]], 1).astype(np.float64)

    def transform(self, X: Any) -> Array:
        """Return erased rows [n, d], in their own dtype."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        parts = []
        for _, batch in batches_of(rows):
            x = batch.double().numpy()
            erased = x - (x - self.mean_) @ self.right_.T @ self.left_.T
            parts.append(erased.astype(np.float32 if batch.dtype != torch.float64 else np.float64))
        return np.concatenate(parts)
