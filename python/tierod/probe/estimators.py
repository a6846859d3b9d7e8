"""Probes and erasers as scikit-learn estimators (an extra: scikit-learn).

They take NumPy arrays, torch tensors of any floating dtype, and `StoreRows`, which streams rows from
an activation store in batches. Any two classes are encoded; `groups=` keeps rows of one group
together where a setting is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    OneToOneFeatureMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    assert_all_finite,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from torch import Tensor

from tierod import _core
from tierod._core import Direction, LinearFitter, TrainingStatistics
from tierod.probe.labels import array_of, identities

if TYPE_CHECKING:
    from tierod.store import ActivationReader

Array = npt.NDArray[Any]
_BATCH_ROWS = 8192


class StoreRows:
    """Rows of a site in a store, as X of an estimator: they are read in batches, never all at once.

    Args:
        reader: an open store.
        stream, site: which rows.
        rows: their numbers [n]; None is all.
    """

    def __init__(self, reader: ActivationReader, stream: str, site: str, rows: Any = None) -> None:
        self.reader, self.stream, self.site = reader, stream, site
        count = reader.row_count(stream)
        self.rows = (
            torch.arange(count)
            if rows is None
            else torch.as_tensor(array_of(rows), dtype=torch.int64)
        )
        widths = [
            column.width
            for spec in reader.streams
            if spec.name == stream
            for column in spec.sites
            if column.site == site
        ]
        if not widths:
            raise _core.SiteError(f"[probe.StoreRows] the stream {stream!r} has no site {site!r}")
        self.shape = (len(self.rows), widths[0])

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self, batch_rows: int = _BATCH_ROWS) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of [0, n) and their rows."""
        for begin in range(0, len(self), batch_rows):
            part = slice(begin, min(begin + batch_rows, len(self)))
            yield part, self.reader.core._gather(self.stream, self.site, self.rows[part])


def _matrix(X: Any) -> Any:
    """Return what scikit-learn's checks take: tensors as arrays, the rest as it is."""
    return array_of(X) if isinstance(X, Tensor) else X


def _tensor(X: Array) -> Tensor:
    return torch.from_numpy(X if X.flags.writeable and X.flags.c_contiguous else X.copy())


def _batches(X: Array | StoreRows) -> Iterator[tuple[slice, Tensor]]:
    if isinstance(X, StoreRows):
        yield from X.batches()
        return
    for begin in range(0, len(X), _BATCH_ROWS):
        part = slice(begin, begin + _BATCH_ROWS)
        yield part, _tensor(X[part])


def _settings(value: Any, where: str, name: str) -> list[float]:
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


class _Checked(BaseEstimator):  # type: ignore[misc]
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
            self, _matrix(X), reset=reset, dtype=[np.float64, np.float32, np.float16],
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

    def _fold_of(self, groups: Any, labels: Array, folds: int, *, real: bool = False) -> Array:
        names = np.arange(len(labels)) if groups is None else identities(groups, "fit", "groups")
        if len(names) != len(labels):
            raise _core.InvalidArgument(
                f"[probe.fit] expected as many groups as rows ({len(labels)}), got {len(names)}"
            )
        dataset = _core.ProbeDataset(names)
        if not real:
            dataset.add_concept("y", labels)
        return dataset.folds(folds)


class _BinaryProbe(ClassifierMixin, _Checked):  # type: ignore[misc]
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def predict(self, X: Any) -> Array:
        """Return the class [n] of each row."""
        positive = self.decision_function(X) > 0
        classes: Array = self.classes_[positive.astype(int)]
        return classes


class _LinearProbe(_BinaryProbe):
    """What ridge, LDA and mean difference share: sufficient statistics, folds, direction."""

    _setting = ""  # the parameter among whose values is chosen

    def _fitter(self, settings: list[float]) -> LinearFitter:
        raise NotImplementedError

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
            _settings(getattr(self, self._setting), type(self).__name__, self._setting)
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
        for part, batch in _batches(rows):
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
        report = fits.report(0, 0)
        self.report_ = {
            name: getattr(report, name) for name in ("rows", "rank", "condition", "note")
        }
        self._keep_direction(training)
        return self

    def _choose(
        self, rows: Array | StoreRows, labels: Array, fold_of: Array,
        statistics: _core.FoldStatistics, settings: list[float],
    ) -> int:  # fmt: skip
        # scores on the scale of the training rows, around the middle of their classes: an intercept
        # would follow the prevalence
        held_out = np.empty((len(settings), len(labels)))
        weights, middles, spreads = [], [], []
        for fold in range(self.cv):
            training = statistics.training(fold)
            w = self._fitter(settings).fit(training).weights[:, 0]  # [P, d]
            weights.append(w)
            middles.append(w @ training.means.mean(0)[0])
            variance = (w @ training.scatter * w).sum(1) / training.rows
            spreads.append(variance.clamp_min(1e-300).sqrt())
        for part, batch in _batches(rows):
            x = batch.double()
            for fold in range(self.cv):
                index = np.flatnonzero(fold_of[part] == fold)
                if len(index) == 0:
                    continue
                scores = weights[fold] @ x[torch.from_numpy(index)].T - middles[fold].unsqueeze(1)
                held_out[:, part.start + index] = (scores / spreads[fold].unsqueeze(1)).numpy()
        return int(np.argmax([_core.auroc(s, labels, np.empty(0)) for s in held_out]))

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
        for part, batch in _batches(rows):
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


class RidgeProbe(_LinearProbe):
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


class RidgeTarget(RegressorMixin, _Checked):  # type: ignore[misc]
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
        settings = _settings(self.alpha, type(self).__name__, "alpha")
        choosing = len(settings) > 1
        folds = self.cv if choosing else 1
        fold_of = (
            self._fold_of(groups, target, folds, real=True)
            if choosing
            else np.zeros(len(target), np.int64)
        )
        statistics = _core.FoldStatistics(1, folds, _core.Targets.reals)
        z, f = torch.from_numpy(target).unsqueeze(1), torch.from_numpy(fold_of.astype(np.int64))
        for part, batch in _batches(rows):
            statistics.update(batch, z[part], f[part])
        chosen = 0
        if choosing:
            fitter = _core.RidgeFitter(settings)
            fits = [_core.fit_linear(fitter, statistics, fold) for fold in range(folds)]
            errors = np.zeros(len(settings))
            for part, batch in _batches(rows):
                scores = _core.held_out_scores(batch.double(), f[part], fits)[:, 0]  # [P, n]
                errors += (scores - z[part, 0]).square().sum(1).numpy()
            chosen = int(np.argmin(errors))
        fit = _core.RidgeFitter([settings[chosen]]).fit(statistics.training())
        self.alpha_ = settings[chosen]
        self.coef_ = fit.weights[0, 0].numpy().copy()
        self.intercept_ = float(fit.intercepts[0, 0])
        report = fit.report(0, 0)
        self.report_ = {
            name: getattr(report, name) for name in ("rows", "rank", "condition", "note")
        }
        return self

    def predict(self, X: Any) -> Array:
        """Return the targets [n] that rows X [n, d] are read to have."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        out = np.empty(rows.shape[0])
        weights = torch.from_numpy(self.coef_)
        for part, batch in _batches(rows):
            out[part] = (batch.double() @ weights).numpy() + self.intercept_
        return out


class LdaProbe(_LinearProbe):
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
        score = np.clip(self.decision_function(X), -700, 700)
        one = 1 / (1 + np.exp(-score))
        return np.stack([1 - one, one], 1)


class MeanDifferenceProbe(_LinearProbe):
    """The direction between class means, threshold half-way ("mass-mean", Marks & Tegmark 2023).

    Attributes: coef_ [1, d], intercept_ [1], classes_ [2], report_, n_features_in_.
    """

    def _fitter(self, settings: list[float]) -> LinearFitter:
        return _core.MeanDifferenceFitter()


class LogisticProbe(_LinearProbe):
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
        settings = _settings(self.penalty, type(self).__name__, "penalty")
        x = torch.cat([batch for _, batch in _batches(rows)])
        z = torch.from_numpy(labels).unsqueeze(1)
        fitter = _core.LogisticFitter(settings, tolerance=self.tolerance)
        chosen = 0
        if len(settings) > 1:
            fold_of = torch.from_numpy(self._fold_of(groups, labels, self.cv))
            fits = fitter.fit_folds(x, z, fold_of, self.cv)
            held_out = np.empty((len(settings), len(labels)))
            for fold, without in enumerate(fits.without):
                test, train = fold_of == fold, fold_of != fold
                scores = without.scores(x)[:, 0]  # [P, n]
                fitted = scores[:, train]
                ones = torch.from_numpy(labels[train.numpy()] == 1)
                middle = (fitted[:, ones].mean(1) + fitted[:, ~ones].mean(1)) / 2
                spread = fitted.std(1, correction=0).clamp_min(1e-300)
                held_out[:, test.numpy()] = (
                    (scores[:, test] - middle[:, None]) / spread[:, None]
                ).numpy()
            chosen = int(np.argmax([_core.auroc(s, labels, np.empty(0)) for s in held_out]))
            linear = fits.all
        else:
            linear = fitter.fit(x, z)
        self.penalty_ = settings[chosen]
        self.coef_ = linear.weights[chosen].numpy().copy()
        self.intercept_ = linear.intercepts[chosen].numpy().copy()
        report = linear.report(chosen, 0)
        names = ("rows", "rank", "condition", "iterations", "converged", "separated", "note")
        self.report_ = {name: getattr(report, name) for name in names}
        self.n_iter_ = max(self.report_["iterations"], 1)
        statistics = _core.FoldStatistics(1, 1)
        statistics.update(x, z, torch.zeros(len(labels), dtype=torch.int64))
        self._keep_direction(statistics.training())
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities [n, 2] of the classes."""
        score = np.clip(self.decision_function(X), -700, 700)
        one = 1 / (1 + np.exp(-score))
        return np.stack([1 - one, one], 1)


class MlpProbe(_BinaryProbe):
    """A multi-layer probe with one hidden layer: the gate for what no linear probe reads.

    Classes are weighted equally while it is trained; it stops early on held-out groups. The same seed
    gives the same probe.

    Args:
        hidden: units of the hidden layer.
        epochs: at most so many passes.
        weight_decay: of AdamW (Loshchilov & Hutter 2019).
        patience: passes without a better held-out loss before it stops.
        random_state: the seed; None is 0.

    Attributes: classes_ [2], model_ (its weights), epochs_, n_features_in_.
    """

    def __init__(
        self, hidden: int = 64, *, epochs: int = 200, weight_decay: float = 1e-2, patience: int = 15,
        random_state: int | None = None,
    ) -> None:  # fmt: skip
        self.hidden = hidden
        self.epochs = epochs
        self.weight_decay = weight_decay
        self.patience = patience
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on rows X [n, d] and two classes y [n]; whole groups are held out to stop early."""
        rows, target = self._fit_rows(X, y)
        labels = self._classes(target)
        names = np.arange(len(labels)) if groups is None else identities(groups, "fit", "groups")
        if len(names) != len(labels):
            raise _core.InvalidArgument(
                f"[probe.fit] expected as many groups as rows ({len(labels)}), got {len(names)}"
            )
        options = _core.MlpOptions()
        options.hidden, options.epochs, options.patience = self.hidden, self.epochs, self.patience
        options.weight_decays = [float(self.weight_decay)]
        x = torch.cat([batch for _, batch in _batches(rows)])
        model = _core.MlpFitter(options).fit_model(x, labels, names, int(self.random_state or 0), 0)
        self.model_ = {k: v.numpy() for k, v in model.state().items()}
        self.epochs_ = model.epochs
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the log odds [n] of the second class."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        model = _core.MlpModel({k: torch.from_numpy(v) for k, v in self.model_.items()})
        return np.concatenate([model.scores(batch).numpy() for _, batch in _batches(rows)])

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities [n, 2] of the classes."""
        score = np.clip(self.decision_function(X), -700, 700)
        one = 1 / (1 + np.exp(-score))
        return np.stack([1 - one, one], 1)


class LeaceEraser(OneToOneFeatureMixin, TransformerMixin, _Checked):  # type: ignore[misc]
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
        for part, batch in _batches(rows):
            fitter.update(batch, z[part])
        eraser = fitter.finish(-1.0 if self.shrinkage is None else self.shrinkage, self.tolerance)
        self.left_, self.right_ = eraser.left.numpy(), eraser.right.numpy()
        self.mean_, self.rank_ = eraser.mean.numpy(), eraser.rank
        report = eraser.report
        self.report_ = {
            name: getattr(report, name)
            for name in ("rows", "rank", "condition", "shrinkage", "note")
        }
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
        for _, batch in _batches(rows):
            x = batch.double().numpy()
            erased = x - (x - self.mean_) @ self.right_.T @ self.left_.T
            parts.append(erased.astype(np.float32 if batch.dtype != torch.float64 else np.float64))
        return np.concatenate(parts)
