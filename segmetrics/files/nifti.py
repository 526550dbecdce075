"""NIfTI and FreeSurfer's MGH: headers are nibabel's, values are read as they lie: (x, y, z)."""

from __future__ import annotations

from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np

from segmetrics.files.checksums import read_checked
from segmetrics.files.grids import Floats, Grid
from segmetrics.files.limits import check_size
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

#: Headers have both.
BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
#: The size of the header that a file begins with, in both byte orders → what it is.
HEADERS: dict[bytes, Any] = {
    size.to_bytes(4, order): header
    for size, header in ((348, nibabel.Nifti1Header), (540, nibabel.Nifti2Header))
    for order in BYTE_ORDERS
}
#: Code of metres and micrometres in ``xyzt_units`` → millimetres.
MILLIMETRES = {1: 1000.0, 3: 0.001}


def read_nifti(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume of NIfTI-1 or NIfTI-2, with the slope that its integers are multiplied by."""
    header, values = _header_and_values(path, HEADERS)
    if header["magic"].item()[:2] != b"n+":
        raise ValueError("it is no NIfTI file, or its voxels are in an .img file")
    slope, inter = header.get_slope_inter()
    grid = (
        _grid_of_any(path, header, values) if reading.ignore_grid else _grid(path, header, values)
    )
    if slope in (None, 1) and inter in (None, 0):
        return Stored(values, grid=grid)
    return Stored(values.astype(np.float64) * slope + inter, grid=grid, slope=slope)


def read_mgh(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume of FreeSurfer."""
    header, values = _header_and_values(path, {b"\0\0\0\1": nibabel.freesurfer.mghformat.MGHHeader})
    if reading.ignore_grid:
        affine = np.diag([*header.get_zooms()[:3], 1])
        return Stored(values, grid=Grid.of_affine(affine, values.ndim).nowhere())
    return Stored(values, grid=_of_affine(path, header.get_affine(), values.ndim))


def _header_and_values(path: Path, kinds: dict[bytes, Any]) -> tuple[Any, Array]:
    def parsed(head: bytes) -> Any:
        if head[:4] not in kinds:
            raise ValueError(f"it begins with {head[:4]!r}, not as its suffix says")
        return kinds[head[:4]].from_fileobj(BytesIO(head), check=False)

    def size(head: bytes) -> int:
        header = parsed(head)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        if dtype.fields:
            raise MaskError("channels", path, f"{'+'.join(dtype.fields)}, colours")
        if min(shape, default=0) < 1:
            raise ValueError(f"its header says the shape {shape}")
        check_size(path, shape)
        return int(header.get_data_offset()) + prod(map(int, shape)) * int(dtype.itemsize)

    data = read_checked(path, size)
    header = parsed(bytes(data[:1024]))
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    flat = np.frombuffer(data, dtype, prod(map(int, shape)), int(header.get_data_offset()))
    return header, flat.reshape(shape, order="F")


def _grid(path: Path, header: Any, values: Array) -> Grid:
    """The grid by sform, else qform, as in nibabel; without a position if there is neither."""
    coded = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    if not any(code > 0 for code in coded.values()):
        return _spaced(header, values)
    spacing = header["pixdim"][1 : 1 + min(values.ndim, 3)].astype(np.float64)
    used = np.array(values.shape[:3]) > 1
    if not (np.isfinite(spacing) & (spacing > 0))[used].all():
        raise MaskError("grid", path, f"its header says the spacing {spacing.tolist()}")
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # as in the standard
    try:
        affine: Floats = header.get_sform() if coded["sform"] > 0 else header.get_qform()
    except Exception as error:
        raise MaskError("grid", path, f"its qform is none: {error}") from error
    unit = MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    return _of_affine(path, affine * unit, values.ndim)


def _grid_of_any(path: Path, header: Any, values: Array) -> Grid:
    """The grid if only the spacing is needed: other errors of the header are ignored."""
    try:
        return _grid(path, header, values).nowhere()
    except MaskError:
        return _spaced(header, values)


def _spaced(header: Any, values: Array) -> Grid:
    """The grid from the spacing alone, without a position; 0 for an invalid spacing."""
    unit = MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    spacing = header["pixdim"][1:4].astype(np.float64) * unit
    affine = np.diag([*np.where(np.isfinite(spacing) & (spacing > 0), spacing, 0), 1])
    return Grid.of_affine(affine, values.ndim).nowhere()


def _of_affine(path: Path, affine: Floats, ndim: int) -> Grid:
    if not np.isfinite(affine).all():
        raise MaskError("grid", path, f"its affine is not finite: {affine[:3].tolist()}")
    return Grid.of_affine(affine, ndim)
