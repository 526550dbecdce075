"""A metric of every public class, with the settings that change its state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import segmetrics
from segmetrics import (
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
    LabelSpace,
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

C = 4
REGIONS_OF_CLASSES = LabelSpace(
    ["a", "b", "c", "d"], regions={"bcd": ["b", "c", "d"], "da": ["d", "a"]}, ignore_index=255
)

REGIONS: list[Any] = [
    *(MeanIoU, DiceScore, GeneralizedDiceScore, TverskyIndex, FBetaScore, Precision, Recall),
    *(Specificity, PixelAccuracy, CohenKappa, MatthewsCorrCoef, SegmentationMetrics, BoundaryIoU),
]


class OfLabelMaps:
    """Converts the classes of probabilities to segments: the halves of an image are instances."""

    def _batch(self, preds: Tensor, target: Tensor, *others: Any) -> tuple[Tensor, ...]:
        half = torch.arange(target.shape[-1], device=target.device) * 2 // target.shape[-1]
        maps = preds.argmax(1) if preds.is_floating_point() else preds, target
        sides = (torch.stack(torch.broadcast_tensors(x, half), -1) for x in maps)
        return super()._batch(*sides, *others)  # type: ignore[misc]


class PanopticQualityOfMaps(OfLabelMaps, PanopticQuality): ...


class PanopticImageScoresOfMaps(OfLabelMaps, PanopticImageScores): ...


EVERY: dict[str, Callable[[], Any]] = {
    "ConfusionMatrix": partial(ConfusionMatrix, C, ignore_index=255),
    "ConfusionMatrix true": partial(ConfusionMatrix, C, normalize="true", ignore_index=255),
    "ImageScores": partial(ImageScores, C, ignore_index=255),
    "CalibrationImageScores": partial(CalibrationImageScores, C, ignore_index=255),
    "CurveImageScores": partial(CurveImageScores, C, ignore_index=255),
    **{
        f"{metric.__name__} {level}": partial(metric, C, aggregation_level=level, ignore_index=255)
        for metric in REGIONS
        for level in ("global", "samplewise")
    },
    **{
        f"{metric.__name__} {average}": partial(
            metric, C, average=average, ignore_index=255, **arguments
        )
        for metric, arguments in [
            (BoundaryF1Score, {}),
            (HausdorffDistance, {"percentile": 95}),
            (AverageSurfaceDistance, {"surface": "elements", "empty_distance": "diagonal"}),
            (SurfaceDice, {"tolerance": 1}),
        ]
        for average in ("macro", "none")
    },
    "ObjectMetrics global": partial(ObjectMetrics, C, ignore_index=255),
    "ObjectMetrics samplewise": partial(
        ObjectMetrics,
        C,
        matching="iou",
        distances=True,
        tolerance=1,
        aggregation_level="samplewise",
        ignore_index=255,
    ),
    "ObjectImageScores": partial(ObjectImageScores, C, min_size=2, ignore_index=255),
    "PanopticQuality": partial(PanopticQualityOfMaps, [1, 2], [0, 3]),
    "PanopticQuality modified": partial(
        PanopticQualityOfMaps, [1, 2], [0, 3], modified=True, boundary=True
    ),
    "PanopticImageScores": partial(PanopticImageScoresOfMaps, [1, 2], [0, 3]),
    **{
        metric.__name__: partial(metric, C, ignore_index=255, cells=512)
        for metric in (AveragePrecision, FPRAtRecall, ROC, PrecisionRecallCurve, BestThreshold)
    },
    "AURC": partial(AURC, C, ignore_index=255, cells=512),
    "AUROC": partial(AUROC, C, ignore_index=255),
    "AUROC right": partial(AUROC, C, positive="right", ignore_index=255),
    "AUROC none": partial(AUROC, C, average="none", cells=512, ignore_index=255),
    "CalibrationError": partial(CalibrationError, C, ignore_index=255),
    "CalibrationError mass": partial(CalibrationError, C, binning="mass", ignore_index=255),
    "CalibrationError none": partial(
        CalibrationError, C, classwise=True, average="none", ignore_index=255
    ),
    "BrierScore": partial(BrierScore, C, ignore_index=255),
    "NegativeLogLikelihood": partial(NegativeLogLikelihood, C, ignore_index=255),
    "ProbabilityMetrics": partial(ProbabilityMetrics, C, ignore_index=255),
    "SurfaceMetrics": partial(SurfaceMetrics, C, tolerance=1, ignore_index=255),
    "SegmentationMetrics regions": partial(
        SegmentationMetrics, REGIONS_OF_CLASSES, aggregation_level="samplewise"
    ),
    "SurfaceMetrics regions": partial(SurfaceMetrics, REGIONS_OF_CLASSES, tolerance=1),
    "HausdorffDistance regions": partial(
        HausdorffDistance, REGIONS_OF_CLASSES, regions=True, average="none", pooled=True
    ),
}


def test_every_public_metric_is_here() -> None:
    metrics = {name for name in segmetrics.__all__ if name[0].isupper() and name != "LabelSpace"}
    assert metrics == {name.split()[0] for name in EVERY}


def images(seed: int, number: int = 3) -> tuple[Tensor, Tensor]:
    """Probabilities that are often right, with void pixels and classes that some images lack."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(C, (number, 3, 3), generator=generator)
    target = target.repeat_interleave(4, 1).repeat_interleave(3, 2)
    other = torch.randint(C, target.shape, generator=generator)
    preds = other.where(torch.rand(target.shape, generator=generator) < 0.2, target)
    scores = torch.rand((number, C, *target.shape[1:]), generator=generator)
    scores.scatter_add_(1, preds.unsqueeze(1), torch.ones_like(scores))
    return scores.mul(4).softmax(1), target.where(
        torch.rand(target.shape, generator=generator) > 0.1, 255
    )
