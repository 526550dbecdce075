"""MHA, MHD, NRRD and NHDR: grids are SimpleITK's, arrays are (z, y, x) as it gives them.

The voxels are read here: SimpleITK verifies no checksum, and gives what it finds of cut data.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from segmetrics.files.checksums import GZIP, ZLIB, inflate
from segmetrics.files.grids import Grid, times
from segmetrics.files.limits import check_ratio, check_size
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

SimpleITK: Any = sitk  # its classes are untyped
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

#: NumPy's types by their names in MetaIO and NRRD. (A MET_LONG may have 4 or 8 bytes.)
MET = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
       "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
       "MET_DOUBLE": "f8"}  # fmt: skip
NRRD = {name: dtype for dtype, names in (
    ("i1", "signed char/int8/int8_t"),
    ("u1", "uchar/unsigned char/uint8/uint8_t"),
    ("i2", "short/short int/signed short/signed short int/int16/int16_t"),
    ("u2", "ushort/unsigned short/unsigned short int/uint16/uint16_t"),
    ("i4", "int/signed int/int32/int32_t"),
    ("u4", "uint/unsigned int/uint32/uint32_t"),
    ("i8", "longlong/long long/long long int/signed long long/signed long long int/int64/int64_t"),
    ("u8", "ulonglong/unsigned long long/unsigned long long int/uint64/uint64_t"),
    ("f4", "float"),
    ("f8", "double"),
) for name in names.split("/")}  # fmt: skip


class Data(NamedTuple):
    """The grid and the storage of the voxels of a header; ``shape`` as (x, y, z)."""

    path: Path
    offset: int
    container: int | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: int | None = None


def read_metaimage(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume of MetaImage."""
    fields, end = _metaimage_header(path)
    data = _data_of_metaimage(path, fields, end)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels > 1:
        raise MaskError("channels", path, f"{channels} values a voxel")
    spaced = fields.get("ElementSpacing", fields.get("ElementSize", "1"))
    grid = _of_no_spacing(path, spaced, data, reading) or _grid(path, "MetaImageIO", data, reading)
    return Stored(_voxels(path, data), grid=grid)


def read_nrrd(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume of NRRD; one without a space has no position."""
    fields, end = _nrrd_header(path)
    data = _data_of_nrrd(path, fields, end)
    kinds = fields.get("kinds", "").split()
    for axis, kind in enumerate(kinds[: len(data.shape)]):
        if kind not in ("domain", "space", "???", "none") and data.shape[axis] > 1:
            raise MaskError("channels", path, f"axis {axis} of {times(data.shape)} is a {kind}")
    placed = reading if "space" in fields else replace(reading, ignore_grid=True)
    grid = _of_no_spacing(path, fields.get("spacings", ""), data, placed)
    if not fields.keys() & {"spacings", "spacedirections"}:
        grid = Grid.unplaced(len(data.shape))
    return Stored(_voxels(path, data), grid=grid or _grid(path, "NrrdImageIO", data, placed))


def data_file(path: Path) -> Path | None:
    """The data file of a header; None if there is none."""
    of_nrrd = path.suffix.lower() == ".nhdr"
    with suppress(OSError, ValueError):  # a header that cannot be read names none
        header = _nrrd_header(path) if of_nrrd else _metaimage_header(path)
        found = (_data_of_nrrd if of_nrrd else _data_of_metaimage)(path, *header).path
        return found if found != path and found.is_file() else None
    return None


def _voxels(path: Path, data: Data) -> Array:
    """The voxels (z, y, x); checks their number, the end of the file and the checksum."""
    check_size(path, data.shape)
    needed, there = prod(data.shape) * data.dtype.itemsize, data.path.stat().st_size - data.offset
    if data.container is not None:
        if data.stored not in (None, there):
            raise ValueError(
                f"it holds {there:,} bytes, its header says {data.stored:,} compressed"
            )
        check_ratio(path, needed, there, "Deflate")
    elif there != needed:
        raise ValueError(f"it holds {there:,} bytes of voxels, its header says {needed:,}")
    voxels = bytearray(needed)
    with data.path.open("rb") as file:
        file.seek(data.offset)
        into = memoryview(voxels)
        held = inflate(file, data.container, into) if data.container else file.readinto(into)
    if held != needed:
        raise ValueError(f"it holds {held:,} bytes of voxels, its header says {needed:,}")
    return np.frombuffer(voxels, data.dtype).reshape(data.shape[::-1])


def _of_no_spacing(path: Path, spaced: str, data: Data, reading: Reading) -> Grid | None:
    """A grid with an invalid spacing, if grids are ignored; None for any other.

    SimpleITK takes a negative spacing for a positive one.
    """
    spacing = [float(number) for number in spaced.split()]
    if not any(step <= 0 for step in spacing):  # nan is no spacing of an axis
        return None
    if not reading.ignore_grid:
        raise MaskError("grid", path, f"its header says the spacing {spacing}")
    steps = np.eye(4)
    for axis, step in enumerate(spacing[:3]):
        steps[axis, axis] = max(step, 0)
    return Grid.of_affine(steps, len(data.shape), zyx=True).nowhere()


def _grid(path: Path, of: str, data: Data, reading: Reading) -> Grid:
    """The grid by SimpleITK; if grids are ignored only the spacing, if there is one."""
    if not reading.ignore_grid:
        return _placed(path, of, data)
    try:
        return _placed(path, of, data).nowhere()
    except MaskError:
        return Grid.unplaced(len(data.shape))


def _placed(path: Path, of: str, data: Data) -> Grid:
    ndim = len(data.shape)
    if "\ufffd" in os.fsencode(path).decode("utf-8", "replace"):  # SimpleITK would abort
        raise MaskError("grid", path, "SimpleITK cannot read its grid: its name is not UTF-8")
    header = SimpleITK.ImageFileReader()
    header.SetImageIO(of)
    header.SetFileName(os.fspath(path))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        said = " ".join(str(error).rpartition("ERROR: ")[2].split())
        raise MaskError("grid", path, f"SimpleITK cannot read its grid: {said}") from error
    if header.GetSize() != data.shape:
        raise ValueError(f"it has the size {data.shape}, for SimpleITK {header.GetSize()}")
    direction = np.array(header.GetDirection(), np.float64).reshape(ndim, ndim)
    used, affine = min(ndim, 3), np.eye(4)
    affine[:used, :used] = (direction * header.GetSpacing())[:used, :used]
    affine[:used, 3] = header.GetOrigin()[:used]
    affine[:2] *= -1  # from LPS to RAS
    return Grid.of_affine(affine, ndim, zyx=True)


# --- Headers --------------------------------------------------------------------------------------


def _metaimage_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and its length."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(2**16):
            key, is_field, value = line.decode("latin-1").partition("=")
            if not is_field:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
    raise ValueError("it is no MetaImage: its header has no ElementDataFile")


def _data_of_metaimage(path: Path, fields: dict[str, str], end: int) -> Data:
    for key in ("BinaryData", "CompressedData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB"):
        if fields.get(key, "False").lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"its header says {key} = {fields[key]}")
    shape = tuple(int(length) for length in fields.get("DimSize", "").split())
    if len(shape) != int(fields.get("NDims", "0")) or min(shape, default=0) < 1:
        raise ValueError(f"its header says DimSize = {fields.get('DimSize')}")
    kind, name = fields.get("ElementType", ""), fields["ElementDataFile"]
    if kind not in MET:
        raise ValueError(f"its header says ElementType = {kind}")
    text = fields.get("BinaryData", "True").lower() in ("false", "0")
    if "%" in name or name.upper() == "LIST" or text:
        raise ValueError(f"ElementDataFile = {name} is not read: write one binary file")
    stored = int(fields["CompressedDataSize"]) if "CompressedDataSize" in fields else None
    offset = int(fields.get("HeaderSize", "0"))
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower()
    local = name.upper() == "LOCAL"
    return Data(
        path if local else path.parent / name,
        end if local else max(offset, 0),
        ZLIB if fields.get("CompressedData", "False").lower() in ("true", "1") else None,
        shape,
        np.dtype(MET[kind]).newbyteorder(">" if msb in ("true", "1") else "<"),
        stored,
    )


def _nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and its length."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(2**16).startswith(b"NRRD000"):
            raise ValueError("it is no NRRD: it does not begin with NRRD")
        while line := file.readline(2**16).decode("utf-8", "replace").strip():
            key, is_field, value = line.partition(": ")
            if is_field and not line.startswith("#"):
                fields[key.lower().replace(" ", "")] = value.strip()
        return fields, file.tell()


def _data_of_nrrd(path: Path, fields: dict[str, str], end: int) -> Data:
    shape = tuple(int(length) for length in fields.get("sizes", "").split())
    if len(shape) != int(fields.get("dimension", "0")) or min(shape, default=0) < 1:
        raise ValueError(f"its header says sizes: {fields.get('sizes')}")
    kind, encoding = fields.get("type", "").lower(), fields.get("encoding", "").lower()
    if kind not in NRRD:
        raise ValueError(f"its header says type: {kind}")
    if encoding not in ("raw", "gzip", "gz"):
        raise ValueError(f"its header says encoding: {encoding}; write it as gzip or raw")
    name = fields.get("datafile")
    skips = (fields.get("lineskip", "0"), fields.get("byteskip", "0"))
    if skips != ("0", "0") or (name and (name.startswith("LIST") or "%" in name)):
        raise ValueError("its header skips bytes or lists files: write one file")
    detached = path.parent / name if name else path
    container = None if encoding == "raw" else GZIP
    dtype, endian = np.dtype(NRRD[kind]), fields.get("endian", "").lower()
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise ValueError(f"its header says endian: {endian}")
    dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    return Data(detached, 0 if name else end, container, shape, dtype)
