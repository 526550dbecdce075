"""Scores of contours, in pixels."""

from __future__ import annotations

from functools import partial
from math import ceil, hypot, inf
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import number
from segmetrics._help import explained
from segmetrics.counting import Counting
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import uncompiled
from segmetrics.metrics.per_image import ImageArguments, ImageMetric
from segmetrics.metrics.region import ClassMetric, ClassMetricArguments
from segmetrics.scores import Formula
from segmetrics.surfaces import BandCounting, bad_pixels, images, measure_surfaces
from segmetrics.surfaces.distances import boundary_f1
from segmetrics.surfaces.maps import Maps


@explained
class BoundaryIoU(ClassMetric):
    """Boundary IoU: the intersection over union of the bands along the masks' inner contours.

    In [0, 1]. Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
    CVPR 2021. The band of a mask: its pixels within d, along every axis, of a pixel outside the
    mask or the image, which d erosions with a 3×3 (3×3×3) box remove. ``d`` is
    ``max(1, round(dilation_ratio * diagonal))``. Unlike the IoU it weighs the contours of large
    masks as much as those of small ones.

    Bands come from the full maps, in which an ignored pixel of the target has no class. Ignored
    pixels are left out afterwards.

    Args:
        dilation_ratio: width of the bands as a share of the image's diagonal, greater than 0.
        average: over classes: ``"macro"``, ``"micro"`` (their bands pooled), ``"weighted"`` by the
            pixels of the target's bands, or ``"none"`` (``None``) for one score a class. Not given
            for ``task="binary"``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``, or with scores one-hot ``(N, C, H, W)``.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import BoundaryIoU
        >>> target = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> target[:, :6] = 1
        >>> preds = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> preds[:, :5] = 1
        >>> BoundaryIoU(2, average="none")(preds, target)
        tensor([0.4167, 0.5333])
    """

    formula: Formula = staticmethod(scores.iou)
    counting: BandCounting

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        dilation_ratio: float = 0.02,
        **arguments: Unpack[ClassMetricArguments],
    ) -> None:
        self.dilation_ratio = number("dilation_ratio", dilation_ratio)
        if not 0 < self.dilation_ratio < inf:
            raise ValueError(
                f"`dilation_ratio` must be greater than 0 and finite, got {dilation_ratio}."
            )
        super().__init__(num_classes, **arguments)

    def _counted(self, counting: Counting) -> BandCounting:
        return BandCounting(**vars(counting), dilation_ratio=self.dilation_ratio)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"dilation_ratio": (self.dilation_ratio, 0.02)}

    @uncompiled
    def _count(self, preds: Tensor, target: Tensor) -> Tensor:
        found = [self.counting.count(maps) for maps in images(preds, target, self.counting)]
        none = self._states[-1].new_zeros((0, self.counting.cells))
        counts = torch.stack(found) if found else none
        bad = bad_pixels(preds, target, self.counting)
        return torch.cat([counts if self.counting.per_image else counts.sum(0), bad], -1)


@explained
class BoundaryF1Score(ImageMetric):
    """Boundary F1 score: contour precision and recall within a tolerance, and their F score.

    In [0, 1]. Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC
    2013. The contour of a mask: its pixels with at least one of their 8 (26) neighbours outside the
    mask or the image. Precision is the share of the predicted contour within the tolerance of the
    target's, in Euclidean distance, recall the reverse. The score of each image and class is
    averaged over images, then over classes; 0 where one contour is empty, nan where both are.

    Contours come from the full maps, in which an ignored pixel of the target has no class. Ignored
    pixels are left out afterwards.

    Args:
        tolerance: greater than 0. Below 1 a share of the image's diagonal, rounded up to at least
            one pixel; from 1 on pixels.
        average: over classes: ``"macro"``, or ``"none"`` (``None``) for one score a class. Not
            given for ``task="binary"``.
        include_background: ``False`` leaves class 0 out. Not given for ``task="binary"``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``, or with scores one-hot ``(N, C, H, W)``.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background, one a
        region with ``regions=True``); nan if no image has the class.

    Example:
        >>> import torch
        >>> from segmetrics import BoundaryF1Score
        >>> target = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> target[:, :6] = 1
        >>> preds = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> preds[:, :4] = 1
        >>> BoundaryF1Score(2, tolerance=1)(preds, target)
        tensor(0.7386)
        >>> BoundaryF1Score(2, tolerance=2, average="none")(preds, target)
        tensor([1., 1.])
    """

    words = means.OF_SCORES
    without_ignored = False

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        tolerance: float = 0.0075,
        **arguments: Unpack[ImageArguments],
    ) -> None:
        super().__init__(num_classes, **arguments)
        self.tolerance = number("tolerance", tolerance)
        if not 0 < self.tolerance < inf:
            raise ValueError(f"`tolerance` must be greater than 0 and finite, got {tolerance}.")
        self._add_states((len(self.entries),), "boundary_f1", self.tolerance)

    def _measure(self, maps: Maps, spacing: tuple[float, ...], judged: Tensor) -> Tensor:
        tolerance = self.tolerance
        if tolerance < 1:
            tolerance = max(1, ceil(tolerance * hypot(*maps.size)))
        measure = partial(boundary_f1, tolerance=tolerance)
        scores_ = measure_surfaces(
            maps,
            [(mask, [measure]) for mask in self._left_in().values()],
            [0.0],
            labels=self.labels,
            surface="contour",
            spacing=spacing,
        )
        return self._of_entries(scores_[0])

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"tolerance": (self.tolerance, 0.0075)}

    def _report(self, mean: Tensor) -> Any:
        return super()._report(mean if self.per_class else mean.nanmean())
