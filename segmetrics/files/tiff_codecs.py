"""The lossless compressions of TIFF, and how much they can hold."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

from segmetrics.files.problems import MaskError

#: Lossless compressions by their code. Of the others, as JPEG 2000 and WebP, a file does not say.
LOSSLESS = {
    1: "none", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 8: "Deflate", 32773: "PackBits",
    32946: "Deflate", 34887: "LERC", 34925: "LZMA", 34933: "PNG", 50000: "Zstandard",
}  # fmt: skip
#: Names of those that are rejected.
REFUSED = {
    6: "JPEG", 7: "JPEG", 33007: "JPEG", 34892: "JPEG", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 34712: "JPEG 2000", 34934: "JPEG XR", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL",
}  # fmt: skip
LERC, ADDED_TO_LERC = 34887, 50674


def check_lossless(path: Path, code: int) -> None:
    """Raise unless a compression never changes a value."""
    if code not in LOSSLESS:
        name = REFUSED.get(code, f"number {code}")
        detail = "it changes labels" if name == "JPEG" else "whether it is lossless cannot be known"
        raise MaskError("format", path, f"compressed by {name}, {detail}")


def unwrapped_lerc(path: Path, page: Any, data: bytes) -> bytes:
    """A segment of LERC without the second compression around it, checked to be lossless.

    Raises:
        MaskError: values may differ from what was stored, or are missing.
    """
    import imagecodecs

    added = (page.tags.valueof(ADDED_TO_LERC) or (0, 0))[1]
    if added == 1:
        data = zlib.decompress(data)
    elif added == 2:
        data = bytes(imagecodecs.zstd_decode(data))
    magic, version = struct.unpack_from("<6si", data)
    if magic != b"Lerc2 " or not 2 <= version <= 6:
        raise MaskError("format", path, "LERC of a version whose loss cannot be known")
    at = 10 if version == 2 else 14  # behind the checksum
    rows, columns = struct.unpack_from("<2i", data, at)
    at += 12 if version >= 4 else 8
    (valid,) = struct.unpack_from("<i", data, at)
    (error,) = struct.unpack_from("<d", data, at + (24 if version == 6 else 16))
    if valid != rows * columns:
        raise MaskError("values", path, "LERC with masked pixels, which have no label")
    if error > (0.5 if page.dtype.kind in "biu" else 0):  # half a step of an integer is none
        raise MaskError("format", path, f"compressed by LERC with errors up to {error:g}")
    return data
