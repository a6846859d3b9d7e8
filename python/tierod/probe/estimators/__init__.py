"""Probes and erasers as scikit-learn estimators (an extra: scikit-learn).

They take NumPy arrays, torch tensors of any floating dtype, and `StoreRows`, which streams rows from
an activation store in batches. Any two classes are encoded; `groups=` keeps rows of one group
together where a setting is chosen.
"""

from tierod.probe.estimators.eraser import LeaceEraser
from tierod.probe.estimators.linear import LdaProbe, MeanDifferenceProbe, RidgeProbe
from tierod.probe.estimators.logistic import LogisticProbe
from tierod.probe.estimators.mlp import MlpProbe
from tierod.probe.estimators.rows import StoreRows
from tierod.probe.estimators.target import RidgeTarget

__all__ = [
    "LdaProbe",
    "LeaceEraser",
    "LogisticProbe",
    "MeanDifferenceProbe",
    "MlpProbe",
    "RidgeProbe",
    "RidgeTarget",
    "StoreRows",
]
