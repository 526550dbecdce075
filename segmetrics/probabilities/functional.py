"""One call from scores to what is read off their ranking; public in ``segmetrics.functional``."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from segmetrics.labels import LabelSpace
from segmetrics.probabilities.ranking import RankingArguments
from segmetrics.probabilities.recipes import (
    CurveArguments,
    auroc_recipe,
    average_precision_recipe,
    best_recipe,
    explained_curve,
    fpr_at_recall_recipe,
)


@explained_curve
def auroc(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    max_fpr: float | None = None,
    **arguments: Unpack[CurveArguments],
) -> Tensor:
    """Area under the ROC curve: how probably a positive pixel scores above a negative one.

    In [0, 1], chance is 0.5. Hanley and McNeil, Radiology 1982.

    Args:
        max_fpr: the area up to this false positive rate in (0, 1], rescaled so that chance gives
            0.5 (McClish 1989); ``None`` for all of it.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"``; nan without a positive or without a
        negative.

    Example:
        >>> import torch
        >>> from segmetrics.functional import auroc
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5, 0.875]]), torch.tensor([[0, 0, 1, 1]])
        >>> auroc(preds[None], target[None], task="binary")
        tensor(0.7500)
    """
    recipe = auroc_recipe(num_classes, max_fpr=max_fpr, **arguments)
    return recipe.evaluate(preds, target)


@explained_curve
def average_precision(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[CurveArguments],
) -> Tensor:
    """Average precision: the mean over positive pixels of the precision at their scores.

    In [0, 1], chance is the share of positives. No interpolation: Su et al., ICTIR 2015.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"``; nan without a positive or without a
        negative.

    Example:
        >>> import torch
        >>> from segmetrics.functional import average_precision
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5, 0.875]]), torch.tensor([[0, 0, 1, 1]])
        >>> average_precision(preds[None], target[None], task="binary")
        tensor(0.8333)
    """
    return average_precision_recipe(num_classes, **arguments).evaluate(preds, target)


@explained_curve
def fpr_at_recall(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    recall: float = 0.95,
    **arguments: Unpack[CurveArguments],
) -> Tensor:
    """The smallest false positive rate among thresholds whose recall is at least ``recall``.

    In [0, 1]. FPR95: Liang et al., ICLR 2018.

    Args:
        recall: the recall to reach, in (0, 1].

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"``; nan without a positive or without a
        negative.

    Example:
        >>> import torch
        >>> from segmetrics.functional import fpr_at_recall
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5, 0.875]]), torch.tensor([[0, 0, 1, 1]])
        >>> fpr_at_recall(preds[None], target[None], task="binary")
        tensor(0.5000)
    """
    recipe = fpr_at_recall_recipe(num_classes, recall=recall, **arguments)
    return recipe.evaluate(preds, target)


@explained_curve
def best_threshold(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    score: str = "dice",
    **arguments: Unpack[RankingArguments],
) -> tuple[Tensor, Tensor]:
    """The best score over all thresholds, and the threshold.

    In [0, 1], Youden's index (Cancer 1950) in [-1, 1]. ``score > threshold`` gives exactly that
    score on these data; of equally good thresholds it is the nearest to 0.5.

    Args:
        score: ``"dice"``, ``"f1"`` (the same), ``"iou"``, or ``"youden"``: recall + specificity
            - 1.

    Returns:
        The scores in float32 and the thresholds, probabilities in float64: scalars, or ``(C,)``
        for several classes; nan without a positive or without a negative.

    Example:
        >>> import torch
        >>> from segmetrics.functional import best_threshold
        >>> preds, target = torch.tensor([[0.2, 0.8, 0.6, 0.9]]), torch.tensor([[0, 0, 1, 1]])
        >>> best_threshold(preds[None], target[None], task="binary")
        (tensor(0.8000), tensor(0.5000, dtype=torch.float64))
    """
    return best_recipe(num_classes, score=score, **arguments).evaluate_best(preds, target)
