"""NPY and NPZ: arrays without colours and without a grid."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from segmetrics.files.grids import Grid
from segmetrics.files.limits import check_ratio
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.meaning import one_hot_axis
from segmetrics.files.problems import MaskError

#: Names that nnU-Net gives to probabilities (C, z, y, x).
OF_NNUNET = ("probabilities", "softmax")


def read_npy(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """The array of a file."""
    with path.open("rb") as file:
        return _stored(path, _read(path, file, "NPY"), reading)


def read_npz(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """The only array of an archive, or the named one; its CRC-32 is verified."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        found = [name for name in names if name in reading.keys or not reading.keys]
        if len(found) != 1:
            asked = f" none of --key {', '.join(reading.keys)}" if reading.keys and names else ""
            arrays = ", ".join(names[:8]) + (f" and {len(names) - 8} more" * (len(names) > 8))
            raise MaskError("arrays", path, f"{asked[1:] + ': ' if asked and not found else ''}"
                            f"{len(names)} arrays: {arrays}")  # fmt: skip
        info = archive.infolist()[names.index(found[0])]
        check_ratio(path, info.file_size, info.compress_size, "Deflate")
        with archive.open(info) as member:
            values = _read(path, member, "NPZ")
            if member.read(1):  # to its end, where the checksum is verified
                raise ValueError("bytes follow the array")
    stored = _stored(path, values, reading)
    if reading.probabilities and found[0] in OF_NNUNET and values.ndim == 4:
        of_space = Grid.unplaced(3)
        steps = np.insert(of_space.steps, 0, np.nan, 1)  # that of the classes
        return stored._replace(grid=replace(of_space, steps=steps))
    return stored


def _read(path: Path, file: IO[bytes], kind: str) -> Array:
    if file.read(6) != b"\x93NUMPY":
        raise ValueError(f"it is no {kind}: its content is no array of NumPy")
    file.seek(0)
    try:
        values: Array = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        if "Object arrays" in str(error):
            raise MaskError("values", path, "an array of Python objects") from error
        raise
    return values


def _stored(path: Path, values: Array, reading: Reading) -> Stored:
    """Recognizes one-hot images by their content; 4D arrays are rejected later."""
    if reading.probabilities:
        return Stored(values)
    if reading.one_hot is None and values.ndim == 3 and (axis := one_hot_axis(values)) is not None:
        raise MaskError("one-hot", path, f"{values.shape}, one-hot along axis {axis}")
    return Stored(values)
