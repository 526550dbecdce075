"""Reading label maps on the CPU, by the readers of the counting backend."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, prod

import numpy as np
import torch

from segmetrics._parallel import share
from segmetrics.counting.cpu import BOX, RESIZED, as_volumes, countable, cut
from segmetrics.counting.cpu_readers import (
    Box,
    label_reader,
    linear_score_reader,
    nearest_score_reader,
    score_reader,
)
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
    target, preds = pixels.target.unsqueeze(2), pixels.preds.unsqueeze(2)
    widest = BOX
    if pixels.resized:
        target, preds = as_volumes(target), as_volumes(preds)
        reader = nearest_score_reader if counting.upsample == "nearest" else linear_score_reader
        read_preds = reader(preds, list(target.shape[2:]), counting)
        widest = max(1, min(BOX, RESIZED * counting.channels // preds.shape[1]))
    sizes, steps = list(target.shape[2:]), list(target.stride()[2:])
    if pixels.preds_are == "labels":
        read_preds = label_reader(preds, sizes, list(preds.stride()[2:]), counting, target=False)
    elif not pixels.resized:
        read_preds = score_reader(preds, sizes, list(preds.stride()[2:]), counting)
    read_target = label_reader(target, sizes, steps, counting, target=True)
    shape = (2, counting.channels, *(length + 2 for length in pixels.target.shape[2:]))
    found = Maps(*torch.from_numpy(np.full(shape, NO_CLASS, np.int32)))
    sides = [maps.volumes(side) for side in found]

    def work(boxes: Iterator[Box]) -> bool:
        codes_of_target, codes_of_preds = np.empty((2, BOX), np.uint16)
        bad = False
        for box in boxes:
            rows, columns = codes_of_target[: box.pixels], codes_of_preds[: box.pixels]
            read_target(box, rows)
            read_preds(box, columns)
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

    areas = list(cut(prod(sizes[:-1]), sizes[-1], widest)) if target.numel() else []
    boxes = (Box(0, *place) for place in product(range(counting.channels), areas))
    return found, any(share(work, boxes, at_most=max(1, ceil(target.numel() / BOX))))
