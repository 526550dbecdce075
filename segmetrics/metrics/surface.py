"""Distances between the surfaces of prediction and target, in physical units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import hypot, inf, isfinite, isnan, nan
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import boolean, identifier, number, one_of
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, CountingArguments, count, raise_if_bad
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import (
    MetricKwargs,
    SumMetric,
    checked_names,
    counting_arguments,
    default_names,
    uncompiled,
)
from segmetrics.metrics.views import KeyedMetric, checked_prefix
from segmetrics.recipes import class_recipe, exact
from segmetrics.surfaces import axes_of_size, bad_pixels, images, measure_surfaces
from segmetrics.surfaces.distances import (
    Measure,
    Scalar,
    average_distance,
    hausdorff,
    surface_dice,
)
from segmetrics.surfaces.maps import Maps

EmptyDistance = float | Literal["diagonal"]
#: One number for all axes, one an axis, or for every image of the batch one an axis.
Spacing = float | Sequence[float] | Sequence[Sequence[float]] | NDArray[np.floating] | Tensor
#: The same, checked.
Steps = float | tuple["Steps", ...]
#: Settings of readings that go without saying.
DEFAULTS = {"percentile": 100.0, "directed": False, "symmetric": True}


class ImageArguments(CountingArguments, MetricKwargs, total=False):
    """The arguments of every metric of contours or surfaces."""

    average: Literal["macro", "none"] | None
    include_background: bool
    class_names: Sequence[str] | None


class ImageMetric(SumMetric):
    """Numbers of every image and class, averaged over images.

    The state is the images' numbers as ``means`` sums them, followed by the bad pixels. All that
    decides its value is in its name.
    """

    spacing: Steps = 1.0
    words: Sequence[int] = means.OF_DISTANCES
    without_ignored = True

    def __init__(
        self,
        num_classes: int | LabelSpace | None,
        *,
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
        super().__init__(**metric_kwargs)
        one_of("average", average, ("macro", "none", None))
        self.recipe = class_recipe(  # says which classes count
            scores.iou,
            num_classes,
            average=average,
            include_background=include_background,
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        self.counting = self.recipe.counting
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, self.counting, self.label_space)
        # class 0 of a binary task is the foreground
        classes = self.counting.num_classes if task != "binary" else 1
        self.classes = list(range(self.recipe.score.first, classes))
        self.per_class = self.recipe.score.average == "none"
        self.labels = classes if task == "multiclass" else 1

    def _add_states(self, shape: tuple[int, ...], *settings: object) -> None:
        score = self.recipe.score
        name = identifier(*settings, score.average, score.first, self.counting.name)
        self.shape = shape
        self._add_sum(f"means_{name}", means.size(shape, self.words) + len(BAD_KINDS))

    @explained
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of images ``(N, H, W)`` or volumes ``(N, D, H, W)``."""
        self._add(self._batch(preds, target))

    @abstractmethod
    def _measure(self, maps: Maps, spacing: tuple[float, ...], judged: Tensor) -> Tensor:
        """The numbers of an image, in the state's shape, nan where there is none.

        ``judged`` says whether the image, or of multilabel each channel, has a counted pixel.
        """

    def _judged(self, preds: Tensor, target: Tensor) -> Tensor:
        """Whether images, ``(N,)`` or ``(N, C)``, are scored where both masks are empty."""
        return torch.ones(len(target), dtype=torch.bool, device=target.device)

    @uncompiled
    def _batch(
        self, preds: Tensor, target: Tensor, spacing: Spacing | None = None
    ) -> tuple[Tensor, ...]:
        steps = self.spacing if spacing is None else _checked_spacing(spacing)
        numbers = []
        maps_of_images = images(
            preds,
            target,
            self.counting,
            background=0 if self.counting.task == "multiclass" else 1,
            without_ignored=self.without_ignored,
        )
        size = read(preds, target, self.counting).target.shape[2:]
        judged = self._judged(preds, target)
        for i, maps in enumerate(maps_of_images):
            steps_of_image = _of_image(i, steps, size, len(target))
            numbers.append(self._measure(maps, steps_of_image, judged[i]))
        none = torch.empty((0, *self.shape), dtype=torch.float64)
        found = means.summed(torch.stack(numbers) if numbers else none, self.words)
        if found.device.type == "cpu":
            means.check(found, self.shape)
        bad = bad_pixels(preds, target, self.counting)
        return (torch.cat([found.to(bad.device), bad]),)

    def _value(self, *states: Tensor) -> Any:
        of_images = exact(states[0][: -len(BAD_KINDS)])
        return self._report(means.mean(of_images, self.shape, self.words))

    def _report(self, mean: Tensor) -> Any:
        """Means over images in float64, as they are handed out."""
        return mean.float().to(self.device)

    def _check(self, *states: Tensor) -> None:
        raise_if_bad(states[0][-len(BAD_KINDS) :], self.counting)
        means.check(states[0][: -len(BAD_KINDS)], self.shape)

    def _left_in(self) -> list[int]:
        """The classes that go into averages."""
        return [c for c in self.classes if c not in self.recipe.score.ignored]

    def _of_classes(self, numbers: Tensor) -> Tensor:
        """Numbers ``(..., classes left in)`` as ``(..., classes)``, nan for the others."""
        there = dict(zip(self._left_in(), numbers.unbind(-1), strict=True))
        missing = numbers.new_full(numbers.shape[:-1], nan)
        return torch.stack([there.get(c, missing) for c in self.classes], -1)

    def _names(self) -> list[str]:
        """Names of the classes with an entry, numbers where none were given."""
        return [self.class_names[c] if self.class_names else str(c) for c in self.classes]

    def _entries(self) -> list[str | None]:
        left_in = self._left_in()
        named = zip(self.classes, self._names(), strict=True)
        return [name if label in left_in else None for label, name in named]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        score = self.recipe.score
        return counting_arguments(self.counting, self.label_space) | {
            "average": (score.average, "micro" if self.counting.task == "binary" else "macro"),
            "include_background": (not score.first, True),
            "class_names": (self.class_names, default_names(self.label_space)),
        }

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw a value of ``compute`` or ``forward``, or a sequence of them, as torchmetrics does.

        Needs matplotlib.
        """
        return self._plot(val, ax)


@dataclass(frozen=True)
class Reading:
    """What is read off the distances of a class, and its value where one surface is empty.

    A tuple among the settings has one value for each class.
    """

    measure: Callable[..., Scalar]
    settings: Mapping[str, Any]
    empty: EmptyDistance
    both_empty: float = nan

    def of(self, label: int) -> Measure:
        """The measure of one class."""
        settings = {
            name: value[label] if isinstance(value, tuple) else value
            for name, value in self.settings.items()
        }
        return partial(self.measure, **settings)

    def when_empty(self, size: Sequence[int], spacing: Sequence[float]) -> float:
        """The value where one surface is empty, in an image of this size."""
        if self.empty == "diagonal":
            return hypot(*(length * step for length, step in zip(size, spacing, strict=True)))
        return self.empty

    @property
    def parts(self) -> list[object]:
        """The settings, for the name of a state."""
        values = (v if isinstance(v, tuple) else (v,) for v in self.settings.values())
        flat = [x for value in values for x in value]
        return [self.measure.__name__, *flat, self.empty, self.both_empty]


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
    segmentation of head and neck anatomy for radiotherapy", 2018. A piece lies in the middle of
    its 2×2(×2) pixels. In both the image's border is contour where the mask touches it.

    Args:
        surface: ``"pixels"``: the mask without its erosion by a cross, every pixel counting the
            same, as MONAI draws it. ``"elements"``: the segments of marching squares or the
            polygons of marching cubes, weighted by length or area. In both the image's border is
            surface where the mask touches it.
        spacing: distance between pixels in physical units, positive: one number for all axes, or
            one an axis.
        empty_distance: the distance where one mask is empty: ``inf``, ``"diagonal"`` for that of
            the image in the units of ``spacing``, or a number.
        both_empty: the value where both masks are empty, ``nan`` by default, which stays out of
            averages. Challenges use 0 for distances and 1 for the surface Dice. An image of nothing
            but ignored pixels is left out.
        ignore_index: one label or several, added to those of a label space. A pixel whose target
            has it belongs to no mask; one in ``[0, C)`` also leaves that class out of averages.
        average: ``"macro"``, the mean over each image's classes and then over images, or
            ``"none"`` (``None``), each class over the images that have it. Not given for
            ``task="binary"``.
        include_background: ``False`` leaves class 0 out. Not given for ``task="binary"``.

    Inputs of ``update`` and ``forward``:
        ``preds``: integer or bool labels ``(N, H, W)``, or scores ``(N, C, H, W)`` in fp32, fp64,
        fp16 or bf16; volumes have D in front of H. Binary: ``(N, H, W)`` or ``(N, 1, H, W)``.
        Multilabel: ``(N, C, H, W)``.
        ``target``: integer or bool labels ``(N, H, W)``; one-hot ``(N, C, H, W)`` beside scores.
        ``spacing``: optionally that of this batch, for all images or one row an image.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan if
        no image has the class.
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
                if isinstance(value, tuple) and len(value) != max(self.classes) + 1:
                    raise ValueError(
                        f"`{name}` must be one number, or one for each of the "
                        f"{max(self.classes) + 1} classes, got {len(value)}."
                    )
        self.readings = dict(readings)
        self.surface: Literal["pixels", "elements"] = surface
        self.spacing = _checked_spacing(spacing)
        if isinstance(self.spacing, tuple) and isinstance(self.spacing[0], tuple):
            raise ValueError(
                "`spacing` of a metric is one number or one an axis, got one for every image. "
                "Pass that to `update`."
            )
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
        return (len(self.classes),) if self.per_class else ()

    @explained
    def update(self, preds: Tensor, target: Tensor, spacing: Spacing | None = None) -> None:
        """Add a batch of images ``(N, H, W)`` or volumes ``(N, D, H, W)``.

        Args:
            spacing: distance between pixels in physical units: one number, one an axis, or one an
                axis for every image, ``(N, 2)`` or ``(N, 3)``. ``None`` takes the metric's own.
        """
        self._add(self._batch(preds, target, spacing))

    def _judged(self, preds: Tensor, target: Tensor) -> Tensor:
        if all(isnan(reading.both_empty) for reading in self.readings.values()):
            return super()._judged(preds, target)
        counting = replace(self.counting, per_image=True)
        _, _, there = counting.marginals(count(preds, target, counting))
        return there.sum(-1) > 0

    def _measure(self, maps: Maps, spacing: tuple[float, ...], judged: Tensor) -> Tensor:
        readings = self.readings.values()
        numbers = measure_surfaces(
            maps,
            {c: [reading.of(c) for reading in readings] for c in self._left_in()},
            [reading.when_empty(maps.size, spacing) for reading in readings],
            both_empty=[reading.both_empty for reading in readings],
            labels=self.labels,
            surface=self.surface,
            spacing=spacing,
        )
        if judged.ndim:  # of every channel
            judged = torch.stack([judged[c] for c in self._left_in()])
        return self._arrange(numbers.where(judged, nan))

    def _arrange(self, numbers: Tensor) -> Tensor:
        """Numbers ``(readings, classes left in)`` as the state holds them."""
        return self._of_classes(numbers[0]) if self.per_class else numbers[0].nanmean()


@explained
class HausdorffDistance(SurfaceMetric):
    """Hausdorff distance: how far the surfaces of prediction and target are from each other.

    In [0, inf], in the units of ``spacing``. The largest distance from a piece of one surface to
    the nearest of the other; Huttenlocher et al., "Comparing images using the Hausdorff distance",
    1993. ``percentile=95`` is the usual HD95: of each direction the percentile, then the larger.

    Args:
        percentile: in (0, 100]. Between pixels it is interpolated linearly; of ``"elements"`` it is
            the smallest distance within which that share of the surface lies.
        directed: whether only distances from prediction to target count.

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
    """

    higher_is_better = False
    plot_upper_bound = None  # type: ignore[assignment]  # none, as torchmetrics says it

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        percentile: float = 100.0,
        directed: bool = False,
        empty_distance: EmptyDistance = inf,
        both_empty: float = nan,
        surface: Literal["pixels", "elements"] = "pixels",
        spacing: Spacing = 1.0,
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
        reading = hausdorff_reading(percentile, directed, empty_distance, both_empty)
        super().__init__(
            {"hausdorff": reading},
            num_classes,
            surface=surface,
            spacing=spacing,
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
    plot_upper_bound = None  # type: ignore[assignment]  # none, as torchmetrics says it

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        symmetric: bool = True,
        empty_distance: EmptyDistance = inf,
        both_empty: float = nan,
        surface: Literal["pixels", "elements"] = "pixels",
        spacing: Spacing = 1.0,
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
        reading = average_reading(symmetric, empty_distance, both_empty)
        super().__init__(
            {"average_surface_distance": reading},
            num_classes,
            surface=surface,
            spacing=spacing,
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


@explained
class SurfaceDice(SurfaceMetric):
    """Surface Dice: the share of both surfaces that lies within a tolerance of the other.

    In [0, 1]; the normalised surface distance (NSD). Nikolov et al., 2018, section "Surface DSC".
    0 where one mask is empty, ``both_empty`` where both are.

    Args:
        tolerance: at least 0, in the units of ``spacing``: one number, or one for every class.

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
        surface: Literal["pixels", "elements"] = "pixels",
        spacing: Spacing = 1.0,
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
        reading = dice_reading(tolerance, both_empty)
        super().__init__(
            {"surface_dice": reading},
            num_classes,
            surface=surface,
            spacing=spacing,
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


@explained
class SurfaceMetrics(KeyedMetric, SurfaceMetric):
    """Hausdorff distance, average surface distance and surface Dice from one update.

    Distances in [0, inf], in the units of ``spacing``, surface Dice in [0, 1]; Nikolov et al.,
    "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
    radiotherapy", 2018. The distances, which are all the work, are computed once. ``compute`` and
    ``forward`` return a flat dict of float32 scalars: ``hausdorff``, ``average_surface_distance``,
    ``surface_dice``, each the mean over every image's classes and then over images, then
    ``hausdorff/<class>`` and so on, over the images that have the class. Classes that are left out
    have no key, and for ``task="binary"`` there are only the first three.

    In a LightningModule ``self.log_dict(self.surfaces)`` in ``on_validation_epoch_end`` logs every
    key, with one sync an epoch and an automatic reset. One image that misses a class makes the mean
    distance inf: to watch it, with ``EarlyStopping`` say, pass ``empty_distance="diagonal"``.

    Args:
        both_empty: the distances where both masks are empty, ``nan`` by default, which stays out of
            averages; for any number the surface Dice is 1 there. Challenges use 0.
        tolerance: of the surface Dice, at least 0, in the units of ``spacing``: one number, or one
            for every class.
        percentile: of the Hausdorff distance, in (0, 100]; 95 is the usual HD95.
        directed: whether the Hausdorff distance is from prediction to target only.
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

    higher_is_better = None  # type: ignore[assignment]  # neither, as torchmetrics says it
    plot_upper_bound = None  # type: ignore[assignment]  # none, as torchmetrics says it

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        tolerance: float | Sequence[float],
        percentile: float = 100.0,
        directed: bool = False,
        symmetric: bool = True,
        empty_distance: EmptyDistance = inf,
        both_empty: float = nan,
        per_class: bool = True,
        prefix: str | None = None,
        surface: Literal["pixels", "elements"] = "pixels",
        spacing: Spacing = 1.0,
        ignore_index: int | Sequence[int] | None = None,
        include_background: bool = True,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        boolean("per_class", per_class)
        keys_prefix = checked_prefix(prefix)
        self.class_keys = per_class and task != "binary"
        readings = {
            "hausdorff": hausdorff_reading(percentile, directed, empty_distance, both_empty),
            "average_surface_distance": average_reading(symmetric, empty_distance, both_empty),
            # two empty masks agree, whatever distance that is worth
            "surface_dice": dice_reading(tolerance, nan if isnan(both_empty) else 1.0),
        }
        super().__init__(
            readings,
            num_classes,
            surface=surface,
            spacing=spacing,
            ignore_index=ignore_index,
            include_background=include_background,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
            class_names=class_names,
            **metric_kwargs,
        )
        self.prefix = keys_prefix
        self._add_views()

    def _keys(self) -> list[str]:
        keys = list(self.readings)
        if self.class_keys:
            names = dict(zip(self.classes, self._names(), strict=True))
            keys += [f"{name}/{names[c]}" for name in self.readings for c in self._left_in()]
        return [self.prefix + key for key in keys]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        binary = self.counting.task == "binary"
        return super()._arguments() | {
            "per_class": (binary or self.class_keys, True),
            "prefix": (self.prefix, ""),
        }

    @property
    def _shape(self) -> tuple[int, ...]:
        return (len(self.readings) * (1 + self.class_keys * len(self._left_in())),)

    def _arrange(self, numbers: Tensor) -> Tensor:
        means = numbers.nanmean(-1)
        return torch.cat([means, numbers.flatten()]) if self.class_keys else means

    def _report(self, mean: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._keys(), super()._report(mean).unbind(), strict=True))


def hausdorff_reading(
    percentile: float, directed: bool, empty: EmptyDistance, both_empty: float
) -> Reading:
    """The Hausdorff distance with its settings."""
    percentile = number("percentile", percentile)
    if not 0 < percentile <= 100:
        raise ValueError(f"`percentile` must be in (0, 100], got {percentile}.")
    settings = {"percentile": percentile, "directed": boolean("directed", directed)}
    return Reading(hausdorff, settings, _checked_empty(empty), number("both_empty", both_empty))


def average_reading(symmetric: bool, empty: EmptyDistance, both_empty: float) -> Reading:
    """The average surface distance with its settings."""
    settings = {"symmetric": boolean("symmetric", symmetric)}
    return Reading(
        average_distance, settings, _checked_empty(empty), number("both_empty", both_empty)
    )


def dice_reading(tolerance: float | Sequence[float], both_empty: float) -> Reading:
    """The surface Dice with its settings."""
    if isinstance(tolerance, Sequence):
        checked: float | tuple[float, ...] = tuple(number("tolerance", t, 0) for t in tolerance)
    else:
        checked = number("tolerance", tolerance, 0)
    return Reading(surface_dice, {"tolerance": checked}, 0.0, number("both_empty", both_empty))


def _checked_empty(empty: EmptyDistance) -> EmptyDistance:
    return "diagonal" if empty == "diagonal" else number("empty_distance", empty)


def _checked_spacing(spacing: Spacing) -> Steps:
    """A spacing as a float, floats, or for every image floats.

    A sequence of tensors is what a ``DataLoader`` makes of tuples: one tensor an axis.
    """
    if isinstance(spacing, list | tuple) and any(isinstance(s, Tensor) and s.ndim for s in spacing):
        axes = [torch.as_tensor(axis) for axis in spacing]
        if len({axis.shape for axis in axes}) > 1:
            raise ValueError(
                "`spacing` as one tensor an axis needs tensors of one length, got "
                f"{[tuple(axis.shape) for axis in axes]}."
            )
        spacing = torch.stack(axes, -1)
    if isinstance(spacing, Tensor | np.ndarray):
        spacing = spacing.tolist()
    if isinstance(spacing, list | tuple):
        return tuple(_checked_spacing(part) for part in spacing)
    step = number("spacing", spacing)
    if not (isfinite(step) and step > 0):
        raise ValueError(f"`spacing` must be positive and finite, got {step}.")
    return step


def _of_image(image: int, steps: Steps, size: Sequence[int], images_: int) -> tuple[float, ...]:
    """The spacing of one image along every axis; see ``axes_of_size``."""
    axes = axes_of_size(size)
    if not isinstance(steps, tuple):
        return (steps,) * len(axes)
    of_images = any(isinstance(step, tuple) for step in steps)
    given = steps if not of_images else steps[image] if len(steps) == images_ else ()
    numbers = [s for s in (given if isinstance(given, tuple) else ()) if not isinstance(s, tuple)]
    if len(numbers) == len(size):
        numbers = [numbers[axis] for axis in axes]
    if len(numbers) != len(axes):
        raise ValueError(
            f"`spacing` must be one number, one for each of the {len(size)} axes, or that for each "
            f"of the {images_} images, got {steps}."
        )
    return tuple(numbers)
