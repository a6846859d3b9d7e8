"""What every estimator does with its inputs, in scikit-learn's words where it has some."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, column_or_1d, validate_data
from torch import Tensor

from tierod import _core
from tierod.probe.estimators.rows import Array, StoreRows, as_matrix
from tierod.probe.labels import array_of, identities


def settings_of(value: Any, where: str, name: str) -> list[float]:
    """Return the values of a parameter that is a number, or several in any sequence or array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    try:
        settings: list[float] = np.atleast_1d(np.asarray(value, np.float64)).tolist()
    except (TypeError, ValueError) as error:
        raise _core.InvalidArgument(
            f"[probe.{where}] expected {name} as a number or several, got {value!r}"
        ) from error
    if not settings or not all(isinstance(v, float) and np.isfinite(v) for v in settings):
        raise _core.InvalidArgument(
            f"[probe.{where}] expected {name} as a finite number or several [P], got {value!r}; "
            "flatten it, with one value at least"
        )
    return settings


def report_of(report: _core.FitReport, *more: str) -> dict[str, Any]:
    """Return what a fit says of itself, as plain numbers and text."""
    return {name: getattr(report, name) for name in ("rows", "rank", "condition", *more, "note")}


def probabilities(log_odds: Array) -> Array:
    """Return the probabilities [n, 2] of both classes."""
    one = 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))
    return np.stack([1 - one, one], 1)


class Checked(BaseEstimator):  # type: ignore[misc]
    """Check inputs once for all estimators."""

    def _rows(self, X: Any, *, reset: bool) -> Array | StoreRows:
        if isinstance(X, StoreRows):
            if reset:
                self.n_features_in_ = X.shape[1]
                self.__dict__.pop("feature_names_in_", None)
            elif X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                    f"{self.n_features_in_} features as input"
                )
            return X
        checked: Array = validate_data(
            self, as_matrix(X), reset=reset, dtype=[np.float64, np.float32, np.float16],
            ensure_min_samples=2 if reset else 1,
        )  # fmt: skip
        # sums of f16 columns overflow where the numbers themselves do not
        return checked.astype(np.float32) if checked.dtype == np.float16 else checked

    def _fit_rows(self, X: Any, y: Any) -> tuple[Array | StoreRows, Array]:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None"
            )
        rows = self._rows(X, reset=True)
        labels = column_or_1d(array_of(y), warn=True)
        if len(labels) != rows.shape[0]:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[rows.shape[0], len(labels)]}"
            )
        return rows, labels

    def _classes(self, y: Array) -> npt.NDArray[np.uint8]:
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            kind = type_of_target(y)
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"{kind}: {len(self.classes_)} classes; probe one class against the rest"
            )
        if len(self.classes_) < 2:
            raise ValueError(
                f"Classifier can't train when only one class is present: {self.classes_[0]!r}"
            )
        return index.astype(np.uint8)

    @staticmethod
    def _group_of(groups: Any, count: int) -> npt.NDArray[np.int64]:
        """Return the group [n] of each row as a number; every row is one of its own by default."""
        if groups is None:
            return np.arange(count)
        names = identities(groups, "fit", "groups")
        if len(names) != count:
            raise _core.InvalidArgument(
                f"[probe.fit] expected as many groups as rows ({count}), got {len(names)}"
            )
        return names

    def _fold_of(self, groups: Any, labels: Array, folds: int, *, real: bool = False) -> Array:
        dataset = _core.ProbeDataset(self._group_of(groups, len(labels)))
        if not real:
            dataset.add_concept("y", labels)
        return dataset.folds(folds)


class BinaryProbe(ClassifierMixin, Checked):  # type: ignore[misc]
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def predict(self, X: Any) -> Array:
        """Return the class [n] of each row."""
        positive = self.decision_function(X) > 0
        classes: Array = self.classes_[positive.astype(int)]
        return classes
