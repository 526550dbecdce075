"""GIF and WebP, decoded by Pillow: the stored values of palette images, or colours.

Pillow's plugins are called directly: ``Image.open`` warns at 89 megapixels and fails at 179.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np

from segmetrics.files.limits import check_ratio, check_size
from segmetrics.files.masks import Buffer, Reading, Stored
from segmetrics.files.problems import MaskError


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
    """The colours of a lossless WebP, which has 2²⁸ pixels at most."""
    from PIL.WebPImagePlugin import WebPImageFile

    data = path.read_bytes()
    kinds = [kind for kind, _ in _riff_chunks(data)]
    if b"ANIM" in kinds or b"ANMF" in kinds:
        raise MaskError("frames", path, "an animation, expected one image")
    if b"VP8L" not in kinds:
        raise MaskError("format", path, "lossy WebP, it changes labels")
    with WebPImageFile(BytesIO(data)) as image:
        return Stored(np.asarray(image), image.mode)


def _riff_chunks(data: bytes) -> list[tuple[bytes, int]]:
    """Kinds and sizes of the chunks of a WebP."""
    found, place = [], 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        found.append((kind, length))
        place += 8 + length + length % 2
    return found
