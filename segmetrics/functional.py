"""Scores of one batch as functions, without state.

The arguments after ``preds, target``, the inputs and the errors are those of the metric of the same
name. Bad labels raise at once on every device, which synchronizes a GPU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import one_of
from segmetrics._help import explained
from segmetrics.counting import Counting, CountingArguments, count
from segmetrics.labels import LabelSpace
from segmetrics.probabilities import functional as probabilities
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

auroc, average_precision = probabilities.auroc, probabilities.average_precision
fpr_at_recall, best_threshold = probabilities.fpr_at_recall, probabilities.best_threshold
roc, precision_recall_curve = probabilities.roc, probabilities.precision_recall_curve
aurc = probabilities.aurc
calibration_error, brier_score = probabilities.calibration_error, probabilities.brier_score
negative_log_likelihood = probabilities.negative_log_likelihood


@explained
def confusion_matrix(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    normalize: Normalize | None = None,
    **arguments: Unpack[CountingArguments],
) -> Tensor:
    """Confusion matrix ``(C, C)``: rows are the target, columns the prediction.

    Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5
    (``n_ij``). A pixel on which the model abstained is in no column.

    Args:
        normalize: ``None`` for counts; ``"true"`` for shares of the row, abstained pixels
            included, ``"pred"`` of the column, ``"all"`` of all counted pixels. An empty row or
            column gives 0.

    Returns:
        ``(C, C)`` in int64, or in float32 in [0, 1] with ``normalize``. Binary ``(2, 2)``,
        multilabel ``(C, 2, 2)``.

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


@explained
def mean_iou(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Mean intersection over union, the Jaccard index.

    ``tp / (tp + fp + fn)`` per class, in [0, 1]. Everingham et al., "The PASCAL Visual Object
    Classes Challenge", IJCV 2015, section 4.1.3.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import mean_iou
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> mean_iou(preds, target, 3)
        tensor(0.6667)
    """
    return class_recipe(scores.iou, num_classes, **arguments).evaluate(preds, target)


@explained
def dice_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Dice score, the F1 score.

    ``2 tp / (2 tp + fp + fn)`` per class, in [0, 1]. Dice, "Measures of the amount of ecologic
    association between species", Ecology 1945.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import dice_score
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> dice_score(preds, target, 3)
        tensor(0.7778)
    """
    return class_recipe(scores.dice, num_classes, **arguments).evaluate(preds, target)


@explained
def generalized_dice_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    weight_type: WeightType = "square",
    **arguments: Unpack[JointArguments],
) -> Tensor:
    """Generalised Dice score.

    ``2 Σ w tp / Σ w (|pred| + |target|)`` over the classes, in [0, 1]. Sudre et al., "Generalised
    Dice overlap as a deep learning loss function for highly unbalanced segmentations", DLMIA 2017.

    Args:
        weight_type: ``"square"`` (1 / pixels²), ``"simple"`` (1 / pixels) or ``"linear"`` (1), by
            the target's pixels of the class.

    Returns:
        float32 scalar; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import generalized_dice_score
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> generalized_dice_score(preds, target, 3)
        tensor(0.7826)
    """
    formula = generalized_dice_formula(weight_type)
    return joint_recipe(formula, num_classes, **arguments).evaluate(preds, target)


@explained
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

    ``tp / (tp + alpha fp + beta fn)`` per class, in [0, 1]. Tversky, "Features of similarity",
    Psychological Review 1977.

    Args:
        alpha: weight of false positives, at least 0.
        beta: weight of false negatives, at least 0.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import tversky_index
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> tversky_index(preds, target, 3)
        tensor(0.7778)
    """
    formula = tversky_formula(alpha, beta)
    return class_recipe(formula, num_classes, **arguments).evaluate(preds, target)


@explained
def fbeta_score(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    *,
    beta: float = 1.0,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """F score.

    ``(1 + beta²) tp / ((1 + beta²) tp + beta² fn + fp)`` per class, in [0, 1]. Van Rijsbergen,
    "Information Retrieval", 1979, chapter 7.

    Args:
        beta: weight of recall, at least 0.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import fbeta_score
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> fbeta_score(preds, target, 3)
        tensor(0.7778)
    """
    formula = f_beta_formula(beta)
    return class_recipe(formula, num_classes, **arguments).evaluate(preds, target)


@explained
def precision(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Precision, the positive predictive value.

    ``tp / (tp + fp)`` per class, in [0, 1]. Van Rijsbergen, "Information Retrieval", 1979,
    chapter 7.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import precision
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> precision(preds, target, 3)
        tensor(0.8333)
    """
    return class_recipe(scores.precision, num_classes, **arguments).evaluate(preds, target)


@explained
def recall(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Recall, the sensitivity; macro is the mean class accuracy.

    ``tp / (tp + fn)`` per class, in [0, 1]. Long et al., "Fully Convolutional Networks for Semantic
    Segmentation", CVPR 2015, section 5 ("mean accu.").

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import recall
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> recall(preds, target, 3)
        tensor(0.8333)
    """
    return class_recipe(scores.recall, num_classes, **arguments).evaluate(preds, target)


@explained
def specificity(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[ClassArguments],
) -> Tensor:
    """Specificity, the true negative rate.

    ``tn / (tn + fp)`` per class, in [0, 1]. Yerushalmy, "Statistical problems in assessing methods
    of medical diagnosis", Public Health Reports 1947.

    Returns:
        float32 scalar, or ``(C,)`` for ``average="none"`` (``(C - 1,)`` without background); nan
        if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import specificity
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> specificity(preds, target, 3)
        tensor(0.8889)
    """
    return class_recipe(scores.specificity, num_classes, **arguments).evaluate(preds, target)


@explained
def pixel_accuracy(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[AgreementArguments],
) -> Tensor:
    """Pixel accuracy.

    ``Σ tp / n``, in [0, 1]. Long et al., "Fully Convolutional Networks for Semantic Segmentation",
    CVPR 2015, section 5.

    Returns:
        float32 scalar; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import pixel_accuracy
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> pixel_accuracy(preds, target, 3)
        tensor(0.7500)
    """
    return agreement_recipe(scores.pixel_accuracy, num_classes, **arguments).evaluate(preds, target)


@explained
def cohen_kappa(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[AgreementArguments],
) -> Tensor:
    """Cohen's kappa.

    ``(p_o - p_e) / (1 - p_e)``, in [-1, 1]. Cohen, "A coefficient of agreement for nominal scales",
    1960.

    Returns:
        float32 scalar; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics.functional import cohen_kappa
        >>> target, preds = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 2]])
        >>> cohen_kappa(preds, target, 3)
        tensor(0.6364)
    """
    return agreement_recipe(scores.cohen_kappa, num_classes, **arguments).evaluate(preds, target)


@explained
def matthews_corrcoef(
    preds: Tensor,
    target: Tensor,
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[AgreementArguments],
) -> Tensor:
    """Matthews correlation coefficient.

    In [-1, 1]. Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", 2004.

    Returns:
        float32 scalar; nan if no pixel was counted.

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


@explained
def panoptic_quality(
    preds: Tensor,
    target: Tensor,
    things: Collection[int] | LabelSpace,
    stuffs: Collection[int] | None = None,
    *,
    crowd: Tensor | None = None,
    modified: bool = False,
    boundary: bool = False,
    dilation_ratio: float = 0.02,
    allow_unknown_preds_category: bool = False,
    class_names: Mapping[int, str] | Sequence[str] | None = None,
    per_class: bool = True,
) -> dict[str, Tensor]:
    """Panoptic quality, and its factors, segmentation and recognition quality.

    In [0, 1]. Kirillov et al., "Panoptic Segmentation", CVPR 2019. See ``PanopticQuality``.

    Args:
        preds: category and instance of every pixel, integers ``(N, ..., 2)``.
        target: the same, of the same shape, on the same device. A category that is neither a thing
            nor stuff is void.
        things: the categories whose instances are segments of their own, or a ``LabelSpace`` with
            ``things``.
        stuffs: the categories whose pixels are one segment. Not given with a label space.
        crowd: bool ``(N, ...)``, true in regions of the target whose instances are not separated.
        modified: the quality of stuff is its IoU, matched or not.
        boundary: the IoU is the smaller of the IoU of the segments and of their bands.
        dilation_ratio: width of the bands as a share of the image's diagonal, greater than 0.
        allow_unknown_preds_category: whether predicted categories that are neither thing nor stuff
            are void; otherwise they raise.
        class_names: names of the categories for keys: category → name, or a sequence in the order
            things, then stuff, each ascending.
        per_class: whether there are keys for every category.

    Returns:
        dict of float32 scalars by key; nan without segments.

    Raises:
        TypeError: a dtype that holds no integers, or an argument of the wrong type.
        ValueError: shapes that do not match, an unknown predicted category, a thing without an id.

    Example:
        >>> import torch
        >>> from segmetrics.functional import panoptic_quality
        >>> target = torch.tensor([[[1, 0], [1, 0], [1, 1], [7, 0]]])
        >>> preds = torch.tensor([[[1, 5], [1, 5], [7, 0], [7, 0]]])
        >>> panoptic_quality(preds, target, things=[1], stuffs=[7], per_class=False)["PQ_things"]
        tensor(0.6667)
    """
    from segmetrics.metrics.panoptic import PanopticQuality

    metric = PanopticQuality(
        things,
        stuffs,
        modified=modified,
        boundary=boundary,
        dilation_ratio=dilation_ratio,
        allow_unknown_preds_category=allow_unknown_preds_category,
        class_names=class_names,
        per_class=per_class,
    )
    found: dict[str, Tensor] = metric.to(target.device)(preds, target, crowd)
    return found
