"""Metrics that accumulate counts over batches and processes: thin ``torchmetrics.Metric``s."""

from segmetrics.metrics.collection import SegmentationMetrics
from segmetrics.metrics.region import (
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
    Specificity,
    TverskyIndex,
)

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
]
