"""One call from scores to a score of probabilities; public in ``segmetrics.functional``."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from segmetrics.labels import LabelSpace
from segmetrics.probabilities import curves
from segmetrics.probabilities.calibration import (
    ErrorArguments,
    Norm,
    brier_recipe,
    calibration_error_recipe,
    explained_probability,
    nll_recipe,
)
from segmetrics.probabilities.cells import CELLS
from segmetrics.probabilities.inputs import Binning, ProbabilityArguments
from segmetrics.probabilities.ranking import RankingArguments
from segmetrics.probabilities.recipes import (
    CurveArguments,
    Curves,
    aurc_recipe,
    auroc_recipe,
    average_precision_recipe,
    best_recipe,
    explained_curve,
    fpr_at_recall_recipe,
    points_recipe,
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
def roc(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[RankingArguments],
) -> Curves:
    """Receiver operating characteristic: false positive rate and recall at every threshold.

    In [0, 1]. Fawcett, Pattern Recognition Letters 2006. A pixel is positive whose score is at
    least the threshold.

    Returns:
        False positive rates, recalls and thresholds ``(n + 1,)`` in float32, from the highest
        threshold on; lists of C tensors for several classes. Thresholds are probabilities. nan
        without a positive or without a negative.

    Example:
        >>> import torch
        >>> from segmetrics.functional import roc
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5]]), torch.tensor([[0, 0, 1]])
        >>> fpr, recall, thresholds = roc(preds, target, task="binary")
        >>> fpr, recall
        (tensor([0.0000, 0.5000, 0.5000, 1.0000]), tensor([0., 0., 1., 1.]))
    """
    return points_recipe(curves.roc, num_classes, **arguments).evaluate_curves(preds, target)


@explained_curve
def precision_recall_curve(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[RankingArguments],
) -> Curves:
    """Precision and recall at every threshold.

    In [0, 1]. Davis and Goadrich, ICML 2006. A pixel is positive whose score is at least the
    threshold.

    Returns:
        Precisions and recalls ``(n + 1,)`` and thresholds ``(n,)`` in float32, the lowest first;
        lists of C tensors for several classes. Thresholds are probabilities. Recall is nan
        without a positive or without a negative.

    Example:
        >>> import torch
        >>> from segmetrics.functional import precision_recall_curve
        >>> preds, target = torch.tensor([[0.25, 0.75, 0.5]]), torch.tensor([[0, 0, 1]])
        >>> precision, recall, thresholds = precision_recall_curve(preds, target, task="binary")
        >>> precision, recall
        (tensor([0.3333, 0.5000, 0.0000, 1.0000]), tensor([1., 1., 0., 0.]))
    """
    recipe = points_recipe(curves.precision_recall, num_classes, **arguments)
    return recipe.evaluate_curves(preds, target)


@explained_curve
def aurc(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    from_logits: bool = False,
    cells: int = CELLS,
    **arguments: Unpack[ProbabilityArguments],
) -> Tensor:
    """Area under the risk-coverage curve: how wrong a model is that may leave pixels to a human.

    In [0, 1], best 0. The mean over pixels of the share of errors among those at least as
    confident. Geifman et al., ICLR 2019. For ``task="binary"`` the confidence is max(p, 1 - p),
    and foreground is predicted above 0.5.

    Returns:
        float32 scalar; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import aurc
        >>> preds = torch.tensor([[[0.9, 0.7, 0.6, 0.2], [0.1, 0.3, 0.4, 0.8]]])
        >>> aurc(preds, torch.tensor([[0, 0, 1, 1]]), 2)
        tensor(0.0625)
    """
    recipe = aurc_recipe(num_classes, from_logits=from_logits, cells=cells, **arguments)
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


@explained_probability
def calibration_error(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    norm: Norm = "l1",
    n_bins: int = 15,
    binning: Binning = "width",
    classwise: bool = False,
    **arguments: Unpack[ErrorArguments],
) -> Tensor:
    """Calibration error: the gap between how confident the model is and how often it is right.

    In [0, 1]. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        norm: ``"l1"`` is the expected calibration error, ``"l2"`` the root mean square,
            ``"max"`` the maximum one.
        n_bins: number of bins.
        binning: bins of equal ``"width"``, or of about equal ``"mass"``.
        classwise: whether every class's probability is held against how often the pixel is of it.
        average: over the classes of ``classwise=True`` and ``task="multilabel"``: ``"macro"``,
            ``"weighted"`` by target pixels, ``"micro"`` (their bins pooled), or ``"none"``
            (``None``) for one error a class.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"``; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import calibration_error
        >>> preds = torch.tensor([[[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]]])
        >>> target = torch.tensor([[0, 0, 1, 255]])
        >>> calibration_error(preds, target, 2, n_bins=10, ignore_index=255)
        tensor(0.3333)
    """
    recipe = calibration_error_recipe(
        num_classes, norm=norm, n_bins=n_bins, binning=binning, classwise=classwise, **arguments
    )
    return recipe.evaluate(preds, target)


@explained_probability
def brier_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ErrorArguments],
) -> Tensor:
    """Brier score: the mean squared error of the probabilities.

    In [0, 2], the sum over classes; binary and multilabel in [0, 1]. Brier, Monthly Weather Review
    1950.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"``; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import brier_score
        >>> preds, target = torch.tensor([[0.9, 0.8, 0.3]]), torch.tensor([[1, 0, 0]])
        >>> brier_score(preds[None], target[None], task="binary")
        tensor(0.2467)
    """
    return brier_recipe(num_classes, **arguments).evaluate(preds, target)


@explained_probability
def negative_log_likelihood(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ErrorArguments],
) -> Tensor:
    """Negative log likelihood: the mean of -ln p of the true class, the log loss.

    In [0, inf], nats. Good, Journal of the Royal Statistical Society B 1952. Infinite if the true
    class of any pixel has a probability of 0.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"``; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import negative_log_likelihood
        >>> preds, target = torch.tensor([[0.9, 0.8, 0.3]]), torch.tensor([[1, 0, 0]])
        >>> negative_log_likelihood(preds[None], target[None], task="binary")
        tensor(0.6905)
    """
    return nll_recipe(num_classes, **arguments).evaluate(preds, target)
