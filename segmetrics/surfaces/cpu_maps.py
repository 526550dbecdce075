"""Reading label maps on the CPU, by the readers of the counting backend."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from segmetrics.counting.cpu import CodedBox, Coding, countable
from segmetrics.counting.inputs import Counting, Pixels
from segmetrics.surfaces import maps
from segmetrics.surfaces.cpu import place_labels
from segmetrics.surfaces.maps import NO_CLASS, Maps


def read_maps(
    pixels: Pixels, counting: Counting, background: int, without_ignored: bool
) -> tuple[Maps, bool]:
    """The maps of ``maps.read_maps``."""
    if "one-hot" in (pixels.preds_are, pixels.target_are) or not countable(counting):
        found, bad = maps.read_maps(pixels, counting, background, without_ignored)
        return found, bool(bad)
    shape = (2, counting.channels, *(length + 2 for length in pixels.target.shape[2:]))
    found = Maps(*torch.from_numpy(np.full(shape, NO_CLASS, np.int32)))
    sides = [maps.volumes(side) for side in found]

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
