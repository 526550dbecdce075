"""Surfaces on the CPU: threads share the channels, classes and directions of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from operator import mul
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics._parallel import run_jobs
from segmetrics.counting import installed
from segmetrics.surfaces.distances import Distances, Measure, Pieces
from segmetrics.surfaces.elements import sizes
from segmetrics.surfaces.maps import (
    IGNORED_PIXEL,
    NO_CLASS,
    Maps,
    Mask,
    Surface,
    moves,
    volumes,
)

Item = TypeVar("Item")
Result = TypeVar("Result")
Spacing = tuple[float, ...]

#: Pixels of the bands that are counted in one go.
CHUNK = 2**18
#: Pixels of the maps of all tasks for which a thread is woken; they take about a millisecond, as a
#: measurement shares its work, and could wait, several times.
A_THREAD = 2**20


def band_counts(maps: Maps, reach: int, labels: int) -> Tensor:
    """The counts of ``surfaces.band_counts``."""
    maps = maps.cpu()
    kernels = _kernels()
    sides = [volume for side in maps for volume in volumes(side)]
    pixels = maps.target[0].numel()
    inner = _run(kernels.inner, [(volume, reach) for volume in sides], pixels)
    tasks = [
        (*(array.reshape(-1)[first : first + CHUNK] for array in of_channel), labels)
        for of_channel in zip(*_halves(sides), *_halves(inner), strict=True)
        for first in range(0, sides[0].size, CHUNK)
    ]
    counts = np.stack(_run(kernels.band_counts, tasks, pixels)).reshape(
        len(maps.preds), -1, labels, 3
    )
    return torch.from_numpy(counts.sum(1))


def measure_surfaces(
    maps: Maps,
    measures: Sequence[tuple[Mask, Sequence[Measure]]],
    empty: Sequence[float],
    both_empty: Sequence[float],
    *,
    labels: int,
    surface: Surface,
    spacing: Spacing,
) -> Tensor:
    """The numbers of ``surfaces.measure_surfaces``."""
    maps = maps.cpu()
    pixels = maps.target[0].numel()
    masks = list(dict.fromkeys(mask for mask, _ in measures))
    regions = [mask for mask in masks if isinstance(mask, tuple)]
    tasks = [
        (channel.numpy(), target.numpy(), labels, regions, surface, spacing)
        for side in maps
        for channel, target in zip(side, maps.target, strict=True)
    ]
    preds, target = map(_joined, _halves(_run(_find, tasks, pixels)))
    size = volumes(maps.target)[0].shape
    pairs = {mask: (preds[mask], target[mask]) for mask in masks}
    found = {mask: sum(len(points.places) > 0 for points in pair) for mask, pair in pairs.items()}
    both = [mask for mask in masks if found[mask] == 2]
    directions = [(*way, size, spacing) for m in both for way in (pairs[m], pairs[m][::-1])]
    ways = _run(_way, directions, pixels)
    of_both = dict(zip(both, zip(ways[::2], ways[1::2], strict=True), strict=True))
    applied = [(of_mask, *of_both[mask]) for mask, of_mask in measures if mask in of_both]
    measured = iter(_run(_apply, applied, pixels))
    columns = [
        next(measured) if mask in of_both else empty if found[mask] else both_empty
        for mask, _ in measures
    ]
    return torch.tensor(columns, dtype=torch.float64).T


def inner(labels: NDArray[np.int32], reach: int) -> NDArray[np.bool_]:
    """Pixels of a volume with one label throughout their window; see ``plain.inner``."""
    found: NDArray[np.bool_] = _kernels().inner(labels, reach)
    return found


def distances_of_masks(
    preds: NDArray[np.bool_], target: NDArray[np.bool_], surface: Surface, spacing: Spacing
) -> Distances:
    """The distances between the surfaces of two masks ``(H, W)`` or ``(D, H, W)``, none empty."""
    sides = [
        np.full([length + 2 for length in m.shape], NO_CLASS, np.int32) for m in (preds, target)
    ]
    for side, mask in zip(sides, (preds, target), strict=True):
        side[(slice(1, -1),) * mask.ndim][mask] = 0
    of_preds, of_target = (_find(side, sides[1], 1, [], surface, spacing)[0] for side in sides)
    depth, height, width = (1,) * (3 - preds.ndim) + sides[0].shape
    size = depth, height, width
    return Distances(
        _way(of_preds, of_target, size, spacing), _way(of_target, of_preds, size, spacing)
    )


class Points(NamedTuple):
    """A surface: positions in the flat map, and their sizes unless they are pixels."""

    places: NDArray[np.int64]
    sizes: NDArray[np.float64] | None


def _find(
    labels: NDArray[np.int32],
    target: NDArray[np.int32],
    classes: int,
    regions: Sequence[tuple[int, ...]],
    surface: Surface,
    spacing: Spacing,
) -> dict[Mask, Points]:
    """The surfaces of all classes in a map, and of regions."""
    steps = [stride // labels.itemsize for stride in labels.strides]
    offsets = np.array(
        [sum(map(mul, move, steps)) for move in moves(surface, len(steps))], np.int64
    )
    flat = labels.reshape(-1)
    found: dict[Mask, Points]
    if surface == "elements":
        places, codes, start = _kernels().find_elements(flat, offsets, classes)
        piece_sizes = sizes(spacing)[codes]
        found = {c: Points(places[s], piece_sizes[s]) for c, s in enumerate(_slices(start))}
    else:
        places, start = _kernels().find_pixels(flat, offsets, classes)
        parts = [places[s] for s in _slices(start)]
        if surface == "contour":
            parts = [p[target.reshape(-1)[p] != IGNORED_PIXEL] for p in parts]
        found = {c: Points(p, None) for c, p in enumerate(parts)}
    for region in regions:
        touched = np.unique(np.concatenate([found[c].places for c in region]))
        places, codes = _of_region(flat, touched, offsets, region, classes)
        found[region] = Points(places, sizes(spacing)[codes] if surface == "elements" else None)
    return found


def _of_region(
    flat: NDArray[np.int32],
    places: NDArray[np.int64],
    offsets: NDArray[np.int64],
    region: tuple[int, ...],
    classes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The surface of a union of classes, of those of its classes, and the codes of its elements.

    Where the union ends, one of its classes ends. What two of them share is no surface of it.
    """
    inside = np.zeros(classes + 2, np.int64)  # labels of no class, -1 and -2, are the last two
    inside[list(region)] = 1
    full = np.ones(len(places), np.bool_)
    codes = np.zeros(len(places), np.int64)
    for corner, offset in enumerate(offsets.tolist()):
        filled = inside[flat[places + offset]]
        full &= filled > 0
        codes |= filled << corner
    return places[~full], codes[~full]


def _way(queries: Points, seeds: Points, size: tuple[int, int, int], spacing: Spacing) -> Pieces:
    """The distances from one surface to another."""
    steps = np.array((1.0,) * (3 - len(spacing)) + spacing)
    return Pieces(_kernels().nearest(queries.places, seeds.places, size, steps), queries.sizes)


def _apply(measures: Sequence[Measure], to_target: Pieces, to_preds: Pieces) -> list[float]:
    return [float(measure(Distances(to_target, to_preds))) for measure in measures]


def _run(
    function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], pixels: int
) -> list[Result]:
    """Call ``function(*task)`` for every task of maps of so many pixels, in the tasks' order."""

    at_most = len(tasks) * pixels // A_THREAD
    return run_jobs(lambda task: function(*task), tasks, at_most=at_most)


def _joined(channels: Sequence[Mapping[Mask, Points]]) -> dict[Mask, Points]:
    """The surfaces of all channels; with several, each has one class, which is its number."""
    if len(channels) == 1:
        return dict(channels[0])
    return {c: found[0] for c, found in enumerate(channels)}


def _halves(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """Those of the prediction and those of the target."""
    middle = len(items) // 2
    return items[:middle], items[middle:]


def _slices(start: NDArray[np.int64]) -> list[slice]:
    return [slice(*bounds) for bounds in pairwise(start.tolist())]


@cache
def _kernels() -> ModuleType:
    """The compiled kernels, or where numba is not installed the plain ones."""
    if not installed("numba"):
        from segmetrics.surfaces import plain

        return plain
    from segmetrics.surfaces import cpu

    return cpu
