"""Distances between the surfaces of prediction and target, in physical units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isnan, nan
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import one_of
from segmetrics._help import explained
from segmetrics.counting import count
from segmetrics.labels import LabelSpace
from segmetrics.metrics.per_image import ImageArguments, ImageMetric, MaskArguments
from segmetrics.metrics.readings import (
    DEFAULTS,
    EmptyDistance,
    Reading,
    average_reading,
    dice_reading,
    hausdorff_reading,
)
from segmetrics.metrics.spacing import Spacing, metric_spacing
from segmetrics.surfaces import measure_surfaces
from segmetrics.surfaces.distances import surface_dice
from segmetrics.surfaces.maps import Maps


class MeasuringArguments(MaskArguments, total=False):
    """The arguments that say which surfaces are measured, and in which units."""

    surface: Literal["pixels", "elements"]
    spacing: Spacing


class SurfaceArguments(MeasuringArguments, ImageArguments, total=False):
    """The arguments of ``SurfaceMetric``, for metrics that add arguments of their own."""


class SurfaceMetric(ImageMetric):
    """Distances between surfaces.

    The surface of a mask in an image of 4×4 pixels::

           the mask        "pixels"        "elements"
                                           ╭───────╮
            # # # .         o o o .        │ # # # │ .
            # # # .         o # o .        │ # # # │ .
            # # # .         o o o .        │ # # # │ .
            . . . .         . . . .        ╰───────╯ .

                           8 pixels      12 pieces, 8 of length 1
                                         and 4 of length √½

    ``"pixels"``: the mask without its erosion by a cross, as MONAI draws it; every pixel counts
    the same. ``"elements"``: the segments of marching squares or the polygons of marching cubes,
    weighted by length or area; Nikolov et al., "Deep learning to achieve clinically applicable
    segmentation of head and neck anatomy for radiotherapy", 2018. The position of a piece is the
    centre of its 2×2(×2) pixels. With both, the image's border is surface where the mask touches
    it.

    Args:
        surface: ``"pixels"``: the mask without its erosion by a cross, every pixel counting the
            same, as MONAI draws it. ``"elements"``: the segments of marching squares or the
            polygons of marching cubes, weighted by length or area. With both, the image's border is
            surface where the mask touches it.
        spacing: distance between pixels in physical units, positive: one number for all axes, or
            one an axis.
        empty_distance: the distance if one mask is empty: ``inf``, ``"diagonal"`` for the image's
            diagonal in the units of ``spacing``, or a number.
        both_empty: the value if both masks are empty; ``nan`` stays out of averages. Challenges use
            0 for distances and 1 for the surface Dice. An image of only ignored pixels is left out.
        ignore_index: one label or several, added to those of a label space. A pixel whose target
            has it is in no mask; one in ``[0, C)`` also leaves that class out of averages.
        average: ``"macro"``, the mean over each image's classes (or regions) and then over images,
            or ``"none"`` (``None``), each class over the images that have it. Not given for
            ``task="binary"``.
        include_background: ``False`` leaves class 0 out. Not given for ``task="binary"``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``, or with scores one-hot ``(N, C, H, W)``.
        ``spacing``: optionally the spacing of this batch, for all images or one row an image.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background, one a
        region with ``regions=True``); nan if no image has the class.
    """

    _inputs = ("preds", "target", "spacing")

    def __init__(
        self,
        readings: Mapping[str, Reading],
        num_classes: int | LabelSpace | None,
        *,
        surface: Literal["pixels", "elements"] = "pixels",
        spacing: Spacing = 1.0,
        **arguments: Unpack[ImageArguments],
    ) -> None:
        super().__init__(num_classes, **arguments)
        one_of("surface", surface, ("pixels", "elements"))
        for reading in readings.values():
            for name, value in reading.settings.items():
                if isinstance(value, tuple) and len(value) != len(self.masks):
                    raise ValueError(
                        f"`{name}` must be one number, or one for each of the {len(self.masks)} "
                        f"{self._kinds_of_masks()}, got {len(value)}."
                    )
        self.readings = dict(readings)
        self.surface: Literal["pixels", "elements"] = surface
        self.spacing = metric_spacing(spacing)
        steps = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
        parts = [part for reading in readings.values() for part in reading.parts]
        self._add_states(self._shape, surface, *steps, *parts)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        readings = self.readings.values()
        measured = [reading.settings.items() for reading in readings]
        distances = [reading.empty for reading in readings if reading.measure is not surface_dice]
        return super()._arguments() | {
            "surface": (self.surface, "pixels"),
            "spacing": (self.spacing, 1.0),
            "empty_distance": (distances[0] if distances else inf, inf),
            "both_empty": (next(reading.both_empty for reading in readings), nan),
            **{name: (value, DEFAULTS.get(name)) for items in measured for name, value in items},
        }

    @property
    def _shape(self) -> tuple[int, ...]:
        return (len(self.entries),) if self.per_class else ()

    def _kinds_of_masks(self) -> str:
        return "regions" if isinstance(self.masks[0], tuple) else "classes"

    @explained
    def update(self, preds: Tensor, target: Tensor, spacing: Spacing | None = None) -> None:
        """Add a batch of images ``(N, H, W)`` or volumes ``(N, D, H, W)``.

        Args:
            spacing: distance between pixels in physical units: one number, one an axis, or one an
                axis for every image, ``(N, 2)`` or ``(N, 3)``. ``None`` uses the metric's.
        """
        self._add(self._batch(preds, target, spacing))

    def _judged(self, preds: Tensor, target: Tensor) -> Tensor:
        if all(isnan(reading.both_empty) for reading in self.readings.values()):
            return super()._judged(preds, target)
        counting = replace(self.counting, per_image=True)
        _, _, there = counting.marginals(count(preds, target, counting))
        return there.sum(-1) > 0

    def _measure(self, maps: Maps, spacing: tuple[float, ...], judged: Tensor) -> Tensor:
        readings, masks = self.readings.values(), self._left_in()
        numbers = measure_surfaces(
            maps,
            [(mask, [reading.of(i) for reading in readings]) for i, mask in masks.items()],
            [reading.when_empty(maps.size, spacing) for reading in readings],
            both_empty=[reading.both_empty for reading in readings],
            labels=self.labels,
            surface=self.surface,
            spacing=spacing,
        )
        if judged.ndim:  # one a channel
            judged = torch.stack([judged[c] for c in masks])
        return self._arrange(numbers.where(judged, nan))

    def _arrange(self, numbers: Tensor) -> Tensor:
        """Numbers ``(readings, averaged masks)`` in the shape of the state."""
        return self._of_entries(numbers[0]) if self.per_class else numbers[0].nanmean()


@explained
class HausdorffDistance(SurfaceMetric):
    """Hausdorff distance: how far the surfaces of prediction and target are from each other.

    In [0, inf], in the units of ``spacing``. The largest distance from a piece of one surface to
    the nearest of the other; Huttenlocher et al., "Comparing images using the Hausdorff distance",
    1993. ``percentile=95`` is the usual HD95: the larger of the percentiles of both directions.
    medpy's ``hd95`` pools the distances of both directions first: ``pooled=True``.

    Args:
        percentile: in (0, 100], one number, or one for every class (or region). For pixels it is
            interpolated linearly; for ``"elements"`` it is the smallest distance within which that
            share of the surface lies.
        directed: whether only distances from prediction to target count.
        pooled: whether the percentile is taken over the distances of both directions together,
            instead of the larger of two percentiles. At 100 both are the same.

    Example:
        >>> import torch
        >>> from segmetrics import HausdorffDistance
        >>> target = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> target[:, :3, :3] = 1
        >>> preds = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> preds[:, :2, :3] = 1
        >>> HausdorffDistance(2, include_background=False)(preds, target)
        tensor(1.)
        >>> HausdorffDistance(task="binary", surface="elements", spacing=(3.0, 1.0))(preds, target)
        tensor(3.)
        >>> from segmetrics.labels import LabelSpace
        >>> names = ["background", "edema", "enhancing"]
        >>> brats = LabelSpace(names, regions={"WT": names[1:], "ET": ["enhancing"]})
        >>> hd95 = HausdorffDistance(brats, percentile=95, regions=True, average="none")
        >>> hd95.update(preds, target)
        >>> hd95.compute_scalars()
        {'WT': 1.0, 'ET': None}
    """

    higher_is_better = False
    plot_upper_bound = None  # type: ignore[assignment]  # unbounded, as in torchmetrics

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        percentile: float | Sequence[float] = 100.0,
        directed: bool = False,
        pooled: bool = False,
        empty_distance: EmptyDistance = inf,
        both_empty: float = nan,
        **arguments: Unpack[SurfaceArguments],
    ) -> None:
        reading = hausdorff_reading(percentile, directed, pooled, empty_distance, both_empty)
        super().__init__({"hausdorff": reading}, num_classes, **arguments)


@explained
class AverageSurfaceDistance(SurfaceMetric):
    """Average distance between the surfaces of prediction and target.

    In [0, inf], in the units of ``spacing``. The mean of the distances from every piece of either
    surface to the nearest of the other, both directions pooled (ASSD); Heimann et al., "Comparison
    and evaluation of methods for liver segmentation from CT datasets", 2009.

    Args:
        symmetric: whether both directions are pooled; ``False`` takes the distances from prediction
            to target only.

    Example:
        >>> import torch
        >>> from segmetrics import AverageSurfaceDistance
        >>> target = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> target[:, :3, :3] = 1
        >>> preds = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> preds[:, :2, :3] = 1
        >>> AverageSurfaceDistance(2, include_background=False)(preds, target)
        tensor(0.2857)
        >>> AverageSurfaceDistance(2, include_background=False, surface="elements")(preds, target)
        tensor(0.2754)
    """

    higher_is_better = False
    plot_upper_bound = None  # type: ignore[assignment]  # unbounded, as in torchmetrics

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        symmetric: bool = True,
        empty_distance: EmptyDistance = inf,
        both_empty: float = nan,
        **arguments: Unpack[SurfaceArguments],
    ) -> None:
        reading = average_reading(symmetric, empty_distance, both_empty)
        super().__init__({"average_surface_distance": reading}, num_classes, **arguments)


@explained
class SurfaceDice(SurfaceMetric):
    """Surface Dice: the share of both surfaces that lies within a tolerance of the other.

    In [0, 1]; the normalised surface distance (NSD). Nikolov et al., 2018, section "Surface DSC".
    0 where one mask is empty, ``both_empty`` where both are.

    Args:
        tolerance: at least 0, in the units of ``spacing``: one number, or one for every class (or
            region).

    Example:
        >>> import torch
        >>> from segmetrics import SurfaceDice
        >>> target = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> target[:, :3, :3] = 1
        >>> preds = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> preds[:, :2, :3] = 1
        >>> SurfaceDice(2, tolerance=0.5, include_background=False)(preds, target)
        tensor(0.7143)
        >>> SurfaceDice(2, tolerance=[0.5, 1.0], average="none")(preds, target)
        tensor([0.8235, 1.0000])
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        tolerance: float | Sequence[float],
        both_empty: float = nan,
        **arguments: Unpack[SurfaceArguments],
    ) -> None:
        reading = dice_reading(tolerance, both_empty)
        super().__init__({"surface_dice": reading}, num_classes, **arguments)
