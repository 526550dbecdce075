"""Scores of the contours of prediction and target, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import ceil, hypot, inf, nan
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import number
from segmetrics._help import explained
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import MetricKwargs, uncompiled
from segmetrics.metrics.counted import RecipeMetric
from segmetrics.metrics.per_image import ImageMetric
from segmetrics.recipes import AggregationLevel, class_recipe
from segmetrics.scores import Average
from segmetrics.surfaces import BandCounting, bad_pixels, images, measure_surfaces
from segmetrics.surfaces.distances import boundary_f1
from segmetrics.surfaces.maps import Maps


@explained
class BoundaryIoU(RecipeMetric):
    """Boundary IoU: the intersection over union of the bands along the masks' inner contours.

    In [0, 1]. Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
    CVPR 2021. A mask's band are its pixels at most d pixels, along either axis, from a pixel
    outside the mask or the image: what d erosions with a 3×3 (3×3×3) box take away. ``d`` is
    ``max(1, round(dilation_ratio * diagonal))``. Unlike the IoU it weighs the contours of large
    masks as much as those of small ones.

    The bands are drawn on the full maps, in which an ignored pixel of the target is of no class;
    then ignored pixels are left out.

    Args:
        dilation_ratio: width of the bands as a share of the image's diagonal, greater than 0.
        average: over classes: ``"macro"``, ``"micro"`` (their bands pooled), ``"weighted"`` by the
            pixels of the target's bands, or ``"none"`` (``None``) for one score a class. Not given
            for ``task="binary"``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``; one-hot ``(N, C, H, W)`` beside scores.

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

    counting: BandCounting

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        dilation_ratio: float = 0.02,
        ignore_index: int | Sequence[int] | None = None,
        average: Average | None = "macro",
        aggregation_level: AggregationLevel = "global",
        include_background: bool = True,
        zero_division: float = nan,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = class_recipe(
            scores.iou,
            num_classes,
            average=average,
            aggregation_level=aggregation_level,
            include_background=include_background,
            zero_division=zero_division,
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        dilation_ratio = number("dilation_ratio", dilation_ratio)
        if not 0 < dilation_ratio < inf:
            raise ValueError(
                f"`dilation_ratio` must be greater than 0 and finite, got {dilation_ratio}."
            )
        counting = BandCounting(**vars(recipe.counting), dilation_ratio=dilation_ratio)
        recipe = replace(recipe, counting=counting)
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"dilation_ratio": (self.counting.dilation_ratio, 0.02)}

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
    2013. A mask's contour are its pixels with one outside the mask or the image among their 8 (26)
    neighbours. Precision is the share of the predicted contour within the tolerance of the
    target's, in Euclidean distance, recall the reverse. The score of each image and class is
    averaged over images, then over classes; 0 where one contour is empty, nan where both are.

    The contours are drawn on the full maps, in which an ignored pixel of the target is of no class;
    then ignored pixels are left out.

    Args:
        tolerance: greater than 0. Below 1 a share of the image's diagonal, rounded up, and at least
            one pixel; otherwise pixels.
        average: over classes: ``"macro"``, or ``"none"`` (``None``) for one score a class. Not
            given for ``task="binary"``.
        include_background: ``False`` leaves class 0 out. Not given for ``task="binary"``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``; one-hot ``(N, C, H, W)`` beside scores.

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
        regions: bool = False,
        ignore_index: int | Sequence[int] | None = None,
        average: Literal["macro", "none"] | None = "macro",
        include_background: bool = True,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(
            num_classes,
            regions=regions,
            ignore_index=ignore_index,
            average=average,
            include_background=include_background,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
            class_names=class_names,
            **metric_kwargs,
        )
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
