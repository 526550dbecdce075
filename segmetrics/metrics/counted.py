"""Metrics of counted pixels: their state, their score and their arguments."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._help import explained
from segmetrics.counting import BAD_KINDS, Counting, count, raise_if_bad
from segmetrics.labels import LabelSpace
from segmetrics.metrics import means
from segmetrics.metrics.base import MetricKwargs, SumMetric
from segmetrics.recipes import Recipe, exact


class CountingMetric(SumMetric):
    """A metric of counted pixels.

    The state is one int64 tensor: counts, or samplewise the sums of the images' scores (see
    ``means``), followed by the bad pixels. Its name holds all settings that affect its value:
    ``MetricCollection`` merges metrics whose states have equal names and values, and so never
    merges metrics that count differently.
    """

    def __init__(
        self,
        counting: Counting,
        num_classes: int | LabelSpace | None,
        class_names: Sequence[str] | None = None,
        *,
        scores_name: str = "",
        scores_shape: tuple[int, ...] = (),
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(**metric_kwargs)
        self.counting = counting
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, counting, self.label_space)
        self.scores_shape = scores_shape
        if counting.per_image:
            name = f"means_{scores_name}_{counting.name}"
            self._add_sum(name, means.size(scores_shape, means.OF_SCORES) + len(BAD_KINDS))
        else:
            self._add_sum(f"counts_{counting.name}", counting.cells + len(BAD_KINDS))

    @abstractmethod
    def _score(self, counts: Tensor) -> Tensor:
        """The score of counts in float64, one an image if they are per image."""

    def _report(self, score: Tensor) -> Any:
        """A float64 score as it is returned."""
        return score.float().to(self.device)

    @explained
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch."""
        self._add(self._batch(preds, target))

    def _count(self, preds: Tensor, target: Tensor) -> Tensor:
        """The counts of a batch, see ``counting.count``."""
        return count(preds, target, self.counting)

    def _batch(self, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        counts = self._count(preds, target)
        if not self.counting.per_image:
            return (counts,)
        of_images = means.summed(self._score(counts), means.OF_SCORES).to(counts.device)
        return (torch.cat([of_images, counts[..., -len(BAD_KINDS) :].sum(0)]),)

    def _value(self, *states: Tensor) -> Any:
        if not self.counting.per_image:
            return self._report(self._score(states[0]))
        of_images = exact(states[0][: -len(BAD_KINDS)])
        return self._report(means.mean(of_images, self.scores_shape, means.OF_SCORES))

    def _check(self, *states: Tensor) -> None:
        raise_if_bad(states[0][-len(BAD_KINDS) :], self.counting)
        if self.counting.per_image:
            means.check(states[0][: -len(BAD_KINDS)], self.scores_shape)
        elif self.counting.task == "multiclass" and not self.counting.only_marginals:
            self._warn_of_ids(states[0])

    def _warn_of_ids(self, counts: Tensor) -> None:
        """Warn if no pixel is right, but most would be with predictions read as ids."""
        if not self.counting.ids or self.counting.map_preds:
            return
        matrix = self.counting.matrices(counts.cpu())
        if matrix.diagonal().any():
            return
        pairs = zip(self.counting.ids, self.counting.classes_of_ids, strict=True)
        hits = sum(int(matrix[c, i]) for i, c in pairs if 0 <= i < self.counting.num_classes)
        if 2 * hits > int(matrix.sum()):
            warnings.warn(
                "Not a single pixel is right, but most would be if `preds` held ids as `target` "
                "does. If they do, the label space needs `map_preds=True`.",
                stacklevel=2,
            )

    def _names(self) -> list[str]:
        """The names of the classes, by default numbers."""
        return self.class_names or [str(label) for label in range(self.counting.num_classes)]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        names = self.class_names, default_names(self.label_space)
        return counting_arguments(self.counting, self.label_space) | {"class_names": names}


class RecipeMetric(CountingMetric):
    """A metric that reports the score of one recipe."""

    def __init__(
        self,
        recipe: Recipe,
        num_classes: int | LabelSpace | None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(
            recipe.counting,
            num_classes,
            class_names,
            scores_name=recipe.score.name,
            scores_shape=recipe.shape,
            **metric_kwargs,
        )
        self.recipe = recipe
        self.per_class = bool(recipe.shape)

    def _score(self, counts: Tensor) -> Tensor:
        return self.recipe.of(counts)

    def _entries(self) -> list[str | None]:
        first, ignored = self.recipe.score.first, self.recipe.score.ignored
        named = list(enumerate(self._names()))[first:]
        return [None if label in ignored else name for label, name in named]

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the scores of the classes as sorted bars, and the reported average as a line.

        Needs matplotlib. A score without classes, and values that are given, are drawn as
        torchmetrics draws them. Like ``compute``, every process must call it, unless values are
        given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        from segmetrics.plotting import bars

        average = self.recipe.score.average
        if val is None and self._classes_are_known:
            score = per_class = self.compute()
            if average != "none":
                with self._synced():
                    per_class = self._of_classes_here()
            names = self._names()[self.recipe.score.first :]
            line = None if average == "none" else (f"{average} average", score.item())
            return bars(per_class, names, title=type(self).__name__, line=line, ax=ax)
        return self._plot(val, ax)

    def _of_classes_here(self) -> Tensor | None:
        if not self._classes_are_known:
            return None
        recipe = replace(self.recipe, score=replace(self.recipe.score, average="none"))
        per_class: Tensor = self._report(recipe.of(self._states[0]))
        return per_class

    @property
    def _classes_are_known(self) -> bool:
        """Whether the state holds the score of every class."""
        average = self.recipe.score.average
        of_classes = self.counting.task != "binary" and average != "joint"
        return of_classes and not (self.counting.per_image and average != "none")

    def _arguments(self) -> dict[str, tuple[object, object]]:
        score = self.recipe.score
        averages = self.counting.task != "binary" and score.average != "joint"
        weights = getattr(score.formula, "keywords", {})
        return super()._arguments() | {
            "average": (score.average, "macro" if averages else score.average),
            "include_background": (not score.first, True),
            "zero_division": (score.zero_division, nan),
            **{name: (weight, None) for name, weight in weights.items()},
        }


def counting_arguments(
    counting: Counting, label_space: LabelSpace | None
) -> dict[str, tuple[object, object]]:
    """The arguments of a ``Counting``, each with its default."""
    ignored = list(label_space.ignore_index) if label_space else []
    return {
        "num_classes": (
            label_space or counting.num_classes,
            2 if counting.task == "binary" else None,
        ),
        "task": (counting.task, "multiclass"),
        "ignore_index": ([v for v in counting.ignore_index if v not in ignored], []),
        "threshold": (counting.threshold, 0.5),
        "from_logits": (counting.from_logits, False),
        "upsample": (counting.upsample, None),
        "input_format": (counting.input_format, None),
        "aggregation_level": ("samplewise" if counting.per_image else "global", "global"),
    }


def default_names(label_space: LabelSpace | None) -> list[str] | None:
    """The default names of the classes."""
    return list(label_space.names) if label_space else None


def checked_names(
    class_names: Sequence[str] | None, counting: Counting, label_space: LabelSpace | None
) -> list[str] | None:
    """The names of the classes, as given or by default."""
    if class_names is None:
        return default_names(label_space)
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"`class_names` must be a sequence of strings, got {class_names!r}.")
    if len(class_names) != counting.num_classes:
        raise ValueError(
            f"`class_names` must name each of the {counting.num_classes} classes, "
            f"got {len(class_names)} names."
        )
    if len(set(class_names)) < len(class_names):
        raise ValueError(f"`class_names` must differ from each other, got {list(class_names)}.")
    return list(class_names)
