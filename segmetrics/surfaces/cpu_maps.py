"""Reading label maps on the CPU, by the readers of the counting backend. No torch here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segmetrics.counting.cpu import CodedBox, Coding, countable
from segmetrics.counting.settings import Counting, Pixels
from segmetrics.surfaces.cpu import place_labels
from segmetrics.surfaces.maps import NO_CLASS, Maps, volumes


def readable(pixels: Pixels, counting: Counting) -> bool:
    """Whether these readers can read pixels."""
    return "one-hot" not in (pixels.preds_are, pixels.target_are) and countable(counting)


def read_maps(
    pixels: Pixels, counting: Counting, background: int, without_ignored: bool
) -> tuple[Maps, bool]:
    """The maps of ``maps.read_maps`` as arrays, of pixels that are arrays."""
    shape = (2, counting.channels, *(length + 2 for length in pixels.target.shape[2:]))
    found = Maps(*np.full(shape, NO_CLASS, np.int32))
    sides = [volumes(side) for side in found]

    def work(boxes: Iterator[CodedBox]) -> bool:
        bad = False
        for box, rows, columns in boxes:
            bad |= place_labels(
                columns,
                rows,
                counting.labels,
                background,
                without_ignored,
                box.area,
                *(side[box.channel] for side in sides),
            )
        return bad

    return found, any(Coding(pixels, counting, in_order=-1).share(work))
