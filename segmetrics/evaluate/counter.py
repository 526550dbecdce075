"""Counting of one pair of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics import files
from segmetrics.counting import Counting, cpu, sparse
from segmetrics.counting.codes import ABSTAINED, IGNORED
from segmetrics.counting.cpu_readers import known_values
from segmetrics.counting.settings import Pixels
from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate import iiou
from segmetrics.evaluate.settings import Settings
from segmetrics.evaluate.unknown import graded, unknown_labels
from segmetrics.files import ClassFiles, LabelMap, MaskError, Pair, Rows
from segmetrics.surfaces import BandCounting

Array = NDArray[Any]
Int64Array = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Behind the counts: binary masks that look graded, pixels that do not count, predicted
#: zeros where class 0 is ignored, and stray predictions (see ``iiou``).
RAMPS, UNCOUNTED, ZEROS, STRAYS = range(-4, 0)
EXTRA = 4
#: More classes have far more pairs than an image has pixels: their confusion matrix is sparse.
MOST_DENSE = 512


class Counted(NamedTuple):
    """The counts of a pair: sums, see ``Layout``, weighted instances, and what ``extras`` measured;
    digests of its files; the confusion matrix where it is sparse.
    """

    sums: Int64Array
    instances: Floats | None = None
    digests: tuple[str, ...] = ()
    extras: tuple[Array, ...] = ()
    sparse: SparseMatrix | None = None


@dataclass(frozen=True)
class Layout:
    """The layout of the sums.

    First the confusion matrix, unless it is sparse, and the bands if they are counted; then the
    ``EXTRA`` sums that warnings look at.
    """

    classes: int
    multilabel: bool
    with_bands: bool

    @staticmethod
    def of(settings: Settings) -> Layout:
        """The layout for some settings."""
        return Layout(settings.space.num_classes, settings.task == "multilabel", settings.boundary)

    @cached_property
    def sparse(self) -> bool:
        """Whether the confusion matrix is sparse, as most of its cells would be zero."""
        return self.classes > MOST_DENSE and not self.multilabel

    @cached_property
    def cells(self) -> int:
        """The number of counts of a confusion matrix, or of all classes with masks of their own."""
        return 0 if self.sparse else self.classes * (6 if self.multilabel else self.classes + 1)

    @cached_property
    def size(self) -> int:
        """The number of sums."""
        return self.cells + (3 * self.classes if self.with_bands else 0) + EXTRA

    def confusion(self, sums: Int64Array) -> Int64Array:
        """The counts ``(C, C + 1)``, or ``(C, 2, 3)`` if classes have masks of their own."""
        shape = (self.classes, 2, 3) if self.multilabel else (self.classes, self.classes + 1)
        return sums[: self.cells].reshape(shape)

    def marginals(
        self, confusion: Int64Array | SparseMatrix
    ) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Hits, predicted and target pixels of every class ``(C,)``."""
        if self.multilabel:
            assert not isinstance(confusion, SparseMatrix)
            return confusion[:, 1, 1], confusion[:, :, 1].sum(1), confusion[:, 1].sum(1)
        return confusion.diagonal(), confusion.sum(0)[:-1], confusion.sum(1)

    def bands(self, sums: Int64Array) -> Int64Array:
        """Hits, predicted and target pixels in the bands ``(C, 3)``."""
        return sums[self.cells : -EXTRA].reshape(self.classes, 3)


class Counter:
    """Reads and counts pairs one by one, in tables that it reuses."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.counting = settings, settings.counting
        self.layout = Layout.of(settings)
        self.in_bands = BandCounting(**vars(self.counting))
        values = known_values(self.counting, of_bytes=True)
        self.bytes = None if values is None else cpu.ValuePairs(self.counting, values)
        self.buffers = files.Buffer(), files.Buffer(), files.Buffer()
        self.ignores_zero = 0 in self.counting.ignored_classes
        self.last: tuple[tuple[str, Rows | None], tuple[LabelMap, tuple[int, ...]]] | None = None
        if many := self.many():
            many([])  # loads its kernel
        else:
            self.load()

    def many(self) -> Callable[[Sequence[Pair]], list[Counted | None]] | None:
        """A function for one thread that counts several PNG pairs in one call without the GIL.

        It returns None for a pair that ``count`` has to read. There is no such function, and the
        result is None, if more than the pixels of two masks is counted.
        """
        settings = self.settings
        more = settings.boundary or settings.instances or settings.extras or self.ignores_zero
        if more or settings.task != "multiclass" or self.layout.sparse or self.bytes is None:
            return None
        from segmetrics.evaluate import png_pairs

        return png_pairs.counter_of(self.counting, self.bytes.values, self.layout)

    def load(self) -> None:
        """Load the kernels once, for all workers that are forked afterwards."""
        pixel = np.zeros((1, 1), np.uint8)
        if self.layout.sparse:
            sparse.count(pixel, pixel, self.counting)
        elif self.bytes is not None:
            self._confusion_of_bytes(pixel, pixel, self.bytes)
        if self.settings.boundary:
            self._bands(pixel, pixel)
        if self.settings.instances:
            iiou.count(pixel, pixel, pixel.astype(np.uint16))

    def count(self, pair: Pair) -> Counted:
        """Count a pair.

        Raises:
            MaskError: it cannot be scored.
        """
        sums = np.zeros(self.layout.size, np.int64)
        if self.settings.task == "multilabel":
            found = {
                name: self._add_class(name, preds, target, pair, sums)
                for name, preds, target in self._masks(pair, sums)
            }
            return Counted(sums, extras=_joined([found.get(n) for n in self.settings.space.names]))
        preds, target = self._read(pair.preds, pair.target, sums)
        in_cells = self._add_confusion(preds, target, pair, sums)
        if self.settings.boundary:
            self.layout.bands(sums)[:] = self._bands(preds.values, target.values)
        weighted = None
        if pair.instances is not None:
            weighted, sums[STRAYS] = self._instances(preds.values, target.values, pair)
        extras = self._extras(preds, target, pair)
        return Counted(sums, weighted, extras=extras, sparse=in_cells)

    def masks(self, pair: Pair) -> Iterator[tuple[str, LabelMap, LabelMap]]:
        """The prediction and the target of a pair as they are counted.

        The first element is the name of the class or region, where each has its own masks. The
        masks are overwritten by those of the next.

        Raises:
            MaskError: they cannot be scored.
        """
        yield from self._masks(pair, np.zeros(self.layout.size, np.int64))

    def _masks(self, pair: Pair, sums: Int64Array) -> Iterator[tuple[str, LabelMap, LabelMap]]:
        for of_class in pair.classes:
            yield of_class.name, *self._read(of_class.preds, of_class.target, sums)
        if not pair.classes:
            both, regions = self._read(pair.preds, pair.target, sums), self.settings.regions
            logits = self.settings.readings.preds.logits
            yield from regions.masks(*both, pair, logits=logits) if regions else [("", *both)]

    def parts(self, pair: Pair) -> list[Rows | None]:
        """The parts in which a pair is counted; None is the whole."""
        whole = self.settings.boundary or self.settings.extras
        if whole or pair.instances or self.settings.task == "multilabel":
            return [None]
        return files.parts(pair.preds, pair.target)

    def count_rows(self, pair: Pair, rows: Rows) -> Counted:
        """Count some rows of a pair.

        Raises:
            MaskError: they cannot be scored.
        """
        readings = self.settings.readings
        preds, size = files.read_rows(pair.preds, rows, readings.preds, self.buffers[0])
        target, to_size = self._target(pair.target, rows)
        if size != to_size:
            detail = f"{_times(size)}, its target {pair.target} is {_times(to_size)}"
            raise MaskError("sizes", pair.preds, detail)
        self._check_agreement(pair.preds, preds, target, to_size)
        sums = np.zeros(self.layout.size, np.int64)
        preds, target = self._labels(preds, sums), self._labels(target, sums)
        return Counted(sums, sparse=self._add_confusion(preds, target, pair, sums))

    def _add_class(
        self, name: str, preds: LabelMap, target: LabelMap, of: Pair, sums: Int64Array
    ) -> tuple[Array, ...]:
        """Count the masks of one class or region of a pair."""
        alone = ClassFiles(name, of.target, of.preds)
        of_class = next((one for one in of.classes if one.name == name), alone)
        c = self.settings.space.names.index(name)
        pair = Pair(name, of_class.target, of_class.target)
        confusion = self.layout.confusion(sums)[c]
        confusion[:] = self._confusion(preds, target, pair)
        sums[UNCOUNTED] += target.values.size - confusion.sum()
        if self.settings.boundary:
            self.layout.bands(sums)[c] = self._bands(preds.values, target.values)[1]
        return self._extras(preds, target, replace(of, target=of_class.target, classes=(of_class,)))

    def _extras(self, preds: LabelMap, target: LabelMap, pair: Pair) -> tuple[Array, ...]:
        return tuple(extra.measure(preds, target, pair) for extra in self.settings.extras)

    def _add_confusion(
        self, preds: LabelMap, target: LabelMap, pair: Pair, sums: Int64Array
    ) -> SparseMatrix | None:
        """Add the confusion matrix to the sums, or return it if it is sparse."""
        if self.ignores_zero:
            sums[ZEROS] = preds.values.size - np.count_nonzero(preds.values)
        if self.layout.sparse:
            found = sparse.count(preds.values, target.values, self.counting)
            if found is None:
                raise unknown_labels(preds, target, pair, self.counting)
            sums[UNCOUNTED] = target.values.size - found.sum()
            return found
        confusion = self.layout.confusion(sums)
        confusion[:] = self._confusion(preds, target, pair)
        sums[UNCOUNTED] = target.values.size - confusion.sum()
        return None

    def _read(
        self, preds: Path | None, target: Path, sums: Int64Array
    ) -> tuple[LabelMap, LabelMap]:
        """The labels of two files on one grid; without a prediction it is empty."""
        of_preds, readings = self.buffers[0], self.settings.readings
        right, _ = self._target(target)
        if preds is None:
            found = right._replace(values=np.zeros_like(right.values))
            if readings.preds.probabilities:
                surely_none = -np.inf if readings.preds.logits else 0
                scores = np.full(right.values.shape, surely_none, np.float32)
                found = found._replace(scores=scores)
        else:
            found, right = files.united(files.read(preds, readings.preds, of_preds), right)
            found = files.with_aligned_scores(found, right, (preds, target))
            self._check_agreement(preds, found, right, right.values.shape)
        return self._labels(found, sums), self._labels(right, sums)

    def _target(self, path: Path, rows: Rows | None = None) -> tuple[LabelMap, tuple[int, ...]]:
        """A target, or rows of it, and the shape of the whole.

        The last one is kept: where models are compared, all predictions of a target are counted one
        after the other.
        """
        name = str(path), rows
        if self.last is None or self.last[0] != name:
            self.last = None
            reading, buffer = self.settings.readings.target, self.buffers[1]
            if rows is None:
                mask = files.read(path, reading, buffer)
                found = mask, mask.values.shape
            else:
                found = files.read_rows(path, rows, reading, buffer)
            self.last = name, found
        return self.last[1]

    def _labels(self, mask: LabelMap, sums: Int64Array) -> LabelMap:
        """A mask as it is counted."""
        if self.settings.task == "multiclass" or self.settings.regions:
            return mask
        labels = self.settings.labels(mask.values)
        if self.settings.ids:
            return mask._replace(values=labels, ids=mask.values)
        sums[RAMPS] += _has_ramps(mask.values)
        return mask._replace(values=labels)

    def _check_agreement(
        self, path: Path, preds: LabelMap, target: LabelMap, shape: tuple[int, ...]
    ) -> None:
        """Raise for different places, and for different palettes if both hold the same ids."""
        files.check_place(preds, target, path, shape)
        same_ids = self.settings.space.id_to_class is None or self.settings.space.map_preds
        if self.settings.task == "multiclass" and same_ids:
            files.check_palettes(preds, target, path)

    def _confusion(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Int64Array:
        of_bytes = preds.values.dtype == target.values.dtype == np.uint8
        if of_bytes and target.values.size < 2**31 and self.bytes is not None:
            counts = self._confusion_of_bytes(preds.values, target.values, self.bytes)
        else:
            counts = confusion_matrix(preds.values, target.values, self.counting)
        if counts is None:
            raise unknown_labels(preds, target, pair, self.counting)
        return counts

    def _confusion_of_bytes(
        self, preds: Array, target: Array, pairs: cpu.ValuePairs
    ) -> Int64Array | None:
        """The counts ``(C, C + 1)``, or None if there are unknown labels."""
        pairs.add(target.ravel(), preds.ravel())
        histogram, labels = pairs.take(), self.counting.labels
        confusion = histogram[:labels, : labels + ABSTAINED + 1]
        ignored = histogram[labels + IGNORED]
        return confusion if confusion.sum() + ignored.sum() == target.size else None

    def _bands(self, preds: Array, target: Array) -> Int64Array:
        from segmetrics.surfaces.bands import count_bands

        return count_bands(preds, target, self.in_bands)

    def _instances(self, preds: Array, target: Array, pair: Pair) -> tuple[Floats, int]:
        assert pair.instances is not None
        instances = files.read(pair.instances, buffer=self.buffers[2]).values
        if instances.shape != target.shape:
            detail = f"{_size(instances)}, {pair.target} is {_size(target)}"
            raise MaskError("sizes", pair.instances, detail)
        if not self.counting.map_preds:
            preds = _ids_of_classes(preds, self.counting)
        try:
            return iiou.count(preds, target, instances)
        except ValueError as error:
            raise MaskError("labels", pair.instances, str(error)) from error


def _joined(of_classes: Sequence[tuple[Array, ...] | None]) -> tuple[Array, ...]:
    """The arrays of extras by class; nan, or 0 for integers, for classes without a target."""
    one = next(found for found in of_classes if found is not None)
    missing = [np.full_like(array, np.nan if array.dtype.kind == "f" else 0) for array in one]
    rows = [missing if found is None else found for found in of_classes]
    return tuple(map(np.concatenate, zip(*rows, strict=True)))


def confusion_matrix(preds: Array, target: Array, counting: Counting) -> Int64Array | None:
    """The counts ``(C, C + 1)``, or None if there are unknown labels."""
    if not target.size or not cpu.countable(counting):
        found = sparse.count(preds, target, counting)
        return None if found is None else found.dense()
    pixels = Pixels(preds[None, None], target[None, None], "labels", "labels")
    counts = cpu.count(pixels, counting)
    return None if counting.bad(counts).any() else counting.matrices(counts)


def _ids_of_classes(preds: Array, counting: Counting) -> Array:
    """Label ids of predicted classes, 0 for abstentions."""
    id_of = np.zeros(counting.labels + 1, np.uint8)
    id_of[list(counting.classes_of_ids)] = counting.ids
    return id_of[np.where((preds >= 0) & (preds < counting.labels), preds, counting.labels)]


def _has_ramps(values: Array) -> bool:
    """Whether a binary mask has intermediate values, as after interpolation or in probabilities."""
    strange = (values != 0) & (values != values.max(initial=0))
    return bool(strange.any()) and graded(values, strange)


def _size(mask: Array) -> str:
    return _times(mask.shape)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
