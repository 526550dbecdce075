"""Label maps in one form: what the surface backends read."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import Counting
from segmetrics.counting.codes import ABSTAINED, IGNORED
from segmetrics.counting.settings import Pixels

if TYPE_CHECKING:
    from torch import Tensor

#: Pixels of a class with a direct neighbour outside it; pieces of the surface between pixels; or
#: pixels with any neighbour outside it, those ignored left out.
Surface = Literal["pixels", "elements", "contour"]
#: A class, or the union of several classes: a region.
Mask = int | tuple[int, ...]

#: A pixel of no class: outside the image, or an abstention.
NO_CLASS = -1
#: A pixel whose target is ignored; it belongs to no class either.
IGNORED_PIXEL = -2


class Maps(NamedTuple):
    """The label maps of one image, int32 ``(channels, *size)``, padded by ``NO_CLASS`` all around.

    They are tensors, or arrays of NumPy in ``cpu_maps.py`` and ``bands.py``. Neighbours are so a
    fixed distance apart, and the image's border is like any other contour.
    """

    preds: Any
    target: Any

    @property
    def size(self) -> tuple[int, ...]:
        """Size of the image itself."""
        return tuple(length - 2 for length in self.target.shape[1:])

    def cpu(self) -> Maps:
        """The maps where NumPy can read them."""
        return Maps(self.preds.cpu(), self.target.cpu())


def read_maps(
    pixels: Pixels, counting: Counting, background: int, without_ignored: bool
) -> tuple[Maps, Tensor]:
    """Read one image, and say whether it has a bad pixel (a bool scalar).

    Labels below ``background`` are no class, and those from there on count from 0. Ignored pixels
    are ``IGNORED_PIXEL`` in the target and keep their label in the prediction; or
    ``without_ignored`` they are of no class in both.
    """
    import torch

    from segmetrics.counting import plain

    size = [length + 2 for length in pixels.target.shape[2:]]
    shape = (2, counting.channels, *size)
    device = pixels.target.device
    maps = Maps(*torch.full(shape, NO_CLASS, dtype=torch.int32, device=device))
    bad = torch.zeros((), dtype=torch.bool, device=device)
    labels = counting.labels
    for box in plain.boxes(pixels, counting):
        target, preds = plain.codes_of(pixels, box, counting)
        ignored = target == labels + IGNORED
        bad |= (target > labels + IGNORED).any()
        bad |= ((preds > labels + ABSTAINED) & (target < labels)).any()
        target, preds = (
            (codes - background).where((codes >= background) & (codes < labels), NO_CLASS)
            for codes in (target, preds)
        )
        if without_ignored:
            preds = preds.where(~ignored, NO_CLASS)
        else:
            target = target.where(~ignored, IGNORED_PIXEL)
        where = (box[1], *(slice(s.start + 1, s.stop + 1) for s in box[2:]))
        maps.target[where] = target.squeeze(0).int()
        maps.preds[where] = preds.squeeze(0).int()
    return maps, bad


def moves(surface: Surface, dims: int) -> list[tuple[int, ...]]:
    """From a pixel to the neighbours that are compared with it, or for elements to the corners."""
    steps = (0, 1) if surface == "elements" else (-1, 0, 1)
    found = list(product(steps, repeat=dims))
    return [m for m in found if sum(map(abs, m)) == 1] if surface == "pixels" else found


def volumes(side: Any) -> list[NDArray[np.int32]]:
    """The channels as volumes ``(depth, height, width)``; an image has depth 1 without border."""
    arrays = [np.asarray(channel) for channel in side]
    return [array if array.ndim == 3 else array[None] for array in arrays]
