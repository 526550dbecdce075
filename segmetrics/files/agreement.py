"""Whether two masks have the same georeference and the same colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segmetrics.files.masks import Array, LabelMap
from segmetrics.files.problems import MaskError


def check_place(preds: LabelMap, target: LabelMap, path: Path, shape: tuple[int, ...]) -> None:
    """Raise if two GeoTIFFs of this shape have different georeferences.

    A mask that does not say where it lies is compared as it is.
    """
    if preds.place and target.place and (found := preds.place.difference(target.place, shape)):
        raise MaskError("grid", path, found)


def check_palettes(preds: LabelMap, target: LabelMap, path: Path) -> None:
    """Raise if a colour has other indices in the prediction than in the target.

    Colours that one of the masks does not use are not compared.
    """
    if not preds.palette or not target.palette or preds.palette == target.palette:
        return
    of_target = _used(target.values, target.palette)
    for color, indices in _used(preds.values, preds.palette).items():
        others = of_target.get(color, indices)
        if not indices & others:
            detail = f"{color} has the index {min(indices)}, in its target {min(others)}"
            raise MaskError("palettes", path, detail)


def _used(values: Array, palette: bytes) -> dict[tuple[int, ...], set[int]]:
    """Color → its indices, of those that a mask uses."""
    colors = np.frombuffer(palette, np.uint8)[: len(palette) // 3 * 3].reshape(-1, 3).tolist()
    found: dict[tuple[int, ...], set[int]] = {}
    for index in np.flatnonzero(np.bincount(values.ravel(), minlength=len(colors))).tolist():
        if index < len(colors):
            found.setdefault(tuple(colors[index]), set()).add(index)
    return found
