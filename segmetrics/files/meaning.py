"""From stored values to labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segmetrics.files.colors import labels_of_channels
from segmetrics.files.grids import times, without_ones
from segmetrics.files.masks import Array, LabelMap, Reading, Stored, kind_of
from segmetrics.files.problems import MaskError
from segmetrics.files.scores import to_scores

#: The tolerance to integers, for rounding errors of scaling.
NOISE = 1e-3
#: What to do with scores that are no labels.
PROBABILITIES = "Probabilities? Pass --probabilities"
#: Ignored pixels of binary masks.
VOID = 255


def to_binary(values: Array, ignored: Iterable[int]) -> Array:
    """Background 0 and foreground 1 as uint8: zero, and anything else; ``VOID`` where ignored.

    Example:
        >>> to_binary(np.array([0, 1, 128, 255]), ignored=[128]).tolist()
        [0, 1, 255, 1]
    """
    labels: Array = (values != 0).view(np.uint8)
    for value in ignored:
        labels[values == value] = VOID
    return labels


def to_labels(path: Path, stored: Stored, reading: Reading) -> LabelMap:
    """Stored values as labels: integers in native byte order.

    Raises:
        MaskError: colours that are not labels, fractions, or neither two nor three dimensions.
    """
    if reading.probabilities:
        return to_scores(path, stored, reading)
    values, grid = stored.values, stored.grid
    if stored.bands:
        values = labels_of_channels(path, values, stored.bands, reading.colors)
    if values.dtype.kind not in "biuf":
        raise MaskError("values", path, f"{kind_of(values.dtype)}, expected integers")
    if reading.one_hot is not None and values.ndim > 2 and _holds_zeros_and_ones(values):
        values = _labels_of_one_hot(path, values, reading.one_hot)
        grid = grid.without(reading.one_hot) if grid else None
    values, grid = without_ones(values, grid)
    if values.ndim > 3 or values.ndim < 2:
        raise _wrong_shape(path, values)
    if values.dtype.kind == "f":  # as NIfTI often stores labels
        values = _integers(path, values, stored.slope)
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        largest, pixels = values.max(), np.count_nonzero(values == values.max())
        detail = f"{largest} ({pixels:,} pixels) is beyond int64. Was −1 stored as uint64?"
        raise MaskError("values", path, detail)
    native = values.dtype.newbyteorder("=")
    native = np.dtype(np.uint8) if values.dtype == np.bool_ else native
    # C has two 64-bit types, of which torch has one
    labels = np.require(values, native, ["C", "W"]).view(native.str)
    return LabelMap(
        labels, grid, stored.palette, stored.nodata, None if reading.ignore_grid else stored.place
    )


def one_hot_axis(values: Array) -> int | None:
    """The axis along which an array of at least three dimensions is one-hot, if there is one."""
    if values.dtype.kind not in "biuf" or values.ndim < 3 or not values.size:
        return None
    for axis in (0, values.ndim - 1, 1):
        first = values[tuple(slice(None) if i == axis else 0 for i in range(values.ndim))]
        if values.shape[axis] > 1 and first.sum() == 1 and _holds_zeros_and_ones(first):
            some = (values == 1).sum(axis, dtype=np.int64)
            if (some == 1).all() and _holds_zeros_and_ones(values):
                return axis
    return None


def _labels_of_one_hot(path: Path, values: Array, axis: int) -> Array:
    if not -values.ndim <= axis < values.ndim:
        detail = f"--one-hot {axis}: its shape is {values.shape}, it has no such axis"
        raise MaskError("one-hot", path, detail)
    wrong = np.count_nonzero(values.sum(axis, dtype=np.int64) != 1)
    if wrong:
        detail = f"{values.shape}: {wrong:,} pixels have not exactly one 1 along axis {axis}"
        raise MaskError("one-hot", path, detail)
    return np.asarray(values.argmax(axis))


def _holds_zeros_and_ones(values: Array) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _wrong_shape(path: Path, values: Array) -> MaskError:
    size = times(values.shape) or "()"
    if values.ndim < 2:
        return MaskError("values", path, f"shape {values.shape}, expected (H, W) or (D, H, W)")
    if (axis := one_hot_axis(values)) is not None:
        return MaskError("one-hot", path, f"{size}, one-hot along axis {axis}")
    if values.dtype.kind == "f" and not (np.rint(values) == values).all():
        return MaskError(
            "values",
            path,
            f"{size} with fractions: scores become labels by their argmax. {PROBABILITIES}",
        )
    return MaskError("volumes", path, f"{size}: several volumes")


def _integers(path: Path, values: Array, slope: float | None) -> Array:
    """Floating values that are integers up to noise, as integers."""
    stored = values.dtype
    if stored.itemsize < 4:
        values = values.astype(np.float32)
    with np.errstate(invalid="ignore"):
        rounded = np.rint(values)
        whole = (np.abs(values - rounded) <= NOISE) & (np.abs(values) < 2**53)
    if whole.all():
        return rounded.astype(np.int64)
    if missing := np.count_nonzero(np.isnan(values)):
        raise MaskError(
            "values", path,
            f"NaN in {missing:,} of {values.size:,} pixels: no data? Store an integer that is no "
            "class there, as 255, and leave it out by --ignore-index 255",
        )  # fmt: skip
    strange = values[~whole]
    detail = f"{stored.newbyteorder('=')} with fractions, {strange[0]!s} the first"
    if slope is not None:
        detail += f": its integers are multiplied by scl_slope {slope:.9g}. Store labels unscaled"
    elif values.min() >= 0 and values.max() <= 1:
        detail += f": scores become labels by their argmax, or by a threshold. {PROBABILITIES}"
    raise MaskError("values", path, detail)
