"""Curves over all thresholds, and the threshold that is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.curves import CurveMetric
from segmetrics.metrics.views import ThresholdMetric, checked_prefix
from segmetrics.probabilities import curves
from segmetrics.probabilities.cells import CELLS
from segmetrics.probabilities.curves import Points
from segmetrics.probabilities.ranking import Positive
from segmetrics.probabilities.recipes import (
    BestRecipe,
    Curves,
    PointsRecipe,
    best_recipe,
    explained_curve,
    points_recipe,
)


class PointsMetric(CurveMetric):
    """A curve over all thresholds. On a GPU ``compute`` and ``forward`` wait for the device."""

    higher_is_better = None  # type: ignore[assignment]  # neither, as in torchmetrics
    draws_roc = True
    recipe: PointsRecipe
    #: A curve's parts of its points.
    parts: Callable[[Points], tuple[Tensor, Tensor, Tensor]]

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
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
        recipe = points_recipe(
            self.parts,
            num_classes,
            ignore_index=ignore_index,
            task=task,
            from_logits=from_logits,
            positive=positive,
            cells=cells,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)

    def _value(self, *states: Tensor) -> Curves:
        return self.recipe.curves_of(states[0], self.device)

    def compute_scalars(self) -> dict[str, float | None]:
        """Refuse: a curve is no scalar.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"`{type(self).__name__}` is a curve and has no scalars. Use `AUROC`, "
            "`AveragePrecision` or `FPRAtRecall`, which share its state in a `MetricCollection`."
        )

    def plot(self, curve: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the curve of every class. Needs matplotlib.

        Like ``compute``, every process must call it, unless a value is given.

        Args:
            curve: a value of ``compute`` or ``forward``; by default that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        from segmetrics.plotting import lines

        value = self.compute() if curve is None else curve
        x, y = value[:2] if self.draws_roc else (value[1], value[0])
        parts = [(x, y)] if isinstance(x, Tensor) else zip(x, y, strict=True)
        named = [(name, *part) for name, part in zip(self._titles, parts, strict=True)]
        axes = ("false positive rate", "recall") if self.draws_roc else ("recall", "precision")
        return lines(named, axes, title=type(self).__name__, guide=self.draws_roc, ax=ax)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = super()._arguments()
        del arguments["average"]
        return arguments


@explained_curve
class ROC(PointsMetric):
    """Receiver operating characteristic: false positive rate and recall at every threshold.

    In [0, 1]. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006. A point
    for every cell that holds a score, and one of the highest threshold, at which nothing is
    positive: torchmetrics' ``BinaryROC`` with ``thresholds=None``. A pixel is positive whose score
    is at least the threshold.

    Returns (``compute`` and ``forward``):
        False positive rates, recalls and thresholds ``(n + 1,)`` in float32, from the highest
        threshold on; lists of C tensors for several classes. Thresholds are probabilities. nan
        without a positive or without a negative.

    Example:
        >>> import torch
        >>> from segmetrics import ROC
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5]]), torch.tensor([[0, 0, 1]])
        >>> fpr, recall, thresholds = ROC(task="binary")(preds, target)
        >>> fpr, recall
        (tensor([0.0000, 0.5000, 0.5000, 1.0000]), tensor([0., 0., 1., 1.]))
        >>> thresholds
        tensor([1.0000, 0.7500, 0.5000, 0.2500])
    """

    parts = staticmethod(curves.roc)


@explained_curve
class PrecisionRecallCurve(PointsMetric):
    """Precision and recall at every threshold.

    In [0, 1]. Davis and Goadrich, "The relationship between precision-recall and ROC curves", ICML
    2006. A point for every cell that holds a score, and one of precision 1 and recall 0 at the
    end: torchmetrics' ``BinaryPrecisionRecallCurve`` with ``thresholds=None``. A pixel is
    positive whose score is at least the threshold.

    Returns (``compute`` and ``forward``):
        Precisions and recalls ``(n + 1,)`` and thresholds ``(n,)`` in float32, the lowest first;
        lists of C tensors for several classes. Thresholds are probabilities. Recall is nan
        without a positive or without a negative.

    Example:
        >>> import torch
        >>> from segmetrics import PrecisionRecallCurve
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5]]), torch.tensor([[0, 0, 1]])
        >>> precision, recall, thresholds = PrecisionRecallCurve(task="binary")(preds, target)
        >>> precision, recall
        (tensor([0.3333, 0.5000, 0.0000, 1.0000]), tensor([1., 1., 0., 0.]))
        >>> thresholds
        tensor([0.2500, 0.5000, 0.7500])
    """

    draws_roc = False

    parts = staticmethod(curves.precision_recall)


@explained_curve
class BestThreshold(ThresholdMetric, CurveMetric):
    """The threshold at which a score of the foreground is best, and that score.

    In [0, 1], Youden's index (Cancer 1950) in [-1, 1]. Thresholds are probabilities t such that
    ``score > t``, as ``threshold=t`` of the other metrics compares, gives exactly the returned
    score on the same data; of equally good ones it is the nearest to 0.5. Every boundary between
    two cells is tried (for logits every one that a float64 tells from its neighbours).

    Keys: ``best_<score>`` and ``best_threshold``. For several classes ``best_<score>`` is the mean
    over them, each at its own threshold, followed by ``best_<score>/<class>`` and
    ``best_threshold/<class>``.

    Args:
        score: ``"dice"``, ``"f1"`` (the same), ``"iou"``, or ``"youden"``: recall + specificity
            - 1.

    Returns (``compute`` and ``forward``):
        dict of scalars by key; nan without a positive or without a negative. Scores are float32,
        thresholds float64.

    Example:
        >>> import torch
        >>> from segmetrics import BestThreshold
        >>> preds, target = torch.tensor([[[0.2, 0.8, 0.7]]]), torch.tensor([[[0, 0, 1]]])
        >>> found = BestThreshold(task="binary")(preds, target)
        >>> {key: round(value.item(), 3) for key, value in found.items()}
        {'best_dice': 0.667, 'best_threshold': 0.5}
    """

    recipe: BestRecipe

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        score: str = "dice",
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        from_logits: bool = False,
        positive: Positive = "class",
        cells: int = CELLS,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        prefix: str | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        keys_prefix = checked_prefix(prefix)
        recipe = best_recipe(
            num_classes,
            score=score,
            ignore_index=ignore_index,
            task=task,
            from_logits=from_logits,
            positive=positive,
            cells=cells,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)
        self.score, self.prefix = score, keys_prefix
        self._add_views()

    @property
    def _several(self) -> bool:
        return self.counting.task != "binary" and self.counting.positive == "class"

    def _keys(self) -> list[str]:
        of_score = f"{self.prefix}best_{self.score}"
        if not self._several:
            return [of_score, f"{self.prefix}best_threshold"]
        kept = self.recipe.kept(torch.zeros(0)).tolist()
        names = [name for name, keep in zip(self._titles, kept, strict=True) if keep]
        of_classes = (
            [f"{of_score}/{name}", f"{self.prefix}best_threshold/{name}"] for name in names
        )
        return [of_score, *(key for keys in of_classes for key in keys)]

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        table = self.recipe.table(states[0])
        highest, threshold = self.recipe.best(states[0])
        kept = self.recipe.kept(torch.zeros(0)).tolist()
        values = [self.recipe.averaged(highest, table)] if self._several else []
        for keep, *pair in zip(kept, highest.unbind(), threshold.unbind(), strict=True):
            values += pair if keep else []
        return self._of_keys(values)

    def plot(self, val: Any = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the score over the threshold, and mark the best. Needs matplotlib.

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
            counts = self._states[0]
        self._check(counts)
        values, cut = self.recipe.over_thresholds(counts)
        highest, threshold = (part.tolist() for part in self.recipe.best(counts))
        curves = [(name, cut, part) for name, part in zip(self._titles, values, strict=True)]
        best = [(t, s) for t, s in zip(threshold, highest, strict=True) if s == s]
        axes = ("threshold", self.score)
        return lines(curves, axes, title=type(self).__name__, points=best, ax=ax)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = super()._arguments()
        del arguments["average"]
        return arguments | {"score": (self.score, "dice"), "prefix": (self.prefix, "")}
