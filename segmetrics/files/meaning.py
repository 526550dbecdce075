"""From stored values to labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segmetrics.files.masks import Array, LabelMap, Stored
from segmetrics.files.problems import MaskError

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


def to_labels(path: Path, stored: Stored) -> LabelMap:
    """Stored values as labels: integers in native byte order.

    Raises:
        MaskError: several channels, fractions, or neither two nor three dimensions.
    """
    values = stored.values
    if stored.bands:
        raise MaskError("channels", path, f"{stored.bands}, {values.shape[-1]} channels")
    if values.dtype.kind == "f":  # as NIfTI often stores labels
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        if not whole.all():
            strange = values[~whole][0]
            raise MaskError("values", path, f"{values.dtype} with fractions, {strange:g} the first")
        values = values.astype(np.int64)
    if values.dtype.kind not in "biu":
        raise MaskError("values", path, f"{values.dtype}, expected integers")
    if values.ndim not in (2, 3):
        raise MaskError("values", path, f"shape {values.shape}, expected (H, W) or (D, H, W)")
    native = values.dtype.newbyteorder("=")
    native = np.dtype(np.uint8) if values.dtype == np.bool_ else native
    labels = np.require(values, native, ["C", "W"])
    return LabelMap(labels, stored.grid, stored.palette, stored.nodata)
