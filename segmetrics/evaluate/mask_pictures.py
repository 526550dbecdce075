"""Pictures for the report of masks of one class each: the worst masks of the worst images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from segmetrics.evaluate.counter import Counter
from segmetrics.evaluate.object_pictures import OF_IMAGE, Shown, figures, picture
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.slices import worst_slice
from segmetrics.files import MaskError


def worst_masks(result: Evaluation, names: Sequence[str]) -> list[str]:
    """The masks with the most wrong pixels of each image, as HTML; files are read again.

    Args:
        result: what was counted; its warnings name files that changed since.
        names: the images.
    """
    counter = Counter(result.settings)
    found = {name: _worst_of(result, counter, name) for name in names}
    return figures({name: shown for name, shown in found.items() if shown})


def _worst_of(result: Evaluation, counter: Counter, name: str) -> list[Shown]:
    try:
        found = list(_wrong(result, counter, name))
    except MaskError as error:
        result.warnings.add(f"{error}. It is left out of the report's pictures.")
        return []
    return sorted(found, key=lambda shown: -shown.size)[:OF_IMAGE]


def _wrong(result: Evaluation, counter: Counter, name: str) -> Iterator[Shown]:
    """Every mask of an image that has wrong pixels, cut to where its class is."""
    for class_name, of_preds, of_target in counter.masks(result.scored[name]):
        preds, target = (BINARY.to_classes(side.values) for side in (of_preds, of_target))
        wrong = int(((preds != target) & (target >= 0)).sum())
        if not wrong:
            continue
        if target.ndim == 3:
            preds, target, _ = worst_slice(preds, target, of_target.grid)
        preds = np.where(target < 0, 0, preds)  # ignored pixels are no error
        rows, columns = np.nonzero((preds == 1) | (target == 1))
        box = [slice(int(at.min()), int(at.max()) + 1) for at in (rows, columns)]
        yield Shown("wrong", class_name, wrong, picture(target == 1, preds == 1, box))
