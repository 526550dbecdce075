"""Segmentation metrics for PyTorch: count once, score many."""

from segmetrics import functional
from segmetrics.metrics import (
    CohenKappa,
    ConfusionMatrix,
    DiceScore,
    FBetaScore,
    GeneralizedDiceScore,
    MatthewsCorrCoef,
    MeanIoU,
    PixelAccuracy,
    Precision,
    Recall,
    SegmentationMetrics,
    Specificity,
    TverskyIndex,
)

__version__ = "0.1.0"

__all__ = [
    "CohenKappa",
    "ConfusionMatrix",
    "DiceScore",
    "FBetaScore",
    "GeneralizedDiceScore",
    "MatthewsCorrCoef",
    "MeanIoU",
    "PixelAccuracy",
    "Precision",
    "Recall",
    "SegmentationMetrics",
    "Specificity",
    "TverskyIndex",
    "functional",
]
