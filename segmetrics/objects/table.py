"""The sparse table (target object, predicted object) → pixels, of which scores are functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Sentinels of a pixel without an object, and of an ignored one; objects are numbered from 0.
NO_OBJECT, IGNORED = -1, -2

#: Says what values of pixels mean: for different values ``(m, values)`` in int64, the class
#: ``(m,)``, ``NO_OBJECT`` or ``IGNORED``, and an id ``(m,)``. Pixels of one class and one id are
#: one object.
Classify = Callable[[Ints], tuple[Ints, Ints]]


#: Says what values of pixels ``(m,)`` in int64 mean: a class, ``NO_OBJECT`` or ``IGNORED`` each.
Meaning = Callable[[Ints], Ints]


class Runs(NamedTuple):
    """A flat map cut into runs of equal pixels.

    Attributes:
        starts: position of every run's first pixel in the flat map, then the number of pixels.
        values: the values of the pixels of every run ``(n, values)``.
        size: of the map, ``(H, W)`` or ``(D, H, W)``.
    """

    starts: NDArray[Any]
    values: NDArray[Any]
    size: tuple[int, ...]


class Side(NamedTuple):
    """The objects of one map, in raster order of their first pixels.

    Attributes:
        classes: class of every object ``(n,)``.
        sizes: pixels that count ``(n,)``.
        ignored: pixels that the other map ignores ``(n,)``, not in ``sizes``.
        boxes: the first and the last plane, row and column of the pixels that count
            ``(n, 3, 2)``; without such pixels the first is beyond the map, and the last is -1.
    """

    classes: Ints
    sizes: Ints
    ignored: Ints
    boxes: Ints

    def of(self, keep: Bools) -> Side:
        """Some of the objects."""
        return Side(*(values[keep] for values in self))


@dataclass(frozen=True, eq=False)
class ObjectPairs:
    """The objects of two maps, and the number of pixels that each pair shares.

    Everything is int64. Ignored pixels, of either map, are in no size and in no pair.

    Attributes:
        target: the objects of the target.
        preds: the predicted objects.
        pair_target: number of the target's object for each pair that shares pixels ``(k,)``,
            rising.
        pair_preds: number of the predicted object ``(k,)``, rising within an object of the target.
        pair_pixels: pixels shared ``(k,)``, at least 1. The classes of a pair may differ.
        pixels: pixels of the map that are not ignored.
        target_map: number of the target's object at every pixel, int32 of the map's shape, or
            ``NO_OBJECT``; where asked for.
        preds_map: the same for the prediction.
    """

    target: Side
    preds: Side
    pair_target: Ints
    pair_preds: Ints
    pair_pixels: Ints
    pixels: int
    target_map: NDArray[np.int32] | None = None
    preds_map: NDArray[np.int32] | None = None

    def keep(self, target: Bools, preds: Bools) -> ObjectPairs:
        """The table of some objects ``(n,)``; pixels of others have no object."""
        if target.all() and preds.all():
            return self
        kept = target[self.pair_target] & preds[self.pair_preds]
        new_target, new_preds = _renumbered(target), _renumbered(preds)
        return replace(
            self,
            target=self.target.of(target),
            preds=self.preds.of(preds),
            pair_target=new_target[self.pair_target[kept]].astype(np.int64),
            pair_preds=new_preds[self.pair_preds[kept]].astype(np.int64),
            pair_pixels=self.pair_pixels[kept],
            target_map=None if self.target_map is None else new_target[self.target_map],
            preds_map=None if self.preds_map is None else new_preds[self.preds_map],
        )

    def counted(self) -> ObjectPairs:
        """The table without objects whose pixels are all ignored."""
        return self.keep(self.target.sizes > 0, self.preds.sizes > 0)

    def at_least(self, size: int) -> ObjectPairs:
        """The table of objects of at least so many pixels that count.

        The pixels of smaller objects of the target become ignored ones; then smaller predicted
        objects, without these pixels, are dropped.
        """
        small = self.target.sizes < size
        if not small.any() and not (self.preds.sizes < size).any():
            return self
        within_small = np.zeros(len(self.preds.sizes), np.int64)
        lost = small[self.pair_target]
        np.add.at(within_small, self.pair_preds[lost], self.pair_pixels[lost])
        sizes = self.preds.sizes - within_small
        preds = self.preds._replace(sizes=sizes, ignored=self.preds.ignored + within_small)
        preds_map = self.preds_map
        if preds_map is not None and self.target_map is not None:
            of_small = np.append(small, False)[self.target_map]  # NO_OBJECT is the last
            preds_map = np.where(of_small, np.int32(NO_OBJECT), preds_map)
        ignored = int(self.target.sizes[small].sum())
        changed = replace(self, preds=preds, preds_map=preds_map, pixels=self.pixels - ignored)
        return changed.keep(~small, sizes >= max(size, 1))


def _renumbered(keep: Bools) -> NDArray[np.int32]:
    """The new number of every object, ``NO_OBJECT`` for those dropped, and last for none."""
    numbers = np.full(len(keep) + 1, NO_OBJECT, np.int32)
    numbers[:-1][keep] = np.arange(np.count_nonzero(keep))
    return numbers
