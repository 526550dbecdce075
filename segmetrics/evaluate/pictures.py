"""The worst images as the report shows them; of a volume the slice with the most errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics import files
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import Grid, MaskError
from segmetrics.report import Example

Array = NDArray[Any]

#: Images in the report.
EXAMPLES = 12
#: World axes in words, by their number.
PLANES = ("sagittal", "coronal", "axial")


def examples(result: Evaluation, folder: Path | None, first: Sequence[str] = ()) -> Iterator[Any]:
    """The worst images, read again, with the images behind the masks where they are found.

    Args:
        result: what was counted, with the counts of images.
        folder: where the images behind the masks are.
        first: names of images that come first; the others follow by their mIoU.
    """
    counts, space = result.images, result.settings.space
    if result.settings.task == "binary":
        space = BINARY
    assert counts is not None
    values = dict(zip(map(str, counts.labels), counts.per_image("IoU").tolist(), strict=True))
    scored = {name: value for name, value in values.items() if value == value}
    names = list(dict.fromkeys(name for name in first if name in scored))
    names += sorted(scored.keys() - set(names), key=lambda name: (scored[name], name))
    names = names[:EXAMPLES]
    images = files.find_images(folder, names) if folder else {}
    for name in names:
        pair, readings = result.scored[name], result.settings.readings
        try:
            target_map = files.read_thinned(pair.target, readings.target)
            preds_map = files.read_thinned(pair.preds, readings.preds)
        except MaskError as error:  # changed since it was counted
            result.warnings.add(f"{error}. It is left out of the report's examples.")
            continue
        aligned = files.aligned(preds_map, target_map, (pair.preds, pair.target))
        preds, target = map(result.settings.labels, (aligned, target_map.values))
        target = space.to_classes(target)
        preds = space.to_classes(preds) if space.map_preds else preds.astype(np.int32)
        shown, image = name, _image(images.get(name), target.shape, result.warnings)
        if target.ndim == 3:
            preds, target, where = worst_slice(preds, target, target_map.grid)
            shown, image = f"{name}, {where}", None
        yield Example(shown, scored[name], target, preds, image)


def worst_slice(preds: Array, target: Array, grid: Grid | None) -> tuple[Array, Array, str]:
    """The slice with the most wrong pixels, upright as in viewers, and which one it is.

    Slices are thick: they lie across the axis of the largest spacing; of equal ones across that
    from feet to head, or where nothing is known of axes across the first.
    """
    steps = np.eye(3) if grid is None else grid.steps
    zyx = grid is None or grid.zyx
    placed = grid is not None and grid.placed
    spacing = np.linalg.norm(steps, axis=0)
    thickest = np.flatnonzero(spacing > spacing.max() * 0.99)
    axis = 0 if zyx else 2
    if len(thickest) == 1:
        axis = int(thickest[0])
    elif placed:
        axis = int(np.abs(steps[2]).argmax())
    wrong = (preds != target) & (target >= 0)
    others = tuple(other for other in range(3) if other != axis)
    errors = wrong.sum(others)
    place = int(errors.argmax()) if errors.any() else target.shape[axis] // 2
    sides = [np.take(side, place, axis) for side in (preds, target)]
    what = "slice"
    if placed:
        sides = [_upright(side, np.delete(steps, axis, 1)) for side in sides]
        what = f"{PLANES[int(np.abs(steps[:, axis]).argmax())]} slice"
    elif not zyx:
        sides = [side.T for side in sides]
    found, truth = map(np.ascontiguousarray, sides)
    return found, truth, f"{what} {place + 1} of {target.shape[axis]}"


def _upright(plane: Array, steps: Array) -> Array:
    """A plane with head or front above, and the patient's right or front at the left."""
    worlds = np.abs(steps).argmax(0).tolist()
    plane = np.flip(plane, tuple(i for i, world in enumerate(worlds) if steps[world, i] > 0))
    return plane.T if worlds[0] < worlds[1] else plane


def _image(path: Path | None, size: tuple[int, ...], warnings: Warnings) -> Any:
    """An image, RGB, in the size of its mask; None where there is none that can be read."""
    from PIL import Image

    if path is None or len(size) != 2:
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((size[1], size[0])))
    except Exception as error:  # decoders raise whatever a broken file makes them stumble on
        warnings.add(f"--images: {path} cannot be read and is left out of the report: {error}")
        return None
