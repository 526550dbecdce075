"""One call from masks to a score, for those who keep no state.

The arguments after ``preds, target`` are those of the metric of the same name, inputs and errors
too. Bad labels raise at once on every device, for which a GPU has to wait.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import one_of
from segmetrics.counting import Counting, CountingArguments, count
from segmetrics.labels import LabelSpace
from segmetrics.recipes import (
    AgreementArguments,
    ClassArguments,
    JointArguments,
    agreement_recipe,
    class_recipe,
    f_beta_formula,
    generalized_dice_formula,
    joint_recipe,
    tversky_formula,
)
from segmetrics.scores import Normalize, WeightType


def confusion_matrix(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    normalize: Normalize | None = None,
    **arguments: Unpack[CountingArguments],
) -> Tensor:
    """Confusion matrix ``(C, C)``: rows are the target, columns the prediction.

    Arguments, shapes and dtypes as in :class:`segmetrics.ConfusionMatrix`. A pixel on which the
    model abstained is in no column.

    Example:
        >>> import torch
        >>> from segmetrics.functional import confusion_matrix
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> confusion_matrix(preds, target, 3)
        tensor([[1, 1, 0],
                [0, 1, 0],
                [0, 0, 1]])
    """
    one_of("normalize", normalize, (None, "true", "pred", "all"))
    counting = Counting.of(num_classes, **arguments)
    counts = count(preds, target, counting, check=True)
    matrix = scores.normalized(counting.matrices(counts), normalize)
    return matrix.float() if normalize else matrix


def mean_iou(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Mean intersection over union, the Jaccard index.

    Arguments, shapes, range and source as in :class:`segmetrics.MeanIoU`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import mean_iou
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> mean_iou(preds, target, 3)
        tensor(0.6667)
    """
    return class_recipe(scores.iou, num_classes, **arguments).evaluate(preds, target)


def dice_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Dice score, the F1 score.

    Arguments, shapes, range and source as in :class:`segmetrics.DiceScore`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import dice_score
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> dice_score(preds, target, 3)
        tensor(0.7778)
    """
    return class_recipe(scores.dice, num_classes, **arguments).evaluate(preds, target)


def generalized_dice_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    weight_type: WeightType = "square",
    **arguments: Unpack[JointArguments],
) -> Tensor:
    """Generalised Dice score.

    Arguments, shapes, range and source as in :class:`segmetrics.GeneralizedDiceScore`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import generalized_dice_score
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> generalized_dice_score(preds, target, 3)
        tensor(0.7826)
    """
    formula = generalized_dice_formula(weight_type)
    return joint_recipe(formula, num_classes, **arguments).evaluate(preds, target)


def tversky_index(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Tversky index.

    Arguments, shapes, range and source as in :class:`segmetrics.TverskyIndex`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import tversky_index
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> tversky_index(preds, target, 3)
        tensor(0.7778)
    """
    formula = tversky_formula(alpha, beta)
    return class_recipe(formula, num_classes, **arguments).evaluate(preds, target)


def fbeta_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    beta: float = 1.0,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """F score.

    Arguments, shapes, range and source as in :class:`segmetrics.FBetaScore`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import fbeta_score
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> fbeta_score(preds, target, 3)
        tensor(0.7778)
    """
    formula = f_beta_formula(beta)
    return class_recipe(formula, num_classes, **arguments).evaluate(preds, target)


def precision(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Precision, the positive predictive value.

    Arguments, shapes, range and source as in :class:`segmetrics.Precision`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import precision
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> precision(preds, target, 3)
        tensor(0.8333)
    """
    return class_recipe(scores.precision, num_classes, **arguments).evaluate(preds, target)


def recall(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Recall, the sensitivity; macro is the mean class accuracy.

    Arguments, shapes, range and source as in :class:`segmetrics.Recall`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import recall
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> recall(preds, target, 3)
        tensor(0.8333)
    """
    return class_recipe(scores.recall, num_classes, **arguments).evaluate(preds, target)


def specificity(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Specificity, the true negative rate.

    Arguments, shapes, range and source as in :class:`segmetrics.Specificity`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import specificity
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> specificity(preds, target, 3)
        tensor(0.8889)
    """
    return class_recipe(scores.specificity, num_classes, **arguments).evaluate(preds, target)


def pixel_accuracy(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[AgreementArguments],
) -> Tensor:
    """Pixel accuracy.

    Arguments, shapes, range and source as in :class:`segmetrics.PixelAccuracy`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import pixel_accuracy
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> pixel_accuracy(preds, target, 3)
        tensor(0.7500)
    """
    return agreement_recipe(scores.pixel_accuracy, num_classes, **arguments).evaluate(preds, target)


def cohen_kappa(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[AgreementArguments],
) -> Tensor:
    """Cohen's kappa.

    Arguments, shapes, range and source as in :class:`segmetrics.CohenKappa`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import cohen_kappa
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> cohen_kappa(preds, target, 3)
        tensor(0.6364)
    """
    return agreement_recipe(scores.cohen_kappa, num_classes, **arguments).evaluate(preds, target)


def matthews_corrcoef(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[AgreementArguments],
) -> Tensor:
    """Matthews correlation coefficient.

    Arguments, shapes, range and source as in :class:`segmetrics.MatthewsCorrCoef`.

    Example:
        >>> import torch
        >>> from segmetrics.functional import matthews_corrcoef
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> matthews_corrcoef(preds, target, 3)
        tensor(0.7000)
    """
    return agreement_recipe(scores.matthews_corrcoef, num_classes, **arguments).evaluate(
        preds, target
    )
