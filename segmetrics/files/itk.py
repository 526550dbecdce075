"""MHA, MHD, NRRD and NHDR, read by SimpleITK: arrays are (z, y, x)."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from segmetrics.files.checksums import GZIP, ZLIB, inflate
from segmetrics.files.grids import Grid
from segmetrics.files.limits import check_ratio, check_size
from segmetrics.files.masks import Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

SimpleITK: Any = sitk  # its classes are untyped
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

#: Bytes of an element, by what MetaIO and NRRD call its type.
MET = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
       "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4,
       "MET_DOUBLE": 8}  # fmt: skip
NRRD = {name: size for size, names in (
    (1, "signed char/int8/int8_t/uchar/unsigned char/uint8/uint8_t"),
    (2, "short/short int/signed short/signed short int/int16/int16_t/ushort/unsigned short/"
        "unsigned short int/uint16/uint16_t"),
    (4, "int/signed int/int32/int32_t/uint/unsigned int/uint32/uint32_t/float"),
    (8, "longlong/long long/long long int/signed long long/signed long long int/int64/int64_t/"
        "ulonglong/unsigned long long/unsigned long long int/uint64/uint64_t/double"),
) for name in names.split("/")}  # fmt: skip


class Data(NamedTuple):
    """Where the voxels of a header lie, and how they are stored."""

    path: Path
    offset: int
    container: int | None
    shape: tuple[int, ...]
    itemsize: int
    stored: int | None = None


def read_metaimage(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume of MetaImage."""
    fields, end = _metaimage_header(path)
    data = _data_of_metaimage(path, fields, end)
    spacing = _numbers(fields.get("ElementSpacing", fields.get("ElementSize", "1")))
    if min(spacing, default=1) <= 0 and not reading.ignore_grid:
        raise MaskError("grid", path, f"its header says the spacing {spacing}")
    _verify(path, data)
    return _read(path, "MetaImageIO", reading)


def read_nrrd(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume of NRRD; one without a space is placed nowhere."""
    fields, end = _nrrd_header(path)
    _verify(path, _data_of_nrrd(path, fields, end))
    return _read(path, "NrrdImageIO", reading, placed="space" in fields)


def data_file(path: Path) -> Path | None:
    """The file beside a header that holds its voxels; None where the header's file does.

    Raises:
        OSError, ValueError: the header cannot be read.
    """
    of = (_metaimage_header, _data_of_metaimage) if path.suffix.lower() in (".mha", ".mhd") else (
        _nrrd_header, _data_of_nrrd)  # fmt: skip
    found = of[1](path, *of[0](path)).path
    return None if found == path else found


def _read(path: Path, of: str, reading: Reading, *, placed: bool = True) -> Stored:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(of)
    reader.SetFileName(os.fspath(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        said = str(error).rpartition("ITK ERROR: ")[2]
        if "direction" in said:
            raise MaskError("grid", path, "its axes are singular: " + _one_line(said)) from error
        raise ValueError(_one_line(said)) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise MaskError("channels", path, f"{image.GetNumberOfComponentsPerPixel()} values a voxel")
    values = SimpleITK.GetArrayFromImage(image)
    placed = placed and not reading.ignore_grid
    return Stored(values, grid=_grid(image) if placed else Grid.unplaced(values.ndim, zyx=True))


def _one_line(said: str) -> str:
    return " ".join(said.partition("): ")[2].split()) or " ".join(said.split())


def _grid(image: Any) -> Grid:
    ndim = image.GetDimension()
    direction = np.array(image.GetDirection(), np.float64).reshape(ndim, ndim)
    used, affine = min(ndim, 3), np.eye(4)
    affine[:used, :used] = (direction * image.GetSpacing())[:used, :used]
    affine[:used, 3] = image.GetOrigin()[:used]
    affine[:2] *= -1  # from LPS to RAS
    return Grid.of_affine(affine, ndim, zyx=True)


# --- Headers --------------------------------------------------------------------------------------


def _metaimage_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and where it ends."""
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
    if "%" in name or name.upper() == "LIST" or fields.get("BinaryData", "True").lower() == "false":
        raise ValueError(f"ElementDataFile = {name} is not read: write one binary file")
    stored = int(fields["CompressedDataSize"]) if "CompressedDataSize" in fields else None
    offset = int(fields.get("HeaderSize", "0"))
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    local = name.upper() == "LOCAL"
    return Data(
        path if local else path.parent / name,
        end if local else max(offset, 0),
        ZLIB if fields.get("CompressedData", "False").lower() in ("true", "1") else None,
        shape,
        MET[kind] * channels,
        stored,
    )


def _nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a header, and where it ends."""
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
    return Data(detached, 0 if name else end, container, shape, NRRD[kind])


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split()]


def _verify(path: Path, data: Data) -> None:
    """Raise unless the voxels are all there, no bytes more, and their checksum fits."""
    check_size(path, data.shape)
    needed, there = prod(data.shape) * data.itemsize, data.path.stat().st_size - data.offset
    if data.container is None:
        if there != needed:
            raise ValueError(f"it holds {there:,} bytes of voxels, its header says {needed:,}")
        return
    if data.stored not in (None, there):
        raise ValueError(f"it holds {there:,} compressed bytes, its header says {data.stored:,}")
    check_ratio(path, needed, there, "Deflate")
    with data.path.open("rb") as file:
        file.seek(data.offset)
        held = inflate(file, data.container, memoryview(bytearray()))
    if held != needed:
        raise ValueError(f"it holds {held:,} bytes of voxels, its header says {needed:,}")
