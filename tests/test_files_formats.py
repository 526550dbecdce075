"""Tables of formats and compressions, against files of the libraries that write them."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from segmetrics.files import MaskError, limits
from segmetrics.files.content import HEAD, kind_of
from segmetrics.files.tiff_codecs import LOSSLESS, check_lossless

MASK = np.arange(64, dtype=np.uint8).reshape(8, 8) // 9


def saved(kind: str, image: Any = MASK, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def volume(kind: type[Any], *, pair: bool = False) -> bytes:
    """A file, or a pair's header, as nibabel writes it."""
    image = kind(MASK[None].astype(np.uint8), np.eye(4))
    file = {"header": nib.FileHolder(fileobj=io.BytesIO())}
    file["image"] = nib.FileHolder(fileobj=io.BytesIO()) if pair else file["header"]
    image.to_file_map(file)
    content: bytes = file["header"].fileobj.getvalue()
    return content


def packed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "b")
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, MASK)
    return file.getvalue()


WRITERS: list[tuple[str, Callable[[], bytes]]] = [
    *((kind, lambda kind=kind: saved(kind)) for kind in ("PNG", "TIFF", "GIF", "BMP", "JPEG")),
    ("TIFF", lambda: saved("TIFF", big_tiff=True)),
    ("PNM", lambda: saved("PPM")),
    ("PNM", lambda: saved("PPM", np.dstack([MASK] * 3))),
    ("PNM", lambda: saved("PPM", MASK > 3)),
    ("PFM", lambda: saved("PPM", MASK.astype(np.float32))),
    ("WebP", lambda: saved("WEBP")),
    ("PDF", lambda: saved("PDF")),
    ("JPEG 2000", lambda: imagecodecs.jpeg2k_encode(MASK, codecformat="jp2")),
    ("JPEG 2000", lambda: imagecodecs.jpeg2k_encode(MASK, codecformat="j2k")),
    ("JPEG XL", lambda: imagecodecs.jpegxl_encode(MASK, usecontainer=False)),
    ("JPEG XL", lambda: imagecodecs.jpegxl_encode(MASK, usecontainer=True)),
    ("AVIF", lambda: imagecodecs.avif_encode(np.dstack([MASK] * 3))),
    ("gzip", lambda: gzip.compress(b"a")),
    ("ZIP", packed),
    ("NPY", array),
    ("NIfTI", lambda: volume(nib.Nifti1Image)),
    ("NIfTI", lambda: volume(nib.Nifti1Pair, pair=True)),
    ("NIfTI", lambda: volume(nib.Nifti2Image)),
    ("NIfTI", lambda: volume(nib.Nifti2Pair, pair=True)),
    ("MGH", lambda: volume(nib.MGHImage)),
]


@pytest.mark.parametrize(("kind", "write"), WRITERS)
def test_a_format_is_known_by_the_first_bytes_of_its_files(
    kind: str, write: Callable[[], bytes]
) -> None:
    content = write()
    assert kind_of(content[:HEAD]) == kind
    assert kind_of(b"\0" + content[: HEAD - 1]) is None


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_simpleitks_formats_are_known_by_their_first_bytes(suffix: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(MASK[None]), str(path))
    found = kind_of(path.read_bytes()[:HEAD])
    assert found == {"nrrd": "NRRD", "mha": "MetaImage"}[suffix]


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("PAM", b"P7\nWIDTH 8\n"),
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"),
        ("OpenEXR", b"v/1\x01\2\0\0\0channels\0"),
        ("Photoshop", b"8BPS\0\1\0\0\0\0\0\0\0\3"),
        ("HDF5", b"\x89HDF\r\n\x1a\n\0"),
        ("DICOM", bytes(128) + b"DICM\2\0\0\0UL"),
    ],
)
def test_formats_that_are_only_named_are_known_by_their_first_bytes(kind: str, head: bytes) -> None:
    assert kind_of(head) == kind
    assert kind_of(b"\0" + head) is None


#: Names of compressions by tifffile's; those that are not here are refused by their number.
COMPRESSIONS = {
    "NONE": "none", "CCITTRLE": "CCITT", "CCITTFAX3": "CCITT", "CCITTFAX4": "CCITT",
    "CCITT_T4": "CCITT", "CCITT_T6": "CCITT", "LZW": "LZW",
    "ADOBE_DEFLATE": "Deflate", "PACKBITS": "PackBits", "DEFLATE": "Deflate", "LERC": "LERC",
    "LZMA": "LZMA", "PNG": "PNG", "ZSTD": "Zstandard",
    "OJPEG": "JPEG", "JPEG": "JPEG", "ALT_JPEG": "JPEG", "JPEG_LOSSY": "JPEG",
    "APERIO_JP2000_YCBC": "JPEG 2000", "JPEG_2000_LOSSY": "JPEG 2000",
    "APERIO_JP2000_RGB": "JPEG 2000", "JPEG2000": "JPEG 2000", "JPEGXR": "JPEG XR",
    "WEBP": "WebP", "JPEGXL": "JPEG XL", "JPEGXL_DNG": "JPEG XL",
}  # fmt: skip
ARE_LOSSLESS = list(COMPRESSIONS)[:14]


@pytest.mark.parametrize("compression", tifffile.COMPRESSION, ids=lambda c: c.name)
def test_compressions_of_tiff_are_lossless_or_refused_by_their_name(
    compression: tifffile.COMPRESSION,
) -> None:
    if compression.name in ARE_LOSSLESS:
        check_lossless(Path("a.tif"), int(compression))
        assert LOSSLESS[compression] == COMPRESSIONS[compression.name]
        return
    name = COMPRESSIONS.get(compression.name, f"number {int(compression)}")
    what = "it changes labels" if name == "JPEG" else "whether it is lossless cannot be known"
    with pytest.raises(MaskError, match=f"compressed by {name}, {what}"):
        check_lossless(Path("a.tif"), int(compression))


@pytest.mark.parametrize(
    ("codec", "bits", "holds"),  # the shortest symbol, and the most bytes that it stands for
    [
        ("none", 8, 1),
        ("Deflate", 2, 258),
        ("PNG", 2, 258),
        ("LZW", 12, 4096),
        ("PackBits", 16, 128),
        ("Zstandard", 32, 2**17),
    ],
)
def test_a_codec_holds_no_more_than_its_shortest_symbols(codec: str, bits: int, holds: int) -> None:
    stored = 1000
    most = stored * ceil(holds * 8 / bits)
    limits.check_ratio(Path("a"), most, stored, codec)
    with pytest.raises(MaskError, match=f"1,000 bytes of {codec} cannot hold {most + 1:,}"):
        limits.check_ratio(Path("a"), most + 1, stored, codec)
    limits.check_ratio(Path("a"), 10**15, stored, "CCITT")  # without a limit


def test_what_is_read_at_once_has_a_billion_pixels_at_most() -> None:
    limits.check_size(Path("a"), (2**10, 2**10, 2**10))
    with pytest.raises(MaskError, match="1073741825, 1,073,741,825 pixels"):
        limits.check_size(Path("a"), (2**30 + 1,))
