"""Which number is it? Every row of the site's tables, against the real peer.

The rows are read from `docs/which-number`: the first cell is evaluated with the peer's names, the
second with ours, on the same masks. Where a peer is wrong or inexact, a test below shows the case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import ignite.metrics
import monai.metrics
import numpy as np
import pytest
import segmentation_models_pytorch.metrics as smp
import torch
import torchmetrics.classification
import torchmetrics.segmentation
from ignite.metrics.confusion_matrix import cmAccuracy, cmPrecision, cmRecall
from packaging.version import Version
from scipy.ndimage import binary_erosion
from torch import Tensor
from torch.nn import functional as F

import segmetrics
from segmetrics.functional import confusion_matrix

C = 5
VOID = 255
PUBLIC = {name: getattr(segmetrics, name) for name in segmetrics.__all__}
OLDER = Version(torchmetrics.__version__) < Version("1.9")
PAGES = Path(__file__).parents[1] / "docs" / "which-number"


#: Masks that differ in their seed and in what the classes lack.
MASKS = [
    *("plain", 1, 2, 3, "never rightly", "never predicted", "only predicted"),
    *("false alarms", "void", "perfect"),
]


def masks(*, void: bool, kind: int | str = "plain") -> tuple[Tensor, Tensor]:
    """Six label maps in which classes lack in every way that peers treat differently."""
    generator = torch.Generator().manual_seed(kind if isinstance(kind, int) else 0)
    target = torch.randint(0, 4, (6, 12, 16), generator=generator)  # class 4 is nowhere
    preds = target.clone()
    wrong = torch.rand(preds.shape, generator=generator) < 0.4
    preds[wrong] = torch.randint(0, 4, preds.shape, generator=generator)[wrong]
    target[1][target[1] == 3] = 0  # in image 1 class 3 is predicted, but not there
    for labels in (target, preds):
        labels[2][labels[2] == 2] = 1  # in image 2 class 2 is neither predicted nor there
    if kind == "never rightly":
        preds[(preds == 3) & (target == 3)] = 0
    elif kind == "never predicted":
        preds[preds == 3] = 0
    elif kind == "only predicted":
        target[target == 3] = 0
    elif kind == "false alarms":
        target[4] = 0  # an image of nothing but background, in which other classes are predicted
    elif kind == "perfect":
        preds = target.clone()
    if void:
        target[torch.rand(target.shape, generator=generator) < 0.1] = VOID
        if kind == "void":
            target[3] = VOID  # an image of nothing but void
    return preds, target


def one_hot(labels: Tensor) -> Tensor:
    """``(N, C, ...)``, all zeros on void."""
    return F.one_hot(labels.clamp(max=C), C + 1).movedim(-1, 1)[:, :C].float()


def probabilities(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- Histograms longhand --------------------------------------------------------------------------


def mmsegmentation(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """mmsegmentation's ``IoUMetric``: histograms of intersections and areas, image by image."""
    totals = []
    for p, t in zip(preds, target, strict=True):
        p, t = p[t != VOID], t[t != VOID]
        areas = [torch.histc(x.float(), bins=C, min=0, max=C - 1) for x in (p[p == t], p, t)]
        totals.append(torch.stack(areas))
    hits, predicted, there = sum(totals[1:], totals[0])
    precision, recall = hits / predicted, hits / there
    return {
        "mIoU": (hits / (predicted + there - hits)).nanmean(),
        "mDice": (2 * hits / (predicted + there)).nanmean(),
        "aAcc": hits.sum() / there.sum(),
        "mAcc": recall.nanmean(),
        "mPrecision": precision.nanmean(),
        "mFscore": (2 * precision * recall / (precision + recall)).nanmean(),
    }


def hugging_face(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The ``mean_iou`` of Hugging Face's ``evaluate``: NumPy histograms, image by image."""
    totals = np.zeros((3, C))
    for p, t in zip(preds.numpy(), target.numpy(), strict=True):
        p, t = p[t != VOID], t[t != VOID]
        areas = [np.histogram(x, bins=C, range=(0, C - 1))[0] for x in (p[p == t], p, t)]
        totals += areas
    hits, predicted, there = torch.from_numpy(totals)
    iou = hits / (predicted + there - hits)
    return {
        "mean_iou": iou.nanmean(),
        "mean_accuracy": (hits / there).nanmean(),
        "overall_accuracy": hits.sum() / there.sum(),
        "per_category_iou": iou,
    }


def detectron2(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """detectron2's ``SemSegEvaluator``: a confusion matrix whose last row and column are void."""
    matrix = torch.zeros(C + 1, C + 1, dtype=torch.int64)
    pairs = torch.stack([preds, target.where(target != VOID, C)]).flatten(1)
    for p, t in pairs.T.tolist():
        matrix[p, t] += 1
    hits = matrix.diagonal()[:C].double()
    there, predicted = matrix[:C, :C].sum(0), matrix[:C, :C].sum(1)
    found = there > 0
    iou = hits / (there + predicted - hits)
    return {
        "mIoU": iou[found].mean(),
        "fwIoU": (iou[found] * there[found] / there.sum()).sum(),
        "mACC": (hits / there)[found].mean(),
        "pACC": hits.sum() / there.sum(),
    }


def ultralytics(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """``SemanticMetrics`` of Ultralytics 8.4: a float32 matrix of pixels whose labels are known."""
    matrix = torch.zeros(C, C)
    known = (target != VOID) & (target >= 0) & (target < C) & (preds >= 0) & (preds < C)
    for t, p in zip(target[known].tolist(), preds[known].tolist(), strict=True):
        matrix[t, p] += 1
    hits, there = matrix.diagonal(), matrix.sum(1)
    either = there + matrix.sum(0) - hits
    iou = torch.where(either > 0, hits / either, 0)
    return {
        "miou": iou[there > 0].mean(),
        "pixel_accuracy": hits.sum() / matrix.sum(),
        "per_class_iou": iou,
        "per_class_pixel_accuracy": hits / (there + 1e-10),
    }


def nnunet(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The evaluator of nnU-Net 2: every case and class as binary masks, then means over cases."""
    dice, iou = torch.full((2, len(preds), C), nan, dtype=torch.float64)
    for i, (p, t) in enumerate(zip(preds, target, strict=True)):
        for c in range(C):
            p_c, t_c = (side[t != VOID] == c for side in (p, t))
            both, either = int((p_c & t_c).sum()), int((p_c | t_c).sum())
            if either:
                dice[i, c], iou[i, c] = 2 * both / (both + either), both / either
    return {"Dice": dice.nanmean(0), "IoU": iou.nanmean(0)}


def reference_script(preds: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The confusion matrix of torchvision's reference script for segmentation."""
    known = (target >= 0) & (target < C)
    matrix = torch.bincount(C * target[known] + preds[known], minlength=C**2).reshape(C, C).float()
    hits = matrix.diag()
    return {
        "acc_global": hits.sum() / matrix.sum(),
        "acc": hits / matrix.sum(1),
        "iou": hits / (matrix.sum(1) + matrix.sum(0) - hits),
    }


# --- The rows of the pages ------------------------------------------------------------------------


def rows() -> Iterator[Any]:
    """The rows of the tables: library, their cell, our cell."""
    for path in sorted(PAGES.glob("*.md")):
        if path.stem == "probabilities":  # test_peers_probabilities.py
            continue
        section = path.read_text()
        title = section.splitlines()[0].removeprefix("# ")
        for line in section.splitlines():
            cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:3]]
            if len(cells) == 2 and all(len(code) == 1 for code in cells):
                [theirs], [ours] = cells
                mind = line.split("|")[3]
                older = OLDER and theirs.startswith("DiceScore(") and "average=" not in theirs
                marks = pytest.mark.skipif(older, reason="the default was micro before 1.9")
                yield pytest.param(title, theirs, ours, mind, marks=marks, id=f"{title}: {theirs}")


def peers(section: str, preds: Tensor, target: Tensor) -> dict[str, Any]:
    """The names that a section's first column uses."""
    if section == "torchmetrics":
        return vars(torchmetrics) | vars(torchmetrics.classification)
    if section == "torchmetrics.segmentation":
        return dict(vars(torchmetrics.segmentation))
    if section == "segmentation-models-pytorch":
        stats = smp.get_stats(preds, target, mode="multiclass", num_classes=C, ignore_index=VOID)
        scores, mask = binary_inputs()
        binary = smp.get_stats(scores, mask, mode="binary", threshold=0.5)
        return vars(smp) | {"stats": stats, "binary_stats": binary}
    if section == "MONAI":
        return dict(vars(monai.metrics))
    if section == "ignite":
        scores = {"cmAccuracy": cmAccuracy, "cmPrecision": cmPrecision, "cmRecall": cmRecall}
        return vars(ignite.metrics) | scores | {"cm": ignite.metrics.ConfusionMatrix(C)}
    if section == "mmsegmentation":
        return dict(mmsegmentation(preds, target))
    if section == "Hugging Face evaluate":
        return dict(hugging_face(preds, target))
    if section == "detectron2":
        return dict(detectron2(preds, target))
    if section == "Ultralytics":
        return dict(ultralytics(preds, target))
    if section == "vernier":
        return {"summary": vernier(preds, target)}
    if section == "hotcoco":
        return hotcoco(preds, target)
    if section == "nnU-Net":
        return dict(nnunet(preds, target))
    assert section == "torchvision's reference script"
    return dict(reference_script(preds, target))


def vernier(preds: Tensor, target: Tensor) -> Any:
    """The summary of the real library, which takes unsigned label maps by image id."""
    semantic = pytest.importorskip("vernier.semantic")
    sides = (dict(enumerate(side.byte().numpy())) for side in (target, preds))
    return semantic.evaluate_semantic_from_arrays(*sides, C, "strict", ignore_label=VOID)


def hotcoco(preds: Tensor, target: Tensor) -> dict[str, Any]:
    """The scores of the real library, image by image."""
    evaluation = pytest.importorskip("hotcoco.semantic").SemanticEval(C)
    for p, t in zip(preds.byte().numpy(), target.byte().numpy(), strict=True):
        evaluation.update(t, p)
    scores = evaluation.report()["metrics"]
    return {name: torch.tensor(value) for name, value in scores.items() if np.isscalar(value)}


def our_names(preds: Tensor, target: Tensor) -> dict[str, Any]:
    """The names that the second column uses."""
    images = zip(preds.split(1), target.split(1), strict=True)
    counts = [confusion_matrix(p, t, C, ignore_index=VOID) for p, t in images]
    matrix = torch.stack(counts).double()
    names = {"hits": matrix.diagonal(0, 1, 2), "there": matrix.sum(2), "predicted": matrix.sum(1)}
    return PUBLIC | names | {"preds": preds, "target": target, "C": C, "nan": nan}


def binary_inputs() -> tuple[Tensor, Tensor]:
    return probabilities(1, 4, 1, 9, 9), (probabilities(2, 4, 1, 9, 9) > 0.6).long()


def multilabel_inputs() -> tuple[Tensor, Tensor]:
    scores, target = probabilities(3, 4, C, 9, 9), (probabilities(4, 4, C, 9, 9) > 0.7).long()
    scores[:, 4] *= 0.4  # one channel is empty on both sides
    target[:, 4] = 0
    return scores, target


def evaluate(value: Any, inputs: dict[str, tuple[Tensor, Tensor]], task: str) -> Tensor:
    """The number that a metric gives for the masks, whatever its library's manners."""
    preds, target = inputs[task]
    if isinstance(value, torchmetrics.Metric):
        return value(preds, target)
    if isinstance(value, monai.metrics.DiceMetric):
        value(preds.unsqueeze(1), target.unsqueeze(1))
        return value.aggregate()
    if isinstance(value, monai.metrics.ConfusionMatrixMetric):
        value(one_hot(preds), one_hot(target))
        return value.aggregate()[0]
    if isinstance(value, monai.metrics.CumulativeIterationMetric):
        value(one_hot(preds), one_hot(target))
        return value.aggregate()
    if isinstance(value, ignite.metrics.Metric):
        value = value.compute()
    return torch.as_tensor(value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("section", "theirs", "ours", "mind"), rows())
def test_a_row_of_the_readme_gives_the_peers_number(
    section: str, theirs: str, ours: str, mind: str, kind: int | str
) -> None:
    preds, target = masks(void=section != "torchmetrics.segmentation", kind=kind)
    inputs = {
        "multiclass": (preds, target),
        "binary": binary_inputs(),
        "multilabel": multilabel_inputs(),
    }
    mine = eval(ours, our_names(preds, target))
    task = mine.counting.task if isinstance(mine, torchmetrics.Metric) else "multiclass"
    names = peers(section, preds, target) | {"C": C}
    yours = eval(theirs, names)
    if section == "ignite":
        names["cm"].update((one_hot(preds), target))  # a score that is made from it resets it
    expected = evaluate(yours, inputs, task).squeeze().double()
    result = evaluate(mine, inputs, task).double()
    if kind == "void" and "an image of nothing but void" in mind:
        result = (5 * result + 1) / 6  # theirs scores that image 1, ours leaves it out
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0, equal_nan=True)


def test_the_readme_has_a_table_for_every_peer() -> None:
    sections = {row.values[0] for row in rows()}
    assert sections == {
        "torchmetrics",
        "torchmetrics.segmentation",
        "segmentation-models-pytorch",
        "MONAI",
        "ignite",
        "mmsegmentation",
        "Hugging Face evaluate",
        "detectron2",
        "Ultralytics",
        "vernier",
        "hotcoco",
        "nnU-Net",
        "torchvision's reference script",
    }


def test_the_masks_tell_the_conventions_apart() -> None:
    """Otherwise a row could hold by accident."""
    preds, target = masks(void=True)
    scores = {
        round(segmetrics.MeanIoU(C, ignore_index=VOID, **arguments)(preds, target).item(), 4)
        for arguments in (
            {},
            {"zero_division": 0.0},
            {"zero_division": 1.0},
            {"aggregation_level": "samplewise"},
            {"aggregation_level": "samplewise", "zero_division": 1.0},
            {"average": "micro"},
            {"average": "weighted"},
            {"include_background": False},
        )
    }
    assert len(scores) == 8


# --- torchmetrics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("validate_args", [True, False])
def test_torchmetrics_counts_a_predicted_label_outside_the_classes_elsewhere(
    validate_args: bool,
) -> None:
    preds, target = torch.tensor([[5, -1, 0]]), torch.tensor([[0, 1, 0]])
    theirs = torchmetrics.classification.MulticlassConfusionMatrix(C, validate_args=validate_args)(
        preds, target
    )
    assert theirs[1, 0] == 1  # predicted 5 on a pixel of class 0: row 1, column 0
    assert theirs[0, 4] == 1  # predicted -1 on a pixel of class 1: row 0, column 4
    with pytest.raises(ValueError, match="2 counted pixels of `preds` are neither a class"):
        confusion_matrix(preds, target, C)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_an_ignored_class_leaves_averages_as_in_torchmetrics(average: str) -> None:
    preds, target = masks(void=False)
    arguments = {"ignore_index": 1, "average": average}
    theirs = torchmetrics.classification.MulticlassJaccardIndex(C, **arguments)(preds, target)
    ours = segmetrics.MeanIoU(C, **arguments)(preds, target)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_torchmetrics_takes_logits_within_0_and_1_for_probabilities() -> None:
    logits, target = torch.tensor([[0.2, 0.3]]), torch.tensor([[1, 1]])  # probabilities .55, .57
    assert torchmetrics.classification.BinaryJaccardIndex()(logits, target) == 0
    louder = torch.tensor([[0.2, 0.3, 1.5]]), torch.tensor([[1, 1, 1]])  # the same two pixels
    assert torchmetrics.classification.BinaryJaccardIndex()(*louder) == 1
    metric = segmetrics.MeanIoU(task="binary", from_logits=True)
    assert metric(logits, target) == 1
    assert metric(*louder) == 1


@pytest.mark.parametrize("name", ["MeanIoU", "DiceScore", "GeneralizedDiceScore"])
def test_torchmetrics_segmentation_cannot_ignore_void(name: str) -> None:
    preds, target = masks(void=True)
    metric = getattr(torchmetrics.segmentation, name)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `ignore_index`"):
        metric(C, ignore_index=VOID)
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        metric(C, input_format="index")(preds, target)


def test_torchmetrics_mean_iou_weighs_an_image_by_its_number_of_classes() -> None:
    # image 0 has four classes, all right; image 1 has one class, all wrong
    target = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]]).unsqueeze(1)
    preds = torch.tensor([[0, 1, 2, 3], [4, 4, 4, 4]]).unsqueeze(1)
    theirs = torchmetrics.segmentation.MeanIoU(C, input_format="index")(preds, target)
    torch.testing.assert_close(theirs.item(), 4 / 6, rtol=1e-6, atol=0)
    assert segmetrics.MeanIoU(C, aggregation_level="samplewise")(preds, target) == 0.5


@pytest.mark.parametrize("weight_type", ["square", "simple", "linear"])
def test_generalized_dice_agrees_where_every_image_holds_every_class(weight_type: str) -> None:
    generator = torch.Generator().manual_seed(5)
    preds, target = torch.randint(0, C, (2, 4, 20, 20), generator=generator)
    theirs = torchmetrics.segmentation.GeneralizedDiceScore(
        C, weight_type=weight_type, input_format="index"
    )(preds, target)
    ours = segmetrics.GeneralizedDiceScore(
        C, weight_type=weight_type, aggregation_level="samplewise"
    )(preds, target)
    torch.testing.assert_close(ours, theirs.squeeze(), rtol=0, atol=1e-6)


def test_torchmetrics_generalized_dice_of_an_image_depends_on_its_neighbours() -> None:
    preds, target = masks(void=False)
    preds, target = preds[[1, 1]], target[[1, 1]]  # class 3 is predicted in image 1, but not there
    theirs = torchmetrics.segmentation.GeneralizedDiceScore(C, input_format="index")
    assert abs(theirs(preds, target) - theirs(preds[:1], target[:1])) > 0.01
    ours = segmetrics.GeneralizedDiceScore(C, aggregation_level="samplewise")
    torch.testing.assert_close(ours(preds, target), ours(preds[:1], target[:1]))


# --- segmentation-models-pytorch ------------------------------------------------------------------


def test_smp_scores_an_absent_class_1() -> None:
    target, preds = torch.zeros(1, 4, 4, dtype=torch.long), torch.ones(1, 4, 4, dtype=torch.long)
    stats = smp.get_stats(preds, target, mode="multiclass", num_classes=20)
    torch.testing.assert_close(smp.iou_score(*stats, reduction="macro").item(), 0.9)
    assert segmetrics.MeanIoU(20)(preds, target) == 0


def test_smp_stops_counting_a_class_of_an_image_at_two_to_the_24() -> None:
    # histc adds in float32, each thread by itself
    image = torch.zeros(1, 4100, 4096, dtype=torch.long)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        hits, *_ = smp.get_stats(image, image, mode="multiclass", num_classes=2)
    finally:
        torch.set_num_threads(threads)
    assert hits[0, 0] == 2**24 < image.numel()
    image = image.to(torch.uint8)
    assert confusion_matrix(image, image, 2)[0, 0] == image.numel()


def test_smp_drops_labels_outside_the_classes_in_silence() -> None:
    target, preds = torch.tensor([[0, 0, 255, 7]]), torch.tensor([[0, 9, 0, 1]])
    hits, false, missed, _ = smp.get_stats(preds, target, mode="multiclass", num_classes=2)
    assert hits.tolist() == [[1, 0]]
    assert missed.tolist() == [[1, 0]]  # targets 255 and 7 are in no class
    assert false.tolist() == [[1, 1]]  # but what is predicted there is false; the 9 is nowhere
    with pytest.raises(ValueError, match="255"):
        confusion_matrix(preds, target, 2)


def test_smp_accuracy_counts_true_negatives() -> None:
    target = torch.arange(21).view(1, 1, 21)
    preds = target.clone()
    preds[..., ::2] = 0  # eleven of 21 are 0, one of them rightly: 11 right, 10 wrong
    stats = smp.get_stats(preds, target, mode="multiclass", num_classes=21)
    torch.testing.assert_close(smp.accuracy(*stats, reduction="micro").item(), 1 - 20 / 21**2)
    torch.testing.assert_close(segmetrics.PixelAccuracy(21)(preds, target).item(), 11 / 21)


def test_smp_takes_a_score_on_the_threshold_for_positive() -> None:
    scores, target = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2, dtype=torch.long)
    stats = smp.get_stats(scores, target, mode="binary", threshold=0.5)
    assert smp.iou_score(*stats, reduction="micro") == 1
    assert segmetrics.MeanIoU(task="binary")(scores, target) == 0
    assert torchmetrics.classification.BinaryJaccardIndex()(scores, target) == 0


# --- MONAI, ignite, mmsegmentation, torchvision ---------------------------------------------------


def test_monai_does_not_see_false_alarms_in_images_without_the_class() -> None:
    target = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    preds = target.clone()
    preds[..., 0] = 1
    default = monai.metrics.DiceMetric(num_classes=2, include_background=False)
    default(preds, target)
    assert default.get_buffer().isnan().all()
    assert default.aggregate() == 0  # and no score at all is reported as 0
    ours = segmetrics.DiceScore(2, include_background=False, aggregation_level="samplewise")
    assert ours(preds[:, 0], target[:, 0]) == 0
    perfect = segmetrics.DiceScore(2, include_background=False, aggregation_level="samplewise")
    assert perfect(target[:, 0], target[:, 0]).isnan()


def test_ignite_drops_targets_outside_the_classes_in_silence() -> None:
    target, preds = torch.tensor([[0, 1, 9, -3]]), torch.tensor([[0, 1, 0, 1]])
    matrix = ignite.metrics.ConfusionMatrix(2)
    matrix.update((F.one_hot(preds, 2).movedim(-1, 1), target))
    assert matrix.compute().tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match="Bad values in `target`: -3, 9"):
        confusion_matrix(preds, target, 2)


def test_mmsegmentation_sums_in_float32() -> None:
    large, small = torch.zeros(4096, 4096), torch.zeros(1, 1)
    areas = [torch.histc(image, bins=2, min=0, max=1) for image in (large, *[small] * 1000)]
    assert sum(areas[1:], areas[0])[0] == 2**24  # not 2**24 + 1000
    metric = segmetrics.ConfusionMatrix(2)
    for image in (large.to(torch.uint8), *[small.to(torch.uint8)] * 1000):
        metric.update(image, image)
    assert metric.compute()[0, 0] == 2**24 + 1000


def test_mmsegmentation_f_score_leaves_out_classes_that_are_never_hit() -> None:
    target, preds = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 0, 0]]])
    assert mmsegmentation(preds, target)["mFscore"] == mmsegmentation(preds, target)["mDice"] * 2
    ours = segmetrics.DiceScore(C)(preds, target)
    torch.testing.assert_close(ours, mmsegmentation(preds, target)["mDice"])


def test_mmsegmentation_and_we_take_a_predicted_void_for_an_abstention() -> None:
    preds, target = masks(void=True)
    preds[:, :3] = VOID
    theirs = mmsegmentation(preds, target)
    arguments = {"ignore_index": VOID}
    torch.testing.assert_close(segmetrics.MeanIoU(C, **arguments)(preds, target), theirs["mIoU"])
    torch.testing.assert_close(
        segmetrics.PixelAccuracy(C, **arguments)(preds, target), theirs["aAcc"]
    )
    torch.testing.assert_close(
        segmetrics.Precision(C, **arguments)(preds, target), theirs["mPrecision"]
    )


def test_the_reference_script_is_nan_for_an_absent_class() -> None:
    preds, target = masks(void=True)
    assert reference_script(preds, target)["iou"].mean().isnan()  # class 4


def test_the_reference_script_counts_a_predicted_label_outside_the_classes_elsewhere() -> None:
    preds, target = torch.tensor([5]), torch.tensor([0])
    accuracy = reference_script(preds, target)["acc"]
    assert accuracy[0].isnan()  # the row of class 0 is empty:
    assert accuracy[1] == 0  # the pixel is in row 1
    with pytest.raises(ValueError, match="`preds` are neither a class"):
        confusion_matrix(preds, target, C)


# --- medpy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MASKS)
def test_medpy_pools_the_distances_of_both_directions(kind: int | str) -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    preds, target = (side[:1] == 1 for side in masks(void=False, kind=kind))
    pair, spacing = (preds[0].numpy(), target[0].numpy(), (2.0, 0.5)), {"spacing": (2.0, 0.5)}
    assd = segmetrics.AverageSurfaceDistance(task="binary", **spacing)(preds, target)
    assert assd.item() == pytest.approx(binary.assd(*pair, connectivity=1), rel=1e-6)
    hd = segmetrics.HausdorffDistance(task="binary", **spacing)(preds, target)
    assert hd.item() == pytest.approx(binary.hd(*pair, connectivity=1), rel=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in MASKS if kind != "perfect"])
def test_medpy_hd95_is_where_surface_dice_passes_95_percent(kind: int | str) -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    preds, target = (side[:1] == 1 for side in masks(void=False, kind=kind))
    pixels = sum(int((m & ~binary_erosion(m)).sum()) for m in (preds[0].numpy(), target[0].numpy()))
    theirs = binary.hd95(preds[0].numpy(), target[0].numpy(), (2.0, 0.5), connectivity=1)
    below, above = (
        segmetrics.SurfaceDice(task="binary", spacing=(2.0, 0.5), tolerance=theirs * factor)
        for factor in (1 - 1e-5, 1 + 1e-5)
    )
    assert below(preds, target) <= 0.95 + 1 / pixels
    assert above(preds, target) >= 0.95 - 1 / pixels


def test_medpy_pools_the_distances_before_the_percentile() -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    target = torch.zeros(1, 40, 40, dtype=torch.bool)
    target[0, 2:30, 2:30] = True
    preds = target.clone()
    preds[0, 34:37, 34:37] = True  # its contour is 8 of 116 pixels, 8 of 224 on both sides
    pair = preds[0].numpy(), target[0].numpy()
    ways = [
        segmetrics.HausdorffDistance(task="binary", percentile=95, directed=True)(*sides).item()
        for sides in ((preds, target), (target, preds))
    ]
    assert binary.hd95(*pair, connectivity=1) == 0
    assert ways[0] > 7
    assert ways[1] == 0
    ours = segmetrics.HausdorffDistance(task="binary", percentile=95)
    assert ours(preds, target) == max(ways)
