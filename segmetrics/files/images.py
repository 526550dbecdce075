"""PNG, GIF and WebP, decoded by Pillow: the stored values of grey and palette images, or colours.

Pillow's plugins are called directly: ``Image.open`` would warn of 89 megapixels, and refuse 179.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from segmetrics.files.limits import check_ratio, check_size
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

#: Pillow stretches grey of 2 and 4 bits to 8: 0, 1, 2, 3 to 0, 85, 170, 255.
STRETCHED = {2: 85, 4: 17}
#: The first bytes of every PNG.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types of PNG.
GREY, PALETTE, COLORS = 0, 3, {2: "RGB", 4: "LA", 6: "RGBA"}
#: What the last row holds before it is decoded.
UNSEEN = 0xA5


def read_png(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The stored values of a PNG of any depth; its checksums are verified."""
    from PIL.PngImagePlugin import PngImageFile

    data = path.read_bytes()
    png = _parsed_png(path, data)
    check_size(path, png.size)
    check_ratio(path, png.bytes, sum(map(len, png.chunks)), "Deflate")
    bands = COLORS.get(png.type, "")
    if bands and png.bits == 16:  # of which Pillow keeps 8
        _check_rows(path, png)
        return Stored(_decoded_with_libpng(path, data), bands)
    with PngImageFile(BytesIO(data)) as image:
        palette = image.palette.palette if png.type == PALETTE and image.palette else b""
        stretched = png.type == GREY and png.bits in STRETCHED
        if image.mode in ("L", "P", "I;16") and not stretched:
            values = _decoded_in_place(image, buffer)
            complete = not png.interlaced and (values[-1].view(np.uint8) != UNSEEN).any()
        else:
            values, complete = np.asarray(image), False
    if not complete:  # rows may be missing, which Pillow takes for zeros
        _check_rows(path, png)
    if stretched:
        values = values // np.uint8(STRETCHED[png.bits])
    return Stored(values, bands, palette=bytes(palette))


def read_gif(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The indices of a GIF of one frame."""
    from PIL.GifImagePlugin import GifImageFile

    with GifImageFile(path) as image:
        check_size(path, image.size[::-1])
        if image.is_animated:
            raise MaskError("frames", path, f"{image.n_frames} frames, expected one image")
        if [tile[1] for tile in image.tile] != [(0, 0, *image.size)]:
            raise MaskError("values", path, "its frame is smaller than the image: pixels are empty")
        check_ratio(path, image.width * image.height, path.stat().st_size, "LZW")
        return Stored(
            np.asarray(image), palette=bytes(image.palette.palette if image.palette else b"")
        )


def read_webp(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The colours of a lossless WebP."""
    from PIL.WebPImagePlugin import WebPImageFile

    data = path.read_bytes()
    kinds = [kind for kind, _ in _riff_chunks(data)]
    if b"ANIM" in kinds or b"ANMF" in kinds:
        raise MaskError("frames", path, "an animation, expected one image")
    if b"VP8L" not in kinds:
        raise MaskError("format", path, "lossy WebP, it changes labels")
    with WebPImageFile(BytesIO(data)) as image:
        check_size(path, image.size[::-1])
        return Stored(np.asarray(image), image.mode)


class _Png(NamedTuple):
    """What the header of a PNG says, and the compressed data."""

    size: tuple[int, int]
    bits: int
    type: int
    interlaced: bool
    chunks: list[memoryview]

    @property
    def bytes(self) -> int:
        """How many bytes are compressed: rows of packed samples, a filter in front of each."""
        samples = len(COLORS.get(self.type, "."))
        height, width = self.size
        sizes = [(height, width)]
        if self.interlaced:  # the seven passes of Adam7
            starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2),
                      (0, 1, 2, 2), (1, 0, 2, 1))  # fmt: skip
            sizes = [
                (-(-max(height - top, 0) // down), -(-max(width - left, 0) // right))
                for top, left, down, right in starts
            ]
        return sum(h * (1 + -(-w * samples * self.bits // 8)) for h, w in sizes if w)


def _parsed_png(path: Path, data: bytes) -> _Png:
    """The header and the data of a PNG, all of whose checksums are right."""
    if data[:8] != SIGNATURE[: len(data)]:
        raise MaskError("unreadable", path, "its content is no PNG, whatever its suffix says")
    view, place, header, chunks, kind = memoryview(data), 8, b"", [], b""
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
        elif kind == b"IDAT":
            chunks.append(view[place + 8 : end])
        elif kind == b"acTL" and (frames := struct.unpack_from(">I", data, place + 8)[0]) > 1:
            raise MaskError("frames", path, f"an APNG of {frames} frames, expected one image")
        place = end + 4
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    return _Png((height, width), bits, color, bool(interlaced), chunks)


def _check_rows(path: Path, png: _Png) -> None:
    """Raise unless the data hold all rows."""
    inflater = zlib.decompressobj()
    found = len(inflater.decompress(b"".join(png.chunks), png.bytes + 1))
    if found < png.bytes:
        raise MaskError("unreadable", path, f"{found:,} bytes of pixels, expected {png.bytes:,}")


def _decoded_in_place(image: Any, buffer: Buffer) -> Array:
    """The values of an image that is yet to be decoded, straight into an array.

    ``np.asarray`` would copy them twice, and hold the GIL meanwhile.
    """
    width, height = image.size
    values = buffer.zeros((height, width), np.uint16 if image.mode == "I;16" else np.uint8)
    values[-1].view(np.uint8).fill(UNSEEN)
    memory = Image.frombuffer(image.mode, image.size, values, "raw", image.mode, 0, 1).im
    image.im = memory
    image.load()
    return values if image.im is memory else np.asarray(image)  # should Pillow take its own


def _decoded_with_libpng(path: Path, data: bytes) -> Array:
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError(
            f"{path}: PNG with channels of 16 bits needs imagecodecs. Install it with "
            "`pip install segmetrics[cli]`."
        ) from error
    return np.asarray(imagecodecs.png_decode(data))


def _riff_chunks(data: bytes) -> list[tuple[bytes, int]]:
    """Kinds and sizes of the chunks of a WebP."""
    found, place = [], 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        found.append((kind, length))
        place += 8 + length + length % 2
    return found
