"""Reading of large rasters in parts: rows of a tiled or striped TIFF.

Each part has about ``PART`` pixels, so a worker needs little memory whatever the size.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from segmetrics.files.formats import FORMATS, PNG, TIFF, format_of, read, refusing, suffix
from segmetrics.files.masks import Array, Buffer, LabelMap, Reading
from segmetrics.files.meaning import to_labels

#: TIFFs of more pixels are read in parts.
LARGE = 2**26
#: About how many pixels a part has.
PART = 2**24
#: The most rows and columns of a preview of a large TIFF.
SIDE = 2048
#: Smaller files are not looked into: a byte of Deflate is at most 1,032 pixels.
SMALLEST = LARGE // 1032


class Rows(NamedTuple):
    """Rows of a mask; of a volume those of its slices, one slice after the other."""

    first: int
    last: int


def parts(preds: Path, target: Path) -> list[Rows | None]:
    """The parts in which two masks are read.

    Returns:
        Rows; or None alone, where the masks are read at once.
    """
    if FORMATS.get(suffix(preds.name).lower()) == PNG:  # most are: their size is not asked
        return [None]
    try:
        if min(path.stat().st_size for path in (preds, target)) < SMALLEST:
            return [None]
        if not format_of(preds) is format_of(target) is TIFF:
            return [None]
        from segmetrics.files.tiff import opened

        with opened(target) as mask:
            *above, width = mask.shape
            height = int(np.prod(above, dtype=np.int64))
            if height * width <= LARGE or not mask.in_parts:
                return [None]
            aligned = mask.step
        with opened(preds) as mask:
            if not mask.in_parts:
                return [None]
            aligned = max(aligned, mask.step)  # the other's tiles are decoded twice at edges
        step = max(PART // width // aligned, 1) * aligned
    except Exception:  # reading reports the error
        return [None]
    return [Rows(first, min(first + step, height)) for first in range(0, height, step)]


def read_rows(
    path: Path, rows: Rows, reading: Reading | None = None, buffer: Buffer | None = None
) -> tuple[LabelMap, tuple[int, ...]]:
    """Rows of a TIFF, and the shape of the whole.

    Raises:
        MaskError: as ``read``.
    """
    from segmetrics.files.tiff import opened

    with refusing(path), opened(path) as mask:
        *above, _ = mask.shape
        last = min(rows.last, int(np.prod(above, dtype=np.int64)))
        stored = mask.rows(min(rows.first, last), last, buffer or Buffer())
        shape = mask.shape
    return to_labels(path, stored, reading or Reading()), shape


def read_thinned(path: Path, reading: Reading | None = None) -> LabelMap:
    """A preview of a mask: of a large TIFF only every n-th row and column."""
    pieces = parts(path, path)
    if pieces == [None]:
        return read(path, reading)
    taken: list[Array] = []
    for rows in pieces:
        assert rows is not None
        found, shape = read_rows(path, rows, reading)
        every = -(-max(shape) // SIDE)
        taken.append(found.values[-rows.first % every :: every, ::every].copy())
    return found._replace(values=np.concatenate(taken))
