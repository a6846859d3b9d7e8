"""Linear probes, directions and erasers from sufficient statistics."""

from tierod._core import (
    Direction,
    Eraser,
    FitReport,
    FoldStatistics,
    LdaFitter,
    LeaceFitter,
    LinearFits,
    LinearFitter,
    MeanDifferenceFitter,
    RidgeFitter,
    TrainingStatistics,
)

__all__ = [
    "Direction",
    "Eraser",
    "FitReport",
    "FoldStatistics",
    "LdaFitter",
    "LeaceFitter",
    "LinearFits",
    "LinearFitter",
    "MeanDifferenceFitter",
    "RidgeFitter",
    "TrainingStatistics",
]
