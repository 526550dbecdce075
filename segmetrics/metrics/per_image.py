"""The base of metrics of contours and surfaces: numbers of each image, averaged over images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import nan
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import boolean, identifier, one_of
from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, Counting, CountingArguments, raise_if_bad
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import Fixed, MetricKwargs, SumMetric, uncompiled
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.metrics.spacing import Spacing, Steps, checked_spacing, spacing_of_image
from segmetrics.recipes import class_recipe, exact
from segmetrics.surfaces import bad_pixels, images
from segmetrics.surfaces.maps import Maps, Mask


class MaskArguments(CountingArguments, MetricKwargs, total=False):
    """The arguments that say which masks of an image are measured."""

    include_background: bool
    class_names: Sequence[str] | None


class ImageArguments(MaskArguments, total=False):
    """The arguments of ``ImageMetric``, for metrics that add arguments of their own."""

    regions: bool
    average: Literal["macro", "none"] | None


class ImageMetric(SumMetric):
    """Numbers of every image and class, or region, averaged over images.

    The state holds the sums of the images' numbers (see ``means``), followed by the bad pixels. Its
    name holds all settings that affect its value.
    """

    spacing: Steps = 1.0
    words: Sequence[int] = means.OF_DISTANCES
    without_ignored = True

    #: Whether the regions of a label space are measured after the classes.
    adds_regions = False

    regions = Fixed[bool]()

    def __init__(
        self,
        num_classes: int | LabelSpace | None,
        *,
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
        super().__init__(**metric_kwargs)
        one_of("average", average, ("macro", "none", None))
        self.recipe = class_recipe(  # checks the arguments, and finds the classes that are averaged
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
        self.labels = classes if task == "multiclass" else 1
        self.per_class = self.recipe.score.average == "none"
        #: All masks, in the order of per-mask settings, and the indices of those with an entry.
        self.masks: list[Mask] = list(range(classes))
        self.mask_names = self.class_names or [str(c) for c in range(classes)]
        self.entries = list(range(self.recipe.score.first, classes))
        if boolean("regions", regions):
            of_regions = _regions(num_classes, self.counting)
            self.masks, self.mask_names = list(of_regions.values()), list(of_regions)
            self.entries = list(range(len(of_regions)))
        elif self.adds_regions and task == "multiclass" and self.label_space:
            of_regions = self.label_space.classes_of_regions()
            self.masks += of_regions.values()
            self.mask_names = [*self.mask_names, *of_regions]

    def _add_states(self, shape: tuple[int, ...], *settings: object) -> None:
        score = self.recipe.score
        regions = ["u".join(map(str, m)) for m in self.masks if isinstance(m, tuple)]
        parts = *settings, *regions, score.average, score.first, self.counting.name
        self.shape = shape
        self._add_sum(f"means_{identifier(*parts)}", means.size(shape, self.words) + len(BAD_KINDS))

    @explained
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of images ``(N, H, W)`` or volumes ``(N, D, H, W)``."""
        self._add(self._batch(preds, target))

    @abstractmethod
    def _measure(self, maps: Maps, spacing: tuple[float, ...], judged: Tensor) -> Tensor:
        """The numbers of an image, in the state's shape, nan where undefined.

        ``judged``: whether the image, or for multilabel each channel, has a counted pixel.
        """

    def _judged(self, preds: Tensor, target: Tensor) -> Tensor:
        """Whether images, ``(N,)`` or ``(N, C)``, are scored where both masks are empty."""
        return torch.ones(len(target), dtype=torch.bool, device=target.device)

    @uncompiled
    def _batch(
        self, preds: Tensor, target: Tensor, spacing: Spacing | None = None
    ) -> tuple[Tensor, ...]:
        steps = self.spacing if spacing is None else checked_spacing(spacing)
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
            steps_of_image = spacing_of_image(i, steps, size, len(target))
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
        """Float64 means over images as they are returned."""
        return mean.float().to(self.device)

    def _check(self, *states: Tensor) -> None:
        raise_if_bad(states[0][-len(BAD_KINDS) :], self.counting)
        means.check(states[0][: -len(BAD_KINDS)], self.shape)

    def _left_in(self) -> dict[int, Mask]:
        """The masks that are averaged, by index."""
        ignored = self.recipe.score.ignored
        return {i: self.masks[i] for i in self.entries if self.masks[i] not in ignored}

    def _of_entries(self, numbers: Tensor) -> Tensor:
        """Numbers ``(..., masks left in)`` as ``(..., entries)``, nan for the others."""
        there = dict(zip(self._left_in(), numbers.unbind(-1), strict=True))
        missing = numbers.new_full(numbers.shape[:-1], nan)
        return torch.stack([there.get(i, missing) for i in self.entries], -1)

    def _entries(self) -> list[str | None]:
        left_in = self._left_in()
        return [self.mask_names[i] if i in left_in else None for i in self.entries]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        score = self.recipe.score
        return counting_arguments(self.counting, self.label_space) | {
            "average": (score.average, "micro" if self.counting.task == "binary" else "macro"),
            "include_background": (not score.first, True),
            "regions": (all(isinstance(mask, tuple) for mask in self.masks), False),
            "class_names": (self.class_names, default_names(self.label_space)),
        }

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw a value of ``compute`` or ``forward``, or a sequence of them, as torchmetrics does.

        Needs matplotlib.
        """
        return self._plot(val, ax)


def _regions(
    num_classes: int | LabelSpace | None, counting: Counting
) -> dict[str, tuple[int, ...]]:
    """The regions of a label space, which are scored instead of its classes."""
    if counting.task != "multiclass":
        raise ValueError(
            f"`regions` are unions of the classes of label maps, got task={counting.task!r}. Leave "
            "it out: channels of multilabel masks may overlap, and each is scored as it is."
        )
    found = num_classes.classes_of_regions() if isinstance(num_classes, LabelSpace) else {}
    if not found:
        raise ValueError(
            "`regions=True` needs a label space that has regions, got `num_classes` "
            f"{num_classes!r}. Pass `LabelSpace(names, regions={{'WT': [...]}})`."
        )
    return found
