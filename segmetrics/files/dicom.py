"""DICOM SEG, read by highdicom: the numbers of segments are labels, 0 is background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom.seg import segread
from pydicom import dcmread

from segmetrics.files.grids import Grid
from segmetrics.files.limits import check_size
from segmetrics.files.masks import Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def read_segmentation(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """A volume ``(slice, row, column)`` of segments that do not overlap, without empty slices."""
    header = dcmread(path, stop_before_pixels=True)
    if header.get("SOPClassUID") not in SEGMENTATIONS:
        what = getattr(header.get("SOPClassUID"), "name", "no SOP class")
        raise MaskError("format", path, f"DICOM {what}: of DICOM only SEG is a mask")
    if header.get("SegmentationType") == "FRACTIONAL":
        raise MaskError("values", path, "a fractional segmentation: its values are no labels")
    check_size(path, (header.NumberOfFrames, header.Rows, header.Columns))
    segmentation = segread(path)
    if segmentation.get_volume_geometry() is None:
        raise ValueError("its frames are no volume")
    try:
        volume = segmentation.get_volume(combine_segments=True)
    except RuntimeError as error:  # raised for overlaps
        raise MaskError("values", path, " ".join(str(error).split())) from error
    to_ras = np.diag([-1.0, -1.0, 1.0]) @ volume.affine[:3]
    grid = Grid(to_ras[:, :3], to_ras[:, 3], zyx=True, sparse=True)
    return Stored(np.asarray(volume.array), grid=grid.nowhere() if reading.ignore_grid else grid)
