"""Medical scores of anisotropic volumes in every orientation, against the tools of the field.

Ours reads files by ``segmetrics.files``; the others by SimpleITK or nibabel, and bring them to one
orientation by what these offer.
"""

from __future__ import annotations

import warnings
from itertools import permutations, product
from math import hypot, inf, nan
from pathlib import Path
from typing import Any, NamedTuple

import medpy.metric.binary as medpy
import monai.metrics as monai
import nibabel
import numpy as np
import pytest
import SimpleITK
import surface_distance
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import one_hot

from segmetrics import (
    AverageSurfaceDistance,
    ConfusionMatrix,
    DiceScore,
    HausdorffDistance,
    MeanIoU,
    Precision,
    Recall,
    SegmentationMetrics,
    Specificity,
    SurfaceDice,
    SurfaceMetrics,
)
from segmetrics.files import Buffer, Reading, aligned, read
from segmetrics.labels import LabelSpace

#: In millimetres along x, y and z; z is what CT scanners have few of.
SPACING = (0.8, 1.1, 2.5)
CLASSES = 4
ORIENTATIONS = [
    "".join(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
]
EACH: dict[str, Any] = {"average": "none", "include_background": False}
TOLERANCE = 1.5


class Case(NamedTuple):
    """A case on disk: the two files, each in an orientation of its own."""

    preds: Path
    target: Path


def organs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Label maps (x, y, z) of three ellipsoids, and the same a little moved and scaled."""
    rng = np.random.default_rng(seed)
    size = (22, 19, 12)
    places = np.moveaxis(np.indices(size), 0, -1) * SPACING
    extent = np.multiply(size, SPACING)
    maps = np.zeros((2, *size), np.uint8)
    for label, middle in zip((1, 2, 3), (0.28, 0.5, 0.72), strict=True):
        centre = extent * [middle, rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6)]
        radii = rng.uniform(2.8, 5.2, 3)
        for side, (shift, scale) in enumerate(((rng.normal(0, 0.9, 3), 1.1), (0, 1))):
            inside = (((places - centre - shift) / (radii * scale)) ** 2).sum(-1) < 1
            maps[side, inside] = label
    return maps[0], maps[1]


def write(path: Path, values: np.ndarray, orientation: str = "RAS") -> None:
    """Write values (x, y, z) in RAS+ as NIfTI in another orientation."""
    affine = nibabel.affines.from_matvec(np.diag(SPACING), [-20, 10, 300])
    image = nibabel.Nifti1Image(values, affine)
    wanted = nibabel.orientations.axcodes2ornt(orientation)
    nibabel.save(image.as_reoriented(wanted), path)


def in_torch(case: Case) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """A batch of one volume, and its spacing, as they lie in the target's file."""
    preds, target = (read(path, Reading(), Buffer()) for path in case)
    values = aligned(preds, target, case)
    assert target.grid is not None
    batch = (torch.from_numpy(array.copy())[None] for array in (values, target.values))
    return *batch, tuple(target.grid.spacing.tolist())


def in_nibabel(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Label maps (x, y, z) in RAS+."""
    images = [nibabel.as_closest_canonical(nibabel.load(path)) for path in case]
    assert all(image.header.get_zooms() == pytest.approx(SPACING) for image in images)
    preds, target = (np.asarray(image.dataobj) for image in images)
    return preds, target


def in_simpleitk(case: Case) -> list[SimpleITK.Image]:
    return [SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS") for path in case]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """A case for every orientation of the target; its prediction has another."""
    folder = tmp_path_factory.mktemp("cases")
    found = []
    for i, orientation in enumerate(ORIENTATIONS):
        case = Case(folder / f"{i}_preds.nii.gz", folder / f"{i}_target.nii.gz")
        preds, target = organs(i % 5)
        write(case.preds, preds, ORIENTATIONS[i * 29 % 48])
        write(case.target, target, orientation)
        found.append(case)
    return found


def test_there_are_48_orientations(cases: list[Case]) -> None:
    assert len(set(ORIENTATIONS)) == len(cases) == 48
    spacings = {tuple(round(step, 3) for step in in_torch(case)[2]) for case in cases}
    assert spacings == set(permutations(SPACING))


def test_overlaps_are_simpleitks(cases: list[Case]) -> None:
    for case in cases:
        preds, target, _ = in_torch(case)
        overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*in_simpleitk(case))
        scores = {
            metric: metric(CLASSES, **EACH)(preds, target).tolist()
            for metric in (DiceScore, MeanIoU, Recall, Precision, Specificity)
        }
        matrix = ConfusionMatrix(CLASSES)(preds, target)
        of_target, of_preds = matrix.sum(1).tolist(), matrix.sum(0).tolist()
        for i, label in enumerate((1, 2, 3)):
            assert scores[DiceScore][i] == pytest.approx(overlap.GetDiceCoefficient(label))
            assert scores[MeanIoU][i] == pytest.approx(overlap.GetJaccardCoefficient(label))
            assert 1 - scores[Recall][i] == pytest.approx(overlap.GetFalseNegativeError(label))
            assert 1 - scores[Precision][i] == pytest.approx(overlap.GetFalseDiscoveryRate(label))
            false_alarms = 1 - scores[Specificity][i]
            assert false_alarms == pytest.approx(overlap.GetFalsePositiveError(label), abs=1e-6)
            similarity = 2 * (of_preds[label] - of_target[label])
            similarity /= of_preds[label] + of_target[label]
            assert similarity == pytest.approx(overlap.GetVolumeSimilarity(label))


def test_the_hausdorff_distance_is_simpleitks(cases: list[Case]) -> None:
    for case in cases:
        preds, target, spacing = in_torch(case)
        found = HausdorffDistance(CLASSES, spacing=spacing, **EACH)(preds, target).tolist()
        images = in_simpleitk(case)
        for value, label in zip(found, (1, 2, 3), strict=True):
            distance = SimpleITK.HausdorffDistanceImageFilter()
            distance.Execute(*(image == label for image in images))
            assert value == pytest.approx(distance.GetHausdorffDistance(), rel=1e-6)


def test_simpleitk_measures_from_masks_where_ours_measures_from_surfaces() -> None:
    """Inside of the other mask its distance is 0: holes and thickness are not seen."""
    target = np.zeros((15, 15, 15), np.uint8)
    target[1:14, 1:14, 1:14] = 1
    preds = target.copy()
    preds[7, 7, 7] = 0  # a hole: its walls are surface
    images = [SimpleITK.GetImageFromArray(mask) for mask in (preds, target)]
    distance = SimpleITK.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    batch = (torch.from_numpy(mask)[None] for mask in (preds, target))
    assert distance.GetHausdorffDistance() == 1  # from the voxel of the hole to its wall
    assert HausdorffDistance(task="binary")(*batch) == 5  # from the wall to the target's surface


def test_distances_are_medpys(cases: list[Case]) -> None:
    for case in cases:
        preds, target, spacing = in_torch(case)
        steps: dict[str, Any] = {"spacing": spacing, **EACH}
        found = {
            medpy.hd: HausdorffDistance(CLASSES, **steps),
            # of both directions pooled; the larger percentile of the two is MONAI's
            medpy.hd95: HausdorffDistance(CLASSES, percentile=95, pooled=True, **steps),
            medpy.assd: AverageSurfaceDistance(CLASSES, **steps),
            medpy.asd: AverageSurfaceDistance(CLASSES, symmetric=False, **steps),
        }
        masks = in_nibabel(case)
        for theirs, ours in found.items():
            for value, label in zip(ours(preds, target).tolist(), (1, 2, 3), strict=True):
                expected = theirs(*(mask == label for mask in masks), voxelspacing=SPACING)
                assert value == pytest.approx(expected, rel=1e-6)
        for value, label in zip(DiceScore(CLASSES, **EACH)(preds, target), (1, 2, 3), strict=True):
            assert value.item() == pytest.approx(medpy.dc(*(mask == label for mask in masks)))


def test_distances_are_monais(cases: list[Case]) -> None:
    for case in cases:
        preds, target, spacing = in_torch(case)
        found = SurfaceMetrics(
            CLASSES, percentile=95, tolerance=TOLERANCE, spacing=spacing, include_background=False
        )(preds, target)
        masks = [
            one_hot(torch.from_numpy(mask.astype(np.int64))[None], CLASSES).movedim(-1, 1)
            for mask in in_nibabel(case)
        ]
        expected = {
            "hausdorff": monai.compute_hausdorff_distance(*masks, percentile=95, spacing=SPACING),
            "average_surface_distance": monai.compute_average_surface_distance(
                *masks, symmetric=True, spacing=SPACING
            ),
            "surface_dice": monai.compute_surface_dice(*masks, [TOLERANCE] * 3, spacing=SPACING),
        }
        for key, values in expected.items():
            ours = [found[f"{key}/{label}"].item() for label in (1, 2, 3)]
            assert ours == pytest.approx(values[0].tolist(), rel=1e-5)


def test_elements_are_those_of_surface_distance(cases: list[Case]) -> None:
    for case in cases:
        preds, target, spacing = in_torch(case)
        steps: dict[str, Any] = {"surface": "elements", "spacing": spacing, **EACH}
        dice = SurfaceDice(CLASSES, tolerance=TOLERANCE, **steps)(preds, target)
        robust = HausdorffDistance(CLASSES, percentile=95, **steps)(preds, target)
        mean = AverageSurfaceDistance(CLASSES, **steps)(preds, target)
        masks = in_nibabel(case)
        for i, label in enumerate((1, 2, 3)):
            of_preds, of_target = (mask == label for mask in masks)
            theirs = surface_distance.compute_surface_distances(of_target, of_preds, SPACING)
            expected = surface_distance.compute_surface_dice_at_tolerance(theirs, TOLERANCE)
            assert dice[i].item() == pytest.approx(expected, rel=1e-6)
            expected = surface_distance.compute_robust_hausdorff(theirs, 95)
            assert robust[i].item() == pytest.approx(expected, rel=1e-6)
            # it gives both directions; ours is their mean, weighted by the surfaces' areas
            ways = surface_distance.compute_average_surface_distance(theirs)
            areas = [theirs[f"surfel_areas_{side}"].sum() for side in ("gt", "pred")]
            assert mean[i].item() == pytest.approx(np.average(ways, weights=areas), rel=1e-6)


# --- Rules of challenges --------------------------------------------------------------------------


def test_toothfairy2_scores_teeth_that_are_missing() -> None:
    """Dice 1 and HD95 0 where neither mask has the tooth, 0 and the diagonal in voxels where one
    has it; else medpy's, in voxels. Means over classes, background left out, then over cases.

    Source: ``ToothFairy2/evaluation/evaluation.py`` of AImageLab-zip/ToothFairy,
    ``compute_binary_dice`` and ``compute_binary_hd95``; those of ToothFairy3 are the same.
    """
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 3, 9, 12, 15), np.int64)  # of three cases
    for side, case in product(range(2), range(3)):
        for tooth in (1, 2, 3):
            corner = rng.integers(0, 5, 3)
            masks[side, case][tuple(slice(c, c + 4) for c in corner)] = tooth
    preds, target = masks
    preds[0][preds[0] == 2] = 0  # missed
    target[1][target[1] == 3] = 0  # a false alarm
    preds[2][preds[2] == 1] = target[2][target[2] == 1] = 0  # neither has it

    dice, distances = [], []
    for case, tooth in product(range(3), (1, 2, 3)):
        found, truth = preds[case] == tooth, target[case] == tooth
        if found.any() and truth.any():
            dice.append(medpy.dc(found, truth))
            distances.append(medpy.hd95(found, truth))
        else:
            neither = not found.any() and not truth.any()
            dice.append(1.0 if neither else 0.0)
            distances.append(0.0 if neither else np.linalg.norm(found.shape))

    batch = torch.from_numpy(preds), torch.from_numpy(target)
    score = DiceScore(4, aggregation_level="samplewise", zero_division=1, include_background=False)
    assert score(*batch).item() == pytest.approx(np.mean(dice))
    distance = HausdorffDistance(
        4, percentile=95, pooled=True, include_background=False, empty_distance="diagonal",
        both_empty=0,
    )  # fmt: skip
    assert distance(*batch).item() == pytest.approx(np.mean(distances))


BRATS = LabelSpace(
    ["background", "necrosis", "edema", "enhancing"],
    regions={"WT": ["necrosis", "edema", "enhancing"], "TC": ["necrosis", "enhancing"],
             "ET": ["enhancing"]},
)  # fmt: skip


@pytest.mark.parametrize(
    ("preds_has", "target_has", "dice", "distance"),
    [(False, False, 1, 0), (True, False, 0, 374), (False, True, 0, 374)],
)
def test_brats_penalises_an_enhancing_tumour_that_one_mask_lacks(
    preds_has: bool, target_has: bool, dice: float, distance: float
) -> None:
    """Dice 1 and HD95 0 where neither has the region, 0 and 374 mm where one has it; else those of
    surface-distance. 374 is the diagonal of BraTS' 240×240×155 mm, rounded up.

    Source: ``eval.py`` of rachitsaluja/BraTS-2023-Metrics, "Legacy_Dice" and "Legacy_HD95".
    """
    assert 373 < hypot(240, 240, 155) < 374
    maps = np.zeros((2, 12, 12, 10), np.int64)
    maps[0, 3:9, 3:9, 3:8], maps[1, 2:8, 3:9, 3:8] = 2, 2
    maps[:, 4:6, 5:7, 5:7] = 1
    for labels, has in zip(maps, (preds_has, target_has), strict=True):
        labels[5:7, 5:8, 4:6] = 3 if has else 1  # the tumour core is whole either way
    preds, target = maps
    batch = torch.from_numpy(preds)[None], torch.from_numpy(target)[None]
    distances = SurfaceMetrics(
        BRATS, surface="elements", percentile=95, tolerance=1, empty_distance=374, both_empty=0
    )(*batch)
    overlaps = SegmentationMetrics(BRATS, zero_division=1)(*batch)
    assert distances["hausdorff_region/ET"] == distance
    assert overlaps["dice_region/ET"] == dice
    for region, labels in (("WT", [1, 2, 3]), ("TC", [1, 3])):
        masks = np.isin(target, labels), np.isin(preds, labels)
        theirs = surface_distance.compute_surface_distances(*masks, (1, 1, 1))
        expected = surface_distance.compute_robust_hausdorff(theirs, 95)
        assert distances[f"hausdorff_region/{region}"].item() == pytest.approx(expected)
        assert overlaps[f"dice_region/{region}"].item() == pytest.approx(medpy.dc(*masks))


@pytest.mark.parametrize("has", [(True, True), (True, False), (False, True), (False, False)])
def test_autopets_dice_and_the_volumes_of_cases_without_overlap(has: tuple[bool, bool]) -> None:
    """False positive volume: that of predicted components which touch no lesion, in ml; false
    negative volume the reverse; Dice undefined where there is no lesion and no prediction.

    Where the masks do not overlap the volumes are those of the masks, which the confusion matrix
    has. Elsewhere components are needed, which are the business of metrics of objects.

    Source: ``val_script.py`` of lab-midas/autoPET, ``false_pos_pix`` and ``false_neg_pix``.
    """
    preds, target = np.zeros((2, 20, 18, 9), np.int64)
    preds[2:5, 3:6, 1:3] = preds[8:9, 12:14, 5:7] = has[0]
    target[12:17, 3:9, 4:8] = has[1]

    eighteen = ndimage.generate_binary_structure(3, 2)  # neighbours
    litres = np.prod(SPACING) / 1e6
    volumes = []
    for mask, other in ((preds, target), (target, preds)):
        components, number = ndimage.label(mask, eighteen)
        untouched = [components == i for i in range(1, number + 1)]
        untouched = [c for c in untouched if not other[c].any()]
        volumes.append(1000 * litres * sum(c.sum() for c in untouched))

    batch = torch.from_numpy(preds)[None], torch.from_numpy(target)[None]
    matrix = ConfusionMatrix(task="binary")(*batch)
    found = matrix[0, 1].item(), matrix[1, 0].item()  # false alarms and misses, in voxels
    millilitres = [voxels * np.prod(SPACING) / 1000 for voxels in found]
    assert millilitres == pytest.approx(volumes)
    dice = DiceScore(task="binary")(*batch).item()
    assert dice == pytest.approx(0.0 if any(has) else nan, nan_ok=True)


def test_empty_masks_of_the_others() -> None:
    """Where one mask is empty ours is what ``empty_distance`` says; the others each differ."""
    empty, ball = np.zeros((2, 9, 9, 9), np.int64)
    ball[2:6, 2:6, 2:6] = 1
    batch = torch.from_numpy(empty)[None], torch.from_numpy(ball)[None]
    assert HausdorffDistance(task="binary", percentile=95)(*batch) == inf
    with pytest.raises(RuntimeError, match="does not contain any binary object"):
        medpy.hd95(empty, ball)  # it has no value there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masks = [mask[:, None] for mask in batch]
        theirs = monai.compute_hausdorff_distance(*masks, percentile=95, include_background=True)
    assert theirs.isnan().all()  # a percentile of no distances; its maximum is inf, as ours
    distance = SimpleITK.HausdorffDistanceImageFilter()
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (empty, ball)]
    with pytest.raises(RuntimeError, match="pixelcount is equal to 0"):
        distance.Execute(*images)  # as medpy
