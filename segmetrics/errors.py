"""Kinds of wrong pixels: boundary, extent and segment errors; and scores near boundaries.

The command reports them with ``segmetrics evaluate --errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics._arguments import integer, number
from segmetrics.counting import Counting
from segmetrics.counting.settings import InputFormat
from segmetrics.labels import LabelSpace
from segmetrics.scores import Statistics, iou
from segmetrics.surfaces import BandCounting, images
from segmetrics.surfaces.errors import KINDS, count_errors, count_near_boundaries
from segmetrics.surfaces.maps import Maps, volumes


def error_types(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace,
    *,
    width: float = 0.01,
    ignore_index: int | Sequence[int] | None = None,
    input_format: InputFormat | None = None,
) -> dict[str, Tensor]:
    """Count the pixels of every class by kind of error.

    A wrong pixel is false (predicted as the class) or missed (of the class in the target). It is a
    boundary error if true positives and true negatives of the class are both within the width; an
    extent error if its segment, the connected pixels of the class in the prediction or in the
    target, holds a right pixel; and a segment error if not. Divided by their sum, the pixels of a
    class are its IoU (``right``) and the IoU that each kind of error costs.

    Args:
        preds: integer labels ``(N, H, W)`` or ``(N, D, H, W)``, or scores ``(N, C, ...)``.
        target: integer labels ``(N, H, W)`` or ``(N, D, H, W)``.
        num_classes: C, or a ``LabelSpace``.
        width: the largest distance of boundary errors, as a share of the diagonal of the image, and
            at least one pixel.
        ignore_index: target values that do not count.
        input_format: as in ``MeanIoU``.

    Returns:
        Pixels by kind, each int64 ``(C,)``: ``right``, ``false_boundary``, ``false_extent``,
        ``false_segment``, ``missed_boundary``, ``missed_extent``, ``missed_segment``. They may be
        summed over batches. Segments, widths and distances are those of each image.

    Raises:
        TypeError, ValueError: inputs that do not match, and bad labels, as in ``BoundaryIoU``.

    Source: Bernhard et al., "What's Outside the Intersection? Fine-grained Error Analysis for
    Semantic Segmentation Beyond IoU", WACV 2024.

    Example:
        >>> target = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> target[:, 2:6, 2:6] = 1
        >>> preds = target.roll(1, 2)  # a column too far to the right
        >>> preds[:, 0, 0] = 1  # and a speck
        >>> for kind, pixels in error_types(preds, target, 2).items():
        ...     print(kind, pixels[1].item())
        right 12
        false_boundary 4
        false_extent 0
        false_segment 1
        missed_boundary 4
        missed_extent 0
        missed_segment 0
    """
    if not 0 < number("width", width) < inf:
        raise ValueError(f"`width` must be greater than 0 and finite, got {width}.")
    counting = _counting(num_classes, ignore_index, input_format, width)
    counts = torch.zeros(counting.labels, 7, dtype=torch.int64)
    for maps in images(preds, target, counting):
        of_preds, of_target = _volumes(maps)
        reach = counting.reach(maps.size)
        counts += torch.from_numpy(count_errors(of_preds, of_target, counting.labels, reach))
    names = ["right", *(f"{way}_{kind}" for way in ("false", "missed") for kind in KINDS)]
    return dict(zip(names, counts.to(target.device).unbind(1), strict=True))


def trimap_iou(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace,
    *,
    reach: int = 20,
    ignore_index: int | Sequence[int] | None = None,
    input_format: InputFormat | None = None,
) -> Tensor:
    """IoU over the pixels within 1, 2, ... ``reach`` of a boundary of the target, in one pass.

    The distance of a pixel is that to the nearest pixel with a different label, ignored ones
    included. Masks are worst near boundaries, which a score over whole images hides.

    Args:
        preds: integer labels ``(N, H, W)`` or ``(N, D, H, W)``, or scores ``(N, C, ...)``.
        target: integer labels ``(N, H, W)`` or ``(N, D, H, W)``.
        num_classes: C, or a ``LabelSpace``.
        reach: the largest distance, in pixels.
        ignore_index: target values that do not count.
        input_format: as in ``MeanIoU``.

    Returns:
        float64 ``(reach, C)`` in [0, 1]; nan for a class without pixels so near. Row d − 1 has the
        IoU within d, pooled over the images; ``nanmean(1)`` is the curve of the mIoU.

    Raises:
        TypeError, ValueError: inputs that do not match, and bad labels, as in ``BoundaryIoU``.

    Source: Kohli, Ladický and Torr, "Robust Higher Order Potentials for Enforcing Label
    Consistency", IJCV 82 (2009); Csurka et al., "What is a good evaluation measure for semantic
    segmentation?", BMVC 2013.

    Example:
        >>> target = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> target[:, 4:] = 1
        >>> preds = torch.zeros(1, 8, 8, dtype=torch.int64)
        >>> preds[:, 5:] = 1
        >>> trimap_iou(preds, target, 2, reach=3).nanmean(1)
        tensor([0.2500, 0.5833, 0.7083], dtype=torch.float64)
    """
    if integer("reach", reach) < 1:
        raise ValueError(f"`reach` must be at least 1 pixel, got {reach}.")
    counting = _counting(num_classes, ignore_index, input_format, 1.0)
    counts = torch.zeros(reach, counting.labels, 3, dtype=torch.int64)
    for maps in images(preds, target, counting):
        of_preds, of_target = _volumes(maps)
        found = count_near_boundaries(of_preds, of_target, counting.labels, reach)
        counts += torch.from_numpy(found)
    right, predicted, true = counts.unbind(-1)
    ious: Tensor = iou(Statistics.of(right, predicted, true), float("nan"))
    return ious.to(target.device)


def _counting(
    num_classes: int | LabelSpace,
    ignore_index: int | Sequence[int] | None,
    input_format: InputFormat | None,
    width: float,
) -> BandCounting:
    counting = Counting.of(num_classes, ignore_index=ignore_index, input_format=input_format)
    return BandCounting(**vars(counting), dilation_ratio=width)


def _volumes(maps: Maps) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The label maps of an image as volumes without padding."""
    inner = tuple(slice(1, -1) for _ in maps.size)
    preds, target = (volumes([side[0][inner].cpu().numpy()])[0] for side in maps)
    return np.ascontiguousarray(preds), np.ascontiguousarray(target)
