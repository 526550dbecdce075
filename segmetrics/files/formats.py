"""The table of formats: which reader a file is read by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

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
    def reader(self) -> Reader:
        """The function that reads a file."""
        found: Reader = getattr(import_module(f"segmetrics.files.{self.module}"), self.function)
        return found


#: Suffix, in lower case → format.
FORMATS = {
    ".png": Format("PNG", "images", "read_png"),
    ".tif": Format("TIFF", "tiff", "read_tiff"),
    ".tiff": Format("TIFF", "tiff", "read_tiff"),
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
}
#: Images that somebody might take for masks.
OTHER_IMAGES = (".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2")


def read(path: Path, reading: Reading | None = None, buffer: Buffer | None = None) -> LabelMap:
    """Read a mask.

    Palette images give their indices, whatever the colours; images of 1 to 16 bits the stored
    values; a TIFF of several pages a volume.

    Args:
        path: the file; its suffix says what it is.
        reading: how it is read.
        buffer: memory to use where a file can be decoded in place.

    Returns:
        Labels: integers ``(H, W)``, or of a volume ``(D, H, W)``, with their grid if the file has
        one.

    Raises:
        MaskError: the file cannot be read, has several channels, or holds no integers.
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
    reader = format_of(path).reader
    try:
        stored = reader(path, reading, buffer or Buffer())
    except (MaskError, ImportError):
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them stumble on
        raise MaskError("unreadable", path, " ".join(str(error).split()) or repr(error)) from error
    return to_labels(path, stored, reading)


def format_of(path: Path) -> Format:
    """The format of a mask by its suffix.

    Raises:
        MaskError: a suffix that is not read.
    """
    found = FORMATS.get(suffix(path.name).lower())
    if found is None:
        raise MaskError("format", path, f"{suffix(path.name) or 'no suffix'} is not read as a mask")
    return found


def check_libraries(paths: Iterable[Path]) -> None:
    """Raise where a library that a mask's format needs is not installed.

    Raises:
        ImportError: says how to install it.
    """
    needed = {format_.library: path for path in paths if (format_ := format_of(path)).library}
    for library, path in needed.items():
        try:
            import_module(library)
        except ImportError as error:  # noqa: PERF203
            raise ImportError(
                f"{path} and others need {library}. Install it with "
                "`pip install segmetrics[medical]`."
            ) from error


def suffix(name: str) -> str:
    """The suffix of a file's name, ``.nii.gz`` as one."""
    stem, last = os.path.splitext(name)
    return os.path.splitext(stem)[1] + last if name.lower().endswith(".nii.gz") else last
