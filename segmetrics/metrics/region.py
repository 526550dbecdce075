"""The region metrics: one small class a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan

from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._help import explained
from segmetrics.counting import Counting
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.counted import RecipeMetric
from segmetrics.recipes import (
    AggregationLevel,
    ClassArguments,
    agreement_recipe,
    class_recipe,
    f_beta_formula,
    generalized_dice_formula,
    joint_recipe,
    tversky_formula,
)
from segmetrics.scores import Average, Formula, WeightType


class ClassMetricArguments(ClassArguments, MetricKwargs, total=False):
    """The arguments of ``ClassMetric``, for metrics that add arguments of their own."""

    class_names: Sequence[str] | None


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
        recipe = replace(recipe, counting=self._counted(recipe.counting))
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)

    def _counted(self, counting: Counting) -> Counting:
        """What is counted; a subclass may count other pixels."""
        return counting


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
    predicted has no precision and stays out of averages, unless ``zero_division`` is a number.

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
        **arguments: Unpack[ClassMetricArguments],
    ) -> None:
        # before the base class reads it
        self.formula = tversky_formula(alpha, beta)
        super().__init__(num_classes, **arguments)


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
        **arguments: Unpack[ClassMetricArguments],
    ) -> None:
        self.formula = f_beta_formula(beta)
        super().__init__(num_classes, **arguments)


@explained
class GeneralizedDiceScore(RecipeMetric):
    """Generalised Dice score: ``2 Σ w tp / Σ w (|pred| + |target|)`` over the classes.

    In [0, 1]. Sudre et al., "Generalised Dice overlap as a deep learning loss function for highly
    unbalanced segmentations", DLMIA 2017. Weights come from the target pixels of the data set, or
    samplewise of the image; a class that is absent gets the largest finite weight.

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
