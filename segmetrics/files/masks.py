"""Stored values of files, label maps, and memory to decode into."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics.files.geo import Place
from segmetrics.files.grids import Grid

Array = NDArray[Any]
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Reading:
    """Settings for reading files.

    Args:
        colors: colour → label, where the label space has colours: colour images become label maps.
            None for a colour of several labels.
        keys: names of the mask in NPZ files that hold several arrays, one of them in a file.
        one_hot: the axis of the classes, where arrays are one-hot.
        ignore_grid: say nothing of where voxels lie, only in which order.
        probabilities: files hold probabilities of the foreground.
        channels: of so many classes instead, along an axis of their own.
        regions: these are regions, which may overlap, and not classes.
        logits: logits instead of probabilities.
    """

    colors: tuple[tuple[Color, int | None], ...] = ()
    keys: tuple[str, ...] = ()
    one_hot: int | None = None
    ignore_grid: bool = False
    probabilities: bool = False
    channels: int | None = None
    regions: bool = False
    logits: bool = False


class Stored(NamedTuple):
    """The result of a reader: the stored values, and their metadata.

    Args:
        values: ``(H, W)`` or ``(D, H, W)`` of any dtype; where ``bands`` is not empty with one more
            dimension at the end, the channels.
        bands: names of the channels of a colour image, as ``"RGBA"``.
        grid: the positions of the voxels in space.
        place: the georeference of the pixels.
        palette: the colours of the indices, of a palette image: three bytes each.
        slope: what the file says the integers are multiplied by, if that made fractions of them.
        nodata: the value that the file says marks missing pixels.
    """

    values: Array
    bands: str = ""
    grid: Grid | None = None
    place: Place | None = None
    palette: bytes = b""
    slope: float | None = None
    nodata: float | None = None


class LabelMap(NamedTuple):
    """Labels as NumPy integers ``(H, W)`` or ``(D, H, W)``, with their grid.

    Of a file of probabilities or logits ``scores`` are these, in float32: of the foreground, which
    is where the probability is above 0.5, or of every class ``(C, ...)``, of which the labels are
    the first that has the largest.
    Of an instance map ``ids`` are those of objects, and the labels are 1 where there is one.
    """

    values: Array
    grid: Grid | None = None
    palette: bytes = b""
    nodata: float | None = None
    place: Place | None = None
    scores: Array | None = None
    ids: Array | None = None


class Buffer:
    """A buffer that masks are decoded into, each overwriting the previous one.

    Fresh memory for every mask would cost a third of the time: the system clears it page by page.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def zeros(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
        """An array of zeros in this memory."""
        array = self.empty(prod(shape) * np.dtype(dtype).itemsize)
        array.fill(0)
        return array.view(dtype).reshape(shape)

    def empty(self, size: int) -> NDArray[np.uint8]:
        """Uninitialized bytes of this memory."""
        if size > len(self._bytes):
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size]


def kind_of(dtype: np.dtype[np.generic]) -> str:
    """A dtype as it is named in messages."""
    return f"structured values ({', '.join(dtype.fields)})" if dtype.fields else str(dtype)
