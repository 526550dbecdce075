"""Presets of challenges: worked by hand, and the numbers of the organisers' own code."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from segmetrics import LabelSpace, ObjectImageScores, ObjectMetrics
from segmetrics.objects.rules import PRESETS
from tumours import drawn

NAMES = ["background", "necrosis", "edema", "enhancing"]
REGIONS = {"WT": NAMES[1:], "TC": ["necrosis", "enhancing"], "ET": ["enhancing"]}
TUMOUR = LabelSpace(NAMES, regions=REGIONS)


def scored(metric: ObjectMetrics, *pairs: tuple[Any, Any]) -> dict[str, float]:
    for preds, target in pairs:
        metric.update(torch.as_tensor(preds)[None], torch.as_tensor(target)[None])
    return {key: value.item() for key, value in metric.compute().items()}


# --- Worked by hand -------------------------------------------------------------------------------


def test_brats_combines_lesions_that_are_near_each_other() -> None:
    """Two boxes of 64 voxels 4 apart are one lesion for a dilation of 3, and two for one of 1."""
    target = np.zeros((20, 20, 30), np.uint8)
    target[8:12, 8:12, 4:8] = 3
    target[8:12, 8:12, 12:16] = 3
    preds = np.zeros_like(target)
    preds[8:12, 8:12, 4:8] = 3
    preds[0:2, 0:2, 28:30] = 3  # false, of 8 voxels
    gli = scored(ObjectMetrics.preset("brats-2023-gli", TUMOUR), (preds, target))
    # one lesion of 128 voxels, 64 of them found, and one false
    assert gli["missed_objects_region/ET"] == 0
    assert gli["false_objects_region/ET"] == 1
    assert gli["object_dice_region/ET"] == pytest.approx((2 * 64 / (64 + 128) + 0) / 2)
    # HD95: less than 5 % of the elements of the target's far half are further than 8
    assert gli["object_hd95_region/ET"] == pytest.approx((8 + 374) / 2)
    men = scored(ObjectMetrics.preset("brats-2023-men", TUMOUR), (preds, target))
    # a lesion found exactly, one missed, one false
    assert men["missed_objects_region/ET"] == 1
    assert men["object_dice_region/ET"] == pytest.approx((1 + 0 + 0) / 3)
    assert men["object_hd95_region/ET"] == pytest.approx((0 + 374 + 374) / 3)


@pytest.mark.parametrize(
    ("name", "dilation", "uncounted"),
    [
        ("2023-gli", 3, 50), ("2023-ssa", 3, 50), ("2023-ped", 3, 50), ("2023-men", 1, 50),
        ("2023-met", 1, 2), ("2024-gli", 3, 20), ("2024-ssa", 3, 50), ("2024-ped", 5, 10),
        ("2024-met", 1, 2), ("2024-men-rt", 1, 50),
    ],
)  # fmt: skip
def test_each_task_of_brats_has_its_dilation_and_its_smallest_lesion(
    name: str, dilation: int, uncounted: int
) -> None:
    def lesions(voxels: int, gap: int | None = None) -> float:
        """The lesions that count of a line of voxels, or of two with a gap between."""
        target = np.zeros((3, 3, 140), np.uint8)
        target[1, 1, :voxels] = 1
        if gap is not None:
            target[1, 1, voxels + gap : 2 * voxels + gap] = 1
        metric = ObjectMetrics.preset(f"brats-{name}", task="binary")
        return scored(metric, (np.zeros_like(target), target))["target_objects"]

    assert (lesions(uncounted), lesions(uncounted + 1)) == (0, 1)
    assert lesions(uncounted + 1, gap=2 * dilation) == 1
    assert lesions(uncounted + 1, gap=2 * dilation + 1) == 2


def test_brats_does_not_count_small_lesions_but_lets_them_be_found() -> None:
    """A lesion of 8 voxels is neither missed nor found; what touches it is not false."""
    target = np.zeros((20, 20, 20), np.uint8)
    target[2:4, 2:4, 2:4] = 3
    target[10:14, 10:14, 10:14] = 3
    preds = target.copy()
    found = scored(ObjectMetrics.preset("brats-2023", TUMOUR), (preds, target))
    assert found["object_dice_region/ET"] == 1
    assert found["false_objects_region/ET"] == 0
    preds[2:4, 2:4, 2:4] = 0
    found = scored(ObjectMetrics.preset("brats-2023", TUMOUR), (preds, target))
    assert found["missed_objects_region/ET"] == 0
    assert found["object_dice_region/ET"] == 1
    # 2024 drops the small predicted lesion as well
    preds[10:14, 10:14, 10:14] = 0
    preds[2:4, 2:4, 2:4] = 3
    for year, false in (("2023", 0), ("2024", 0)):
        found = scored(ObjectMetrics.preset(f"brats-{year}", TUMOUR), (preds, target))
        assert found["missed_objects_region/ET"] == 1
        assert found["false_objects_region/ET"] == false
    preds[:] = 0
    preds[18:, 18:, 18:] = 3  # 8 voxels that touch nothing
    assert scored(ObjectMetrics.preset("brats-2023", TUMOUR), (preds, target))[
        "false_objects_region/ET"
    ] == 1  # fmt: skip
    assert scored(ObjectMetrics.preset("brats-2024", TUMOUR), (preds, target))[
        "false_objects_region/ET"
    ] == 0  # fmt: skip


def test_brats_scores_a_case_without_lesions_as_right_and_averages_over_cases() -> None:
    empty = np.zeros((8, 8, 8), np.uint8)
    preds = empty.copy()
    preds[2:6, 2:6, 2:6] = 3
    metric = ObjectMetrics.preset("brats-2023", TUMOUR)
    found = scored(metric, (empty, empty), (preds, empty), (empty, empty))
    assert found["object_dice_region/ET"] == pytest.approx((1 + 0 + 1) / 3)
    assert found["object_hd95_region/ET"] == pytest.approx((0 + 374 + 0) / 3)


def test_autopet_gives_volumes_in_ml_of_components_over_edges() -> None:
    """Voxels that share a corner only are two components; one of them is touched."""
    target = np.zeros((3, 4, 5), np.uint8)
    target[0, 0, 0], target[1, 1, 1] = 1, 1  # over a corner
    target[0, 3, 3], target[1, 3, 4] = 1, 1  # over an edge
    preds = np.zeros_like(target)
    preds[0, 0, 0], preds[0, 3, 3], preds[2, 0, 4] = 1, 1, 1
    preds[1, 2, 2] = 1  # shares a corner with one that touches the target
    metric = ObjectMetrics.preset("autopet", task="binary", spacing=(3.0, 2.0, 2.0))
    found = scored(metric, (preds, target))
    assert found["false_negative_volume"] == pytest.approx(0.012)  # 1 voxel of 12 mm³
    assert found["false_positive_volume"] == pytest.approx(0.024)


def test_wmh_leaves_other_pathology_out_before_lesions_are_found() -> None:
    """A predicted lesion across other pathology is two."""
    target = np.array([[[1, 2, 0, 0, 0, 1]], [[1, 2, 0, 0, 0, 0]]], np.uint8)
    preds = np.array([[[1, 1, 1, 0, 0, 0]], [[0, 1, 0, 0, 0, 0]]], np.uint8)
    metric = ObjectMetrics.preset("wmh-2017", task="binary", ignore_index=2)
    found = scored(metric, (preds, target))
    assert found["predicted_objects"] == 2
    assert found["object_recall"] == 0.5
    assert found["object_precision"] == 0.5
    empty = np.zeros((2, 3, 4), np.uint8)
    metric = ObjectMetrics.preset("wmh-2017", task="binary", ignore_index=2)
    assert scored(metric, (empty, empty))["object_f1"] == 1


@pytest.mark.parametrize(("name", "dice"), [("2024-men-rt", 1.0), ("2024-met", 0.5)])
def test_false_lesions_enter_the_means_of_brats_except_for_radiotherapy(name, dice) -> None:
    target = np.zeros((12, 12, 30), np.uint8)
    target[4:8, 4:8, 2:6] = 1
    preds = target.copy()
    preds[4:8, 4:8, 20:24] = 1
    found = scored(ObjectMetrics.preset(f"brats-{name}", task="binary"), (preds, target))
    assert found["false_objects"] == 1
    assert found["object_dice"] == dice
    assert (found["object_hd95"] == 0) == (dice == 1)


# --- The organisers' code -------------------------------------------------------------------------

# `get_LesionWiseResults` of github.com/rachitsaluja/BraTS-2023-Metrics (43c9052) and
# BraTS-2024-Metrics (f1131e3) on `drawn(seed)` as NIfTI of 1 mm³: missed, false, lesion-wise Dice,
# HD95 and, of 2024, NSD at 1.0. Of 2024 the regions that its code does not combine across tissues.
BRATS = {
    ("brats-2023-gli", 0, "WT"): (1, 1, 0.1870503597, 250.1498299),
    ("brats-2023-gli", 0, "TC"): (0, 1, 0, 374),
    ("brats-2023-gli", 1, "WT"): (0, 1, 0.2057654076, 188.118034),
    ("brats-2023-gli", 1, "TC"): (0, 0, 0.45, 2),
    ("brats-2023-gli", 1, "ET"): (0, 0, 1, 0),
    ("brats-2023-gli", 2, "WT"): (0, 1, 0.2697417665, 127.7370342),
    ("brats-2023-met", 0, "WT"): (3, 3, 0.1879365079, 225.1064495),
    ("brats-2023-met", 0, "TC"): (1, 1, 0.3666666667, 187.5),
    ("brats-2023-met", 1, "WT"): (2, 3, 0.1200835953, 234.559017),
    ("brats-2023-met", 1, "ET"): (0, 0, 0.1666666667, 2.236067977),
    ("brats-2023-met", 2, "WT"): (1, 2, 0.2879121503, 162.4046193),
    ("brats-2023-met", 2, "TC"): (1, 0, 0.2166666667, 76.18432514),
    ("brats-2023-men", 0, "WT"): (1, 3, 0.1428571429, 249.9714045),
    ("brats-2023-men", 1, "TC"): (0, 1, 0.225, 188),
    ("brats-2023-men", 2, "WT"): (0, 2, 0.3358975087, 127.1387226),
    ("brats-2024-gli", 0, "WT"): (1, 1, 0.1358885017, 171.8165359, 0.1695041506),
    ("brats-2024-gli", 0, "TC"): (1, 1, 0.2626262626, 225, 0.3333333317),
    ("brats-2024-gli", 1, "WT"): (0, 1, 0.1927324939, 113.8240453, 0.345840009),
    ("brats-2024-gli", 1, "TC"): (0, 0, 0.45, 2, 0.6951219477),
    ("brats-2024-met", 0, "WT"): (3, 3, 0.1493158183, 39.29782507, 0.2365079353),
    ("brats-2024-met", 0, "TC"): (1, 1, 0.3666666667, 31.80495168, 0.4999999975),
    ("brats-2024-met", 1, "WT"): (2, 3, 0.1200835953, 39.9402066, 0.2114813772),
    ("brats-2024-ssa", 0, "WT"): (1, 1, 0.181184669, 252.9388846, 0.2260055342),
    ("brats-2024-ssa", 1, "TC"): (0, 0, 0.45, 2, 0.6951219477),
    ("brats-2024-ped", 0, "WT"): (0, 0, 0.1658031088, 22.49416487, 0.2220862228),
    ("brats-2024-ped", 1, "WT"): (0, 0, 0.372173913, 7.810249676, 0.499372788),
}
KEYS = ("missed_objects", "false_objects", "object_dice", "object_hd95", "object_surface_dice")


@pytest.mark.parametrize(("preset", "seed"), sorted({case[:2] for case in BRATS}))
def test_brats_presets_give_the_numbers_of_its_code(preset: str, seed: int) -> None:
    found = scored(ObjectMetrics.preset(preset, TUMOUR), drawn(seed))
    for (name, of_seed, region), expected in BRATS.items():
        if (name, of_seed) == (preset, seed):
            values = [found[f"{key}_region/{region}"] for key in KEYS[: len(expected)]]
            assert values == pytest.approx(expected, rel=1e-6), region


def test_the_radiotherapy_preset_gives_the_numbers_of_its_code() -> None:
    """BraTS-MEN-RT 2024, whose one label is 1: no false lesion enters the means."""
    preds, target = drawn(1)
    metric = ObjectMetrics.preset("brats-2024-men-rt", task="binary")
    found = scored(metric, (preds == 1, target == 1))
    values = [found[key] for key in KEYS[2:]]
    assert values == pytest.approx([0.2926829268, 2, 0.6951219477], rel=1e-6)


# `false_pos_pix` and `false_neg_pix` of github.com/lab-midas/autoPET, `val_script.py`, on
# `drawn(seed)` as labels 1 and 3, times 2 · 2 · 3 mm³ / 1000.
AUTOPET = {0: (0.432, 0.576), 1: (0.18, 0.18), 2: (0.672, 0.792), 3: (0.24, 0.24)}
# `getLesionDetection` of github.com/hjkuijf/wmhchallenge, `evaluation.py`, on `drawn(seed)` as
# label 3 ("other pathology") against all others, read as float: recall, F1.
WMH = {0: (0.375, 0.375), 1: (2 / 3, 4 / 7), 2: (4 / 7, 8 / 13), 3: (0.5, 0.5)}


@pytest.mark.parametrize("seed", AUTOPET)
def test_the_autopet_preset_gives_the_volumes_of_its_code(seed: int) -> None:
    pair = [np.isin(side, (1, 3)) for side in drawn(seed)]
    metric = ObjectMetrics.preset("autopet", task="binary", spacing=(2, 2, 3))
    found = scored(metric, (pair[0], pair[1]))
    values = found["false_positive_volume"], found["false_negative_volume"]
    assert values == pytest.approx(AUTOPET[seed])


@pytest.mark.parametrize("seed", WMH)
def test_the_wmh_preset_gives_the_recall_and_f1_of_its_code(seed: int) -> None:
    preds, target = drawn(seed)
    metric = ObjectMetrics.preset("wmh-2017", task="binary", ignore_index=2)
    found = scored(metric, (preds > 0, np.where(target == 3, 2, target > 0)))
    assert (found["object_recall"], found["object_f1"]) == pytest.approx(WMH[seed])


# `Panoptica_Evaluator` of panoptica 2.1.7 on `drawn(seed) > 0`, `NaiveThresholdMatching` above IoU
# 0.2, components by cc3d (26 neighbours) and by SciPy (6): matched, false and missed objects, as
# `tumours.py` prints them.
PANOPTICA = {
    ("full", 0): (2, 6, 6), ("full", 1): (1, 7, 5), ("full", 2): (2, 4, 5),
    ("faces", 0): (2, 6, 6), ("faces", 1): (1, 7, 6), ("faces", 2): (2, 4, 5),
}  # fmt: skip


@pytest.mark.parametrize(("connectivity", "seed"), PANOPTICA)
def test_matching_by_iou_is_that_of_panoptica(connectivity: Any, seed: int) -> None:
    preds, target = drawn(seed)
    metric = ObjectMetrics(task="binary", matching="iou", threshold=0.2, connectivity=connectivity)
    found = scored(metric, (preds > 0, target > 0))
    hits, false, missed = PANOPTICA[connectivity, seed]
    assert (found["false_objects"], found["missed_objects"]) == (false, missed)
    assert found["object_precision"] == pytest.approx(hits / (hits + false))
    assert found["object_recall"] == pytest.approx(hits / (hits + missed))
    assert found["object_f1"] == pytest.approx(2 * hits / (2 * hits + false + missed))


# --- Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_explained_and_made(name: str) -> None:
    metric = ObjectMetrics.preset(name, task="binary")
    assert f"ObjectMetrics.preset({name!r}" in repr(metric)
    head, *rest = name.rsplit("-", 1) if name.count("-") > 1 else (name,)
    assert head in (ObjectMetrics.preset.__doc__ or "") or rest


def test_a_preset_is_a_metric_like_others_and_keeps_images_too() -> None:
    pairs = [drawn(0), drawn(1)]
    metric = ObjectMetrics.preset("brats-2023-met", TUMOUR, prefix="val/")
    images = ObjectImageScores.preset("brats-2023-met", TUMOUR)
    found, of_images = scored(metric, *pairs), scored(images, *pairs)
    again = pickle.loads(pickle.dumps(metric))
    for key, value in of_images.items():
        assert found[f"val/{key}"] == pytest.approx(value, rel=1e-6, nan_ok=True)
        assert again.compute()[f"val/{key}"].item() == pytest.approx(value, rel=1e-6, nan_ok=True)
    each = images.image_counts().values("object_dice_region/WT").tolist()
    assert each == pytest.approx([0.1879365079, 0.1200835953], rel=1e-6)


def test_what_a_preset_fixes_cannot_be_passed() -> None:
    with pytest.raises(TypeError, match="`min_size` is fixed by the preset 'autopet'"):
        ObjectMetrics.preset("autopet", task="binary", min_size=3)
    with pytest.raises(ValueError, match="`name` must be one of 'brats-2023-gli'"):
        ObjectMetrics.preset("brats", task="binary")
