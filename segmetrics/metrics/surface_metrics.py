"""All surface metrics from one update, as a flat dict that Lightning logs."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan, nan

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import boolean
from segmetrics._help import explained
from segmetrics.labels import LabelSpace
from segmetrics.metrics.readings import (
    EmptyDistance,
    average_reading,
    dice_reading,
    hausdorff_reading,
)
from segmetrics.metrics.surface import MeasuringArguments, SurfaceMetric
from segmetrics.metrics.views import KeyedMetric, checked_prefix
from segmetrics.surfaces.maps import Mask


@explained
class SurfaceMetrics(KeyedMetric, SurfaceMetric):
    """Hausdorff distance, average surface distance and surface Dice from one update.

    Distances in [0, inf], in the units of ``spacing``, surface Dice in [0, 1]; Nikolov et al.,
    "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
    radiotherapy", 2018. The distances, which take the time, are computed once. ``compute`` and
    ``forward`` return a flat dict of float32 scalars: ``hausdorff``, ``average_surface_distance``,
    ``surface_dice``, each the mean over every image's classes and then over images, then
    ``hausdorff/<class>`` and so on, over the images that have the class. Classes that are left out
    have no key, and for ``task="binary"`` there are only the first three. A label space with
    ``regions`` adds ``hausdorff_region/<region>`` and so on: each region is measured as one mask,
    the union of its classes, also of classes that averages leave out. Only multiclass has regions.

    In a LightningModule ``self.log_dict(self.surfaces)`` in ``on_validation_epoch_end`` logs every
    key, with one sync an epoch and an automatic reset. One image that misses a class makes the mean
    distance inf. To monitor it, as with ``EarlyStopping``, pass ``empty_distance="diagonal"``.

    Args:
        both_empty: the distances if both masks are empty; ``nan`` stays out of averages. With any
            number the surface Dice is 1 there. Challenges use 0.
        tolerance: of the surface Dice, at least 0, in the units of ``spacing``: one number, or one
            for every class, followed by those of the regions.
        percentile: of the Hausdorff distance, in (0, 100]; 95 is the usual HD95. One number, or one
            for every class, followed by those of the regions.
        directed: whether the Hausdorff distance is from prediction to target only.
        pooled: whether its percentile is over the distances of both directions together, as in
            medpy.
        symmetric: whether the average is over both directions; ``False`` takes the distances from
            prediction to target only.

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan if no image has the class.

    Example:
        >>> import torch
        >>> from segmetrics import SurfaceMetrics
        >>> target = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> target[:, :3, :3] = 1
        >>> preds = torch.zeros(1, 4, 4, dtype=torch.int64)
        >>> preds[:, :2, :3] = 1
        >>> surfaces = SurfaceMetrics(task="binary", tolerance=0.5)
        >>> surfaces.update(preds, target)
        >>> {name: round(value.item(), 3) for name, value in surfaces.compute().items()}
        {'hausdorff': 1.0, 'average_surface_distance': 0.286, 'surface_dice': 0.714}
    """

    higher_is_better = None  # type: ignore[assignment]  # neither, as in torchmetrics
    plot_upper_bound = None  # type: ignore[assignment]  # unbounded, as in torchmetrics
    adds_regions = True

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        tolerance: float | Sequence[float],
        percentile: float | Sequence[float] = 100.0,
        directed: bool = False,
        pooled: bool = False,
        symmetric: bool = True,
        empty_distance: EmptyDistance = inf,
        both_empty: float = nan,
        per_class: bool = True,
        prefix: str | None = None,
        **arguments: Unpack[MeasuringArguments],
    ) -> None:
        boolean("per_class", per_class)
        keys_prefix = checked_prefix(prefix)
        self.class_keys = per_class and arguments.get("task") != "binary"
        readings = {
            "hausdorff": hausdorff_reading(
                percentile, directed, pooled, empty_distance, both_empty
            ),
            "average_surface_distance": average_reading(symmetric, empty_distance, both_empty),
            # two empty masks agree, whatever the distance
            "surface_dice": dice_reading(tolerance, nan if isnan(both_empty) else 1.0),
        }
        super().__init__(readings, num_classes, **arguments)
        self.prefix = keys_prefix
        self._add_views()

    def _keys(self) -> list[str]:
        classes, regions = self._places()
        shown = [("/", classes if self.class_keys else []), ("_region/", regions)]
        keys = list(self.readings)
        for sign, places in shown:
            keys += [f"{key}{sign}{self.mask_names[i]}" for key in self.readings for i in places]
        return [self.prefix + key for key in keys]

    def _places(self) -> tuple[list[int], list[int]]:
        """The indices of the averaged classes, and of the regions, which are not averaged."""
        of_regions = [i for i, mask in enumerate(self.masks) if isinstance(mask, tuple)]
        return list(super()._left_in()), of_regions

    def _left_in(self) -> dict[int, Mask]:
        classes, regions = self._places()
        return {i: self.masks[i] for i in classes + regions}

    def _arguments(self) -> dict[str, tuple[object, object]]:
        binary = self.counting.task == "binary"
        return super()._arguments() | {
            "per_class": (binary or self.class_keys, True),
            "prefix": (self.prefix, ""),
        }

    @property
    def _shape(self) -> tuple[int, ...]:
        classes, regions = self._places()
        shown = self.class_keys * len(classes) + len(regions)
        return (len(self.readings) * (1 + shown),)

    def _kinds_of_masks(self) -> str:
        return "classes and regions" if self._places()[1] else "classes"

    def _arrange(self, numbers: Tensor) -> Tensor:
        classes, regions = numbers.split([len(places) for places in self._places()], -1)
        of_classes = classes if self.class_keys else classes[:, :0]
        return torch.cat([classes.nanmean(-1), of_classes.flatten(), regions.flatten()])

    def _report(self, mean: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._keys(), super()._report(mean).unbind(), strict=True))
