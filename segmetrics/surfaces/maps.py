"""Padded label maps, which the surface backends read."""

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

#: ``"pixels"``: those of a class with a direct neighbour outside it. ``"elements"``: pieces of the
#: surface between pixels. ``"contour"``: those with any neighbour outside it, except ignored ones.
Surface = Literal["pixels", "elements", "contour"]
#: A class, or the union of several classes: a region.
Mask = int | tuple[int, ...]

#: A pixel of no class: outside the image, or an abstention.
NO_CLASS = -1
#: A pixel whose target is ignored. It has no class either.
IGNORED_PIXEL = -2


class Maps(NamedTuple):
    """The label maps of one image, int32 ``(channels, *size)``, padded with ``NO_CLASS``.

    Tensors, or NumPy arrays in ``cpu_maps.py`` and ``bands.py``. With the padding, a neighbour is
    at a fixed offset for every pixel, and the image's border is a contour like any other.
    """

    preds: Any
    target: Any

    @property
    def size(self) -> tuple[int, ...]:
        """Size of the image itself."""
        return tuple(length - 2 for length in self.target.shape[1:])

    def cpu(self) -> Maps:
        """The maps on the CPU."""
        return Maps(self.preds.cpu(), self.target.cpu())


def read_maps(
    pixels: Pixels, counting: Counting, background: int, without_ignored: bool
) -> tuple[Maps, Tensor]:
    """The maps of one image, and whether it has a bad pixel (a bool scalar).

    Labels below ``background`` have no class; the others are numbered from 0. Ignored pixels are
    ``IGNORED_PIXEL`` in the target and keep their label in the prediction, or with
    ``without_ignored`` have no class in both.
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
        maps.target[where] = target[0].int()
        maps.preds[where] = preds[0].int()
    return maps, bad


def moves(surface: Surface, dims: int) -> list[tuple[int, ...]]:
    """Steps from a pixel to the neighbours it is compared with; for elements to the corners."""
    steps = (0, 1) if surface == "elements" else (-1, 0, 1)
    found = list(product(steps, repeat=dims))
    return [m for m in found if sum(map(abs, m)) == 1] if surface == "pixels" else found


def volumes(side: Any) -> list[NDArray[np.int32]]:
    """The channels as volumes ``(depth, height, width)``; an image has depth 1, without padding."""
    arrays = [np.asarray(channel) for channel in side]
    return [array if array.ndim == 3 else array[None] for array in arrays]
