"""Limits on the size of masks, and on how much a compressed file can hold."""

from __future__ import annotations

from pathlib import Path

from segmetrics.files.problems import MaskError

#: Pixels of a mask that is read at once.
AT_ONCE = 2**30
#: Bytes that a codec can make of one: a Deflate symbol of 2 bits gives at most 258 bytes, one of
#: LZW (12 bits) 4,096, two of PackBits 128, a block of Zstandard (4) 2¹⁷; of LZMA 273 bytes cost
#: some 14 bits that are almost free, 0.02 bits each. LERC, CCITT and WebP have no such limit.
RATIOS = {
    "none": 1, "Deflate": 1032, "PNG": 1032, "LZW": 2731, "PackBits": 64, "LZMA": 2**13,
    "Zstandard": 2**15,
}  # fmt: skip


def check_size(path: Path, shape: tuple[int, ...], what: str = "") -> None:
    """Raise for a mask that would not be read at once."""
    pixels = 1
    for length in shape:
        pixels *= int(length)
    if pixels > AT_ONCE:
        size = "×".join(map(str, shape))
        raise MaskError("large", path, f"{what}{size}, {pixels:,} pixels")


def check_ratio(path: Path, size: int, stored: int, codec: str) -> None:
    """Raise if compressed bytes cannot hold as much as they claim: damage, or a bomb.

    Args:
        path: the file.
        size: bytes that they should hold.
        stored: bytes that are there.
        codec: a key of ``RATIOS``; others have no limit.
    """
    if codec in RATIOS and size > stored * RATIOS[codec]:
        raise MaskError(
            "unreadable",
            path,
            f"{stored:,} bytes of {codec} cannot hold {size:,}: it is damaged, or a decompression "
            "bomb",
        )
