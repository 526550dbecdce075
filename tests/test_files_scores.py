"""Files of probabilities and logits: what their values mean, longhand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segmetrics.files import MaskError
from segmetrics.files.grids import Grid
from segmetrics.files.masks import LabelMap, Reading, Stored
from segmetrics.files.scores import to_scores

RANDOM = np.random.default_rng(0)
PATH = Path("p/a.npy")


def scores_of(values: Any, *, grid: Grid | None = None, **reading: Any) -> LabelMap:
    stored = Stored(np.asarray(values), grid=grid)
    return to_scores(PATH, stored, Reading(probabilities=True, **reading))


def of_classes(shape: tuple[int, ...], classes: int = 3) -> np.ndarray:
    scores = RANDOM.random((classes, *shape))
    return scores / scores.sum(0)


def test_a_foreground_is_more_than_one_half_and_a_positive_logit() -> None:
    values = np.array([[0, 0.25, 0.5, np.nextafter(0.5, 1, dtype=np.float32), 1]], np.float32)
    found = scores_of(values)
    assert found.values.tolist() == [[0, 0, 0, 1, 1]]
    assert found.scores is not None
    assert found.scores.dtype == np.float32
    assert np.array_equal(found.scores, values)
    logits = scores_of([[-np.inf, -2.0, 0.0, 1e-30, 800.0]], logits=True)
    assert logits.values.tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.uint8, 255), (">u2", 65535), (np.uint16, 65535)]
)
def test_stored_integers_stand_for_shares_of_the_largest(dtype: Any, largest: int) -> None:
    half = largest // 2  # below one half
    found = scores_of(np.array([[0, half, half + 1, largest]], dtype))
    assert found.values.tolist() == [[0, 0, 1, 1]]
    assert found.scores is not None
    expected = np.array([[0, half, half + 1, largest]], np.float32) / np.float32(largest)
    assert np.array_equal(found.scores, expected)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, bool, np.uint32])
def test_other_integers_are_no_probabilities(dtype: Any) -> None:
    with pytest.raises(MaskError, match=r"expected floats in \[0, 1\], or 8 or 16 bits"):
        scores_of(np.ones((4, 5), dtype))
    with pytest.raises(MaskError, match=r"expected floats$"):
        scores_of(np.ones((4, 5), np.uint8), logits=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-7, np.float32(1.0000001)])
def test_what_is_no_probability_is_counted_and_named(value: float) -> None:
    values = np.full((2, 3), 0.5, np.float32)
    values[1] = value
    hint = "" if np.isnan(value) else r"\. Logits\? Pass --from-logits"
    with pytest.raises(MaskError, match=rf"3 of 6 .* outside \[0, 1\], .* the first{hint}$"):
        scores_of(values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_logit_is_counted_and_named(value: float) -> None:
    with pytest.raises(MaskError, match=r"1 of 2 values are NaN or infinite, .* the first$"):
        scores_of(np.array([[0.0, value]]), logits=True)


def test_the_first_of_the_largest_scores_is_the_label() -> None:
    scores = np.array([[[0.4, 0.2, 0.1, 0.25]], [[0.4, 0.4, 0.3, 0.5]], [[0.2, 0.4, 0.6, 0.25]]])
    assert scores_of(scores, channels=3).values.tolist() == [[0, 1, 2, 1]]
    logits = np.array([[[-3.0, 5.0]], [[-2.0, 5.0]]])
    assert scores_of(logits, channels=2, logits=True).values.tolist() == [[1, 0]]


@pytest.mark.parametrize("off", [9e-4, -9e-4, 1.1e-3, -1.1e-3])
def test_probabilities_sum_to_1_within_a_thousandth(off: float) -> None:
    scores = of_classes((4, 5))
    scores[0, 2, 3] += off
    if abs(off) < 1e-3:
        found = scores_of(scores, channels=3).scores
        assert found is not None
        assert np.array_equal(found, scores.astype(np.float32))  # as they are
        return
    with pytest.raises(MaskError, match="of 1 of 20 pixels do not sum to 1 over the classes"):
        scores_of(scores, channels=3)


@pytest.mark.parametrize("classes", [2, 5])
def test_stored_integers_sum_to_1_within_a_step_of_each_and_stay_as_they_are(classes: int) -> None:
    values = np.zeros((classes, 2, 2), np.uint8)
    values[0] = 256 - classes
    values[1, 0, 0] = 2 * classes - 2  # as much too much as the others are too little
    found = scores_of(values, channels=classes).scores
    assert found is not None
    assert np.array_equal(found, values / np.float32(255))
    values[0, 1, 1] -= 2
    with pytest.raises(MaskError, match="of 1 of 4 pixels do not sum to 1"):
        scores_of(values, channels=classes)


def test_regions_may_overlap() -> None:
    scores = np.array([[[1.0, 0.9]], [[0.9, 0.2]]])
    found = scores_of(scores, channels=2, regions=True).scores
    assert found is not None
    assert np.array_equal(found, scores.astype(np.float32))
    with pytest.raises(MaskError, match="2 along axis 0, expected 3: the scores of each region"):
        scores_of(np.stack([scores[0]] * 2), channels=3, regions=True)


def test_classes_lie_along_the_first_axis_or_along_the_one_that_is_not_in_space() -> None:
    volume, image = of_classes((4, 5, 6)), of_classes((4, 5))
    assert scores_of(image, channels=3).values.shape == (4, 5)
    assert scores_of(volume, channels=3).values.shape == (4, 5, 6)
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    last = np.moveaxis(volume, 0, -1)
    found = scores_of(last, grid=Grid.of_affine(affine, 4), channels=3)
    assert np.array_equal(found.values, volume.argmax(0))
    assert found.grid is not None
    assert found.grid.spacing.tolist() == [0.5, 2.0, 3.0]
    vectors = scores_of(last[:, :, :, None], grid=Grid.of_affine(affine, 5), channels=3)
    assert np.array_equal(vectors.values, volume.argmax(0))
    for wrong, message in (
        (last, r"4 along axis 0, expected 3: .*Store the classes along the first axis"),
        (volume[:2], r"2×4×5×6: 2 along axis 0, expected 3: the scores of each class$"),
        (image[0], r"expected 3: .* of each class\. Of the foreground alone: --binary$"),
        (image[0, :, :3], r"4×3: 1 along axis 0, .* Of the foreground alone: --binary$"),
        (image[:, 0], r"3×5: 1 along axis 0, expected 3"),
    ):
        with pytest.raises(MaskError, match=message):
            scores_of(wrong, channels=3)
    with pytest.raises(MaskError, match=r"expected 2: .* Of the foreground alone: --binary$"):
        scores_of(image, channels=2)


def test_axes_of_length_1_are_dropped_and_others_refused() -> None:
    found = scores_of(np.full((4, 5, 1), 0.5))
    assert found.values.shape == (4, 5)
    assert found.scores is not None
    assert found.scores.shape == (4, 5)
    assert scores_of(of_classes((1, 4, 5)), channels=3).values.shape == (4, 5)
    for values, classes in ((np.zeros(4), None), (np.zeros((2, 3, 4, 5)), None)):
        with pytest.raises(MaskError, match=r"expected probabilities \(H, W\) or \(D, H, W\)"):
            scores_of(values, channels=classes)
    with pytest.raises(MaskError, match=r"expected probabilities \(C, H, W\) or \(C, D, H, W\)"):
        scores_of(np.zeros((2, 3, 4, 5, 6)), channels=2)


def test_colours_are_no_probabilities() -> None:
    values = np.zeros((4, 5, 3), np.uint8)
    for classes, expected in ((None, "one channel of probabilities"), (3, r"\(C, H, W\)")):
        for stored in (Stored(values, "RGB"), Stored(values[..., 0], palette=b"abc")):
            with pytest.raises(MaskError, match=f"a colour image, expected {expected}"):
                to_scores(PATH, stored, Reading(probabilities=True, channels=classes))
