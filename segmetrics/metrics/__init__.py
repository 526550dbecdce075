"""Metrics that accumulate over batches and processes: thin ``torchmetrics.Metric``s."""

from segmetrics.metrics.boundary import BoundaryF1Score, BoundaryIoU
from segmetrics.metrics.collection import SegmentationMetrics
from segmetrics.metrics.image import ImageScores
from segmetrics.metrics.object_images import ObjectImageScores
from segmetrics.metrics.objects import ObjectMetrics
from segmetrics.metrics.panoptic import PanopticQuality
from segmetrics.metrics.panoptic_images import PanopticImageScores
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
from segmetrics.metrics.surface import (
    AverageSurfaceDistance,
    HausdorffDistance,
    SurfaceDice,
)
from segmetrics.metrics.surface_metrics import SurfaceMetrics

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
    "MatthewsCorrCoef",
    "MeanIoU",
    "ObjectImageScores",
    "ObjectMetrics",
    "PanopticImageScores",
    "PanopticQuality",
    "PixelAccuracy",
    "Precision",
    "Recall",
    "SegmentationMetrics",
    "Specificity",
    "SurfaceDice",
    "SurfaceMetrics",
    "TverskyIndex",
]
