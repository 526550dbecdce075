"""Pictures of examples: the image, the target, the prediction and the errors."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics._arguments import number
from segmetrics.labels import LabelSpace
from segmetrics.overlays import GREY, Labels, Picture, colored, errors

SIDE = 640  # pixels of the longer side of a picture


@dataclass(frozen=True, eq=False)
class Example:
    """An image of a report: its target, its prediction and, if given, the image itself.

    Args:
        name: the caption.
        score: its mIoU, in [0, 1].
        target: class indices ``(H, W)``, any integer type; those outside [0, C) are ignored.
        preds: class indices ``(H, W)``; those outside [0, C) are abstentions.
        image: the image itself, uint8 RGB ``(H, W, 3)``, or ``None``.

    Raises:
        TypeError: the score is not a number.
        ValueError: types or sizes that do not match.

    Example:
        >>> import numpy as np
        >>> target, preds = np.array([[0, 1, -1]]), np.array([[0, 0, 0]])
        >>> Example("night_07.png", 0.25, target, preds).image is None
        True
    """

    name: str
    score: float
    target: Labels
    preds: Labels
    image: Picture | None = None

    def __post_init__(self) -> None:
        number("score", self.score)
        shapes = [self.target.shape, self.preds.shape]
        for name, labels in (("target", self.target), ("preds", self.preds)):
            if labels.dtype.kind not in "iu" or labels.ndim != 2 or not labels.size:
                raise ValueError(
                    f"`{name}` of {self.name!r} must be integers (H, W), got {labels.dtype} "
                    f"{labels.shape}."
                )
        if self.image is not None:
            shapes.append(self.image.shape[:2])
            if self.image.dtype != np.uint8 or self.image.shape[2:] != (3,):
                raise ValueError(
                    f"`image` of {self.name!r} must be uint8 RGB (H, W, 3), got {self.image.dtype} "
                    f"{self.image.shape}."
                )
        if len(set(shapes)) > 1:
            raise ValueError(
                f"`target`, `preds` and `image` of {self.name!r} must have one size, got "
                f"{', '.join(map(str, shapes))}."
            )


class Panel(NamedTuple):
    """One picture of an example; label maps are enlarged without smoothing."""

    name: str
    uri: str
    labels: bool


@dataclass(frozen=True, eq=False)
class Shown:
    """An example as the page shows it; the legend has each class with its colour and IoU."""

    name: str
    score: float
    wrong: float
    width: int
    height: int
    panels: list[Panel]
    legend: list[tuple[str, str, float]]


def shown(example: Example, space: LabelSpace) -> Shown:
    target, preds = example.target, example.preds
    ignored = (target < 0) | (target >= space.num_classes)
    legend, wrong = _legend(preds, target, ignored, space)

    height, width = target.shape
    scale = min(1, SIDE / max(height, width))
    small = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(small, (height, width), strict=True)
    )
    nearest = np.ix_(rows, columns)
    target, preds, ignored = target[nearest], preds[nearest], ignored[nearest]
    image = None if example.image is None else _resized(example.image, small)

    panels = [] if image is None else [Panel("Image", _uri(image, lossless=False), False)]
    panels += [
        Panel("Target", _uri(colored(target, space), lossless=True), True),
        Panel("Prediction", _uri(colored(preds, space), lossless=True), True),
        Panel(
            "Errors",
            _uri(errors(preds, target, ignored, image), lossless=image is None),
            image is None,
        ),
    ]
    return Shown(example.name, example.score, wrong, small[1], small[0], panels, legend)


def _legend(
    preds: Labels, target: Labels, ignored: NDArray[np.bool_], space: LabelSpace
) -> tuple[list[tuple[str, str, float]], float]:
    """The classes in target or prediction, the largest first, and the share of wrong pixels."""
    counted = ~ignored
    preds, target = preds[counted], target[counted]
    legend = []
    for c in np.union1d(preds, target).tolist():
        in_preds, in_target = preds == c, target == c
        union = int((in_preds | in_target).sum())
        if 0 <= c < space.num_classes:
            iou = int((in_preds & in_target).sum()) / union
            legend.append((union, space.names[c], hex_color(space.colors[c]), iou))
    legend.sort(key=lambda entry: -entry[0])
    shown = [entry[1:] for entry in legend]
    if ignored.any() or (preds < 0).any() or (preds >= space.num_classes).any():
        shown.append(("no class", hex_color(GREY), nan))
    return shown, share(int((preds != target).sum()), target.size)


def hex_color(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _resized(image: Picture, size: tuple[int, int]) -> Picture:
    """The image with a new height and width."""
    from PIL import Image

    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def _uri(picture: Picture, lossless: bool) -> str:
    """The picture as a data URI."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=lossless, quality=80)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def share(part: int, whole: int) -> float:
    """A share of a whole; nan if the whole is 0."""
    return part / whole if whole else nan
