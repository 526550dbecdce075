"""Pictures of missed and false segments of the worst images, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segmetrics.evaluate.object_pictures import Shown, figures, largest
from segmetrics.evaluate.segments import SegmentCounter, SegmentSettings
from segmetrics.files import MaskError, Pair, valid
from segmetrics.objects.panoptic import outcome_of
from segmetrics.objects.table import Ints, ObjectPairs

#: Segments of an image that are shown.
OF_IMAGE = 6


def pictures(
    settings: SegmentSettings, pairs: Mapping[str, Pair], names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """HTML with the largest wrong segments of images, and what went wrong; files are read again.

    Args:
        settings: what was counted.
        pairs: those that were counted, by name.
        names: those that are shown.
    """
    counter, shown, problems = SegmentCounter(settings), {}, []
    for name in names:
        try:
            shown[valid(name)] = list(_wrong(counter, pairs[name]))
        except MaskError as error:  # noqa: PERF203  # changed since it was counted
            problems.append(valid(f"{error}. Its segments are not shown."))
    return figures(shown), problems


def _wrong(counter: SegmentCounter, pair: Pair) -> Iterator[Shown]:
    """The missed and false segments of a pair.

    Each is shown with the segment of its category on the other side that it shares most with.
    """
    names = counter.settings.format.names
    pairs, bands = counter.pairs(pair, maps=True)
    outcome = outcome_of(pairs, len(names), bands=bands)
    assert pairs.target_map is not None
    assert pairs.preds_map is not None
    maps = pairs.target_map, pairs.preds_map
    wrong = outcome.missed & (pairs.target.sizes > 0), outcome.false & (pairs.preds.sizes > 0)

    def masks(side: int, one: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        of_segment, other = maps[side] == one, maps[1 - side] == _nearest(pairs, side, one)
        return (other, of_segment) if side else (of_segment, other)

    return largest(pairs, wrong, OF_IMAGE, masks, lambda category: names[category])


def _nearest(pairs: ObjectPairs, own: int, one: int) -> int:
    """The segment of the same category with the largest overlap; -2 if there is none."""
    ends: tuple[Ints, Ints] = (pairs.pair_target, pairs.pair_preds)
    same = pairs.target.classes[pairs.pair_target] == pairs.preds.classes[pairs.pair_preds]
    mine = np.flatnonzero((ends[own] == one) & same)
    if not len(mine):
        return -2
    return int(ends[1 - own][mine[pairs.pair_pixels[mine].argmax()]])
