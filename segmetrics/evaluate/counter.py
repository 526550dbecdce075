"""One pair of files becomes counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics import files
from segmetrics.counting import Counting, count
from segmetrics.counting.codes import IGNORED, OUTSIDE, fold, preds_codes, target_codes
from segmetrics.counting.cpu import ValuePairs
from segmetrics.counting.cpu_readers import known_values
from segmetrics.evaluate import iiou
from segmetrics.evaluate.settings import Settings
from segmetrics.files import LabelMap, MaskError, Pair, Rows
from segmetrics.surfaces import BandCounting, images

Array = NDArray[Any]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]
#: The values that prediction and target say mark missing pixels.
Nodata = tuple[float | None, float | None]


class Counted(NamedTuple):
    """The counts of a pair: sums, see ``Layout``, and weighted instances."""

    sums: Longs
    instances: Floats | None


@dataclass(frozen=True)
class Layout:
    """Where what stands in the sums: the confusion matrix, the bands, and stray predictions."""

    classes: int

    @property
    def size(self) -> int:
        """How many sums there are."""
        return self.classes * (self.classes + 4) + 1

    def confusion(self, sums: Longs) -> Longs:
        """The counts ``(C, C + 1)``."""
        return sums[: self.classes * (self.classes + 1)].reshape(self.classes, -1)

    def bands(self, sums: Longs) -> Longs:
        """Hits, predicted and target pixels in the bands ``(C, 3)``."""
        return sums[self.classes * (self.classes + 1) : -1].reshape(self.classes, -1)


class Counter:
    """Reads and counts pairs, one after the other, in tables that it keeps."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.counting = settings, settings.counting
        self.layout = Layout(settings.space.num_classes)
        self.in_bands = BandCounting(**vars(self.counting))
        values = known_values(self.counting, of_bytes=True)
        self.bytes = None if values is None else ValuePairs(self.counting, values)
        self.buffers = files.Buffer(), files.Buffer(), files.Buffer()
        if self.bytes is not None:
            pixel = np.zeros(1, np.uint8)
            self._confusion_of_bytes(pixel, pixel, self.bytes)  # loads the kernels

    def count(self, pair: Pair) -> Counted:
        """Count a pair.

        Raises:
            MaskError: it cannot be scored.
        """
        of_preds, of_target, _ = self.buffers
        readings = self.settings.readings
        preds_map = files.read(pair.preds, readings.preds, of_preds)
        target_map = files.read(pair.target, readings.target, of_target)
        preds = files.aligned(preds_map, target_map, (pair.preds, pair.target))
        target = target_map.values
        self._check_agreement(pair, preds_map, target_map, target.shape)
        sums = np.zeros(self.layout.size, np.int64)
        nodata = preds_map.nodata, target_map.nodata
        self.layout.confusion(sums)[:] = self._confusion(preds, target, pair, nodata)
        if self.settings.boundary:
            self.layout.bands(sums)[:] = self._bands(preds, target)
        if pair.instances is None:
            return Counted(sums, None)
        weighted, sums[-1] = self._instances(preds, target, pair)
        return Counted(sums, weighted)

    def parts(self, pair: Pair) -> list[Rows | None]:
        """The parts in which a pair is counted; None is the whole."""
        if self.settings.boundary or pair.instances:
            return [None]
        return files.parts(pair.preds, pair.target)

    def count_rows(self, pair: Pair, rows: Rows) -> Counted:
        """Count some rows of a pair.

        Raises:
            MaskError: they cannot be scored.
        """
        readings = self.settings.readings
        preds, size = files.read_rows(pair.preds, rows, readings.preds, self.buffers[0])
        target, to_size = files.read_rows(pair.target, rows, readings.target, self.buffers[1])
        if size != to_size:
            detail = f"{_times(size)}, its target {pair.target} is {_times(to_size)}"
            raise MaskError("sizes", pair.preds, detail)
        self._check_agreement(pair, preds, target, to_size)
        sums = np.zeros(self.layout.size, np.int64)
        nodata = preds.nodata, target.nodata
        counts = self._confusion(preds.values, target.values, pair, nodata)
        self.layout.confusion(sums)[:] = counts
        return Counted(sums, None)

    def _check_agreement(
        self, pair: Pair, preds: LabelMap, target: LabelMap, shape: tuple[int, ...]
    ) -> None:
        """Raise for other places, and for palettes that disagree, where both hold the same ids."""
        files.check_place(preds, target, pair.preds, shape)
        if self.settings.space.id_to_class is None or self.settings.space.map_preds:
            files.check_palettes(preds, target, pair.preds)

    def _confusion(self, preds: Array, target: Array, pair: Pair, nodata: Nodata) -> Longs:
        of_bytes = preds.dtype == target.dtype == np.uint8 and preds.size < 2**31
        if of_bytes and self.bytes is not None:
            counts = self._confusion_of_bytes(preds, target, self.bytes)
        else:
            counts = _confusion(preds, target, self.counting)
        if counts is None:
            raise _unknown_labels(preds, target, pair, self.counting, nodata)
        return counts

    def _confusion_of_bytes(self, preds: Array, target: Array, pairs: ValuePairs) -> Longs | None:
        """The counts ``(C, C + 1)``, or None where there are unknown labels."""
        pairs.add(target.ravel(), preds.ravel())
        histogram = pairs.take()
        counts = torch.from_numpy(fold(histogram[None], self.counting))
        if histogram.sum() < target.size or self.counting.bad(counts).any():
            return None
        return np.asarray(self.counting.matrices(counts).numpy())

    def _bands(self, preds: Array, target: Array) -> Longs:
        (maps,) = images(*_tensors(preds, target), self.in_bands)
        return np.asarray(self.in_bands.count(maps).view(-1, 3).numpy())

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


def _confusion(preds: Array, target: Array, counting: Counting) -> Longs | None:
    try:
        counts = count(*_tensors(preds, target), counting)
    except ValueError:  # shapes and dtypes are known to be right
        return None
    return np.asarray(counting.matrices(counts).numpy())


def _tensors(preds: Array, target: Array) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(preds)[None], torch.from_numpy(target)[None]


def _ids_of_classes(preds: Array, counting: Counting) -> Array:
    """Label ids of predicted classes, 0 for abstentions."""
    id_of = np.zeros(counting.labels + 1, np.uint8)
    id_of[list(counting.classes_of_ids)] = counting.ids
    return id_of[np.where((preds >= 0) & (preds < counting.labels), preds, counting.labels)]


def _unknown_labels(
    preds: Array, target: Array, pair: Pair, counting: Counting, nodata: Nodata
) -> MaskError:
    """Which labels are neither a class nor ignored, in the target or else in the prediction."""
    codes = target_codes(torch.from_numpy(target.astype(np.int64)), counting).numpy()
    unknown, path = codes > counting.labels + IGNORED, pair.target
    if not unknown.any():
        found = preds_codes(torch.from_numpy(preds.astype(np.int64)), counting).numpy()
        unknown, path = (found == counting.labels + OUTSIDE) & (codes < counting.labels), pair.preds
    assert unknown.any()
    values, pixels = np.unique(
        (target if path == pair.target else preds)[unknown], return_counts=True
    )
    shown = ", ".join(f"{v} ({n:,} pixels)" for v, n in zip(values[:5], pixels[:5], strict=True))
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    said = nodata[path == pair.target]
    hint = f". {said:g} is its nodata value: --ignore-index {said:g}" if said in values else ""
    return MaskError("labels", path, f"neither a class nor ignored: {shown}{more}{hint}")


def _size(mask: Array) -> str:
    return _times(mask.shape)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
