"""Segmentation metrics for PyTorch: count once, score many."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmetrics import functional, labels, statistics
    from segmetrics.labels import LabelSpace
    from segmetrics.metrics import (
        AURC,
        AUROC,
        ROC,
        AveragePrecision,
        AverageSurfaceDistance,
        BestThreshold,
        BoundaryF1Score,
        BoundaryIoU,
        BrierScore,
        CalibrationError,
        CalibrationImageScores,
        CohenKappa,
        ConfusionMatrix,
        CurveImageScores,
        DiceScore,
        FBetaScore,
        FPRAtRecall,
        GeneralizedDiceScore,
        HausdorffDistance,
        ImageScores,
        MatthewsCorrCoef,
        MeanIoU,
        NegativeLogLikelihood,
        ObjectImageScores,
        ObjectMetrics,
        PanopticImageScores,
        PanopticQuality,
        PixelAccuracy,
        Precision,
        PrecisionRecallCurve,
        ProbabilityMetrics,
        Recall,
        SegmentationMetrics,
        Specificity,
        SurfaceDice,
        SurfaceMetrics,
        TverskyIndex,
    )
else:

    def __getattr__(name: str) -> Any:
        """Load names on first use, as the command runs without torchmetrics."""
        if name in ("functional", "labels", "statistics"):
            return import_module(f"{__name__}.{name}")
        if name == "LabelSpace":
            return import_module(f"{__name__}.labels").LabelSpace
        if name in __all__:
            return getattr(import_module(f"{__name__}.metrics"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), *__all__]


__version__ = "0.1.0"

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
    "LabelSpace",
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
    "functional",
    "labels",
    "statistics",
]
