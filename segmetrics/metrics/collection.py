"""The usual scores and those of the classes from one update, as a flat dict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan, prod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import boolean
from segmetrics._help import explained
from segmetrics.counting import count
from segmetrics.counting.inputs import read
from segmetrics.counting.settings import (
    Counting,
    CountingArguments,
    InputFormat,
    Task,
    Upsample,
)
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.counted import CountingMetric
from segmetrics.metrics.views import KeyedMetric, checked_prefix
from segmetrics.recipes import (
    AggregationLevel,
    AgreementArguments,
    Recipe,
    agreement_recipe,
    class_recipe,
    group_recipe,
)


@explained
class SegmentationMetrics(KeyedMetric, CountingMetric):
    """The usual scores and the IoU and Dice of every class, from one update and one sync.

    In [0, 1]. Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    section 5. Keys: ``mIoU``, ``mDice``, ``pixel_accuracy``, ``mean_accuracy``, ``fw_iou``, then
    ``iou/<class>`` and ``dice/<class>``. Classes that are left out (an ignored one, background)
    have no key. For ``task="binary"``: ``iou``, ``dice``, ``precision``, ``recall``,
    ``pixel_accuracy``.

    A label space with ``groups`` adds ``mIoU_category``, ``iou_category/<category>`` and
    ``dice_category/<category>``: the scores of masks in which the classes of a category are merged,
    as Cityscapes reports them. One with ``regions`` adds ``iou_region/<region>`` and
    ``dice_region/<region>``: each region is scored as the union of its classes, also of classes
    that averages leave out. All come from one confusion matrix, or samplewise from one an image.
    Multilabel has no confusion matrix and none of these keys.

    In a LightningModule ``self.log_dict(self.seg)`` in ``on_validation_epoch_end`` logs every key,
    with one sync an epoch and an automatic reset; ``self.seg["mIoU"]`` is the metric of one key.

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import SegmentationMetrics
        >>> seg = SegmentationMetrics(2, ignore_index=255, class_names=["road", "car"])
        >>> seg.update(torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[0, 0], [1, 255]]]))
        >>> {name: round(value.item(), 3) for name, value in seg.compute().items()}
        {'mIoU': 0.5, 'mDice': 0.667, 'pixel_accuracy': 0.667, 'mean_accuracy': 0.75,
         'fw_iou': 0.5, 'iou/road': 0.5, 'iou/car': 0.5, 'dice/road': 0.667, 'dice/car': 0.667}
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        class_names: Sequence[str] | None = None,
        per_class: bool = True,
        prefix: str | None = None,
        ignore_index: int | Sequence[int] | None = None,
        aggregation_level: AggregationLevel = "global",
        include_background: bool = True,
        zero_division: float = nan,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        boolean("per_class", per_class)
        keys_prefix = checked_prefix(prefix)
        counting = CountingArguments(
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        agreement = AgreementArguments(
            aggregation_level=aggregation_level, zero_division=zero_division, **counting
        )

        def of_classes(formula: scores.Formula, average: scores.Average = "macro") -> Recipe:
            return class_recipe(
                formula,
                num_classes,
                average=average,
                include_background=include_background,
                **agreement,
            )

        accuracy = agreement_recipe(scores.pixel_accuracy, num_classes, **agreement)
        categories: dict[str, tuple[int, ...]] = {}
        regions: dict[str, tuple[int, ...]] = {}
        if task == "binary":
            recipes = {
                "iou": of_classes(scores.iou),
                "dice": of_classes(scores.dice),
                "precision": of_classes(scores.precision),
                "recall": of_classes(scores.recall),
                "pixel_accuracy": accuracy,
            }
        else:
            recipes = {
                name: accuracy if average == "joint" else of_classes(formula, average)
                for name, (formula, average) in scores.USUAL.items()
            }
            categories = _categories(num_classes, recipes["mIoU"])
            if categories:
                recipes["mIoU_category"] = group_recipe(recipes["mIoU"], list(categories.values()))
            if per_class:
                recipes["iou/"] = of_classes(scores.iou, "none")
                recipes["dice/"] = of_classes(scores.dice, "none")
            if per_class and categories:
                recipes["iou_category/"] = group_recipe(recipes["iou/"], list(categories.values()))
                recipes["dice_category/"] = group_recipe(
                    recipes["dice/"], list(categories.values())
                )
            if regions := _regions(num_classes, accuracy.counting):
                for key, formula in (("iou_region/", scores.iou), ("dice_region/", scores.dice)):
                    recipes[key] = group_recipe(of_classes(formula, "none"), list(regions.values()))
        counting_of_all = accuracy.counting
        if categories or regions:  # they need the matrix, also of each image
            whole = replace(counting_of_all, per_image=False)
            recipes = {name: replace(recipe, counting=whole) for name, recipe in recipes.items()}
        names = [recipe.score.name for recipe in recipes.values()]
        names += ["u".join(map(str, group)) for r in recipes.values() for group in r.groups]
        super().__init__(
            counting_of_all,
            num_classes,
            class_names,
            scores_name="_".join(names),
            scores_shape=(sum(prod(recipe.shape) for recipe in recipes.values()),),
            **metric_kwargs,
        )
        self.recipes = recipes
        self.categories, self.regions = list(categories), list(regions)
        self.prefix = keys_prefix
        self._add_views()

    def _keys(self) -> list[str]:
        return list(self._positions())

    def _positions(self) -> dict[str, int]:
        """The index of each key's score; a class that is left out has no key."""
        keys: list[str | None] = []
        for name, recipe in self.recipes.items():
            if not recipe.shape:
                keys.append(name)
                continue
            if recipe.groups:
                titles = self.regions if name.endswith("region/") else self.categories
                keys += [name + title for title in titles]
                continue
            ignored = recipe.score.ignored
            labels = range(recipe.score.first, self.counting.num_classes)
            names = self._names()
            keys += [None if label in ignored else name + names[label] for label in labels]
        return {self.prefix + key: i for i, key in enumerate(keys) if key is not None}

    def _count(self, preds: Tensor, target: Tensor) -> Tensor:
        counting = next(iter(self.recipes.values())).counting
        if counting.per_image == self.counting.per_image or len(preds) != len(target):
            return super()._count(preds, target)  # raises if the batch sizes differ
        if not torch.compiler.is_compiling():
            read(preds, target, counting)  # raises with the shapes of the batch
        images = range(len(target))
        parts = [count(preds[i : i + 1], target[i : i + 1], counting) for i in images]
        if not parts:
            return count(preds, target, counting).expand(0, -1)
        return torch.stack(parts)

    def _score(self, counts: Tensor) -> Tensor:
        values = [recipe.of(counts) for recipe in self.recipes.values()]
        leading = 1 if self.counting.per_image else 0
        return torch.cat([v if v.ndim > leading else v.unsqueeze(-1) for v in values], -1)

    def _report(self, score: Tensor) -> dict[str, Tensor]:
        values = super()._report(score).unbind()
        return {key: values[position] for key, position in self._positions().items()}

    def _arguments(self) -> dict[str, tuple[object, object]]:
        first = next(iter(self.recipes.values())).score
        binary = self.counting.task == "binary"
        return super()._arguments() | {
            "include_background": (not first.first, True),
            "zero_division": (first.zero_division, nan),
            "per_class": (binary or "iou/" in self.recipes, True),
            "prefix": (self.prefix, ""),
        }

    def plot(
        self, val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None, ax: Any = None
    ) -> tuple[Any, Any]:
        """Draw the IoU of the classes as sorted bars, and the mean as a line; else all scores.

        Values over time are drawn as torchmetrics draws them. Needs matplotlib. Like ``compute``,
        every process must call it, unless a value is given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        return self._plot_classes(val, ax, of_classes="iou/", mean="mIoU", title="IoU")


def _categories(num_classes: int | LabelSpace | None, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """The classes of each category of a label space, without those that are left out."""
    if not _has_matrix(recipe.counting) or not isinstance(num_classes, LabelSpace):
        return {}
    score = recipe.score
    return num_classes.categories(left_out={*range(score.first), *score.ignored})


def _regions(
    num_classes: int | LabelSpace | None, counting: Counting
) -> dict[str, tuple[int, ...]]:
    """The classes of each region of a label space."""
    if not _has_matrix(counting) or not isinstance(num_classes, LabelSpace):
        return {}
    return num_classes.classes_of_regions()


def _has_matrix(counting: Counting) -> bool:
    """Whether a confusion matrix of classes is counted."""
    return counting.task == "multiclass"
