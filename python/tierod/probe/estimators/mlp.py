"""The multi-layer probe."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from tierod import _core
from tierod.probe.estimators.checks import BinaryProbe, probabilities
from tierod.probe.estimators.rows import Array, batches_of


class MlpProbe(BinaryProbe):
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
        options = _core.MlpOptions()
        options.hidden, options.epochs, options.patience = self.hidden, self.epochs, self.patience
        options.weight_decays = [float(self.weight_decay)]
        x = torch.cat([batch for _, batch in batches_of(rows)])
        model = _core.MlpFitter(options).fit_model(
            x, labels, self._group_of(groups, len(labels)), int(self.random_state or 0), 0
        )
        self.model_ = {k: v.numpy() for k, v in model.state().items()}
        self.epochs_ = model.epochs
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the log odds [n] of the second class."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        model = _core.MlpModel({k: torch.from_numpy(v) for k, v in self.model_.items()})
        return np.concatenate([model.scores(batch).numpy() for _, batch in batches_of(rows)])

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities [n, 2] of the classes."""
        return probabilities(self.decision_function(X))
