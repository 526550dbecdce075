"""PNG: the stored values of grey and palette images of any depth, or colours.

Images that are not interlaced are inflated by libdeflate or zlib-ng and unfiltered by
``png_kernels``, which takes a fifth of Pillow's time or less. Pillow decodes the rest, and what
cannot be inflated, so that its errors are told.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics.files.bitmaps import unpacked
from segmetrics.files.content import content_of
from segmetrics.files.limits import check_ratio, check_size
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

#: The first bytes of every PNG.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types of PNG.
GREY, COLORED, PALETTE = 0, 2, 3
COLORS = {COLORED: "RGB", 4: "LA", 6: "RGBA"}
#: Bits of a sample that a colour type may have.
DEPTHS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8), **dict.fromkeys(COLORS, (8, 16))}
#: Pillow stretches grey of 2 and 4 bits to 8: 0, 1, 2, 3 to 0, 85, 170, 255.
STRETCHED = {2: 85, 4: 17}


def read_png(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The stored values of a PNG of any depth; its checksums are verified."""
    return decoded(path, content_of(path), buffer)


def decoded(path: Path, data: bytes, buffer: Buffer) -> Stored:
    """``read_png`` of a file's content."""
    png = _checked(path, data)
    values = None if png.interlaced else _decoded(png, buffer)
    if values is None:
        values = _decoded_by_libraries(path, data, png)
    return Stored(values, png.bands, palette=png.palette if png.type == PALETTE else b"")


def load_kernels() -> None:
    """Load the decoders, before the first image needs them."""
    white = np.zeros((1, 1), np.uint8)
    if _inflate(GREY) and _inflate(PALETTE):
        _unfilter()(np.zeros(2, np.uint8), 1, white)


class _Png(NamedTuple):
    """The header of a PNG, its palette, and the compressed data."""

    size: tuple[int, int]
    bits: int
    type: int
    interlaced: bool
    palette: bytes
    data: memoryview | bytes

    @property
    def bands(self) -> str:
        """The channels of a colour image."""
        return COLORS.get(self.type, "")

    @property
    def samples(self) -> int:
        """The number of samples of a pixel."""
        return len(self.bands) or 1

    @property
    def bytes(self) -> int:
        """The number of inflated bytes: rows of packed samples, each after a filter byte."""
        height, width = self.size
        sizes = [(height, width)]
        if self.interlaced:  # the seven passes of Adam7
            starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2),
                      (0, 1, 2, 2), (1, 0, 2, 1))  # fmt: skip
            sizes = [
                (-(-max(height - top, 0) // down), -(-max(width - left, 0) // right))
                for top, left, down, right in starts
            ]
        bits = self.samples * self.bits
        return sum(h * (1 + -(-w * bits // 8)) for h, w in sizes if w)


def _checked(path: Path, data: bytes) -> _Png:
    """The header and the data of a PNG that can be what it says."""
    png = _parsed(path, data)
    check_size(path, png.size)
    check_ratio(path, png.bytes, len(png.data), "Deflate")
    return png


def _parsed(path: Path, data: bytes) -> _Png:
    """The header and the data of a PNG, all of whose checksums are right."""
    if data[:8] != SIGNATURE[: len(data)]:
        raise MaskError("unreadable", path, "its content is no PNG, whatever its suffix says")
    view, place, header, palette, chunks, kind = memoryview(data), 8, b"", b"", [], b""
    while kind != b"IEND":
        kind = data[place + 4 : place + 8]
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        if end + 4 > len(data):
            raise MaskError("unreadable", path, "the PNG is truncated: it ends before its data do")
        if view[end : end + 4] != zlib.crc32(view[place + 4 : end]).to_bytes(4, "big"):
            name = kind.decode() if kind.isalpha() else kind.hex()
            raise MaskError("unreadable", path, f"the checksum of a PNG chunk ({name}) is wrong")
        if kind == b"IHDR":
            header = bytes(view[place + 8 : end])
        elif kind == b"PLTE":
            palette = bytes(view[place + 8 : end])
        elif kind == b"IDAT":
            chunks.append(view[place + 8 : end])
        elif kind == b"acTL" and (frames := struct.unpack_from(">I", data, place + 8)[0]) > 1:
            raise MaskError("frames", path, f"an APNG of {frames} frames, expected one image")
        place = end + 4
    whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    return _Png((height, width), bits, color, bool(interlaced), palette, whole)


# --- Decoding -------------------------------------------------------------------------------------


def _decoded(png: _Png, buffer: Buffer) -> Array | None:
    """The values of an image that is not interlaced; None if it is damaged."""
    inflate, (height, width) = _inflate(png.type), png.size
    known = png.bits in DEPTHS.get(png.type, ())
    if inflate is None or not known or (png.type == PALETTE) > bool(png.palette):
        return None
    size = png.bytes
    memory = buffer.empty(size + size - height)
    filtered, rows = memory[:size], memory[size:].reshape(height, -1)
    if not inflate(png.data, filtered):
        return None
    if _unfilter()(filtered, max(1, png.samples * png.bits // 8), rows) < height:
        return None
    if png.bits < 8:
        return unpacked(rows, png.bits)[:, :width]
    values = rows if png.bits == 8 else rows.view(">u2").astype(np.uint16)
    return values.reshape(height, width, -1) if png.bands else values


@cache
def _inflate(color: int) -> Callable[[Any, NDArray[np.uint8]], bool] | None:
    """What inflates data into memory that it fills, and says whether it did.

    Palette images are seldom filtered, so their data are copies of rows above. zlib-ng copies
    faster; libdeflate is faster at the rest.
    """
    try:
        import imagecodecs
    except ImportError:
        return None
    decode: Any = imagecodecs.deflate_decode
    if color == PALETTE and imagecodecs.ZLIBNG.available:
        decode = imagecodecs.zlibng_decode

    def inflate(data: Any, into: NDArray[np.uint8]) -> bool:
        try:
            return len(decode(data, out=into)) == len(into)
        except RuntimeError:  # of either library
            return False

    return inflate


@cache
def _unfilter() -> Callable[[NDArray[np.uint8], int, NDArray[np.uint8]], int]:
    from segmetrics.files.png_kernels import unfilter

    return unfilter


def _decoded_by_libraries(path: Path, data: bytes, png: _Png) -> Array:
    """The values of an image that is interlaced or damaged."""
    from PIL.PngImagePlugin import PngImageFile

    _check_rows(path, png)  # rows may be missing, which Pillow takes for zeros
    if png.bands and png.bits == 16:  # of which Pillow keeps 8
        return _decoded_by_libpng(path, data)
    with PngImageFile(BytesIO(data)) as image:
        values = np.asarray(image)
    stretched = STRETCHED.get(png.bits) if png.type == GREY else None
    return values // np.uint8(stretched) if stretched else values


def _check_rows(path: Path, png: _Png) -> None:
    """Raise unless the data hold all rows."""
    inflater = zlib.decompressobj()
    found = len(inflater.decompress(png.data, png.bytes + 1))
    if found < png.bytes:
        raise MaskError("unreadable", path, f"{found:,} bytes of pixels, expected {png.bytes:,}")


def _decoded_by_libpng(path: Path, data: bytes) -> Array:
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError(
            f"{path}: PNG with channels of 16 bits needs imagecodecs. Install it with "
            "`pip install segmetrics[cli]`."
        ) from error
    return np.asarray(imagecodecs.png_decode(data))
