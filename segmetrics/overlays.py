"""Pictures of label maps: coloured by class, laid over the image, and with errors marked.

Labels are class indices; values outside the classes are ignored or abstentions.
``LabelSpace.to_classes`` converts the values of a mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segmetrics._arguments import number

if TYPE_CHECKING:
    from segmetrics.labels import LabelSpace

Labels = npt.NDArray[np.integer[Any]]
Picture = npt.NDArray[np.uint8]

#: No class: ignored in the target, abstained in a prediction. No built-in palette has this grey.
GREY = (200, 200, 200)
WRONG = (255, 48, 48)
DIMMED = 0.35  # brightness of right pixels
TINT = 0.7  # opacity of the red of wrong pixels
PLAIN = 110  # brightness without an image


def colored(labels: Labels, space: LabelSpace) -> Picture:
    """A label map in the colours of its classes, with grey for pixels of no class.

    Args:
        labels: class indices ``(H, W)`` of any integer type; anything outside [0, C) is no class.
        space: the classes and their colours.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        TypeError: labels that are not integers.
        ValueError: labels that are not ``(H, W)``.

    Example:
        >>> import numpy as np
        >>> from segmetrics.labels import VOC
        >>> colored(np.array([[0, 1, -1]]), VOC).tolist()
        [[[0, 0, 0], [128, 0, 0], [200, 200, 200]]]
    """
    _check_labels("labels", labels)
    colors = np.array([*space.colors, GREY], dtype=np.uint8)
    classes = len(colors) - 1
    known = (labels >= 0) & (labels < classes)
    picture: Picture = colors[np.where(known, labels, classes)]
    return picture


def overlay(image: Picture, labels: Labels, space: LabelSpace, alpha: float = 0.5) -> Picture:
    """The label map laid over the image.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.
        labels: class indices ``(H, W)``, as for :func:`colored`.
        space: the classes and their colours.
        alpha: opacity of the colours, in [0, 1].

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        TypeError: labels that are not integers, or an image that is not uint8.
        ValueError: sizes that differ, or ``alpha`` outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from segmetrics.labels import VOC
        >>> overlay(np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]]), VOC).tolist()
        [[[50, 50, 50], [114, 50, 50]]]
    """
    colors = colored(labels, space)
    _check_image(image, labels)
    if number("alpha", alpha, at_least=0) > 1:
        raise ValueError(f"`alpha` must be in [0, 1], got {alpha}. For a half pass `alpha=0.5`.")
    return _mixed(image, colors, alpha)


def errors(
    preds: Labels,
    target: Labels,
    ignored: npt.NDArray[np.bool_],
    image: Picture | None = None,
) -> Picture:
    """The errors of a prediction: wrong pixels red, right ones dimmed, ignored ones grey.

    Args:
        preds: class indices ``(H, W)``; an abstained pixel (-1) is wrong.
        target: class indices ``(H, W)``.
        ignored: bool ``(H, W)``, the pixels that do not count.
        image: uint8 ``(H, W, 3)``, RGB, in the background; plain grey without.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        TypeError: labels that are not integers, ``ignored`` not bool, an image that is not uint8.
        ValueError: sizes that differ.

    Example:
        >>> import numpy as np
        >>> preds, target = np.array([[0, 1, 1]]), np.array([[0, 0, -1]])
        >>> errors(preds, target, target == -1).tolist()
        [[[38, 38, 38], [211, 66, 66], [200, 200, 200]]]
    """
    _check_labels("preds", preds)
    _check_labels("target", target)
    if ignored.dtype != bool:
        raise TypeError(f"`ignored` must be bool, got {ignored.dtype}. Pass `target == -1`, say.")
    if not preds.shape == target.shape == ignored.shape:
        raise ValueError(
            f"`preds`, `target` and `ignored` must have one size, got {preds.shape}, "
            f"{target.shape} and {ignored.shape}."
        )
    if image is None:
        image = np.full((*target.shape, 3), PLAIN, np.uint8)
    _check_image(image, target)
    picture = _mixed(image, np.zeros(3), 1 - DIMMED)
    wrong = (preds != target) & ~ignored
    picture[wrong] = _mixed(image[wrong], np.array(WRONG), TINT)
    picture[ignored] = GREY
    return picture


def _mixed(image: Picture, other: npt.NDArray[Any], alpha: float) -> Picture:
    """``other`` over the image, rounded down."""
    return ((1 - alpha) * image + alpha * other).astype(np.uint8)


def _check_labels(name: str, labels: Labels) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"`{name}` must hold integer class indices, got {labels.dtype}.")
    if labels.ndim != 2:
        raise ValueError(f"`{name}` must be (H, W), got {labels.shape}. Pass one image at a time.")


def _check_image(image: Picture, labels: Labels) -> None:
    if image.dtype != np.uint8:
        raise TypeError(
            f"`image` must be uint8 RGB in [0, 255], got {image.dtype}. Undo the normalisation and "
            "pass `(image * 255).round().astype(np.uint8)`, say."
        )
    if image.shape != (*labels.shape, 3):
        raise ValueError(
            f"`image` must be (H, W, 3) of the labels' size {labels.shape}, got {image.shape}."
        )
