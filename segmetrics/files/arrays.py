"""NPY and NPZ."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError


def read_npy(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The array of a file."""
    with path.open("rb") as file:
        return Stored(_one_channel(path, np.lib.format.read_array(file, allow_pickle=False)))


def read_npz(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The only array of an archive."""
    with np.load(path, allow_pickle=False) as arrays:
        if len(arrays.files) != 1:
            raise MaskError(
                "unreadable", path, f"{len(arrays.files)} arrays, expected one: the mask"
            )
        return Stored(_one_channel(path, arrays[arrays.files[0]]))


def _one_channel(path: Path, values: Array) -> Array:
    if values.ndim == 3 and values.shape[-1] in (3, 4) and values.dtype == np.uint8:
        raise MaskError("channels", path, f"{values.shape}, {values.shape[-1]} channels")
    return values
