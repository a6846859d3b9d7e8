"""Probes, directions and erasers, and an evaluation that cannot fool.

The scikit-learn estimators are imported when they are used; pandas and matplotlib likewise
(`pip install tierod[probe]`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tierod._core import (
    Conclusion,
    CrossValidation,
    Direction,
    Eraser,
    ErasureCheck,
    EvaluationRow,
    FitReport,
    FoldStatistics,
    LdaFitter,
    LeaceFitter,
    LinearFits,
    LinearFitter,
    LogisticFits,
    LogisticFitter,
    MeanDifferenceFitter,
    MlpFitter,
    MlpModel,
    MlpOptions,
    MomentsValidation,
    OracleEraser,
    Precision,
    ResidualFit,
    ResidualFits,
    RidgeFitter,
    RowFitter,
    SamplePlan,
    Splits,
    StandardisedFitter,
    TargetRow,
    Targets,
    TrainingStatistics,
    WritePattern,
    common_scale,
    control_labels,
    control_targets,
    cross_validate,
    cross_validate_moments,
    fit_linear,
    fold_auroc,
    held_out_scores,
    probe_direction,
    ridge_direction,
    training_statistics,
    verify_erasure,
)
from tierod.probe.dataset import ProbeDataset
from tierod.probe.directions import plan_sample, residual_direction
from tierod.probe.evaluation import Evaluation, as_fitter, conclude, estimator_fitter, evaluate
from tierod.probe.targets import TargetEvaluation, evaluate_targets

if TYPE_CHECKING:
    from tierod.probe.estimators import (
        LdaProbe,
        LeaceEraser,
        LogisticProbe,
        MeanDifferenceProbe,
        MlpProbe,
        RidgeProbe,
        RidgeTarget,
        StoreRows,
    )

_ESTIMATORS = (
    "LdaProbe",
    "LeaceEraser",
    "LogisticProbe",
    "MeanDifferenceProbe",
    "MlpProbe",
    "RidgeProbe",
    "RidgeTarget",
    "StoreRows",
)


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'tierod.probe' has no attribute {name!r}")
    try:
        from tierod.probe import estimators
    except ImportError as error:
        if error.name is None or not error.name.startswith("sklearn"):
            raise
        raise ImportError(
            f"[tierod.probe] {name} needs scikit-learn; install tierod[probe]"
        ) from error
    return getattr(estimators, name)


__all__ = [
    "Conclusion",
    "CrossValidation",
    "Direction",
    "Eraser",
    "ErasureCheck",
    "Evaluation",
    "EvaluationRow",
    "FitReport",
    "FoldStatistics",
    "LdaFitter",
    "LdaProbe",
    "LeaceEraser",
    "LeaceFitter",
    "LinearFits",
    "LinearFitter",
    "LogisticFits",
    "LogisticFitter",
    "LogisticProbe",
    "MeanDifferenceFitter",
    "MeanDifferenceProbe",
    "MlpFitter",
    "MlpModel",
    "MlpOptions",
    "MlpProbe",
    "MomentsValidation",
    "OracleEraser",
    "Precision",
    "ProbeDataset",
    "ResidualFit",
    "ResidualFits",
    "RidgeFitter",
    "RidgeProbe",
    "RidgeTarget",
    "RowFitter",
    "SamplePlan",
    "Splits",
    "StandardisedFitter",
    "StoreRows",
    "TargetEvaluation",
    "TargetRow",
    "Targets",
    "TrainingStatistics",
    "WritePattern",
    "as_fitter",
    "common_scale",
    "conclude",
    "control_labels",
    "control_targets",
    "cross_validate",
    "cross_validate_moments",
    "estimator_fitter",
    "evaluate",
    "evaluate_targets",
    "fit_linear",
    "fold_auroc",
    "held_out_scores",
    "plan_sample",
    "probe_direction",
    "residual_direction",
    "ridge_direction",
    "training_statistics",
    "verify_erasure",
]
