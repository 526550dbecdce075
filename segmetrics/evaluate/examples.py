"""Images for reports, read again when all is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmetrics import files
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import MaskError

if TYPE_CHECKING:
    from segmetrics.report import Example

#: Images in a report.
EXAMPLES = 12


def worst(result: Evaluation, folder: Path | None) -> Iterator[Example]:
    """The worst images, with the images behind the masks where they are found."""
    counts = result.images
    assert counts is not None
    values = counts.per_image("IoU")
    order = values.argsort(stable=True)[: int((~values.isnan()).sum())].tolist()[:EXAMPLES]
    names = [str(counts.labels[i]) for i in order]
    images = files.find_images(folder, names) if folder else {}
    for i, name in zip(order, names, strict=True):
        example = example_of(result, name, values[i].item(), images.get(name))
        if example is not None:
            yield example


def example_of(result: Evaluation, name: str, score: float, image: Path | None) -> Example | None:
    """A pair to look at; None for a volume, and for files that changed since they were counted."""
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
    if target_map.values.ndim != 2:
        return None
    preds = files.aligned(preds_map, target_map, (pair.preds, pair.target))
    preds, target = map(result.settings.labels, (preds, target_map.values))
    return Example(
        name=name,
        score=score,
        target=space.to_classes(target),
        preds=space.to_classes(preds) if space.map_preds else preds.astype(np.int32),
        image=_image(image, target.shape, result.warnings),
    )


def _image(path: Path | None, size: tuple[int, ...], warnings: Warnings) -> Any:
    """An image, RGB, in the size of its mask; None where there is none that can be read."""
    from PIL import Image

    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((size[1], size[0])))
    except Exception as error:  # decoders raise whatever a broken file makes them stumble on
        warnings.add(f"--images: {path} cannot be read and is left out of the report: {error}")
        return None
