"""COCO's panoptic format: a JSON with the segments of images, and PNGs whose colours are ids."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics.files.formats import read_stored
from segmetrics.files.masks import Buffer, Reading
from segmetrics.files.png_runs import ColorRuns, read_color_runs
from segmetrics.files.problems import MaskError

#: Ids are the colours of pixels, R + 256 G + 65536 B; 0 is void.
MOST_IDS = 2**24
#: What JSON calls the types of fields.
NAMES = {int: "an integer", bool: "a bool", str: "a string", list: "a list"}


class Category(NamedTuple):
    """A category of a JSON."""

    id: int
    name: str
    isthing: bool


@dataclass(frozen=True)
class Annotation:
    """An image of a JSON: its PNG, and its segments.

    Attributes:
        image: the id of the image.
        path: of the PNG.
        categories: id of every segment → id of its category.
        crowds: ids of the segments that are crowds.
    """

    image: str
    path: Path
    categories: Mapping[int, int]
    crowds: frozenset[int]


def read_coco(path: Path) -> tuple[list[Category], dict[str, Annotation]]:
    """The categories of a panoptic JSON, none if it has none, and its images by id.

    The PNGs lie in the folder of the JSON's name.

    Raises:
        ValueError: what is no such JSON; the message names the image and the id.
    """
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise ValueError(f"{path}: its PNGs are expected in the folder {folder}, which is none.")
    with _without_collections():
        return _parsed(path, folder)


@contextmanager
def _without_collections() -> Iterator[None]:
    """No search for cycles, of which JSON has none: it would take twice the time of reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parsed(path: Path, folder: Path) -> tuple[list[Category], dict[str, Annotation]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise ValueError(f"{path} has no list `annotations`: COCO's panoptic JSON has one.")
    categories = _categories(path, content)
    found: dict[str, Annotation] = {}
    for number, entry in enumerate(annotations):
        image = str(_field(path, f"annotation {number}", entry, "image_id", (int, str)))
        if image in found:
            raise ValueError(f"{path}: the image {image} is annotated twice.")
        png = _field(path, f"image {image}", entry, "file_name", str)
        found[image] = Annotation(image, folder / png, *_segments(path, image, entry))
    return categories, found


def _categories(path: Path, content: dict[str, Any]) -> list[Category]:
    found: dict[int, Category] = {}
    if content.get("categories") is None:  # predictions need none
        return []
    for entry in _field(path, "the JSON", content, "categories", list):
        id_ = _field(path, "a category", entry, "id", int)
        if id_ in found:
            raise ValueError(f"{path}: the category {id_} is there twice.")
        isthing = _flag(path, f"category {id_}", entry, "isthing")
        found[id_] = Category(id_, str(entry.get("name", id_)), isthing)
    names = [category.name for category in found.values()]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path}: two categories are called {name!r}.")
    return list(found.values())


def _segments(path: Path, image: str, entry: Any) -> tuple[dict[int, int], frozenset[int]]:
    """The categories of the segments of an image, and which are crowds."""
    of_image = f"image {image}"
    categories: dict[int, int] = {}
    crowds = []
    for segment in _field(path, of_image, entry, "segments_info", list):
        id_ = _field(path, of_image, segment, "id", int)
        if not 0 < id_ < MOST_IDS:
            raise ValueError(
                f"{path}: image {image} has a segment with the id {id_!r}. Ids are R + 256 G + "
                f"65536 B of a colour, 1 to {MOST_IDS - 1}; 0 is void."
            )
        if id_ in categories:
            raise ValueError(f"{path}: image {image} has the segment {id_} twice.")
        of_segment = f"{of_image}, segment {id_}"
        categories[id_] = _field(path, of_segment, segment, "category_id", int)
        if "iscrowd" in segment and _flag(path, of_segment, segment, "iscrowd"):
            crowds.append(id_)
    return categories, frozenset(crowds)


def _flag(path: Path, of: str, entry: Any, name: str) -> bool:
    value = _field(path, of, entry, name, (int, bool))
    if value not in (0, 1):
        raise ValueError(f"{path}: {of}: `{name}` must be 0 or 1, got {brief(value)}.")
    return bool(value)


def _field(path: Path, of: str, entry: Any, name: str, types: Any) -> Any:
    """A field of one of some types; a bool is no int."""
    if not isinstance(entry, dict) or name not in entry:
        raise ValueError(f"{path}: {of} has no `{name}`.")
    value = entry[name]
    types = types if isinstance(types, tuple) else (types,)
    if type(value) not in types:
        expected = " or ".join(NAMES[type_] for type_ in types)
        raise ValueError(f"{path}: {of}: `{name}` must be {expected}, got {brief(value)}.")
    return value


def read_segments(path: Path, buffer: Buffer) -> ColorRuns:
    """The runs of pixels of one colour, the id of a segment, of an image.

    Raises:
        MaskError: it cannot be read, or has no colours of 8 bits.
    """
    runs = read_color_runs(path, buffer)
    if runs is not None:
        return runs
    if not path.is_file():
        raise MaskError("inaccessible", path, "there is no such file, which the JSON names")
    stored = read_stored(path, Reading(), buffer)
    if stored.bands not in ("RGB", "RGBA") or stored.values.dtype != np.uint8:
        raise MaskError(
            "segments", path, "no colours of 8 bits, which say the ids: R + 256 G + 65536 B"
        )
    return _cut(stored.values[..., :3] @ np.array([1, 256, 65536], np.int32))


def _cut(ids: NDArray[np.int32]) -> ColorRuns:
    differs = np.ones(ids.shape, np.bool_)
    differs[:, 1:] = ids[:, 1:] != ids[:, :-1]
    starts = np.append(np.flatnonzero(differs), ids.size).astype(np.int32)
    return ColorRuns(starts, ids[differs], ids.shape)
