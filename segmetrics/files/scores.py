"""From stored values to probabilities or logits, and to the labels that they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segmetrics.files.grids import Grid, times, without_ones
from segmetrics.files.masks import Array, LabelMap, Reading, Stored, kind_of
from segmetrics.files.problems import MaskError

#: By how much the probabilities of the classes may miss 1 as a sum.
TOLERANCE = 1e-3
#: Integers that stand for probabilities, and the largest of them.
SCALES = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


def to_scores(path: Path, stored: Stored, reading: Reading) -> LabelMap:
    """Stored values as probabilities or logits: floats as they are, 8 and 16 bits scaled to [0, 1].

    Scores of classes lie along the axis that is not in space, as in NIfTI ``(X, Y, Z, C)``, or
    along the first: ``(C, H, W)``. Probabilities are used as they are: of scaled integers each is
    half a step off at most, whatever their sum, which may miss 1 by a step a class. Regions may
    overlap: their labels mean nothing.

    Raises:
        MaskError: colours, other integers, NaN, values outside [0, 1], sums that are not 1, another
            number of classes, or neither two nor three dimensions.
    """
    values, grid, classes = stored.values, stored.grid, reading.channels
    if stored.bands or stored.palette:
        channels = "one channel of probabilities" if classes is None else "(C, H, W)"
        raise MaskError("scores", path, f"a colour image, expected {channels}")
    dtype = values.dtype.newbyteorder("=")
    if dtype.kind != "f" and (reading.logits or dtype not in SCALES):
        scaled = "" if reading.logits else " in [0, 1], or 8 or 16 bits that stand for them"
        raise MaskError("scores", path, f"{kind_of(dtype)}, expected floats{scaled}")
    size = values.shape
    if classes is not None:
        values, grid = _classes_first(path, values, grid, reading)
    first, in_space = without_ones(values if classes is None else values[0], grid)
    if not 2 <= first.ndim <= 3:
        expected = "(H, W) or (D, H, W)" if classes is None else "(C, H, W) or (C, D, H, W)"
        detail = f"{times(size) or '()'}, expected probabilities {expected}"
        raise MaskError("scores", path, detail)
    maps = np.array(values, np.float32, order="C", ndmin=values.ndim + (classes is None))
    maps = maps.reshape(classes or 1, *first.shape)
    if dtype in SCALES:
        maps /= np.float32(SCALES[dtype])
    labels = _labels(path, maps, reading, SCALES.get(dtype))
    scores = maps[0] if classes is None else maps
    return LabelMap(labels, in_space, place=stored.place, scores=scores)


def _classes_first(
    path: Path, values: Array, grid: Grid | None, reading: Reading
) -> tuple[Array, Grid | None]:
    """The axis of the classes in front, and the grid of the others."""
    classes, one = reading.channels, "region" if reading.regions else "class"
    outside = np.isnan(grid.steps).all(0) if grid else np.zeros(values.ndim, np.bool_)
    found = [axis for axis in np.flatnonzero(outside).tolist() if values.shape[axis] > 1]
    axis = found[0] if len(found) == 1 else 0
    number = values.shape[axis] if values.ndim > 2 else 1
    if number != classes:
        detail = f"{times(values.shape) or '()'}: {number} along axis {axis}, expected {classes}: "
        detail += f"the scores of each {one}"
        if values.ndim > 2 and values.shape[-1] == classes:
            detail += ". Store the classes along the first axis: np.moveaxis(scores, -1, 0)"
        elif values.ndim == 2 or classes == 2:
            detail += ". Of the foreground alone: --binary"
        raise MaskError("scores", path, detail)
    return np.moveaxis(values, axis, 0), grid.without(axis) if grid and found else None


def _labels(path: Path, maps: Array, reading: Reading, scale: int | None) -> Array:
    """The labels of scores ``(C, ...)``, which are checked, class by class."""
    for values in maps:
        _check_values(path, values, logits=reading.logits)
    if len(maps) == 1:
        foreground: Array = maps[0] > (0 if reading.logits else 0.5)
        return foreground.view(np.uint8)
    best, labels = maps[0].copy(), np.zeros(maps.shape[1:], np.min_scalar_type(len(maps)))
    for label, values in enumerate(maps):
        labels[values > best] = label
        np.maximum(best, values, out=best)
    if not (reading.logits or reading.regions):
        total = maps.sum(0)
        tolerance = TOLERANCE if scale is None else max(TOLERANCE, len(maps) / scale)
        wrong = np.abs(total - 1) > tolerance
        if number := np.count_nonzero(wrong):
            raise MaskError(
                "scores", path,
                f"the probabilities of {number:,} of {wrong.size:,} pixels do not sum to 1 over "
                f"the classes, {total[wrong][0]:.6g} the first. Logits? Pass --from-logits. "
                "Regions that overlap? Pass --region-channels",
            )  # fmt: skip
    return labels


def _check_values(path: Path, values: Array, *, logits: bool) -> None:
    """Raise for what is no probability, or no logit."""
    possible = values < np.inf if logits else (values >= 0) & (values <= 1)
    if wrong := np.count_nonzero(~possible):
        first = values[~possible][0]
        among, hint = f"{wrong:,} of {values.size:,} values are", ""
        if not logits and first == first:
            hint = ". Logits? Pass --from-logits"
        what = "NaN or infinite" if logits else "outside [0, 1]"
        raise MaskError("scores", path, f"{among} {what}, {first!s} the first{hint}")
