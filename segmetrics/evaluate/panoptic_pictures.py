"""Pictures of missed and invented segments of the worst images, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segmetrics.evaluate.object_pictures import Shown, figures, picture
from segmetrics.evaluate.segments import SegmentCounter, SegmentSettings
from segmetrics.files import MaskError, Pair, valid
from segmetrics.objects import NO_OBJECT
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
            wrong = list(_wrong(counter, pairs[name]))
        except MaskError as error:  # changed since it was counted
            problems.append(valid(f"{error}. Its segments are not shown."))
            continue
        shown[valid(name)] = sorted(wrong, key=lambda one: -one.size)[:OF_IMAGE]
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
    for kind, wrong, (own, other) in (
        ("missed", outcome.missed, (0, 1)), ("false", outcome.false, (1, 0))
    ):  # fmt: skip
        side = (pairs.target, pairs.preds)[own]
        for one in np.flatnonzero(wrong & (side.sizes > 0)):
            masks: list[NDArray[np.bool_]] = [maps[0] == NO_OBJECT] * 2
            masks[own] = maps[own] == one
            masks[other] = maps[other] == _nearest(pairs, own, int(one))
            rows, columns = (slice(a, b + 1) for a, b in side.boxes[one][1:].tolist())
            name = names[side.classes[one]]
            yield Shown(
                kind, name, int(side.sizes[one]), picture(masks[0], masks[1], [rows, columns])
            )


def _nearest(pairs: ObjectPairs, own: int, one: int) -> int:
    """The segment of the same category with the largest overlap; -2 if there is none."""
    ends: tuple[Ints, Ints] = (pairs.pair_target, pairs.pair_preds)
    same = pairs.target.classes[pairs.pair_target] == pairs.preds.classes[pairs.pair_preds]
    mine = np.flatnonzero((ends[own] == one) & same)
    if not len(mine):
        return -2
    return int(ends[1 - own][mine[pairs.pair_pixels[mine].argmax()]])
