"""Surfaces on CUDA: dense maps of distances and sizes, without synchronizing.

A list of pieces would need their number on the host. So nothing is compacted: pieces are the pixels
whose size is not 0, and distances are those of the whole image, by an exact separable distance
transform of each surface.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# as Triton has types of its own for kernel arguments

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from operator import mul

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import max_pool1d

from segmetrics.surfaces.distances import Distances, Measure, share_of_size
from segmetrics.surfaces.elements import sizes
from segmetrics.surfaces.maps import IGNORED_PIXEL, Maps, Mask, Surface, moves

#: The tile of a program: outputs along a line, and lines.
OUTPUTS, LINES = 32, 32


def band_counts(maps: Maps, reach: int, labels: int) -> Tensor:
    """The counts of ``surfaces.band_counts``."""
    counted = maps.target != IGNORED_PIXEL
    preds, target = (
        side.where((side >= 0) & ~_inner(side, reach) & counted, labels) for side in maps
    )
    hits = preds.where(preds == target, labels)
    found = []
    for side in (hits, preds, target):
        flat = side.flatten(1).long()
        counts = flat.new_zeros(len(side), labels + 1)
        found.append(counts.scatter_add_(1, flat, torch.ones_like(flat))[:, :labels])
    return torch.stack(found, -1)


def measure_surfaces(
    maps: Maps,
    measures: Sequence[tuple[Mask, Sequence[Measure]]],
    empty: Sequence[float],
    both_empty: Sequence[float],
    *,
    labels: int,
    surface: Surface,
    spacing: tuple[float, ...],
) -> Tensor:
    """The values of ``surfaces.measure_surfaces``."""
    columns, in_pixels = [], surface != "elements"
    for mask, of_mask in measures:
        classes = mask if isinstance(mask, tuple) else (mask,)
        channel = classes[0] // labels
        target = maps.target[channel]
        preds_sizes, target_sizes = (
            _sizes(_union(side[channel], classes, labels), target, surface, spacing)
            for side in maps
        )
        distances = Distances(
            SurfaceDistances(
                _distances(target_sizes > 0, spacing), preds_sizes, in_pixels=in_pixels
            ),
            SurfaceDistances(
                _distances(preds_sizes > 0, spacing), target_sizes, in_pixels=in_pixels
            ),
        )
        found = (preds_sizes > 0).any().int() + (target_sizes > 0).any().int()
        columns.append(
            torch.stack(
                [
                    torch.as_tensor(measure(distances))
                    .double()
                    .where(found == 2, one)
                    .where(found > 0, both)
                    for measure, one, both in zip(of_mask, empty, both_empty, strict=True)
                ]
            )
        )
    return torch.stack(columns, 1)


class SurfaceDistances:
    """``DirectedDistances`` on CUDA: of all pixels, with the sizes of pieces, 0 elsewhere."""

    def __init__(self, values: Tensor, piece_sizes: Tensor, *, in_pixels: bool) -> None:
        self.values = values.flatten()
        self.sizes = piece_sizes.flatten()
        self.in_pixels = in_pixels

    @property
    def size(self) -> Tensor:
        """The size of the surface."""
        return self.sizes.sum()

    def total(self) -> Tensor:
        """The sum of the distances, weighted by the pieces' sizes."""
        return (self.values.double() * self.sizes).where(self.sizes > 0, 0.0).sum()

    def within(self, tolerance: float) -> Tensor:
        """The size of the surface within a tolerance."""
        limit = self.values.new_full((), tolerance)
        return self.sizes.where(self.values <= limit, 0.0).sum()

    def pooled(self, other: SurfaceDistances) -> SurfaceDistances:
        """The distances of both surfaces together."""
        values = torch.cat([self.values, other.values])
        of_both = torch.cat([self.sizes, other.sizes])
        return SurfaceDistances(values, of_both, in_pixels=self.in_pixels)

    def percentile(self, percent: float) -> Tensor:
        """The distance within which this share of the surface lies."""
        there = self.sizes > 0
        if percent == 100:
            return self.values.where(there, -inf).amax()
        values, order = self.values.where(there, inf).sort()
        if self.in_pixels:
            last = there.sum() - 1
            place = (last.double() * (percent / 100)).clamp(min=0)
            low, high = values.gather(0, torch.stack([place.floor(), place.ceil()]).long()).double()
            between: Tensor = low + (high - low) * place.frac()
            return between
        reached = self.sizes[order].cumsum(0)
        first = (reached < reached[-1:] * share_of_size(percent)).sum()
        return values.gather(0, first.view(1))[0]


def _union(labels: Tensor, classes: Sequence[int], of_channel: int) -> Tensor:
    """The pixels of the classes in one channel, which has ``of_channel`` classes."""
    inside = torch.zeros_like(labels, dtype=torch.bool)
    for c in classes:
        inside |= labels == c % of_channel
    return inside


def _sizes(inside: Tensor, target: Tensor, surface: Surface, spacing: tuple[float, ...]) -> Tensor:
    """Sizes of the pieces of a mask's surface in float64, 0 elsewhere."""
    flat = inside.flatten()
    offsets = [sum(map(mul, move, inside.stride())) for move in moves(surface, inside.ndim)]
    if surface == "elements":
        code = torch.zeros_like(flat, dtype=torch.int32)
        for corner, offset in enumerate(offsets):
            code |= flat.roll(-offset).int() << corner
        return _table(spacing, inside.device)[code.long()].view_as(inside)
    uneven = torch.zeros_like(flat)
    for offset in offsets:
        uneven |= flat.roll(-offset) != flat
    found = uneven.view_as(inside) & inside
    return (found & (target != IGNORED_PIXEL)).double()


@lru_cache(maxsize=64)
def _table(spacing: tuple[float, ...], device: torch.device) -> Tensor:
    """Sizes of elements by code."""
    return torch.from_numpy(sizes(spacing)).to(device)


def _inner(maps: Tensor, reach: int) -> Tensor:
    """Pixels whose window of ``2 * reach + 1`` pixels a side holds one label only."""
    lowest = highest = maps.float()  # exact: there are less than 2**24 labels
    for dim in range(1, maps.ndim):
        lowest = -_highest(-lowest, dim, reach)
        highest = _highest(highest, dim, reach)
    return lowest == highest


def _highest(values: Tensor, dim: int, reach: int) -> Tensor:
    """The maximum of a window along one dimension."""
    lines = values.movedim(dim, -1)
    pooled = max_pool1d(lines.flatten(0, -2), 2 * reach + 1, stride=1, padding=reach)
    return pooled.view(lines.shape).movedim(-1, dim)


def _distances(seeds: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Distance of every pixel to the nearest seed, in float32; infinite without seeds."""
    squares = torch.full(seeds.shape, inf, dtype=torch.float64, device=seeds.device)
    squares.masked_fill_(seeds, 0.0)
    for dim, step in enumerate(spacing):
        squares = lower_envelopes(squares, dim, step)
    return squares.sqrt().float()


def lower_envelopes(squares: Tensor, dim: int, step: float) -> Tensor:
    """Replace every line along ``dim`` by the lower envelope of parabolas on its entries.

    Takes the minimum over all entries of a line for each entry: as exact as the algorithm of
    Felzenszwalb and Huttenlocher, with quadratic work that is all parallel.
    """
    length, stride = squares.shape[dim], squares.stride(dim)
    lines = squares.numel() // length
    places = torch.arange(length, dtype=torch.float64, device=squares.device)
    out = torch.empty_like(squares)
    programs = triton.cdiv(length, OUTPUTS) * triton.cdiv(lines, LINES)
    with torch.cuda.device_of(squares):
        _lower_envelopes[(programs,)](
            squares, (places * step).square(), out, length, stride, lines, OUTPUTS, LINES
        )
    return out


@triton.jit
def _lower_envelopes(
    squares, parabola, out, length, stride, lines, OUTPUTS: tl.constexpr, LINES: tl.constexpr
):
    blocks = tl.cdiv(length, OUTPUTS)
    place = tl.program_id(0) % blocks * OUTPUTS + tl.arange(0, OUTPUTS)
    line = (tl.program_id(0) // blocks).to(tl.int64) * LINES + tl.arange(0, LINES)
    start = line // stride * stride * length + line % stride
    lowest = tl.full((OUTPUTS, LINES), float("inf"), tl.float64)
    for foot in range(length):
        height = tl.load(squares + start + foot * stride, mask=line < lines, other=float("inf"))
        away = tl.abs(place - foot)
        rise = tl.load(parabola + away, mask=away < length, other=float("inf"))
        lowest = tl.minimum(lowest, rise[:, None] + height[None, :])
    where = start[None, :] + place[:, None].to(tl.int64) * stride
    inside = (place < length)[:, None] & (line < lines)[None, :]
    tl.store(out + where, lowest, mask=inside)
