"""Scores of how pixels are ranked: one table of cells, from which every threshold is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs, SumMetric
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.probabilities.cells import CELLS
from segmetrics.probabilities.curves import risk_coverage
from segmetrics.probabilities.inputs import BAD_KINDS
from segmetrics.probabilities.ranking import Positive, Ranking, count_cells
from segmetrics.probabilities.recipes import (
    CurveArguments,
    CurveRecipe,
    aurc_recipe,
    auroc_recipe,
    average_precision_recipe,
    explained_curve,
    fpr_at_recall_recipe,
    points,
)
from segmetrics.scores import Average


class CurveMetric(SumMetric):
    """A metric of ranked pixels. The state holds the negatives and positives of every cell.

    Every class is ranked against the rest: the foreground by its score, logits as they are, and
    one of several classes by its probability, the softmax of logits. A cell is a 16-bit key of a
    score that sorts as scores do, so the state has 1 MiB a class, whatever the data (150 classes:
    150 MiB; ``cells=4096``: 9.4 MiB). Scores in fp16, and in bf16 where no softmax is taken, have a
    cell each, and values are exact; of fp32 those in one cell count as tied.

    Inputs of ``update`` and ``forward``:
        ``preds``: scores ``(N, C, ...)`` in fp32, fp64, fp16 or bf16. Binary: ``(N, ...)`` or
        ``(N, 1, ...)``. ``target``: integer or bool labels ``(N, ...)``; one-hot ``(N, C, ...)``.
        Binary: ``(N, ...)`` or ``(N, 1, ...)``. Multilabel: ``(N, C, ...)``. ``...`` is any number
        of spatial dimensions. An empty batch changes nothing.
    """

    counting: Ranking

    def __init__(
        self,
        recipe: CurveRecipe,
        num_classes: int | LabelSpace | None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(**metric_kwargs)
        self.recipe, self.counting = recipe, recipe.ranking
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, recipe.ranking, self.label_space)
        self._add_sum(f"cells_{recipe.ranking.name}", recipe.ranking.cells + len(BAD_KINDS))

    @explained_curve
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch."""
        self._add(self._batch(preds, target))

    def _batch(self, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        counts = count_cells(preds, target, self.counting)
        if counts.device.type == "cpu" and not torch.compiler.is_compiling():
            self.counting.check_dtypes(self._states[0].to(counts.device), counts)
        return (counts,)

    def _check(self, *states: Tensor) -> None:
        self.counting.check(states[0])

    @property
    def _titles(self) -> list[str]:
        """The names of the tables."""
        ranking = self.counting
        if ranking.positive == "right":
            return ["right"]
        if ranking.task == "binary":
            return self.class_names[1:] if self.class_names else ["foreground"]
        if self.recipe.average == "micro":
            return ["all classes"]
        return self.class_names or [str(label) for label in range(ranking.num_classes)]

    def _draw(self, ax: Any, *, roc: bool) -> tuple[Any, Any]:
        """Draw the ROC or precision-recall curve of every class that has one."""
        from segmetrics.plotting import lines

        with self._synced():
            self._check(*self._states)
            found = points(self.recipe, self._states[0])
        named = list(zip(self._titles, found, strict=True))
        if roc:
            curves = [(name, _from(0, p.fpr), _from(0, p.recall)) for name, p in named]
            axes, guide = ("false positive rate", "recall"), True
        else:
            curves = [(name, _from(0, p.recall), _from(1, p.precision)) for name, p in named]
            axes, guide = ("recall", "precision"), False
        return lines(curves, axes, title=type(self).__name__, guide=guide, ax=ax)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = counting_arguments(self.counting, self.label_space)
        for name in ("threshold", "aggregation_level"):  # there are no such arguments
            del arguments[name]
        binary = self.counting.task == "binary"
        averages = not binary and self.counting.positive == "class"
        return arguments | {
            "average": (self.recipe.average, "macro" if averages else self.recipe.average),
            "positive": (self.counting.positive, "class"),
            "cells": (self.counting.resolution, CELLS),
            "class_names": (self.class_names, default_names(self.label_space)),
        }


def _from(start: float, values: Tensor) -> Tensor:
    """A curve from a point on, at the highest threshold first."""
    return torch.cat([values.new_tensor([start]), values.flip(0)])


class CurveMetricArguments(CurveArguments, MetricKwargs, total=False):
    """The arguments of every score that is read off a curve, behind ``num_classes``."""

    class_names: Sequence[str] | None


class RankingMetric(CurveMetric):
    """A score per class that is read off a curve.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"``; nan without a positive or without a
        negative. Averages leave out classes that are nan.
    """

    draws_roc = True
    #: Checks the arguments, and knows how tables are scored.
    make_recipe: Callable[..., CurveRecipe]

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        average: Average | None = "macro",
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        from_logits: bool = False,
        positive: Positive = "class",
        cells: int = CELLS,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = self.make_recipe(
            num_classes,
            average=average,
            ignore_index=ignore_index,
            task=task,
            from_logits=from_logits,
            positive=positive,
            cells=cells,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)
        self.per_class = bool(recipe.shape)

    def _value(self, *states: Tensor) -> Tensor:
        return self.recipe.of(states[0]).float().to(self.device)

    def _entries(self) -> list[str | None]:
        kept = self.recipe.kept(torch.zeros(0)).tolist()
        return [name if keep else None for name, keep in zip(self._titles, kept, strict=True)]

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the curve of every class. Needs matplotlib.

        Given values are drawn as by torchmetrics. Like ``compute``, every process must call it,
        unless values are given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        return self._plot(val, ax) if val is not None else self._draw(ax, roc=self.draws_roc)


class BoundedMetric(RankingMetric):
    """A ranking score that comes with bounds."""

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Bounds of the score over all batches and processes.

        Of scores in one cell the order is not known: the lower bound has its negatives first, the
        upper its positives. They are equal where every score has a cell of its own. Like
        ``compute``, every process must call it.

        Returns:
            The lower and the upper bound, float32, each of the shape of ``compute``.
        """
        with self._synced():
            self._check(*self._states)
            lower, upper = self.recipe.bounds_of(self._states[0])
        return lower.float().to(self.device), upper.float().to(self.device)


@explained_curve
class AUROC(BoundedMetric):
    """Area under the ROC curve: how probably a positive pixel scores above a negative one.

    In [0, 1], chance is 0.5. Hanley and McNeil, "The meaning and use of the area under a receiver
    operating characteristic curve", Radiology 1982: scikit-learn's ``roc_auc_score``, ties count
    half. Of scores that share a cell with others it is the middle of ``bounds()``.

    Args:
        max_fpr: the area up to this false positive rate in (0, 1], rescaled so that chance gives
            0.5 (McClish 1989); ``None`` for all of it.

    Example:
        >>> import torch
        >>> from segmetrics import AUROC
        >>> preds = torch.tensor([[[0.25, 0.75], [0.5, 0.875]]])
        >>> target = torch.tensor([[[0, 0], [1, 1]]])
        >>> AUROC(task="binary")(preds, target)
        tensor(0.7500)
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        max_fpr: float | None = None,
        **arguments: Unpack[CurveMetricArguments],
    ) -> None:
        # before torch's own __init__, which reads it
        self.make_recipe = partial(auroc_recipe, max_fpr=max_fpr)
        super().__init__(num_classes, **arguments)
        self.max_fpr = max_fpr

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"max_fpr": (self.max_fpr, None)}


@explained_curve
class AveragePrecision(BoundedMetric):
    """Average precision: the mean over positive pixels of the precision at their scores.

    In [0, 1], chance is the share of positives. No interpolation (Su et al., ICTIR 2015), as
    scikit-learn's ``average_precision_score``. Of scores that share a cell with others it is the
    middle of ``bounds()``.

    Example:
        >>> import torch
        >>> from segmetrics import AveragePrecision
        >>> preds = torch.tensor([[[0.25, 0.75], [0.5, 0.875]]])
        >>> target = torch.tensor([[[0, 0], [1, 1]]])
        >>> AveragePrecision(task="binary")(preds, target)
        tensor(0.8333)
    """

    draws_roc = False
    make_recipe = staticmethod(average_precision_recipe)


@explained_curve
class FPRAtRecall(RankingMetric):
    """The smallest false positive rate among thresholds whose recall is at least ``recall``.

    In [0, 1]. FPR95 of out-of-distribution and anomaly segmentation: Liang et al., "Enhancing the
    reliability of out-of-distribution image detection in neural networks", ICLR 2018. Thresholds
    lie between cells, see ``cells``.

    Args:
        recall: the recall to reach, in (0, 1].

    Example:
        >>> import torch
        >>> from segmetrics import FPRAtRecall
        >>> preds = torch.tensor([[[0.25, 0.75], [0.5, 0.875]]])
        >>> target = torch.tensor([[[0, 0], [1, 1]]])
        >>> FPRAtRecall(task="binary")(preds, target)
        tensor(0.5000)
    """

    higher_is_better = False

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        recall: float = 0.95,
        **arguments: Unpack[CurveMetricArguments],
    ) -> None:
        self.make_recipe = partial(fpr_at_recall_recipe, recall=recall)
        super().__init__(num_classes, **arguments)
        self.recall = float(recall)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"recall": (self.recall, 0.95)}


@explained_curve
class AURC(CurveMetric):
    """Area under the risk-coverage curve: how wrong a model is that may leave pixels to a human.

    In [0, 1], best 0. Pixels are ranked by their confidence, the largest probability. The risk at a
    coverage is the share of wrong predictions among so many of the most confident pixels; the area
    is the mean of the risks over all pixels. Geifman et al., "Bias-Reduced Uncertainty Estimation
    for Deep Neural Classifiers", ICLR 2019. A model that is wrong everywhere has 1; one whose
    confidence says nothing has its error rate. Errors of one cell are spread evenly over it.

    ``AUROC``, ``AveragePrecision`` and ``FPRAtRecall`` with ``positive="right"`` ask the same
    question, and share this state in a ``MetricCollection``.

    For ``task="binary"`` the confidence is max(p, 1 - p), and foreground is predicted above 0.5;
    the state is that of ``AUROC(task="binary")``. There is none for ``task="multilabel"``.

    Returns (``compute`` and ``forward``):
        float32 scalar; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import AURC
        >>> preds = torch.tensor([[[0.9, 0.7, 0.6, 0.2], [0.1, 0.3, 0.4, 0.8]]])
        >>> AURC(2)(preds, torch.tensor([[0, 0, 1, 1]]))
        tensor(0.0625)
    """

    higher_is_better = False

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        from_logits: bool = False,
        cells: int = CELLS,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = aurc_recipe(
            num_classes,
            ignore_index=ignore_index,
            task=task,
            from_logits=from_logits,
            cells=cells,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, **metric_kwargs)

    def _value(self, *states: Tensor) -> Tensor:
        return self.recipe.of(states[0]).float().to(self.device)

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the risk over the coverage. Needs matplotlib.

        Given values are drawn as by torchmetrics. Like ``compute``, every process must call it,
        unless values are given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        from segmetrics.plotting import lines

        if val is not None:
            return self._plot(val, ax)
        with self._synced():
            self._check(*self._states)
            coverage, risk = risk_coverage(self.recipe.table(self._states[0])[0])
        found = [("risk", coverage, risk)]
        return lines(found, ("coverage", "risk"), title=type(self).__name__, ax=ax)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = super()._arguments()
        for name in ("average", "positive", "class_names"):  # there are no such arguments
            del arguments[name]
        return arguments
