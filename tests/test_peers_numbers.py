"""Fixed numbers of peers' own test suites, as far as their definitions are ours."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor

from segmetrics import AverageSurfaceDistance, DiceScore, HausdorffDistance, MeanIoU, SurfaceDice

# --- MONAI ----------------------------------------------------------------------------------------

SPACING = (0.85, 1.2, 0.9)


def ball(radius: float, *center: float, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Tensor:
    """``(1, 99, 99, 99)``; radius and center are in the units of the spacing."""
    axes = torch.meshgrid(*(torch.arange(99.0) * step for step in spacing), indexing="ij")
    squares = sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True))
    return (torch.as_tensor(squares) <= radius**2)[None]


#: Pairs of balls (radius, then center), their spacing, and whether one is missing.
BALLS: dict[str, tuple[Any, Any, tuple[float, ...]]] = {
    "equal": ((20, 49, 49, 49), (20, 49, 49, 49), (1, 1, 1)),
    "shifted along the diagonal": ((20, 20, 20, 20), (20, 19, 19, 19), (1, 1, 1)),
    "shifted along an axis": ((33, 19, 33, 22), (33, 20, 33, 22), (1, 1, 1)),
    "one in the other": ((20, 20, 33, 22), (40, 20, 33, 22), (1, 1, 1)),
    "no prediction": ((-1, 0, 0, 0), (40, 20, 33, 22), (1, 1, 1)),
    "no target": ((20, 49, 49, 49), (-1, 0, 0, 0), (1, 1, 1)),
    "shifted, with a spacing": ((20, 20, 20, 20), (20, 19, 19, 19), SPACING),
    "one in the other, with a spacing": ((15, 20, 33, 22), (30, 20, 33, 22), SPACING),
    "shifted along an axis, with a spacing": ((33, 42, 45, 52), (33, 43, 45, 52), SPACING),
}


def pair(case: str) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    preds, target, spacing = BALLS[case]
    if preds[0] < 0 or target[0] < 0:
        empty = torch.zeros(1, 99, 99, 99, dtype=torch.bool)
        return (
            empty if preds[0] < 0 else ball(*preds),
            empty if target[0] < 0 else ball(*target),
            spacing,
        )
    return ball(*preds, spacing=spacing), ball(*target, spacing=spacing), spacing


@pytest.mark.parametrize(
    ("case", "percentile", "directed", "symmetric"),
    [
        ("equal", 100, 0, 0),
        ("shifted along the diagonal", 100, 1.7320508, 1.7320508),
        ("shifted along an axis", 100, 1, 1),
        ("one in the other", 100, 20.0997512, 20.2237484),
        ("one in the other", 95, 19.9248588, 20.0997512),
        ("no prediction", 100, inf, inf),
        ("no target", 100, inf, inf),
        ("shifted, with a spacing", 100, 2.0808651, 2.2671568),
        ("one in the other, with a spacing", 100, 15.4396410, 15.62594),
    ],
)
def test_fixed_numbers_of_monais_hausdorff_distance(
    case: str, percentile: float, directed: float, symmetric: float
) -> None:
    preds, target, spacing = pair(case)
    for one_way, expected in ((True, directed), (False, symmetric)):
        metric = HausdorffDistance(
            task="binary", spacing=spacing, percentile=percentile, directed=one_way
        )
        assert metric(preds, target).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("case", "symmetric", "directed"),
    [
        ("equal", 0, 0),
        ("shifted along an axis", 0.350217, 0.3483279),
        ("one in the other", 15.117741, 12.0400335),
        ("no prediction", inf, inf),
        ("shifted along an axis, with a spacing", 0.4951, 0.4951),
    ],
)
def test_fixed_numbers_of_monais_surface_distance(
    case: str, symmetric: float, directed: float
) -> None:
    preds, target, spacing = pair(case)
    for both, expected in ((True, symmetric), (False, directed)):
        metric = AverageSurfaceDistance(task="binary", spacing=spacing, symmetric=both)
        assert metric(preds, target).item() == pytest.approx(expected, rel=1e-5)


def halves() -> tuple[Tensor, Tensor]:
    """The edge between both classes is shifted by ten columns; the second image is background."""
    preds, target = torch.zeros(2, 2, 480, 640, dtype=torch.uint8)
    preds[0, :, 50:] = 1
    target[0, :, 60:] = 1
    return preds, target


def volumes() -> tuple[Tensor, Tensor]:
    preds, target = torch.zeros(2, 2, 200, 110, 80, dtype=torch.uint8)
    preds[0, ..., 20:] = 1
    target[0, ..., 30:] = 1
    return preds, target


def columns() -> tuple[Tensor, Tensor]:
    preds, target = torch.zeros(2, 1, 10, 10, dtype=torch.uint8)
    preds[0, 1:4, 1] = 1
    target[0, 5:8, 6] = 1
    return preds, target


OFF = 478 + 480 + 9 * 2  # pixels of both contours that lie on no other contour
OFF_3D = 200 * 110 + 198 * 108 + 9 * 200 * 2 + 9 * 108 * 2


@pytest.mark.parametrize(
    ("maps", "spacing", "tolerance", "expected"),
    [
        (
            halves,
            spacing,
            [0, 0],
            [
                [1 - OFF / (480 * 4 + 48 * 2 + 58 * 2), 1 - OFF / (480 * 4 + 588 * 2 + 578 * 2)],
                [1, nan],
            ],
        )
        for spacing in [(1, 1), (0.85, 1.2)]
    ]
    + [
        (halves, (1, 1), [10, 10], [[1, 1], [1, nan]]),
        (halves, (0.85, 1.2), [12, 12], [[1, 1], [1, nan]]),
        (
            volumes,
            (1, 1, 1),
            [0, 0],
            [
                [
                    1 - OFF_3D / (200 * 110 * 4 + 46 * 200 * 2 + 46 * 108 * 2),
                    1 - OFF_3D / (200 * 110 * 4 + 106 * 200 * 2 + 106 * 108 * 2),
                ],
                [1, nan],
            ],
        ),
        (columns, (1, 1), [0, 0], [[1 - 12 / 84, 0]]),
        (columns, (1, 1), [2.8, 5.5], [[1 - 3 / 84, 1 / 3]]),
        (columns, (1, 1), [3, 6], [[1 - 1 / 84, 2 / 3]]),
    ],
)
def test_fixed_numbers_of_monais_surface_dice(
    maps: Any, spacing: tuple[float, ...], tolerance: list[float], expected: list[list[float]]
) -> None:
    metric = SurfaceDice(2, average="none", tolerance=tolerance, spacing=spacing)
    images = zip(*(side.split(1) for side in maps()), strict=True)
    found = torch.stack([metric(*image) for image in images])
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=found.dtype), atol=1e-6, rtol=0, equal_nan=True
    )


# --- torchmetrics ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("average", "aggregation_level", "expected"),
    [
        ("micro", "samplewise", 0.2),
        ("macro", "samplewise", 0.2),
        # weighted, samplewise: 0.1333 there, where an image without any mask scores 0
        ("none", "samplewise", [nan, 0.4, nan, 0.2]),
        ("micro", "global", 0.3768),
        ("macro", "global", 0.3667),
        ("weighted", "global", 0.3795),
        ("none", "global", [nan, 0.4, nan, 0.3333]),
    ],
)
def test_fixed_numbers_of_torchmetrics_dice_of_missing_classes(
    average: Any, aggregation_level: Any, expected: Any
) -> None:
    preds, target = torch.zeros(2, 3, 4, 10, 10, dtype=torch.uint8)
    target[0, 1, :6, :6], preds[0, 1, :3, :3] = 1, 1
    target[0, 3, 6:, 6:], preds[0, 3, 8:, 8:] = 1, 1
    preds[1, 3, :2, :2] = 1  # false alarms only; nothing in the third image
    metric = DiceScore(4, task="multilabel", average=average, aggregation_level=aggregation_level)
    found = metric(preds, target)
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=found.dtype), atol=5e-5, rtol=0, equal_nan=True
    )


@pytest.mark.parametrize(("average", "expected"), [("none", [1, 1, nan]), ("macro", 1)])
def test_fixed_numbers_of_torchmetrics_mean_iou_of_an_absent_class(
    average: Any, expected: Any
) -> None:
    labels = torch.tensor([[[0, 1]], [[1, 0]]])
    found = MeanIoU(3, average=average, aggregation_level="samplewise")(labels, labels)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), equal_nan=True)


# --- surface-distance -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "ours", "theirs", "spacing", "hausdorff", "dice"),
    [
        ((128, 128), (50, 72), (50, 70), (2.0, 1.0), 2.0, 0.5),
        ((128, 128, 128), (50, 60, 72), (50, 60, 70), (3.0, 2.0, 1.0), 2.0, 0.5),
        ((100, 100, 100), slice(51), slice(50), (2.0, 1.0, 1.0), 2.0, 0.836),
        ((128, 128), None, (50, 60), (3.0, 2.0), inf, 0.0),
    ],
)
def test_fixed_numbers_of_surface_distance(
    size: tuple[int, ...],
    ours: Any,
    theirs: Any,
    spacing: tuple[float, ...],
    hausdorff: float,
    dice: float,
) -> None:
    """Facts of its own tests: masks, spacing, HD and HD95 (equal in all), surface Dice at 1 mm."""
    preds, target = torch.zeros(2, 1, *size, dtype=torch.uint8)
    target[0][theirs] = 1
    if ours is not None:
        preds[0][ours] = 1
    arguments: dict[str, Any] = {"task": "binary", "surface": "elements", "spacing": spacing}
    for percentile in (95, 100):
        metric = HausdorffDistance(percentile=percentile, **arguments)
        assert metric(preds, target) == hausdorff
    found = SurfaceDice(tolerance=1.0, **arguments)(preds, target).item()
    assert found == pytest.approx(dice, abs=5e-4)
