"""Metrics that accumulate over batches and processes: thin ``torchmetrics.Metric``s."""

from segmetrics.metrics.boundary import BoundaryF1Score, BoundaryIoU
from segmetrics.metrics.calibration import (
    BrierScore,
    CalibrationError,
    NegativeLogLikelihood,
)
from segmetrics.metrics.calibration_images import CalibrationImageScores
from segmetrics.metrics.collection import SegmentationMetrics
from segmetrics.metrics.confusion import ConfusionMatrix
from segmetrics.metrics.curve_images import CurveImageScores
from segmetrics.metrics.curves import AURC, AUROC, AveragePrecision, FPRAtRecall
from segmetrics.metrics.image import ImageScores
from segmetrics.metrics.object_images import ObjectImageScores
from segmetrics.metrics.objects import ObjectMetrics
from segmetrics.metrics.panoptic import PanopticQuality
from segmetrics.metrics.panoptic_images import PanopticImageScores
from segmetrics.metrics.probability import ProbabilityMetrics
from segmetrics.metrics.region import (
    CohenKappa,
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
from segmetrics.metrics.thresholds import ROC, BestThreshold, PrecisionRecallCurve

__all__ = [
    "AURC",
    "AUROC",
    "ROC",
    "AveragePrecision",
    "AverageSurfaceDistance",
    "BestThreshold",
    "BoundaryF1Score",
    "BoundaryIoU",
    "BrierScore",
    "CalibrationError",
    "CalibrationImageScores",
    "CohenKappa",
    "ConfusionMatrix",
    "CurveImageScores",
    "DiceScore",
    "FBetaScore",
    "FPRAtRecall",
    "GeneralizedDiceScore",
    "HausdorffDistance",
    "ImageScores",
    "MatthewsCorrCoef",
    "MeanIoU",
    "NegativeLogLikelihood",
    "ObjectImageScores",
    "ObjectMetrics",
    "PanopticImageScores",
    "PanopticQuality",
    "PixelAccuracy",
    "Precision",
    "PrecisionRecallCurve",
    "ProbabilityMetrics",
    "Recall",
    "SegmentationMetrics",
    "Specificity",
    "SurfaceDice",
    "SurfaceMetrics",
    "TverskyIndex",
]
