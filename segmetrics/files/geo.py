"""The georeference of a GeoTIFF, and whether two masks have the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The largest distance between corners of equal places, in pixels.
TOLERANCE = 1e-3

# Tags of GeoTIFF 1.1, and keys of its directory.
PIXEL_SCALE, TIEPOINT, TRANSFORMATION, DIRECTORY, DOUBLES = 33550, 33922, 34264, 34735, 34736
RASTER_TYPE, GEOGRAPHIC, PROJECTED = 1025, 2048, 3072
PIXEL_IS_POINT, USER_DEFINED = 2, 32767


@dataclass(frozen=True, eq=False)
class Place:
    """The georeference of pixels.

    Args:
        affine: ``(3, 3)``, maps ``(column, row, 1)`` to map coordinates; whole numbers are the
            corners of pixels. None where the file has none.
        code: EPSG code of the coordinate reference system; None if there is none.
        keys: what else defines it.
    """

    affine: NDArray[np.float64] | None
    code: int | None
    keys: tuple[tuple[int, Any], ...]

    def difference(self, other: Place, shape: tuple[int, ...]) -> str:
        """In words, how a mask of this shape lies at this place and not at the other's; else empty.

        What one of the two does not say is not compared.
        """
        if self.code and other.code and self.code != other.code:
            return f"EPSG:{self.code}, its target has EPSG:{other.code}"
        if self.keys and other.keys and not self.code and self.keys != other.keys:
            return "its coordinate reference system is not its target's"
        if self.affine is None or other.affine is None:
            return ""
        height, width = shape[-2:]
        corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
        there = np.linalg.solve(other.affine, self.affine @ corners)
        if np.abs(there - corners).max() <= TOLERANCE:
            return ""
        return f"{_described(self.affine)}, its target has {_described(other.affine)}"


def place_of(valueof: Callable[[int], Any]) -> Place | None:
    """The georeference in the tags of a page.

    Args:
        valueof: the value of a tag, None if it is missing.
    """
    keys = _keys(valueof)
    affine = _affine(valueof, keys)
    if affine is None and not keys:
        return None
    code = keys.get(PROJECTED) or keys.get(GEOGRAPHIC)
    return Place(
        affine,
        None if code == USER_DEFINED else code,
        tuple((key, value) for key, value in sorted(keys.items()) if key >= GEOGRAPHIC),
    )


def _keys(valueof: Callable[[int], Any]) -> dict[int, Any]:
    """The keys of the directory without texts, which differ between programs."""
    directory = np.array(valueof(DIRECTORY) or (), np.int64)
    found: dict[int, Any] = {}
    for key, tag, count, value in directory[4 : len(directory) // 4 * 4].reshape(-1, 4).tolist():
        if tag == 0:
            found[key] = value
        elif tag == DOUBLES:
            found[key] = tuple(np.atleast_1d(valueof(DOUBLES))[value : value + count].tolist())
    return found


def _affine(valueof: Callable[[int], Any], keys: Mapping[int, Any]) -> NDArray[np.float64] | None:
    """The affine map from pixel corners to coordinates."""
    scale, tiepoint = valueof(PIXEL_SCALE), valueof(TIEPOINT)
    if (matrix := valueof(TRANSFORMATION)) is not None:
        full = np.array(matrix, np.float64).reshape(4, 4)
        affine = full[np.ix_([0, 1, 3], [0, 1, 3])]
    elif scale is not None and tiepoint is not None:
        (width, height), (column, row, _, x, y, _) = scale[:2], tiepoint[:6]
        left, top = x - column * width, y + row * height
        affine = np.array([[width, 0, left], [0, -height, top], [0, 0, 1]], np.float64)
    else:
        return None
    if keys.get(RASTER_TYPE) == PIXEL_IS_POINT:  # the coordinates are those of centres
        affine[:2, 2] -= affine[:2, :2].sum(1) / 2
    return affine if np.linalg.det(affine) else None


def _described(affine: NDArray[np.float64]) -> str:
    size = np.hypot(affine[0, :2], affine[1, :2])
    left, top = affine[:2, 2]
    return f"pixels of {size[0]:.10g} × {size[1]:.10g} from ({left:.10g}, {top:.10g}) on"
