"""Images for reports, which are read again after counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmetrics import files
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.slices import worst_slice
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import MaskError

if TYPE_CHECKING:
    from segmetrics.report import Example

#: Images in a report.
EXAMPLES = 12


def worst(result: Evaluation, folder: Path | None, first: Sequence[str] = ()) -> Iterator[Example]:
    """The worst images, with the images behind the masks where they are found.

    Args:
        result: what was counted, with the counts of images.
        folder: where the images behind the masks are.
        first: names of images that come first; the others follow by their mIoU.
    """
    scored = worst_first(result)
    names = list(dict.fromkeys([*(name for name in first if name in scored), *scored]))
    images = files.find_images(folder, names[:EXAMPLES]) if folder else {}
    for name in names[:EXAMPLES]:
        example = example_of(result, name, scored[name], images.get(name), slices=True)
        if example is not None:
            yield example


def worst_first(result: Evaluation) -> dict[str, float]:
    """The mIoU of every image that has one, the worst first."""
    counts = result.images
    assert counts is not None
    values = zip(counts.per_image("IoU").tolist(), map(str, counts.labels), strict=True)
    return {name: score for score, name in sorted(values) if score == score}


def example_of(
    result: Evaluation, name: str, score: float, image: Path | None, *, slices: bool = False
) -> Example | None:
    """A pair to show; None for files that changed since they were counted.

    Of a volume it is the slice with the most errors with ``slices``, else None.
    """
    from segmetrics.report import Example

    space, readings = result.settings.space, result.settings.readings
    if result.settings.task == "binary":
        space = BINARY
    pair = result.scored[name]
    try:
        target_map = files.read_thinned(pair.target, readings.target)
        preds_map = files.read_thinned(pair.preds, readings.preds)
    except MaskError as error:
        result.warnings.add(f"{error}. It is left out of the report's examples.")
        return None
    preds_map, target_map = files.united(preds_map, target_map)
    if target_map.values.ndim != 2 and not slices:
        return None
    aligned = files.aligned(preds_map, target_map, (pair.preds, pair.target))
    preds, target = map(result.settings.labels, (aligned, target_map.values))
    target = space.to_classes(target)
    preds = space.to_classes(preds) if space.map_preds else preds.astype(np.int32)
    if target.ndim == 3:
        preds, target, which = worst_slice(preds, target, target_map.grid)
        return Example(f"{name}, {which}", score, target, preds)
    return Example(name, score, target, preds, _image(image, target.shape, result.warnings))


def _image(path: Path | None, size: tuple[int, ...], warnings: Warnings) -> Any:
    """An RGB image in the size of its mask; None if there is none that can be read."""
    from PIL import Image

    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((size[1], size[0])))
    except Exception as error:  # decoders raise errors of many kinds for a broken file
        warnings.add(f"--images: {path} cannot be read and is left out of the report: {error}")
        return None
