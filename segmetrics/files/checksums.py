"""Reading of compressed files to their end, where the checksum is.

nibabel stops where the voxels end, before gzip's checksum, and SimpleITK verifies none. Checksums
are verified in ``.nii.gz``, ``.mgz``, ``.npz``, and in MHA, MHD, NRRD and NHDR that are compressed.
``.nii``, ``.mgh``, ``.npy`` and uncompressed files of SimpleITK carry none: a flipped bit cannot be
seen there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from segmetrics.files.limits import check_ratio

#: Containers of Deflate, as zlib numbers them.
GZIP, ZLIB = 31, 15
GZIP_MAGIC = b"\x1f\x8b"
#: Bytes that are read, and inflated, at a time.
PART = 2**20
#: Bytes in which headers are searched.
HEAD = 1024


def read_checked(path: Path, size: Callable[[bytes], int]) -> bytearray:
    """The bytes of a file, inflated if its suffix is that of gzip.

    Args:
        path: the file.
        size: says from the first ``HEAD`` bytes how many are needed; more are verified only.

    Raises:
        ValueError: it is damaged, or holds too little.
        MaskError: it cannot hold as much as its header claims.
    """
    stored, compressed = path.stat().st_size, path.name.lower().endswith((".gz", ".mgz"))
    with path.open("rb") as file:
        start = file.read(PART)
        try:
            head = _inflated_head(start) if compressed else start[:HEAD]
        except zlib.error as error:
            raise ValueError(f"its compressed data are damaged ({error})") from error
        needed = size(head)
        if compressed:
            check_ratio(path, needed, stored, "Deflate")
        elif needed > stored:
            raise ValueError(f"it holds {stored:,} bytes of the {needed:,} that its header says")
        whole = bytearray(needed)
        file.seek(0)
        into = memoryview(whole)
        held = inflate(file, GZIP, into) if compressed else file.readinto(into)
    if held < needed:
        raise ValueError(f"it holds {held:,} bytes of the {needed:,} that its header says")
    return whole


def _inflated_head(start: bytes) -> bytes:
    """The first ``HEAD`` bytes of a gzip file after inflation, from as many members as needed."""
    head = b""
    while True:
        inflater = zlib.decompressobj(GZIP)
        head += inflater.decompress(start, HEAD - len(head))
        start = inflater.unused_data
        if len(head) == HEAD or not start.startswith(GZIP_MAGIC):
            return head


def inflate(file: IO[bytes], container: int, into: memoryview) -> int:
    """Inflate the rest of a file, to the end of its checksum.

    Args:
        file: where it begins; gzip may have several members.
        container: ``GZIP`` or ``ZLIB``.
        into: filled with what is inflated; the rest is verified only.

    Returns:
        How many bytes were inflated.

    Raises:
        ValueError: a checksum does not fit, the data end early, or other bytes follow.
    """
    held, rest, inflater = 0, b"", zlib.decompressobj(container)
    while True:
        rest = rest or file.read(PART)
        if not rest:
            raise ValueError("its compressed data end early")
        try:
            part = inflater.decompress(rest, PART)
        except zlib.error as error:
            raise ValueError(f"its compressed data are damaged ({error})") from error
        room = into[held : held + len(part)]
        room[:] = part[: len(room)]
        held += len(part)
        rest = inflater.unconsumed_tail
        if inflater.eof:
            rest = inflater.unused_data or file.read(PART)
            while container == GZIP and rest and not rest.strip(b"\0"):  # padding
                rest = file.read(PART)
            if not rest:
                return held
            if container != GZIP or not rest.startswith(GZIP_MAGIC[: len(rest)]):
                raise ValueError("other bytes follow its compressed data")
            inflater = zlib.decompressobj(container)
