"""TIFF, read by tifffile: the stored values of the full-resolution image, whole or row by row.

Reduced images and transparency masks are left alone, several full-size pages are a volume. The
photometric interpretation changes no value. The orientation says where rows and columns lie: it is
heeded, as most programs do.

Deflate's checksum is verified, and Zstandard's where it is there. Tags and what is compressed by
other codecs carry none: nobody can tell there that a bit has flipped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from segmetrics.files.geo import Place, place_of
from segmetrics.files.limits import AT_ONCE, check_ratio, check_size
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError
from segmetrics.files.tiff_codecs import LERC, LOSSLESS, check_lossless, unwrapped_lerc

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it warns of is checked here

# Tags, and values of them.
ORIENTATION, ROWS_PER_STRIP, NODATA = 274, 278, 42113
REDUCED, MASK = 1, 4
RGB, PALETTE, TRANSPARENCY = 2, 3, 4
STREAMS = (8, 32946, 32773, 34925, 50000)  # compressions whose lengths are known
PHOTOMETRICS = {5: "CMYK", 6: "YCbCr", 8: "CIELab"}
ALPHA = (1, 2)
#: Orientation → whether rows, columns are reversed, and whether they are then transposed.
ORIENTATIONS = {
    1: (1, 1, False), 2: (1, -1, False), 3: (-1, -1, False), 4: (-1, 1, False),
    5: (1, 1, True), 6: (-1, 1, True), 7: (-1, -1, True), 8: (1, -1, True),
}  # fmt: skip


def read_tiff(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The full-resolution image of a TIFF, or the volume of its pages."""
    with opened(path) as mask:
        check_size(path, mask.shape)
        return mask.read(buffer)


@contextmanager
def opened(path: Path) -> Iterator[Tiff]:
    """An open TIFF.

    Raises:
        MaskError: it has several bands, is compressed with loss, or damaged.
        ImportError: tifffile or imagecodecs is not installed.
    """
    try:
        import imagecodecs  # noqa: F401
        from tifffile import TiffFile
    except ImportError as error:
        raise ImportError(
            f"{path}: TIFF needs tifffile and imagecodecs. Install them with "
            "`pip install segmetrics[cli]`."
        ) from error
    with TiffFile(path, _multifile=False) as file:
        yield Tiff(path, file)


class Tiff:
    """The full-resolution image of a file, or the volume of its pages.

    Attributes:
        shape: ``(H, W)`` or ``(D, H, W)``.
        step: the number of rows that are decoded at once.
        in_parts: whether rows can be read by themselves.
    """

    def __init__(self, path: Path, file: Any) -> None:
        from tifffile import __version__

        self.path, self.file = path, file
        self.pages = [page for page in map(_loaded, file.pages) if not _is_secondary(page)]
        if not self.pages:
            raise MaskError("unreadable", path, "there is no full-resolution image in it")
        self.page = page = self.pages[0]
        for other in self.pages:
            check_lossless(path, int(other.compression))
            if (other.shape, other.dtype) != (page.shape, page.dtype):
                raise MaskError(
                    "values", path, f"pages of different sizes or types, {_described(page)} and "
                    f"{_described(other)}"
                )  # fmt: skip
        if page.dtype is None or isinstance(page.bitspersample, tuple):
            kind = f"sample format {page.sampleformat} of {page.bitspersample} bits"
            raise MaskError("values", path, f"{kind}, expected integers")
        big = file.byteorder == ">"  # shifted by a byte; older versions misread the others
        if page.bitspersample == 24 and (big or __version__ < "2026"):
            kind = f"{'big-endian ' if big else ''}samples of 24 bits"
            raise MaskError("format", path, f"{kind}, expected 8, 16 or 32")
        self.bands = self._bands()
        self.shape = self._shape()
        self.orientation = page.tags.valueof(ORIENTATION) or 1
        plain = page.imagedepth == 1 and (page.planarconfig == 1 or not self.bands)
        self.by_segment = (
            plain and not self._in_one_piece and len(set(map(_layout, self.pages))) == 1
        )
        if not self.by_segment and any(other.compression == LERC for other in self.pages):
            raise MaskError("format", path, "LERC in an unusual layout, whose loss is not known")
        self.in_parts = self.by_segment and self.orientation == 1
        self.step = min(page.tilelength if page.is_tiled else page.rowsperstrip, page.imagelength)
        if self.by_segment:
            for page in self.pages:
                self._check_segments(page)

    def read(self, buffer: Buffer) -> Stored:
        """The whole image."""
        if self.by_segment:
            values = self.rows(0, int(np.prod(self.shape[:-1])), buffer).values
        elif self._in_one_piece:
            values = self.file.series[0].asarray()
        else:
            values = np.stack([page.asarray() for page in self.pages])
            if self.bands and self.page.planarconfig != 1:  # a plane each
                values = np.moveaxis(values, 1, -1)
        values = values.reshape(*self.shape, *([len(self.bands)] if self.bands else []))
        down, across, transposed = ORIENTATIONS.get(self.orientation, (1, 1, False))
        first = len(self.shape) - 2
        if (down, across) != (1, 1):
            values = values[(slice(None),) * first + (slice(None, None, down),
                                                      slice(None, None, across))]  # fmt: skip
        return self._stored(values.swapaxes(first, first + 1) if transposed else values)

    def rows(self, first: int, last: int, buffer: Buffer) -> Stored:
        """Rows ``first`` to ``last - 1``; of a volume the rows of its slices in sequence."""
        height, width = self.shape[-2:]
        bands = [len(self.bands)] if self.bands else []
        values = buffer.zeros((last - first, width, *bands), self.page.dtype.type)
        for number in range(first // height, -(-last // height)):
            page, top = self.pages[number], number * height
            begin, end = max(first - top, 0), min(last - top, height)
            self._decode(page, begin, end, values[top + begin - first : top + end - first])
        return self._stored(values)

    @cached_property
    def place(self) -> Place | None:
        """The georeference of the pixels."""
        return place_of(self.page.tags.valueof)

    def _stored(self, values: Array) -> Stored:
        page, palette = self.page, b""
        if page.photometric == PALETTE and page.colormap is not None:
            colors = page.colormap if page.colormap.max() < 256 else page.colormap >> 8
            palette = colors.astype(np.uint8).T.tobytes()
        said = page.tags.valueof(NODATA)
        return Stored(
            values, self.bands, place=self.place, palette=palette,
            nodata=float(said) if said is not None and _is_number(said) else None,
        )  # fmt: skip

    @cached_property
    def _in_one_piece(self) -> bool:
        """Whether slices follow the first page without pages of their own, as in ImageJ's files."""
        described = self.file.is_imagej or self.file.is_shaped
        return bool(described and len(self.pages) == 1
                    and self.file.series[0].size > np.prod(self.page.shape))  # fmt: skip

    def _bands(self) -> str:
        """Names of the channels of a colour image; raises for channels of other kinds."""
        page, count = self.page, int(self.page.samplesperpixel)
        for letter, length in self._axes():
            if letter == "C" and length > 1:
                raise MaskError("channels", self.path, f"{length} channels")
        alpha = bool(page.extrasamples) and page.extrasamples[-1] in ALPHA
        names = {(RGB, 3, False): "RGB", (RGB, 4, True): "RGBA"}
        if count == 1:
            return ""
        if self._in_one_piece:
            raise MaskError("channels", self.path, f"{count} channels")
        if page.photometric in (0, 1) and count == 2 and alpha:
            return "LA"
        if known := names.get((int(page.photometric), count, alpha)):
            return known
        if name := PHOTOMETRICS.get(int(page.photometric)):
            raise MaskError("channels", self.path, f"{name}, {count} channels")
        order = "pixel by pixel" if page.planarconfig == 1 else "band after band"
        raise MaskError("channels", self.path, f"{count} bands, {order}")

    def _axes(self) -> list[tuple[str, int]]:
        """The axes that ImageJ's and OME's descriptions name, and their lengths."""
        if not (self.file.is_imagej or self.file.is_ome):
            return []
        series = self.file.series[0]
        return list(zip(series.axes, series.shape, strict=True))

    def _shape(self) -> tuple[int, ...]:
        page = self.page
        size = page.imagelength, page.imagewidth
        if self._in_one_piece:
            named = zip(self.file.series[0].axes, self.file.series[0].shape, strict=True)
            longer = [length for letter, length in named if letter not in "YXS" and length > 1]
        else:
            longer = [n for n in (len(self.pages), page.imagedepth) if n > 1]
        return (*longer, *size)

    def _check_segments(self, page: Any) -> None:
        """Raise for segments that are missing, or cannot hold what they should."""
        across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
        down = -(-page.imagelength // self.step)
        if not len(page.dataoffsets) == len(page.databytecounts) == across * down:
            detail = f"{len(page.dataoffsets)} strips or tiles, expected {across * down}"
            raise MaskError("unreadable", self.path, detail)
        width = page.tilewidth if page.is_tiled else page.imagewidth
        rows = np.full((down, across), self.step)
        if not page.is_tiled:
            rows[-1] = page.imagelength - (down - 1) * self.step
        bits = width * page.bitspersample * page.samplesperpixel
        sizes = rows.ravel() * -(-bits // 8)
        stored = np.array(page.databytecounts, np.int64)
        check_size(self.path, (self.step, width), "a strip or tile of ")
        worst = int(np.argmax(np.where(stored, sizes / np.maximum(stored, 1), 0)))
        if stored[worst]:  # a segment of no bytes is one left out
            codec = LOSSLESS[int(page.compression)]
            check_ratio(self.path, int(sizes[worst]), int(stored[worst]), codec)

    def _decode(self, page: Any, first: int, last: int, values: Array) -> None:
        """Write rows of a page, segment by segment."""
        wide = page.tilewidth if page.is_tiled else page.imagewidth
        columns = range(0, page.imagewidth, wide)
        rows = range(first // self.step * self.step, last, self.step)
        for top, left in product(rows, columns):
            index = top // self.step * len(columns) + left // wide
            segment = self._segment(page, index)
            begin, end = max(top, first), min(top + self.step, last)
            target = values[begin - first : end - first, left : left + wide]
            if segment is None:
                target[...] = page.nodata
                continue
            found = segment[begin - top : end - top, : target.shape[1]]
            if found.shape[:2] != target.shape[:2]:
                raise MaskError("unreadable", self.path, f"strip or tile {index} is too short")
            target[...] = found if self.bands else found[..., 0]

    def _segment(self, page: Any, index: int) -> Array | None:
        """The values of a strip or tile, ``(rows, columns, bands)``; None for an omitted one."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:
            return None
        self.file.filehandle.seek(offset)
        data = self.file.filehandle.read(count)
        if len(data) < count:
            raise MaskError("unreadable", self.path, "it ends before its data do")
        if page.compression == LERC:
            data = unwrapped_lerc(self.path, page, data)
        decoded: Array = self._decoded(page, data, index)
        if page.bitspersample not in (8, 16, 32, 64) and page.compression in STREAMS:
            self._check_packed(page, data, decoded)
        return decoded

    def _decoded(self, page: Any, data: bytes, index: int) -> Array:
        """The values of a segment; of a last strip without rows below the image.

        Some programs fill the last strip up, for which codecs of tifffile lack the space.
        """
        from tifffile import TIFF

        try:
            values: Array = page.decode(data, index)[0][0]
        except Exception:  # codecs have errors of their own; raised again but for padded strips
            strip = page.tags.valueof(ROWS_PER_STRIP) or page.rowsperstrip
            rows, strips = page.imagelength % strip, -(-page.imagelength // strip)
            line = -(-page.imagewidth * page.samplesperpixel * page.bitspersample // 8)
            is_padded = not page.is_tiled and rows and (index + 1) % strips == 0
            if not is_padded or page.fillorder != 1 or strip * line > AT_ONCE:
                raise
            whole = TIFF.DECOMPRESSORS[int(page.compression)](data, out=strip * line)
            data = TIFF.COMPRESSORS[int(page.compression)](bytes(whole[: rows * line]))
            values = page.decode(data, index)[0][0]
        return values

    def _check_packed(self, page: Any, data: bytes, decoded: Array) -> None:
        """Raise if there are more bytes than packed samples, as the depth is damaged.

        Few bits are the default, so a TIFF whose tag of the depth is lost has 1 bit.
        """
        from tifffile import TIFF

        _, columns, samples = decoded.shape
        expected = self.step * -(-columns * samples * page.bitspersample // 8)
        found = len(TIFF.DECOMPRESSORS[int(page.compression)](data))
        if found > 2 * expected:
            detail = (
                f"a strip or tile of {found:,} bytes, {page.bitspersample} bits need {expected:,}"
            )
            raise MaskError("unreadable", self.path, detail)


def _loaded(page: Any) -> Any:
    """A page with its tags; tifffile keeps light ones of large stacks."""
    return page.aspage()


def _layout(page: Any) -> tuple[int, int]:
    """The size of the strips or tiles of a page."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return page.rowsperstrip, page.imagewidth


def _is_secondary(page: Any) -> bool:
    """Whether a page is a reduced image or a mask of another; tifffile reads the older tag, too."""
    return bool(page.subfiletype & (REDUCED | MASK) or page.photometric == TRANSPARENCY)


def _described(page: Any) -> str:
    return f"{page.imagelength}×{page.imagewidth} of {page.dtype}"


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True
