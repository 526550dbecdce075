"""The region metrics: one small class a score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import nan
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import one_of
from segmetrics._help import explained
from segmetrics.counting import Counting
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.counted import CountingMetric, RecipeMetric
from segmetrics.recipes import (
    AggregationLevel,
    agreement_recipe,
    class_recipe,
    exact,
    f_beta_formula,
    generalized_dice_formula,
    joint_recipe,
    tversky_formula,
)
from segmetrics.scores import Average, Formula, Normalize, WeightType


class ClassMetric(RecipeMetric):
    """A score per class, averaged over classes.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.
    """

    formula: Formula

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
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
            self.formula,
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
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)


@explained
class MeanIoU(ClassMetric):
    """Mean intersection over union, the Jaccard index: ``tp / (tp + fp + fn)`` per class.

    In [0, 1]. Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2015, section
    4.1.3: counted over the data set, averaged over classes. ``average="weighted"`` is the
    frequency-weighted IoU of Long et al., CVPR 2015.

    Example:
        >>> import torch
        >>> from segmetrics import MeanIoU
        >>> target = torch.tensor([[[0, 0], [1, 255]]])
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> MeanIoU(2, ignore_index=255)(preds, target)
        tensor(0.5000)
        >>> MeanIoU(2, ignore_index=255, average="none")(preds, target)
        tensor([0.5000, 0.5000])
    """

    formula: Formula = staticmethod(scores.iou)


@explained
class DiceScore(ClassMetric):
    """Dice score, the F1 score: ``2 tp / (2 tp + fp + fn)`` per class.

    In [0, 1]. Dice, "Measures of the amount of ecologic association between species", Ecology 1945.

    Example:
        >>> import torch
        >>> from segmetrics import DiceScore
        >>> target = torch.tensor([[[0, 0], [1, 255]]])
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> DiceScore(2, ignore_index=255)(preds, target)
        tensor(0.6667)
    """

    formula: Formula = staticmethod(scores.dice)


@explained
class Precision(ClassMetric):
    """Precision, the positive predictive value: ``tp / (tp + fp)`` per class.

    In [0, 1]. Van Rijsbergen, "Information Retrieval", 1979, chapter 7. A class that is never
    predicted has none: it stays out of averages unless ``zero_division`` says otherwise.

    Example:
        >>> import torch
        >>> from segmetrics import Precision
        >>> target = torch.tensor([[[0, 0], [1, 255]]])
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> Precision(2, ignore_index=255, average="none")(preds, target)
        tensor([1.0000, 0.5000])
    """

    formula: Formula = staticmethod(scores.precision)


@explained
class Recall(ClassMetric):
    """Recall, the sensitivity: ``tp / (tp + fn)`` per class; macro is the mean class accuracy.

    In [0, 1]. Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    section 5 ("mean accu.").

    Example:
        >>> import torch
        >>> from segmetrics import Recall
        >>> target = torch.tensor([[[0, 0], [1, 255]]])
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> Recall(2, ignore_index=255)(preds, target)
        tensor(0.7500)
    """

    formula: Formula = staticmethod(scores.recall)


@explained
class Specificity(ClassMetric):
    """Specificity, the true negative rate: ``tn / (tn + fp)`` per class.

    In [0, 1]. Yerushalmy, "Statistical problems in assessing methods of medical diagnosis", Public
    Health Reports 1947.

    Example:
        >>> import torch
        >>> from segmetrics import Specificity
        >>> target = torch.tensor([[[0, 0], [1, 255]]])
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> Specificity(2, ignore_index=255)(preds, target)
        tensor(0.7500)
    """

    formula: Formula = staticmethod(scores.specificity)


@explained
class TverskyIndex(ClassMetric):
    """Tversky index: ``tp / (tp + alpha fp + beta fn)`` per class.

    In [0, 1]. Tversky, "Features of similarity", Psychological Review 1977. ``alpha=beta=0.5`` is
    the Dice score, ``alpha=beta=1`` the IoU.

    Args:
        alpha: weight of false positives, at least 0.
        beta: weight of false negatives, at least 0.

    Example:
        >>> import torch
        >>> from segmetrics import TverskyIndex
        >>> target, preds = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
        >>> TverskyIndex(2, alpha=0.3, beta=0.7, average="none")(preds, target)
        tensor([0.5882, 0.8696])
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
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
        # before torch's own __init__, which reads it
        self.formula = tversky_formula(alpha, beta)
        super().__init__(
            num_classes,
            ignore_index=ignore_index,
            average=average,
            aggregation_level=aggregation_level,
            include_background=include_background,
            zero_division=zero_division,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
            class_names=class_names,
            **metric_kwargs,
        )


@explained
class FBetaScore(ClassMetric):
    """F score: recall counts ``beta`` times as much as precision; 1 is the Dice score.

    In [0, 1]. ``(1 + beta²) tp / ((1 + beta²) tp + beta² fn + fp)``; van Rijsbergen, "Information
    Retrieval", 1979, chapter 7.

    Args:
        beta: weight of recall, at least 0.

    Example:
        >>> import torch
        >>> from segmetrics import FBetaScore
        >>> target, preds = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
        >>> FBetaScore(2, beta=2.0, average="none")(preds, target)
        tensor([0.5556, 0.9091])
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        beta: float = 1.0,
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
        self.formula = f_beta_formula(beta)
        super().__init__(
            num_classes,
            ignore_index=ignore_index,
            average=average,
            aggregation_level=aggregation_level,
            include_background=include_background,
            zero_division=zero_division,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
            class_names=class_names,
            **metric_kwargs,
        )


@explained
class GeneralizedDiceScore(RecipeMetric):
    """Generalised Dice score: ``2 Σ w tp / Σ w (|pred| + |target|)`` over the classes.

    In [0, 1]. Sudre et al., "Generalised Dice overlap as a deep learning loss function for highly
    unbalanced segmentations", DLMIA 2017. The weights come from the target pixels of what is
    scored, the data set or an image; a class absent from it gets the largest finite weight.

    Args:
        weight_type: ``"square"`` (1 / pixels²), ``"simple"`` (1 / pixels) or ``"linear"`` (1), by
            the target's pixels of the class.

    Returns (``compute`` and ``forward``):
        float32 scalar; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import GeneralizedDiceScore
        >>> target, preds = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
        >>> GeneralizedDiceScore(2)(preds, target)
        tensor(0.6875)
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        weight_type: WeightType = "square",
        ignore_index: int | Sequence[int] | None = None,
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
        recipe = joint_recipe(
            generalized_dice_formula(weight_type),
            num_classes,
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
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)


class AgreementMetric(RecipeMetric):
    """A score of the agreement over all labels at once, background included.

    Returns (``compute`` and ``forward``):
        float32 scalar; nan if no pixel was counted.
    """

    formula: Formula

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        ignore_index: int | Sequence[int] | None = None,
        aggregation_level: AggregationLevel = "global",
        zero_division: float = nan,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = agreement_recipe(
            self.formula,
            num_classes,
            aggregation_level=aggregation_level,
            zero_division=zero_division,
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)


@explained
class PixelAccuracy(AgreementMetric):
    """Pixel accuracy: the share of the counted pixels that are right, ``Σ tp / n``.

    In [0, 1]. Long et al., CVPR 2015, section 5. For multilabel the share of right entries.

    Example:
        >>> import torch
        >>> from segmetrics import PixelAccuracy
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> PixelAccuracy(3)(preds, target)
        tensor(0.7500)
    """

    formula: Formula = staticmethod(scores.pixel_accuracy)


@explained
class CohenKappa(AgreementMetric):
    """Cohen's kappa: the agreement beyond chance, ``(p_o - p_e) / (1 - p_e)``.

    In [-1, 1]. Cohen, "A coefficient of agreement for nominal scales", 1960. Abstentions are one
    more label; for multilabel the 2×2 matrices of the channels are summed.

    Example:
        >>> import torch
        >>> from segmetrics import CohenKappa
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> CohenKappa(3)(preds, target)
        tensor(0.6364)
    """

    plot_lower_bound = -1.0
    formula: Formula = staticmethod(scores.cohen_kappa)


@explained
class MatthewsCorrCoef(AgreementMetric):
    """Matthews correlation coefficient for any number of classes.

    In [-1, 1]. Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", 2004. Abstentions are one more label; for multilabel the 2×2 matrices of the
    channels are summed.

    Example:
        >>> import torch
        >>> from segmetrics import MatthewsCorrCoef
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> MatthewsCorrCoef(3)(preds, target)
        tensor(0.7000)
    """

    plot_lower_bound = -1.0
    formula: Formula = staticmethod(scores.matthews_corrcoef)


@explained
class ConfusionMatrix(CountingMetric):
    """Confusion matrix: rows are the target, columns the prediction, as scikit-learn has it.

    Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5
    (``n_ij``). Pixels on which the model abstained, by predicting an ignored value outside
    ``[0, C)``, are in :attr:`abstained`.

    Args:
        normalize: ``None`` for counts; ``"true"`` for shares of the row, abstained pixels
            included, ``"pred"`` of the column, ``"all"`` of all counted pixels, in float32. An
            empty row or column gives 0.

    Returns (``compute`` and ``forward``):
        ``(C, C)`` in int64, in [0, pixels], or in float32 in [0, 1] with ``normalize``. Binary
        ``(2, 2)``, multilabel ``(C, 2, 2)``. Zeros if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import ConfusionMatrix
        >>> target, preds = torch.tensor([[0, 0, 1, 255]]), torch.tensor([[0, 1, 255, 1]])
        >>> confusion = ConfusionMatrix(2, ignore_index=255)
        >>> confusion.update(preds, target)
        >>> confusion.compute()
        tensor([[1, 1],
                [0, 0]])
        >>> confusion.abstained
        tensor([0, 1])
    """

    higher_is_better = None  # type: ignore[assignment]  # neither, as torchmetrics says it

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        normalize: Normalize | None = None,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        one_of("normalize", normalize, (None, "true", "pred", "all"))
        counting = Counting.of(
            num_classes,
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(counting, num_classes, class_names, **metric_kwargs)
        self.normalize = normalize

    def _score(self, counts: Tensor) -> Tensor:
        if self.normalize:
            counts = exact(counts)
        return scores.normalized(self.counting.matrices(counts), self.normalize)

    def _report(self, score: Tensor) -> Tensor:
        return super()._report(score) if self.normalize else score

    def _entries(self) -> list[str | None]:
        labels = ["0", "1"] if self.counting.task != "multiclass" else self._names()
        channels = [f"{name}/" for name in self._names()]
        heads = channels if self.counting.task == "multilabel" else [""]
        return [f"{head}{row}/{column}" for head, row, column in product(heads, labels, labels)]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"normalize": (self.normalize, None)}

    @property
    def abstained(self) -> Tensor:
        """Counted pixels of each class for which no class was predicted, over all processes.

        ``(C,)`` in int64, ``(C, 2)`` for multilabel. Like ``compute``, every process must ask.
        """
        with self._synced():
            return self.counting.matrices(self._states[0])[..., -1].clone()

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the matrix as an annotated heat map; counts are coloured by their share of the row.

        Needs matplotlib. For multilabel there is one matrix a channel: index ``compute()``. Like
        ``compute``, every process must call it, unless a value is given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them, which are drawn in a
                row; by default what is counted by now.
            ax: matplotlib axes to draw on, instead of a new figure; for a sequence as many.

        Returns:
            The matplotlib figure and axes; for a sequence an array of axes.
        """
        from segmetrics.plotting import heat_map, row_of_axes

        if isinstance(val, Sequence):
            axes = row_of_axes(len(val), ax)
            figures = [self.plot(matrix, each)[0] for matrix, each in zip(val, axes, strict=True)]
            return figures[0], axes
        matrix = self.compute() if val is None else val
        if matrix.ndim != 2:
            raise ValueError(
                f"`plot` draws one matrix (C, C), got {tuple(matrix.shape)}. "
                "Pass one channel's: `plot(metric.compute()[channel])`."
            )
        names = self._names() if len(matrix) == self.counting.num_classes else ["0", "1"]
        unit = {"pred": "share of the prediction", "all": "share of all pixels"}
        colours = unit.get(self.normalize or "true", "share of the target")
        return heat_map(matrix, names, title="confusion matrix", colours=colours, ax=ax)
