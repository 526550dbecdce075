"""Values of masks that are neither a class nor ignored, and what they may mean."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import Counting
from segmetrics.counting.codes import IGNORED, OUTSIDE, preds_codes, target_codes, to_int64
from segmetrics.files import LabelMap, MaskError, Pair

Array = NDArray[Any]
#: Values of one mask that are listed.
SHOWN = 5
#: From how many values on a mask looks interpolated, and the share of them that must lie between
#: their neighbours' values.
VALUES, BETWEEN = 3, 0.8
#: About how many pixels of a mask are examined for that.
LOOKED_AT = 2**20


def unknown_labels(preds: LabelMap, target: LabelMap, pair: Pair, counting: Counting) -> MaskError:
    """The labels that are neither a class nor ignored, in the target or else in the prediction."""
    codes = _codes(target, counting, of_target=True)
    mask, path, unknown = target, pair.target, codes > counting.labels + IGNORED
    if not unknown.any():
        outside = _codes(preds, counting, of_target=False) == counting.labels + OUTSIDE
        mask, path, unknown = preds, pair.preds, outside & (codes < counting.labels)
    assert unknown.any()
    values, pixels = np.unique(mask.values[unknown], return_counts=True)
    shown = ", ".join(
        f"{value} ({number:,} {'pixel' if number == 1 else 'pixels'})"
        for value, number in zip(values[:SHOWN], pixels[:SHOWN], strict=True)
    )
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    hint = next(_hints(values.tolist(), mask, unknown, counting, in_preds=mask is preds), "")
    return MaskError("labels", path, f"neither a class nor ignored: {shown}{more}", hint)


def interpolated(values: Array, strange: NDArray[np.bool_]) -> bool:
    """Whether unknown values look like the ramps that interpolation makes at contours.

    They are several, fewer than the other pixels, and most lie between their neighbours' values.
    """
    return 2 * np.count_nonzero(strange) <= strange.size and graded(values, strange)


def graded(values: Array, strange: NDArray[np.bool_]) -> bool:
    """Whether there are several unknown values, most of them between their neighbours' values."""
    some = np.arange(0, values.size, max(1, values.size // LOOKED_AT))
    places = some[strange.ravel()[some]]
    found = values.ravel()[places]
    if len(np.unique(found)) < VALUES:
        return False
    at = np.unravel_index(places, values.shape)
    lowest, highest = found, found
    for steps in product((-1, 0, 1), repeat=values.ndim):
        near = values[
            tuple(
                (axis + step).clip(0, size - 1)
                for axis, step, size in zip(at, steps, values.shape, strict=True)
            )
        ]
        lowest, highest = np.minimum(lowest, near), np.maximum(highest, near)
    between = (lowest < found) & (found < highest)
    return bool(between.mean() >= BETWEEN)


def _codes(mask: LabelMap, counting: Counting, *, of_target: bool) -> Array:
    code_of = target_codes if of_target else preds_codes
    return code_of(to_int64(mask.values), counting)


def _hints(
    values: Collection[int],
    mask: LabelMap,
    unknown: NDArray[np.bool_],
    counting: Counting,
    *,
    in_preds: bool,
) -> Iterator[str]:
    """Possible meanings of unknown values, the most probable first."""
    if mask.nodata is not None and mask.nodata in values:
        yield f"{mask.nodata:g} is its nodata value: --ignore-index {mask.nodata:g}."
    if set(values) == {255}:
        if mask.values[~unknown].any():
            yield "255 often marks void pixels: --ignore-index 255."
        yield (
            "255 is probably the foreground: --binary. If it marks void pixels: --ignore-index 255."
        )
    if max(values) < 0:
        options = " ".join(f"--ignore-index {value}" for value in values)
        if len(values) <= SHOWN:
            yield f"Negative values often mark void pixels: {options}."
    if interpolated(mask.values, unknown):
        yield (
            "They lie between the labels around them: was the mask resized by interpolation? "
            "Resize label maps by nearest neighbour. If it was saved as JPEG, its labels are lost."
        )
    classes = range(counting.num_classes)
    if in_preds and counting.map_preds and all(value in classes for value in values):
        yield (
            "Do predictions hold indices of classes instead of the targets' values? "
            "--preds-are-classes"
        )
    if in_preds and counting.ids and not counting.map_preds and counting.ids[-1] >= max(values):
        yield "Do predictions hold values as the targets do? Leave out --preds-are-classes."
    largest = max(values)
    if not counting.ids and len(classes) <= largest < 255:
        yield (
            f"Values reach {largest}: is it --num-classes {largest + 1}? A value that does not "
            "count is named by --ignore-index."
        )
