"""Counting of segments in pairs of panoptic masks, in COCO's and Cityscapes' formats.

Strict: where a PNG and its JSON disagree, an error names the image and the id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segmetrics import files
from segmetrics.evaluate.checkpoint import digests
from segmetrics.evaluate.counter import Counted
from segmetrics.files import MaskError, Pair, Rows
from segmetrics.files.masks import Array, Buffer
from segmetrics.files.panoptic import Annotation, read_segments
from segmetrics.files.png_files import libraries
from segmetrics.files.png_runs import read_color_runs
from segmetrics.labels import LabelSpace
from segmetrics.objects import (
    IGNORED,
    NO_OBJECT,
    Classify,
    ObjectPairs,
    Runs,
    segment_and_band_pairs,
    segment_pairs,
    size_of,
)
from segmetrics.objects.panoptic import matched_counts

Int64Array = NDArray[np.int64]

#: The id of void in COCO's PNGs.
VOID = 0
#: In Cityscapes' masks an instance is 1000 · class + its number; below 1000 it is a class alone.
PER_CLASS = 1000
#: Width of the bands of Boundary PQ, as a share of the diagonal.
DILATION_RATIO = 0.02


class Format(Protocol):
    """The format of segments.

    Attributes:
        names: of the categories, things first.
        things: how many of them are things.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def things(self) -> int: ...

    def describe(self) -> Mapping[str, object]:
        """All that decides what values mean, in JSON: a checkpoint of something else is refused."""

    def read(self, pair: Pair, *, target: bool, buffer: Buffer) -> tuple[Array | Runs, Classify]:
        """The values of the pixels ``(H, W, 1)`` of a mask, or their runs, and what they mean."""

    def pixels(self) -> Sequence[Array | Runs]:
        """Masks of one pixel, one of each kind that ``read`` gives."""


@dataclass(frozen=True)
class Coco:
    """COCO's format: PNGs whose colours are the ids of segments, and a JSON that describes these.

    ``files`` are the JSON files.
    """

    names: Sequence[str]
    things: int
    class_of: Mapping[int, int]
    preds: Mapping[str, Annotation]
    target: Mapping[str, Annotation]
    files: Sequence[Path] = ()

    def describe(self) -> Mapping[str, object]:
        """The categories, and the content of the JSON files."""
        content = list(digests(self.files))
        return {"categories": list(self.names), "things": self.things, "JSON files": content}

    def read(self, pair: Pair, *, target: bool, buffer: Buffer) -> tuple[Runs, Classify]:
        """The runs of ids of a mask, and what they mean."""
        annotation = (self.target if target else self.preds)[pair.name]
        classify = by_annotation(annotation, self.class_of, len(self.names), target=target)
        starts, ids, size = read_segments(annotation.path, buffer)
        return Runs(starts, ids[:, None], size), classify

    def pixels(self) -> Sequence[Runs]:
        """The runs of one pixel, as they are read."""
        read_color_runs(Path(), Buffer())  # loads its kernel
        return [Runs(np.arange(2, dtype=np.int32), np.zeros((1, 1), np.int32), (1, 1))]


@dataclass(frozen=True)
class InstanceIds:
    """Cityscapes' masks of instance ids, for a label space with things."""

    space: LabelSpace

    @property
    def names(self) -> Sequence[str]:
        """Names of the categories, things first."""
        return [self.space.names[c] for c in self.space.things_first()]

    @property
    def things(self) -> int:
        """The number of categories that are things."""
        return sum(c in self.space.things for c in self.space.things_first())

    def describe(self) -> Mapping[str, object]:
        """The categories, and the values that mean them."""
        ids = self.space.id_to_class or {}
        return {
            "categories": self.names,
            "things": self.things,
            "ignore_index": list(self.space.ignore_index),
            "id_to_class": [list(ids), list(ids.values())],
        }

    def read(self, pair: Pair, *, target: bool, buffer: Buffer) -> tuple[Array, Classify]:
        """The values of a mask, and their meaning."""
        path = pair.target if target else pair.preds
        values = files.read(path, None, buffer).values
        return values[..., None], by_instance_ids(path, self.space, self.things, target=target)

    def pixels(self) -> Sequence[Array]:
        """Masks of one pixel, of the usual dtypes."""
        return [np.zeros((1, 1, 1), dtype) for dtype in (np.uint8, np.uint16)]


@dataclass(frozen=True)
class SegmentSettings:
    """The settings: segments of a format, and with ``boundary`` the IoU of their bands, too."""

    format: Format
    boundary: bool = False

    def describe(self) -> dict[str, object]:
        """All that decides the counts, in JSON."""
        return {"task": "panoptic", "boundary": self.boundary, **self.format.describe()}


class SegmentCounter:
    """Reads and counts pairs of panoptic masks one by one."""

    def __init__(self, settings: SegmentSettings) -> None:
        self.settings = settings
        self.buffers = Buffer(), Buffer()
        self.load()

    def many(self) -> Callable[[Sequence[Pair]], list[Counted | None]] | None:
        """A function for one thread that counts several pairs: PNGs of COCO's format are read
        without the GIL, and little is left to do.

        It returns None for a pair that cannot be scored.
        """
        is_coco = isinstance(self.settings.format, Coco)
        if not is_coco or self.settings.boundary or libraries() is None:
            return None
        own = SegmentCounter(self.settings)

        def count_one(pair: Pair) -> Counted | None:
            with suppress(MaskError):
                return own.count(pair)
            return None

        return lambda pairs: [count_one(pair) for pair in pairs]

    def load(self) -> None:
        """Load the kernels once, for all workers that are forked afterwards."""
        for pixel in self.settings.format.pixels():
            segment_pairs(pixel, pixel, *[lambda values: (values[:, 0], values[:, 0])] * 2)

    def parts(self, pair: Pair) -> list[Rows | None]:
        """The parts in which a pair is counted: always the whole."""
        return [None]

    def count_rows(self, pair: Pair, rows: Rows) -> Counted:
        """Never called: segments are counted as a whole."""
        raise NotImplementedError

    def count(self, pair: Pair) -> Counted:
        """The counts of a pair ``(C · 4,)``, see ``objects.panoptic``.

        Raises:
            MaskError: it cannot be scored.
        """
        pairs, bands = self.pairs(pair)
        classes = len(self.settings.format.names)
        return Counted(matched_counts(pairs, classes, bands=bands).reshape(-1))

    def pairs(self, pair: Pair, *, maps: bool = False) -> tuple[ObjectPairs, ObjectPairs | None]:
        """The table of the segments of a pair, and for ``boundary`` that of their bands.

        Args:
            pair: the files.
            maps: whether the table of segments also has their maps.

        Raises:
            MaskError: it cannot be scored.
        """
        format_, (of_preds, of_target) = self.settings.format, self.buffers
        preds, classify_preds = format_.read(pair, target=False, buffer=of_preds)
        target, classify_target = format_.read(pair, target=True, buffer=of_target)
        size, expected = size_of(preds), size_of(target)
        if size != expected:
            sizes = ["×".join(map(str, shape)) for shape in (size, expected)]
            detail = f"{sizes[0]}, its target {pair.target} is {sizes[1]}"
            raise MaskError("sizes", pair.preds, detail)
        sides = preds, target, classify_preds, classify_target
        if not self.settings.boundary:
            return segment_pairs(*sides, maps=maps), None
        reach = max(1, round(DILATION_RATIO * hypot(*size)))
        pairs, bands = segment_and_band_pairs(*sides, reach)
        return (segment_pairs(*sides, maps=True) if maps else pairs), bands


def by_annotation(
    annotation: Annotation, class_of: Mapping[int, int], classes: int, *, target: bool
) -> Classify:
    """What colours mean, as an annotation says; a crowd's class is ``classes`` higher.

    Void is ignored in the target, and so is an unknown category; in a prediction it is no segment.
    """
    categories, none = annotation.categories, IGNORED if target else NO_OBJECT

    def classify(values: Int64Array) -> tuple[Int64Array, Int64Array]:
        ids = values[:, 0]
        listed = ids.tolist()
        for id_ in listed:
            if id_ not in categories and id_ != VOID:
                _refuse(annotation, f"has the segment {id_}, which its JSON does not have")
        for id_ in categories.keys() - set(listed):
            _refuse(annotation, f"lacks the segment {id_}, which its JSON has")
        return np.array([meant(id_) for id_ in listed], np.int64), ids

    def meant(id_: int) -> int:
        class_ = class_of.get(categories[id_]) if id_ in categories else None
        if class_ is None:
            return none
        return class_ + classes * (target and id_ in annotation.crowds)

    return classify


def _refuse(annotation: Annotation, detail: str) -> None:
    raise MaskError("segments", annotation.path, f"image {annotation.image} {detail}")


def by_instance_ids(path: Path, space: LabelSpace, things: int, *, target: bool) -> Classify:
    """What the values of a mask of instance ids mean, for a label space.

    Ignored values are void in the target, and no segment in a prediction. In the target a thing
    without a number is a crowd, whose class is higher by the number of classes.
    """
    order = space.things_first()
    ids = space.id_to_class or {c: c for c in range(space.num_classes)}
    place = {value: order.index(c) for value, c in ids.items() if c in order}
    none = IGNORED if target else NO_OBJECT

    def meant(value: int) -> int:
        of_class = value // PER_CLASS if value >= PER_CLASS else value
        class_ = place.get(of_class)
        if class_ is None and of_class in space.ignore_index:
            return none
        if class_ is None:
            raise MaskError("labels", path, f"the value {value} is of the unknown class {of_class}")
        if value >= PER_CLASS or class_ >= things:
            return class_
        if target:
            return class_ + len(order)
        name = space.names[order[class_]]
        hint = f"An instance is {PER_CLASS} · class + its number, such as {PER_CLASS * value}."
        raise MaskError("segments", path, f"a {name} without an id: the value {value}", hint)

    def classify(values: Int64Array) -> tuple[Int64Array, Int64Array]:
        classes = np.array([meant(value) for value in values[:, 0].tolist()], np.int64)
        thing = (classes >= 0) & (classes < things)
        return classes, np.where(thing, values[:, 0], 0)

    return classify
