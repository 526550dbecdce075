"""From stored values to labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segmetrics.files.colors import labels_of_channels
from segmetrics.files.masks import LabelMap, Reading, Stored
from segmetrics.files.problems import MaskError


def to_labels(path: Path, stored: Stored, reading: Reading) -> LabelMap:
    """Stored values as labels: integers in native byte order.

    Raises:
        MaskError: colours that are no labels, fractions, or neither two nor three dimensions.
    """
    values = stored.values
    if stored.bands:
        values = labels_of_channels(path, values, stored.bands, reading.colors)
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
    # C knows two types of 64 bits, of which torch knows one
    labels = np.require(values, native, ["C", "W"]).view(native.str)
    return LabelMap(labels, stored.grid, stored.palette, stored.nodata, stored.place)
