"""Segmentation metrics for PyTorch: count once, score many."""

from segmetrics import functional, labels, statistics
from segmetrics.labels import LabelSpace
from segmetrics.metrics import (
    AverageSurfaceDistance,
    BoundaryF1Score,
    BoundaryIoU,
    CohenKappa,
    ConfusionMatrix,
    DiceScore,
    FBetaScore,
    GeneralizedDiceScore,
    HausdorffDistance,
    ImageScores,
    MatthewsCorrCoef,
    MeanIoU,
    PixelAccuracy,
    Precision,
    Recall,
    SegmentationMetrics,
    Specificity,
    SurfaceDice,
    SurfaceMetrics,
    TverskyIndex,
)

__version__ = "0.1.0"

__all__ = [
    "AverageSurfaceDistance",
    "BoundaryF1Score",
    "BoundaryIoU",
    "CohenKappa",
    "ConfusionMatrix",
    "DiceScore",
    "FBetaScore",
    "GeneralizedDiceScore",
    "HausdorffDistance",
    "ImageScores",
    "LabelSpace",
    "MatthewsCorrCoef",
    "MeanIoU",
    "PixelAccuracy",
    "Precision",
    "Recall",
    "SegmentationMetrics",
    "Specificity",
    "SurfaceDice",
    "SurfaceMetrics",
    "TverskyIndex",
    "functional",
    "labels",
    "statistics",
]
