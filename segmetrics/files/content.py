"""The format of a file by its first bytes, whatever its suffix."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

#: The number of bytes that are needed.
HEAD = 348
#: Name, offset, and the bytes that may be there.
_MAGIC: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("BMP", 0, (b"BM",)),
    ("PNM", 0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")),
    ("PAM", 0, (b"P7",)),
    ("PFM", 0, (b"Pf", b"PF")),
    ("WebP", 8, (b"WEBP",)),
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("JPEG 2000", 0, (b"\xff\x4f\xff\x51",)),
    ("JPEG 2000", 4, (b"jP  ",)),
    ("JPEG XL", 0, (b"\xff\x0a",)),
    ("JPEG XL", 4, (b"JXL ",)),
    ("AVIF", 4, (b"ftypavif", b"ftypavis")),
    ("HEIC", 4, (b"ftyphei", b"ftyphev", b"ftypmif1")),
    ("OpenEXR", 0, (b"v/1\x01",)),
    ("Photoshop", 0, (b"8BPS",)),
    ("gzip", 0, (b"\x1f\x8b",)),
    ("ZIP", 0, (b"PK\3\4",)),
    ("NPY", 0, (b"\x93NUMPY",)),
    ("NRRD", 0, (b"NRRD",)),
    ("NIfTI", 344, (b"n+1\0", b"ni1\0")),
    ("NIfTI", 4, (b"n+2\0", b"ni2\0")),
    ("MetaImage", 0, (b"ObjectType", b"NDims")),
    ("MGH", 0, (b"\0\0\0\1",)),
    ("HDF5", 0, (b"\x89HDF",)),
    ("DICOM", 128, (b"DICM",)),
    ("PDF", 0, (b"%PDF",)),
)


def kind_of(head: bytes) -> str | None:
    """The name of the format by a file's first bytes; None if unknown."""
    for name, offset, magics in _MAGIC:
        if head[offset:].startswith(magics):
            return name
    return None


def content_of(path: Path, most: int = -1) -> bytes:
    """What a file holds, or its first bytes; sooner than ``Path.read_bytes``."""
    with FileIO(path) as file:
        return file.read(most)


def content_if(kind: str, path: Path) -> bytes:
    """What a file holds if it is of a kind, otherwise only its first bytes."""
    with FileIO(path) as file:
        head = file.read(HEAD)
        return head + file.read() if kind_of(head) == kind else head
