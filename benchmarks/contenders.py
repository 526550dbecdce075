"""The contenders. Each is bound to a case and its tensors and gives an update to time.

Where a peer cannot read the form, the conversion that its documentation asks for is part of its
time: logits at an eighth of the size are interpolated, scores become labels by ``argmax``, labels
become one-hot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cases import VOID, Case

Step = Callable[[], object]
Contender = Callable[[Case, Tensor, Tensor], Step | None]


def segmetrics(case: Case, preds: Tensor, target: Tensor, *, level: str = "global") -> Step:
    """``MeanIoU``, the inputs as they are."""
    from segmetrics import MeanIoU

    arguments = {"ignore_index": VOID, "aggregation_level": level}
    if case.kind == "binary":
        metric = MeanIoU(task="binary", **arguments)
    else:
        upsample = "bilinear" if case.resized else None
        metric = MeanIoU(case.classes, upsample=upsample, **arguments)
    metric = metric.to(preds.device)
    return lambda: metric.update(preds, target)


def segmetrics_samplewise(case: Case, preds: Tensor, target: Tensor) -> Step:
    """The same with a score of each image, as by default in torchmetrics' ``MeanIoU``."""
    return segmetrics(case, preds, target, level="samplewise")


def torchmetrics_jaccard(
    case: Case, preds: Tensor, target: Tensor, *, validate_args: bool = True
) -> Step:
    """``MulticlassJaccardIndex`` with its defaults, ``BinaryJaccardIndex`` for binary."""
    from torchmetrics.classification import BinaryJaccardIndex, MulticlassJaccardIndex

    arguments = {"ignore_index": VOID, "validate_args": validate_args}
    if case.kind == "binary":
        metric = BinaryJaccardIndex(**arguments).to(preds.device)
    else:
        metric = MulticlassJaccardIndex(case.classes, **arguments).to(preds.device)
    full_size = _full_size(case, preds, target)
    return lambda: metric.update(full_size(), target)


def torchmetrics_jaccard_unchecked(case: Case, preds: Tensor, target: Tensor) -> Step:
    """The same with ``validate_args=False``."""
    return torchmetrics_jaccard(case, preds, target, validate_args=False)


def torchmetrics_mean_iou(case: Case, preds: Tensor, target: Tensor) -> Step | None:
    """``torchmetrics.segmentation.MeanIoU``; it knows no void, which is class 0 for it."""
    from torchmetrics.segmentation import MeanIoU

    if case.kind == "binary":
        return None
    target = target.where(target != VOID, 0).long()
    index = case.kind == "labels"
    metric = MeanIoU(case.classes, input_format="index" if index else "mixed").to(preds.device)
    full_size = _full_size(case, preds, target)
    return lambda: metric.update(full_size().long() if index else full_size(), target)


def reference_bincount(case: Case, preds: Tensor, target: Tensor) -> Step:
    """The confusion matrix of torchvision's reference script."""
    classes = case.classes
    labels = _labels(case, preds, target)
    matrix = torch.zeros(classes, classes, dtype=torch.int64, device=preds.device)

    def step() -> None:
        truth, predicted = target.flatten(), labels().flatten()
        known = (truth >= 0) & (truth < classes)
        cell = classes * truth[known].to(torch.int64) + predicted[known]
        matrix.add_(torch.bincount(cell, minlength=classes**2).reshape(classes, classes))

    return step


def smp(case: Case, preds: Tensor, target: Tensor) -> Step | None:
    """segmentation-models-pytorch's ``get_stats``."""
    from segmentation_models_pytorch.metrics import get_stats

    if case.kind == "binary":
        return None  # it ignores nothing in this mode
    labels = _labels(case, preds, target)
    return lambda: get_stats(
        labels().long(),
        target.long(),
        mode="multiclass",
        num_classes=case.classes,
        ignore_index=VOID,
    )


def monai(case: Case, preds: Tensor, target: Tensor) -> Step:
    """MONAI's ``DiceMetric`` on label maps."""
    from monai.metrics import DiceMetric

    metric = DiceMetric(num_classes=case.classes, ignore_index=VOID)
    labels = _labels(case, preds, target)
    return lambda: metric(labels().unsqueeze(1), target.unsqueeze(1))


def ignite(case: Case, preds: Tensor, target: Tensor) -> Step:
    """ignite's ``ConfusionMatrix``."""
    from ignite.metrics import ConfusionMatrix
    from ignite.utils import to_onehot

    metric = ConfusionMatrix(case.classes, device=preds.device)
    if case.kind == "logits":
        full_size = _full_size(case, preds, target)
        return lambda: metric.update((full_size(), target))
    labels = _labels(case, preds, target)
    return lambda: metric.update((to_onehot(labels().long(), case.classes), target.long()))


CONTENDERS: dict[str, Contender] = {
    "segmetrics": segmetrics,
    "… samplewise": segmetrics_samplewise,
    "torchmetrics Jaccard": torchmetrics_jaccard,
    "… validate_args=False": torchmetrics_jaccard_unchecked,
    "torchmetrics MeanIoU": torchmetrics_mean_iou,
    "reference bincount": reference_bincount,
    "smp": smp,
    "MONAI Dice": monai,
    "ignite": ignite,
}


def _full_size(case: Case, preds: Tensor, target: Tensor) -> Callable[[], Tensor]:
    """Predictions of the target's size."""
    if not case.resized:
        return lambda: preds
    size = target.shape[1:]
    return lambda: F.interpolate(preds, size, mode="bilinear", align_corners=False)


def _labels(case: Case, preds: Tensor, target: Tensor) -> Callable[[], Tensor]:
    """Predicted labels."""
    if case.kind == "labels":
        return lambda: preds
    if case.kind == "binary":
        return lambda: (preds > 0.5).long()
    full_size = _full_size(case, preds, target)
    return lambda: full_size().argmax(1)
