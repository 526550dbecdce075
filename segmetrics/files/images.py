"""PNG: label maps as grey or palette images, read by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageMode

from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError

#: Pillow stretches grey of 2 and 4 bits to 8: 0, 1, 2, 3 to 0, 85, 170, 255.
STRETCHED = {"L;2": 85, "L;4": 17}


def read_png(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The stored values of a grey or palette PNG of 1 to 16 bits."""
    with Image.open(path) as image:
        stretched = STRETCHED.get(_raw_mode(image))
        if image.mode in ("L", "P", "I;16") and not stretched:
            return Stored(_decoded_in_place(image, buffer))
        check_mode(path, image.mode)
        values = np.asarray(image)
    return Stored(values // np.uint8(stretched) if stretched else values)


def _decoded_in_place(image: Any, buffer: Buffer) -> Array:
    """The values of an image that is yet to be decoded, straight into an array.

    ``np.asarray`` would copy them twice, and hold Python's lock meanwhile.
    """
    width, height = image.size
    values = buffer.zeros((height, width), np.uint16 if image.mode == "I;16" else np.uint8)
    memory = Image.frombuffer(image.mode, image.size, values, "raw", image.mode, 0, 1).im
    image.im = memory
    image.load()
    return values if image.im is memory else np.asarray(image)  # should Pillow take its own


def _raw_mode(image: Any) -> str:
    """How Pillow will unpack an image that is yet to be decoded."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0])


def check_mode(path: Path, mode: str) -> None:
    """Raise for several channels."""
    channels = 1 if mode.startswith("I;16") else len(ImageMode.getmode(mode).bands)
    if channels > 1:
        raise MaskError("channels", path, f"{mode}, {channels} channels")
