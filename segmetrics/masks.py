"""Files of masks: how one is read, and which prediction belongs to which target."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageMode, ImageSequence

Mask = NDArray[Any]
Kind = Literal["no target", "no prediction", "ambiguous", "format", "unreadable", "channels",
               "values", "sizes", "labels", "instances"]  # fmt: skip

#: How a list of problems of a kind begins, and the likely mend.
KINDS: dict[Kind, tuple[str, str]] = {
    "no target": (
        "predictions without a target",
        "Partners have the same path in both folders, but for the suffix; otherwise say by --match "
        "how their names correspond.",
    ),
    "no prediction": (
        "targets without a prediction",
        "Partners have the same path in both folders, but for the suffix; otherwise say by --match "
        "how their names correspond.",
    ),
    "ambiguous": (
        "files that share a name",
        "Keep one of them, or say by --match which is meant.",
    ),
    "format": (
        "images in a format that is not read as masks",
        "Write masks as PNG, TIFF, NPY, NPZ or NIfTI. JPEG changes labels; its masks are lost.",
    ),
    "unreadable": (
        "files that cannot be read",
        "Was the disk full, or writing interrupted? Write them anew.",
    ),
    "channels": (
        "masks with several channels",
        "A mask holds one label a pixel. Convert its colours to indices: save it as a palette or "
        "greyscale image whose values are the labels.",
    ),
    "values": (
        "masks whose values are no labels",
        "A mask holds integers. Scores become labels by their argmax over the classes.",
    ),
    "sizes": (
        "pairs of different sizes",
        "Resize predictions to their targets' size, by nearest neighbour.",
    ),
    "labels": (
        "masks with unknown labels",
        "Check --labels or --num-classes. A value that does not count is named by --ignore-index; "
        "predictions that hold indices of classes instead of the targets' values need "
        "--preds-are-classes.",
    ),
    "instances": (
        "targets without a mask of instance ids",
        "--iiou reads *_instanceIds.png beside *_labelIds.png.",
    ),
}


class Problem(NamedTuple):
    """Why a file is not scored."""

    kind: Kind
    file: str
    detail: str = ""

    @property
    def reason(self) -> str:
        """In words."""
        return self.detail or {
            "no target": "it has no target",
            "no prediction": "it has no prediction",
        }.get(self.kind, KINDS[self.kind][0])


class MaskError(ValueError):
    """A file that is not read as a mask."""

    def __init__(self, kind: Kind, path: Path, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.problem = Problem(kind, str(path), detail)


# --- Reading --------------------------------------------------------------------------------------


class Buffer:
    """Memory that masks are read into again and again; the one before is overwritten.

    New memory for each would cost a third of the time: the system clears it page by page.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def zeros(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Mask:
        """An array of zeros in this memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > len(self._bytes):
            self._bytes = np.empty(size, np.uint8)
        array = self._bytes[:size]
        array.fill(0)
        return array.view(dtype).reshape(shape)


def read(path: Path, buffer: Buffer | None = None) -> Mask:
    """Read a mask: PNG, TIFF, NPY, NPZ or NIfTI.

    Palette images give their indices, whatever the colours; images of 1 to 16 bits the stored
    values; a TIFF of several pages a volume.

    Args:
        path: the file; its suffix says what it is.
        buffer: memory to use where a file can be decoded in place.

    Returns:
        Integers or bools ``(H, W)``, or of a volume ``(D, H, W)``.

    Raises:
        MaskError: the file cannot be read, has several channels, or holds no integers.
        ImportError: NIfTI without nibabel.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "mask.png")
        >>> Image.fromarray(np.array([[0, 7], [7, 255]], np.uint8)).save(path)
        >>> read(path).tolist()
        [[0, 7], [7, 255]]
    """
    reader = READERS[suffix(path.name).lower()]
    try:
        values = reader(path, buffer or Buffer())
    except (MaskError, ImportError):
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them stumble on
        raise MaskError("unreadable", path, " ".join(str(error).split()) or repr(error)) from error
    return _labels(path, values)


def suffix(name: str) -> str:
    """The suffix of a file's name, ``.nii.gz`` as one."""
    stem, last = os.path.splitext(name)
    return os.path.splitext(stem)[1] + last if name.lower().endswith(".nii.gz") else last


def _read_png(path: Path, buffer: Buffer) -> Mask:
    with Image.open(path) as image:
        stretched = STRETCHED.get(_raw_mode(image))
        if image.mode in ("L", "P", "I;16") and not stretched:
            return _decoded_in_place(image, buffer)
        _check_mode(path, image.mode)
        values = np.asarray(image)
    return values // np.uint8(stretched) if stretched else values


#: Pillow stretches grey of 2 and 4 bits to 8: 0, 1, 2, 3 to 0, 85, 170, 255.
STRETCHED = {"L;2": 85, "L;4": 17}


def _decoded_in_place(image: Any, buffer: Buffer) -> Mask:
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


def _read_tiff(path: Path, _: Buffer) -> Mask:
    with Image.open(path) as image:
        pages = []
        for page in ImageSequence.Iterator(image):
            _check_mode(path, page.mode)
            pages.append(np.asarray(page))
    return pages[0] if len(pages) == 1 else np.stack(pages)


def _check_mode(path: Path, mode: str) -> None:
    channels = 1 if mode.startswith("I;16") else len(ImageMode.getmode(mode).bands)
    if channels > 1:
        raise MaskError("channels", path, f"{mode}, {channels} channels")


def _read_npy(path: Path, _: Buffer) -> Mask:
    with path.open("rb") as file:
        return _one_channel(path, np.lib.format.read_array(file, allow_pickle=False))


def _read_npz(path: Path, _: Buffer) -> Mask:
    with np.load(path, allow_pickle=False) as arrays:
        if len(arrays.files) != 1:
            raise MaskError(
                "unreadable", path, f"{len(arrays.files)} arrays, expected one: the mask"
            )
        return _one_channel(path, arrays[arrays.files[0]])


def _one_channel(path: Path, values: Mask) -> Mask:
    if values.ndim == 3 and values.shape[-1] in (3, 4) and values.dtype == np.uint8:
        raise MaskError("channels", path, f"{values.shape}, {values.shape[-1]} channels")
    return values


def _read_nifti(path: Path, _: Buffer) -> Mask:
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            f"{path}: NIfTI needs nibabel. Install it with `pip install segmetrics[medical]`."
        ) from error
    volume: Any = nibabel.load(path)
    if volume.get_data_dtype().fields:
        raise MaskError("channels", path, "colours")
    values = np.asarray(volume.dataobj)
    return values.squeeze(-1) if values.ndim == 4 and values.shape[-1] == 1 else values


READERS: dict[str, Callable[[Path, Buffer], Mask]] = {
    ".png": _read_png,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
}
#: Images that somebody might take for masks.
OTHER_IMAGES = (".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2")


def _labels(path: Path, values: Mask) -> Mask:
    """Values as torch reads them: integers in the machine's order of bytes."""
    if values.dtype.kind == "f":  # as NIfTI often stores labels
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        if not whole.all():
            strange = values[~whole][0]
            raise MaskError("values", path, f"{values.dtype} with fractions, {strange:g} the first")
        values = values.astype(np.int64)
    if values.dtype.kind not in "biu":
        raise MaskError("values", path, f"{values.dtype}, expected integers")
    if values.ndim not in (2, 3):
        raise MaskError("values", path, f"shape {values.shape}, expected (H, W) or (D, H, W)")
    native = values.dtype.newbyteorder("=")
    return np.require(values, np.uint8 if values.dtype == np.bool_ else native, ["C", "W"])


# --- Pairs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A prediction and its target, under the name that both share."""

    name: str
    preds: Path
    target: Path
    instances: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the pair."""
        return (self.preds, self.target, *([self.instances] if self.instances else []))


@dataclass(frozen=True)
class Match:
    """How names of predictions and targets correspond.

    Each is a pattern for names of files, or for paths in their folder if it has a slash: ``{key}``
    stands for what partners share, ``*`` for anything, ``?`` for one character, neither for a
    slash. The suffix may be left out. A file of the targets that does not fit is none; the
    prediction's pattern is read with each target's key in it. A key is a whole: letters or digits
    right before or behind it would be part of it.

    Raises:
        ValueError: a pattern without ``{key}``, or with two.
    """

    preds: str
    target: str

    def __post_init__(self) -> None:
        for pattern in (self.preds, self.target):
            if pattern.count("{key}") != 1:
                raise ValueError(
                    f"--match: a pattern has one {{key}}, what partners share; got {pattern!r}. "
                    "An example: --match '{key}*' '{key}_gtFine_labelIds.png'."
                )


#: As Cityscapes' own script finds predictions, for targets that are named as its are.
CITYSCAPES = Match("{key}*", "{key}_gtFine_labelIds.png")


def find_pairs(
    preds: Path, targets: Path, match: Match | None = None
) -> tuple[list[Pair], list[Problem]]:
    """Pair the masks of two folders, or two files.

    Args:
        preds: folder of predictions, searched in depth.
        targets: folder of targets.
        match: how names correspond; by default partners have the same path, but for the suffix.

    Returns:
        The pairs, in order of their names, and what could not be paired.

    Raises:
        ValueError: there is no such folder, or no mask in it.
    """
    if preds.is_file() and targets.is_file():
        return [Pair(targets.name, preds, targets)], []
    files, problems = {}, []
    for folder in (preds, targets):
        files[folder], others = _find_masks(folder)
        problems += others
    if match is None:
        by_name = [{path: _without_suffix(path) for path in files[f]} for f in (preds, targets)]
    else:
        by_name = list(_names_by(match, files[preds], files[targets]))
        if not by_name[1]:
            raise ValueError(
                f"{targets}: none of its {len(files[targets])} masks fits {match.target!r}, among "
                f"them {files[targets][0]}. Mend the pattern of the targets in --match."
            )
    of_preds, of_targets = _by_name(preds, by_name[0]), _by_name(targets, by_name[1])
    pairs = []
    for name in sorted(of_preds.keys() | of_targets.keys()):
        some_preds, some_targets = of_preds.get(name, []), of_targets.get(name, [])
        for several in (some_preds, some_targets):
            if len(several) > 1:
                also = ", ".join(str(path) for path in several[1:3])
                more = f" and {len(several) - 3} more" if len(several) > 3 else ""
                detail = f"{name!r} is also {also}{more}"
                problems.append(Problem("ambiguous", str(several[0]), detail))
        if len(some_preds) == len(some_targets) == 1:
            pairs.append(Pair(name, some_preds[0], some_targets[0]))
        elif not some_targets:
            problems += [Problem("no target", str(path)) for path in some_preds]
        elif not some_preds:
            problems += [Problem("no prediction", str(path)) for path in some_targets]
    return pairs, problems


def with_instances(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Problem]]:
    """The pairs with their masks of instance ids, and those that have none."""
    found, problems = [], []
    for pair in pairs:
        path = pair.target.with_name(pair.target.name.replace("labelIds", "instanceIds"))
        if path != pair.target and path.is_file():
            found.append(replace(pair, instances=path))
        else:
            problems.append(Problem("instances", str(pair.target), f"there is no {path.name}"))
    return found, problems


def find_images(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The images behind the masks of pairs: same path but for the suffix, or named ``{key}*``."""
    suffixes = (*OTHER_IMAGES, ".png", ".tif", ".tiff")
    paths = [path for path in _walk(folder) if suffix(path).lower() in suffixes]
    by_path = {_without_suffix(path): folder / path for path in paths}
    found = {name: by_path[name] for name in names if name in by_path}
    rest = set(names) - found.keys()
    return {name: folder / path for path, name in _fitting("{key}*", paths, rest).items()} | found


def _find_masks(folder: Path) -> tuple[list[str], list[Problem]]:
    """Paths of masks in a folder, and images that cannot be masks unless one is beside them."""
    if not folder.is_dir():
        what = "is a file, the other is a folder" if folder.is_file() else "there is no such folder"
        raise ValueError(f"{folder}: {what}.")
    paths = sorted(_walk(folder))
    masks = [path for path in paths if suffix(path).lower() in READERS]
    known = {_without_suffix(path) for path in masks}
    others = [
        Problem("format", str(folder / path), f"{suffix(path)} is not read as a mask")
        for path in paths
        if suffix(path).lower() in OTHER_IMAGES and _without_suffix(path) not in known
    ]
    if not masks:
        there = f", but {Path(others[0].file).name}. {KINDS['format'][1]}" if others else "."
        raise ValueError(f"{folder}: there is no PNG, TIFF, NPY, NPZ or NIfTI in it{there}")
    return masks, others


def _walk(folder: Path) -> Iterable[str]:
    """Paths of the files below a folder, hidden ones left out."""
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(root).relative_to(folder)
        prefix = "" if here == Path() else f"{here.as_posix()}/"
        for name in files:
            if not name.startswith("."):
                yield prefix + name


def _without_suffix(path: str) -> str:
    return path.removesuffix(suffix(path))


def _names_by(
    match: Match, preds: Sequence[str], targets: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Path → name of predictions and of targets; a prediction of no target keeps its own."""
    fits = _fits(match.target, r"[^/]+")
    of_targets = {path: found["key"] for path in targets if (found := fits(path))}
    of_preds = _fitting(match.preds, preds, set(of_targets.values()))
    alone = _fits(match.preds, r"[^/]+")
    rest = {path: path for path in preds if path not in of_preds and alone(path)}
    return of_preds | rest, of_targets


def _fitting(pattern: str, paths: Iterable[str], keys: set[str]) -> dict[str, str]:
    """Path → key of those that fit with one of the keys; the longest, if they fit with several."""
    lengths = sorted({len(key) for key in keys}, reverse=True)
    shapes = [_fits(pattern, rf"(?<![^\W_])[^/]{{{n}}}(?![^\W_])") for n in lengths]
    found: dict[str, str] = {}
    for path in paths:
        fitting = (match["key"] for fits in shapes if (match := fits(path)))
        if key := next((key for key in fitting if key in keys), None):
            found[path] = key
    return found


def _fits(pattern: str, key: str) -> Callable[[str], re.Match[str] | None]:
    """Fits a path, or its last part, with or without its suffix, to a pattern."""
    parts = {"{key}": f"(?P<key>{key})", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\{key\}|\*|\?)", pattern)
    shape = re.compile("".join(parts.get(token) or re.escape(token) for token in tokens))

    def fits(path: str) -> re.Match[str] | None:
        text = path if "/" in pattern else path.rpartition("/")[2]
        return shape.fullmatch(_without_suffix(text)) or shape.fullmatch(text)

    return fits


def _by_name(folder: Path, names: Mapping[str, str]) -> dict[str, list[Path]]:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        found[name].append(folder / path)
    return dict(found)
