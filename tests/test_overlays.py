"""Pictures of label maps, against every pixel written out longhand."""

from __future__ import annotations

import numpy as np
import pytest

from segmetrics.labels import ADE20K, CITYSCAPES, VOC, LabelSpace, palette
from segmetrics.overlays import DIMMED, GREY, TINT, WRONG, colored, errors, overlay

SPACE = LabelSpace(["road", "car", "person"], colors=["#804080", (0, 0, 142), (220, 20, 60)])
RED, GREEN, BLUE = range(3)


def maps(shape: tuple[int, int] = (5, 7)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, targets with -1 in both, and a photograph."""
    draw = np.random.default_rng(0)
    preds, target = draw.integers(-1, 3, (2, *shape))
    return preds, target, draw.integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_every_class_has_its_colour_and_everything_else_is_grey(dtype: type) -> None:
    labels = maps()[0].astype(dtype)
    labels[0, :3] = [3, 100, -7]
    picture = colored(labels, SPACE)
    assert picture.dtype == np.uint8
    for place, label in np.ndenumerate(labels):
        expected = SPACE.colors[label] if 0 <= label < 3 else GREY
        assert tuple(picture[place]) == expected


def test_unsigned_labels_with_255_are_grey_there() -> None:
    labels = np.array([[0, 20, 255]], np.uint8)
    assert colored(labels, VOC).tolist() == [[[0, 0, 0], list(VOC.colors[20]), list(GREY)]]


@pytest.mark.parametrize("space", [VOC, CITYSCAPES, ADE20K])
def test_grey_is_no_class_of_the_shipped_label_spaces(space: LabelSpace) -> None:
    assert GREY not in space.colors
    assert GREY not in palette(1000)


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 1])
def test_an_overlay_is_the_weighted_mean_of_image_and_colours(alpha: float) -> None:
    labels, _, image = maps()
    picture = overlay(image, labels, SPACE, alpha)
    for (y, x), label in np.ndenumerate(labels):
        color = SPACE.colors[label] if label >= 0 else GREY
        for channel in (RED, GREEN, BLUE):
            mean = (1 - alpha) * int(image[y, x, channel]) + alpha * color[channel]
            assert picture[y, x, channel] == pytest.approx(mean, abs=1)


@pytest.mark.parametrize("with_image", [True, False])
def test_errors_are_red_right_pixels_dimmed_and_ignored_ones_grey(with_image: bool) -> None:
    preds, target, image = maps((20, 30))
    picture = errors(preds, target, target == -1, image if with_image else None)
    kinds = set()
    for (y, x), label in np.ndenumerate(target):
        below = image[y, x].astype(int) if with_image else np.full(3, 110)
        if label == -1:
            expected, kind = np.array(GREY), "ignored"
        elif preds[y, x] == label:
            expected, kind = DIMMED * below, "right"
        else:  # an abstained pixel, -1, too
            expected, kind = (1 - TINT) * below + TINT * np.array(WRONG), "wrong"
        kinds.add(kind)
        np.testing.assert_allclose(picture[y, x], expected, atol=1)
    assert kinds == {"ignored", "right", "wrong"}


def test_inputs_are_not_changed() -> None:
    preds, target, image = maps()
    before = [array.copy() for array in (preds, target, image)]
    overlay(image, preds, SPACE)
    errors(preds, target, target == -1, image)
    for array, copy in zip((preds, target, image), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_what_does_not_fit_is_named() -> None:
    preds, target, image = maps()
    ignored = target == -1
    with pytest.raises(TypeError, match="`labels` must hold integer class indices, got float64"):
        colored(preds.astype(float), SPACE)
    with pytest.raises(ValueError, match=r"`labels` must be \(H, W\), got \(1, 5, 7\)"):
        colored(preds[None], SPACE)
    with pytest.raises(ValueError, match=r"`image` must be .* size \(5, 7\), got \(3, 5, 7\)"):
        overlay(image.transpose(2, 0, 1), preds, SPACE)
    with pytest.raises(TypeError, match="`image` must be uint8 RGB in \\[0, 255\\], got float32"):
        overlay(image.astype(np.float32), preds, SPACE)
    with pytest.raises(ValueError, match="`alpha` must be in \\[0, 1\\], got 50"):
        overlay(image, preds, SPACE, 50)
    with pytest.raises(ValueError, match=r"must have one size, got \(4, 7\), \(5, 7\) and"):
        errors(preds[1:], target, ignored)
    with pytest.raises(TypeError, match="`ignored` must be bool, got int64"):
        errors(preds, target, target)
