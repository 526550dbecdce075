"""The table of formats: which reader a file is read by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from segmetrics.files.content import HEAD, content_if, content_of, kind_of
from segmetrics.files.masks import Buffer, LabelMap, Reading, Stored
from segmetrics.files.meaning import to_labels
from segmetrics.files.problems import MaskError

Reader = Callable[[Path, Reading, Buffer], Stored]


class Format(NamedTuple):
    """A format: its name, its reader in a module that is loaded when needed, and its library."""

    name: str
    module: str
    function: str
    library: str = ""

    @property
    def imported(self) -> Any:
        """Its module."""
        return import_module(f"segmetrics.files.{self.module}")

    @property
    def reader(self) -> Reader:
        """The function that reads a file."""
        found: Reader = getattr(self.imported, self.function)
        return found


PNG, GIF = Format("PNG", "png", "read_png"), Format("GIF", "images", "read_gif")
TIFF, WEBP = Format("TIFF", "tiff", "read_tiff"), Format("WebP", "images", "read_webp")
BMP, PNM = Format("BMP", "bitmaps", "read_bmp"), Format("PNM", "bitmaps", "read_pnm")
#: Names of image formats, for which the content decides, not the suffix.
IMAGES = {image.name: image for image in (PNG, TIFF, BMP, GIF, PNM, WEBP)}

#: Suffix, in lower case → format.
FORMATS = {
    ".png": PNG,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".bmp": BMP,
    ".gif": GIF,
    ".pbm": PNM,
    ".pgm": PNM,
    ".ppm": PNM,
    ".pnm": PNM,
    ".webp": WEBP,
    ".npy": Format("NPY", "arrays", "read_npy"),
    ".npz": Format("NPZ", "arrays", "read_npz"),
    ".nii": Format("NIfTI", "nifti", "read_nifti", "nibabel"),
    ".nii.gz": Format("NIfTI", "nifti", "read_nifti", "nibabel"),
    ".mgh": Format("MGH", "nifti", "read_mgh", "nibabel"),
    ".mgz": Format("MGH", "nifti", "read_mgh", "nibabel"),
    ".mha": Format("MetaImage", "itk", "read_metaimage", "SimpleITK"),
    ".mhd": Format("MetaImage", "itk", "read_metaimage", "SimpleITK"),
    ".nrrd": Format("NRRD", "itk", "read_nrrd", "SimpleITK"),
    ".nhdr": Format("NRRD", "itk", "read_nrrd", "SimpleITK"),
    ".dcm": Format("DICOM", "dicom", "read_segmentation", "highdicom"),
}
#: Suffix → the format of its first bytes, if it differs.
CONTAINERS = {".npz": "ZIP", ".nii.gz": "gzip", ".mgz": "gzip"}
#: Suffix → its kind, for files that are not masks or not supported.
OTHER_IMAGES = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jp2": "JPEG 2000", ".j2k": "JPEG 2000", ".jxl": "JPEG XL",
    ".avif": "AVIF", ".heic": "HEIC", ".heif": "HEIC", ".exr": "OpenEXR", ".tga": "TGA",
    ".psd": "Photoshop", ".svg": "SVG", ".pam": "PAM", ".pfm": "PFM", ".tfrecord": "TFRecord",
    ".vrt": "GDAL VRT", ".ecw": "ECW", ".h5": "HDF5", ".hdf5": "HDF5", ".nc": "NetCDF",
    ".zarr": "Zarr", ".mat": "MATLAB", ".svs": "Aperio", ".ndpi": "Hamamatsu",
}  # fmt: skip


def read(path: Path, reading: Reading | None = None, buffer: Buffer | None = None) -> LabelMap:
    """Read a mask.

    Palette images give their indices, whatever the colours; images of any depth the stored values;
    a TIFF of several pages a volume. Images with channels are label maps where the channels are
    equal, or their colours have labels. The content of an image counts, not its suffix.

    Args:
        path: the file; its suffix says what it is.
        reading: how it is read.
        buffer: memory to use where a file can be decoded in place.

    Returns:
        Labels: integers ``(H, W)``, or of a volume ``(D, H, W)``, with their grid if the file has
        one.

    Raises:
        MaskError: the file cannot be read or is damaged, its format changes labels, it has several
            channels, or holds no integers.
        ImportError: a library that its format needs is not installed.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp(), "mask.png")
        >>> Image.fromarray(np.array([[0, 7], [7, 255]], np.uint8)).save(path)
        >>> read(path).values.tolist()
        [[0, 7], [7, 255]]
    """
    reading = reading or Reading()
    return to_labels(path, read_stored(path, reading, buffer or Buffer()), reading)


def read_stored(path: Path, reading: Reading, buffer: Buffer) -> Stored:
    """What the reader of a mask's format finds.

    Raises:
        MaskError, ImportError: as ``read``.
    """
    with refusing(path):
        if FORMATS.get(suffix(path.name).lower()) == PNG:  # most are: one file is opened once
            data = content_if(PNG.name, path)
            if kind_of(data) == PNG.name:
                found: Stored = PNG.imported.decoded(path, data, buffer)
                return found
        return format_of(path).reader(path, reading, buffer)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Converts errors of decoders on broken files to ``MaskError``."""
    try:
        yield
    except (MaskError, ImportError):
        raise
    except Exception as error:
        raise MaskError("unreadable", path, " ".join(str(error).split()) or repr(error)) from error


def format_of(path: Path) -> Format:
    """The format of a mask by its suffix; of an image by its content.

    Raises:
        MaskError: a suffix that is not read, or content of another kind.
    """
    end = suffix(path.name).lower()
    named = FORMATS.get(end)
    found = kind_of(content_of(path, HEAD))
    if named is None:
        what = found or OTHER_IMAGES.get(end) or end
        how = " under this name: name DICOM SEG .dcm" if what == "DICOM" else ""
        raise MaskError("format", path, f"{what or 'no suffix'} is not read as a mask{how}")
    if found in IMAGES and named.name in IMAGES:
        return IMAGES[found]
    expected = CONTAINERS.get(end, named.name)
    if found not in (None, expected):
        what = named.name if expected == named.name else f"{named.name} in {expected}"
        raise MaskError("format", path, f"its content is {found}, not {what}")
    return named


def data_file(path: Path) -> Path | None:
    """The data file of a header; None if there is none."""
    if suffix(path.name).lower() not in (".mhd", ".nhdr"):
        return None
    found: Path | None = import_module("segmetrics.files.itk").data_file(path)
    return found


def load_readers(paths: Iterable[Path]) -> None:
    """Load the readers of these masks once, for all workers that are forked afterwards.

    Raises:
        ImportError: a library that a format needs is not installed; says how to install it.
    """
    examples = {suffix(path.name).lower(): path for path in paths}
    formats = {FORMATS[end]: path for end, path in examples.items() if end in FORMATS}
    for form, path in formats.items():
        try:
            if form.library:
                import_module(form.library)
        except ImportError as error:
            raise ImportError(
                f"{path} and others need {form.library}. Install it with "
                "`pip install segmetrics[medical]`."
            ) from error
        form.imported  # noqa: B018


def load_kernels(paths: Iterable[Path]) -> None:
    """Load the kernels that decode these masks once, for workers that are forked afterwards."""
    if any(FORMATS.get(suffix(path.name).lower()) == PNG for path in paths):
        PNG.imported.load_kernels()


def suffix(name: str) -> str:
    """The suffix of a file's name, ``.nii.gz`` as one."""
    stem, last = os.path.splitext(name)
    double = name.lower().endswith((".nii.gz", ".raw.gz"))  # the latter of NHDR
    return os.path.splitext(stem)[1] + last if double else last
